"""``durability``: none. The log knows nothing of the task."""

from __future__ import annotations

from simulation.oracle.events import Accepted, AttemptUsed, Ended
from simulation.oracle.promise import Promise


class NotLogged(Promise):
    says = "a task without durability leaves nothing in the log"

    def on_accepted(self, event: Accepted) -> None:
        self._check(event.task_id)

    def on_attempt_used(self, event: AttemptUsed) -> None:
        self._check(event.task_id)

    def on_ended(self, event: Ended) -> None:
        self._check(event.task_id)

    def _check(self, task_id: bytes) -> None:
        story = self.record.stories[task_id]
        if not story.is_logged:
            self.broken("logged, and should not be", story)
