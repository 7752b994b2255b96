"""Cancel of what runs: who is asked to stop, what becomes of that, and what is told of it.

A request is for one attempt. Whoever wants the task cancelled may be heard late, or by a leader that does not know of
an earlier one, while something is wrong. In calm it is not, and what was asked to stop does not run again.
"""

from __future__ import annotations

from math import inf

from paceline_protocol.cancelled import LOST, STOPPED
from paceline_protocol.messages.client import CancelState
from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import (
    AskedToStop,
    Calm,
    CancelAnswered,
    CancelAsked,
    Ended,
    Finished,
    Overstayed,
    Retried,
    Started,
    ToldEnd,
)
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story

LATE_S = 0.2
"""In calm, how long after somebody wants a task cancelled its worker is asked to stop it."""
KILLED_LATE_S = 0.05
"""In calm, how long after its grace the worker of a task is killed."""


class Stopping(Promise):
    says = (
        "what runs and is wanted no more is asked to stop, killed after its grace, and not run again; nothing else is"
    )

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf
        self._running: dict[bytes, int] = {}  # attempts
        self._wanted_at_s: dict[tuple[bytes, int], float] = {}  # in calm: of an attempt that had begun by then
        self._asked_at_s: dict[tuple[bytes, int], float] = {}

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def _is_calm_since(self, story: Story) -> bool:
        return story.submitted_at >= self._calm_since_s

    # --- who is asked -------------------------------------------------------------------------------------------

    def on_cancel_asked(self, event: CancelAsked) -> None:
        attempt = self._running.get(event.task_id)
        if attempt is not None and self._is_calm_since(self.record.stories[event.task_id]):
            self._wanted_at_s.setdefault((event.task_id, attempt), event.at_s)

    def on_asked_to_stop(self, event: AskedToStop) -> None:
        story = self.record.stories[event.task_id]
        if not story.cancel_asked:
            self.broken("asked to stop, and nobody wants it cancelled", story)
        self._asked_at_s.setdefault((event.task_id, event.attempt), event.at_s)

    def on_cancel_answered(self, event: CancelAnswered) -> None:
        story = self.record.stories[event.task_id]
        if event.state == CancelState.STOPPING and not story.stopping:
            self.broken("told to be stopping, and no worker was asked to stop it", story)

    # --- what becomes of it -------------------------------------------------------------------------------------

    def on_started(self, event: Started) -> None:
        self._running[event.task_id] = event.attempt
        story = self.record.stories[event.task_id]
        if self._is_calm_since(story) and any(attempt < event.attempt for attempt in story.stopping):
            self.broken(f"attempt {event.attempt} starts, and one before it was asked to stop", story)

    def on_retried(self, event: Retried) -> None:
        story = self.record.stories[event.task_id]
        if self._is_calm_since(story) and event.attempt in story.stopping:
            self.broken(f"attempt {event.attempt} is retried, and was asked to stop", story)

    def on_overstayed(self, event: Overstayed) -> None:
        story, attempt = self.record.stories[event.task_id], (event.task_id, event.attempt)
        grace_ms = story.options.get("cancel_grace")
        if grace_ms is None:
            self.broken("killed as it goes on, which it may", story)
        if attempt not in self._asked_at_s:
            self.broken("killed as it goes on, and was not asked to stop", story)
        late_s = event.at_s - self._asked_at_s[attempt] - grace_ms / 1_000
        if self._is_calm_since(story) and not -KILLED_LATE_S <= late_s <= KILLED_LATE_S:
            self.broken(f"killed {late_s:.3f} s after its grace", story)

    def on_finished(self, event: Finished) -> None:
        if self._running.get(event.task_id) == event.attempt:
            del self._running[event.task_id]
        story, attempt = self.record.stories[event.task_id], (event.task_id, event.attempt)
        asked_at_s, wanted_at_s = self._asked_at_s.get(attempt), self._wanted_at_s.get(attempt, inf)
        if asked_at_s is None and event.at_s > wanted_at_s + LATE_S:
            self.broken(f"runs on for {event.at_s - wanted_at_s:.3f} s, and is wanted no more", story)
        grace_ms = story.options.get("cancel_grace")
        if asked_at_s is None or grace_ms is None or not self._is_calm_since(story):
            return
        late_s = event.at_s - asked_at_s - grace_ms / 1_000
        if late_s > KILLED_LATE_S:
            self.broken(f"goes on for {late_s:.3f} s after its grace", story)

    # --- what is told of it -------------------------------------------------------------------------------------

    def on_ended(self, event: Ended) -> None:
        self._check(event.task_id, event.end, event.payload)

    def on_told_end(self, event: ToldEnd) -> None:
        self._check(event.task_id, event.end, event.payload)

    def _check(self, task_id: bytes, end: int, payload: bytes) -> None:
        story = self.record.stories[task_id]
        if end != TaskEnd.CANCELLED:
            return
        if payload == STOPPED and (end, payload) not in story.finished:
            self.broken("told to have stopped, and no worker has said so", story)
        if payload == LOST and not story.stopping:
            self.broken("told to have ended with its worker, and that was not asked to stop it", story)
        if b"its worker was killed" in payload and not story.overstayed:
            self.broken("told that its worker was killed, which it was not", story)
        if not payload and story.starts and self._is_calm_since(story):
            self.broken("told not to have begun, and it had", story)
