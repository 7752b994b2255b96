"""``time_limit`` and ``deadline``: whoever runs for longer, or on at that moment, is killed, and nobody else for it.

A limit is over by the clock of the node that runs the task, and a deadline by that of the leader that handed it out.
While nothing is wrong, these are the world's.
"""

from __future__ import annotations

from math import inf

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import Calm, Ended, Finished, Overran, Started, ToldEnd
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story
from simulation.wall_clocks import right_ms

LATE_MS = 50
"""In calm, how long after its limit the worker of a task is killed."""


class TimeLimits(Promise):
    says = "what runs for longer than it may is killed, neither earlier nor later, and nothing else is"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf
        self._started_at_s: dict[bytes, float] = {}
        self._grace_s: dict[tuple[bytes, int], float] = {}  # of attempts that were cancelled beside others

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_started(self, event: Started) -> None:
        self._started_at_s[event.task_id] = event.at_s

    def on_overran(self, event: Overran) -> None:
        story = self.record.stories[event.task_id]
        self._grace_s[event.task_id, event.attempt] = event.grace_s
        ends_ms = self._ends_ms(story, event.task_id)
        if ends_ms == inf:
            self.broken("killed for a limit that it does not have", story)
        if self._is_calm_since(story):
            late_ms = right_ms(event.at_s) - ends_ms
            if not -LATE_MS <= late_ms <= LATE_MS:
                self.broken(f"killed {late_ms:.0f} ms after its limit", story)

    def on_finished(self, event: Finished) -> None:
        story = self.record.stories[event.task_id]
        if self._is_calm_since(story):
            late_ms = right_ms(event.at_s) - self._ends_ms(story, event.task_id)
            if late_ms > LATE_MS + 1_000 * self._grace_s.get((event.task_id, event.attempt), 0.0):
                self.broken(f"runs for {late_ms:.0f} ms longer than it may", story)

    def _ends_ms(self, story: Story, task_id: bytes) -> float:
        """Until when what has begun may run; inf for any time. The time of what a worker has not read counts, too."""
        started_ms = right_ms(self._started_at_s.get(task_id, story.submitted_at))
        limit_ms, deadline_ms = story.options.get("time_limit", 0), story.options.get("deadline", 0)
        return min(started_ms + limit_ms if limit_ms else inf, max(started_ms, deadline_ms) if deadline_ms else inf)

    def _is_calm_since(self, story: Story) -> bool:
        return story.submitted_at >= self._calm_since_s

    def on_ended(self, event: Ended) -> None:
        self._check(event.task_id, event.end)

    def on_told_end(self, event: ToldEnd) -> None:
        self._check(event.task_id, event.end)

    def _check(self, task_id: bytes, end: int) -> None:
        story = self.record.stories[task_id]
        if end == TaskEnd.TIMED_OUT and not story.overran:
            self.broken("ended as TIMED_OUT, and no worker was killed for it", story)
