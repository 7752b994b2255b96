"""Who asks where a task is that the cluster has accepted is never told that there is no such task."""

from __future__ import annotations

from simulation.oracle.events import Located
from simulation.oracle.promise import Promise


class LocatedTasks(Promise):
    """Not said of tasks that are not logged: whoever leads next knows them once they are submitted to it again."""

    says = "an accepted task is found until its client has the result"

    def on_located(self, event: Located) -> None:
        story = self.record.stories[event.task_id]
        was_accepted = story.told_accepted_at is not None and story.told_accepted_at <= event.asked_at_s
        has_end = story.told is not None or story.result_expired
        if story.is_logged and was_accepted and not has_end and event.state in ("unknown", "ended"):
            self.broken(f"told to be {event.state}, and it is accepted and has not ended", story)
