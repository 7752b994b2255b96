"""Once the faults end the cluster comes back, and in calm no task waits for long."""

from __future__ import annotations

from math import inf

from simulation.oracle.events import Burst, Calm, ToldEnd, Wait, Waited
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record

LIMITS_S: dict[Wait, float] = {
    Wait.LEADER: 1.0,
    Wait.SUCCESSOR: 3.0,
    Wait.CAUGHT_UP: 10.0,
    Wait.RESULTS: 60.0,
    Wait.APPLIED: 60.0,
}
"""Since healing, or since the leader was cut off. A client that was refused tries again after a while, and a task may
wait for nodes that are gone."""
CALM_TASK_S = 1.0
"""From submitting a task that asks for nothing to its result."""


class BoundedWaits(Promise):
    says = "whatever is waited for comes in time"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf

    def on_waited(self, event: Waited) -> None:
        limit_s = LIMITS_S[event.wait]
        if event.at_s > event.since_s + limit_s:
            nobody = "nobody leads" if event.wait is Wait.LEADER else f"waiting in vain for {event.wait.value}"
            since = "its cut" if event.wait is Wait.SUCCESSOR else "healing"
            self.broken(f"{nobody} within {limit_s} s of {since} {event.detail}".rstrip())

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_burst(self, event: Burst) -> None:
        self._calm_since_s = inf

    def on_told_end(self, event: ToldEnd) -> None:
        story = self.record.stories[event.task_id]
        if story.options or story.submitted_at < self._calm_since_s:
            return
        if event.at_s > story.submitted_at + CALM_TASK_S:
            self.broken(f"has its result {event.at_s - story.submitted_at:.3f} s after it was submitted", story)
