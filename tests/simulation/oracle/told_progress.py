"""What is told of how far tasks are. Each attempt of a simulated worker says, as it begins, which one of which task it
is.

A leader that is cut off, or that counts attempts anew, may pass on what an earlier one has said. In calm it does not.
"""

from __future__ import annotations

from math import inf

from simulation.oracle.events import Calm, CutByDrain, Finished, Retried, Started, ToldProgress
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record

HEARD_S = 0.2
"""In calm, how long an attempt has run of which something is told."""


class ToldAttempts(Promise):
    says = "what is told of how far a task is was said by an attempt of it, and in calm by the one that runs"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf
        self._starts: dict[bytes, dict[int, float]] = {}  # by attempt
        self._ended: dict[bytes, dict[int, float]] = {}  # at their workers
        self._retried: dict[bytes, dict[int, float]] = {}  # by the log

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_started(self, event: Started) -> None:
        self._starts.setdefault(event.task_id, {})[event.attempt] = event.at_s

    def on_finished(self, event: Finished) -> None:
        self._ended.setdefault(event.task_id, {})[event.attempt] = event.at_s

    def on_cut_by_drain(self, event: CutByDrain) -> None:
        self._ended.setdefault(event.task_id, {})[event.attempt] = event.at_s

    def on_retried(self, event: Retried) -> None:
        self._retried.setdefault(event.task_id, {}).setdefault(event.attempt, event.at_s)

    def on_told_progress(self, event: ToldProgress) -> None:
        story, asked_at_s, told = self.record.stories[event.task_id], event.asked_at_s, event.attempt
        starts = self._starts.get(event.task_id, {})
        if told is not None:
            if event.said != (told, None, event.task_id.hex()):
                self.broken(f"told that attempt {told} has said {event.said}", story)
            if told not in starts:
                self.broken(f"told of attempt {told}, which has not started", story)
        if story.submitted_at < self._calm_since_s:
            return
        if told is None:
            running = set(starts) - set(self._ended.get(event.task_id, {}))
            if event.is_whole and any(starts[attempt] < asked_at_s - HEARD_S for attempt in running):
                self.broken("told nothing, and it runs", story)
            return
        if any(attempt > told and at_s < asked_at_s for attempt, at_s in starts.items()):
            self.broken(f"told of attempt {told}, and a later one had started", story)
        if self._retried.get(event.task_id, {}).get(told, inf) < asked_at_s:
            self.broken(f"told of attempt {told}, which had failed, and waits", story)
