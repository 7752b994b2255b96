"""What is called cancelled is cancelled, and does not start."""

from __future__ import annotations

from paceline_protocol.messages import CancelState, TaskEnd
from simulation.oracle.events import CancelAnswered, Ended, Started, ToldEnd
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record

CANCELLED = (int(TaskEnd.CANCELLED), b"")


class Cancelling(Promise):
    """What no leader had given to a node never starts, nor does what may start once. A task that a node may have had,
    and lost in its leader's eyes, can still start there behind its end."""

    says = "cancelled is said when it is so, and what is cancelled never starts"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._never_starts: set[bytes] = set()

    def on_cancel_answered(self, event: CancelAnswered) -> None:
        story = self.record.stories[event.task_id]
        if event.state == CancelState.CANCELLED and story.is_logged and story.outcome != CANCELLED:
            self.broken("told to be cancelled, and is not", story)

    def on_started(self, event: Started) -> None:
        if event.task_id in self._never_starts:
            self.broken("started after it was cancelled", self.record.stories[event.task_id])

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        if event.end != TaskEnd.CANCELLED:
            return
        if not story.cancel_asked:
            self.broken("cancelled, and nobody asked for it", story)
        if story.outcome != CANCELLED:
            return  # it had ended before
        if story.starts_once and story.starts:
            self.broken("cancelled after it had started", story)
        if story.starts_once or not story.dispatches:
            self._never_starts.add(event.task_id)

    def on_told_end(self, event: ToldEnd) -> None:
        story = self.record.stories[event.task_id]
        if event.end == TaskEnd.CANCELLED and not story.cancel_asked:
            self.broken("told to be cancelled, and nobody asked for it", story)
