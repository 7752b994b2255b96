"""What is called cancelled is cancelled, and does not start."""

from __future__ import annotations

from paceline_protocol.messages import CancelState, TaskEnd
from simulation.oracle.events import CancelAnswered, Ended, Started
from simulation.oracle.promise import Promise

CANCELLED = (int(TaskEnd.CANCELLED), b"")


class Cancelling(Promise):
    """A task that may start again can do so behind its end: at a node that was cut off with it. One that may start
    once can't."""

    says = "cancelled is said when it is so, and what is cancelled never starts"

    def on_cancel_answered(self, event: CancelAnswered) -> None:
        story = self.record.stories[event.task_id]
        if event.state == CancelState.CANCELLED and story.is_logged and story.outcome != CANCELLED:
            self.broken("told to be cancelled, and is not", story)

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        if story.outcome == CANCELLED and story.starts_once:
            self.broken("started after it was cancelled", story)

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        if event.end != TaskEnd.CANCELLED:
            return
        if not story.cancel_asked:
            self.broken("cancelled, and nobody asked for it", story)
        if story.outcome == CANCELLED and story.starts_once and story.starts:
            self.broken("cancelled after it had started", story)

    def at_end(self) -> None:
        for story in self.record.stories.values():
            if story.told == CANCELLED and not story.cancel_asked:
                self.broken("told to be cancelled, and nobody asked for it", story)
