"""What is called cancelled is cancelled, and does not start; what is called running has been begun. ``stopping.py`` has
more of what is cancelled while it runs."""

from __future__ import annotations

from paceline_protocol.messages.client import CancelState
from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import Calm, CancelAnswered, CancelAsked, Ended, GivenToWorker, Started, ToldEnd
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story

LATE_S = 0.1
"""In calm, how long after somebody asks for it a task may still be given to a worker that nobody had begun by then."""


class Cancelling(Promise):
    """What no leader had given to a node never starts, nor does what may start once. A task that a node may have had,
    and lost in its leader's eyes, can still start there behind its end.

    While nothing is wrong, what nobody has begun when it is asked for is given to no worker afterwards. Where it stands
    behind others at one, its turn may come before it is taken back."""

    says = "cancelled and running are said when it is so, and what is cancelled never starts"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._never_starts: set[bytes] = set()
        self._is_calm = False
        self._asked_at_s: dict[bytes, float] = {}  # in calm, for the first time

    def on_calm(self, event: Calm) -> None:
        self._is_calm = True

    def on_cancel_asked(self, event: CancelAsked) -> None:
        if self._is_calm:
            self._asked_at_s.setdefault(event.task_id, event.at_s)

    def on_cancel_answered(self, event: CancelAnswered) -> None:
        story = self.record.stories[event.task_id]
        if event.state == CancelState.CANCELLED and story.is_logged and not _is_cancelled(story):
            self.broken("told to be cancelled, and is not", story)
        if event.state == CancelState.RUNNING and not story.starts and not story.was_next:
            self.broken("told to run, and no worker has begun it", story)

    def on_given_to_worker(self, event: GivenToWorker) -> None:
        story = self.record.stories[event.task_id]
        late_s = event.at_s - self._asked_at_s.get(event.task_id, event.at_s)
        if late_s > LATE_S and not story.starts:
            self.broken(f"given to a worker {late_s:.3f} s after somebody wanted it cancelled", story)

    def on_started(self, event: Started) -> None:
        if event.task_id in self._never_starts:
            self.broken("started after it was cancelled", self.record.stories[event.task_id])

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        if event.end != TaskEnd.CANCELLED:
            return
        if not story.cancel_asked:
            self.broken("cancelled, and nobody asked for it", story)
        if not _is_cancelled(story):
            return  # it had ended before
        if story.starts_once and story.starts and not story.stopping:
            self.broken("cancelled after it had started", story)
        if story.starts_once or not story.dispatches:
            self._never_starts.add(event.task_id)

    def on_told_end(self, event: ToldEnd) -> None:
        story = self.record.stories[event.task_id]
        if event.end == TaskEnd.CANCELLED and not story.cancel_asked:
            self.broken("told to be cancelled, and nobody asked for it", story)


def _is_cancelled(story: Story) -> bool:
    return story.outcome is not None and story.outcome[0] == TaskEnd.CANCELLED
