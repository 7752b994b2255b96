"""``delivery``: at most once."""

from __future__ import annotations

from paceline_protocol.messages import TaskEnd
from simulation.oracle.events import Started
from simulation.oracle.promise import Promise


class AtMostOnce(Promise):
    says = "at most once: no worker starts it twice"

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        if story.starts_once and len(story.starts) > 1:
            self.broken("started again, and may once", story)
        if story.starts_once and story.outcome is not None and story.outcome[0] == TaskEnd.LOST:
            self.broken("started after it was given up", story)
