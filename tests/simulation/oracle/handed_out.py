"""A worker starts what a leader has handed out, and each of these once, whatever the network repeats."""

from __future__ import annotations

from collections import Counter

from simulation.oracle.events import KilledBeside, Started
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class HandedOut(Promise):
    says = "nothing starts more often than a leader has handed it out"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._again: Counter[bytes] = Counter()  # how often each may begin besides

    def on_killed_beside(self, event: KilledBeside) -> None:
        self._again[event.task_id] += 1

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        if not story.is_logged:
            return  # its leader may forget it in the turn in which it was handed out, and then nobody has seen that
        if len(story.starts) > story.dispatches + self._again[event.task_id]:
            self.broken(f"handed out {story.dispatches} times", story)
