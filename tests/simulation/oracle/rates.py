"""``rate``: of one key no more start in any period than may. A task starts when its node gives it to a worker.

As with ``running.py``: in worlds with limits no node is silent that lives."""

from __future__ import annotations

from collections import deque

from paceline_protocol.rates import PERIODS_S, parts_of
from simulation.oracle.events import GivenToWorker
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class Rates(Promise):
    says = "of one key no more start in any period than its rate allows"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._starts: dict[tuple[str, int], deque[int]] = {}  # in microseconds

    def on_given_to_worker(self, event: GivenToWorker) -> None:
        story = self.record.stories[event.task_id]
        rate = story.options.get("rate", 0)
        if not isinstance(rate, int) or not rate:
            return
        count, unit = parts_of(rate)
        starts = self._starts.setdefault((str(story.options["limit_key"]), rate), deque())
        starts.append(round(event.at_s * 1_000_000))
        while starts[0] <= starts[-1] - PERIODS_S[unit] * 1_000_000:
            starts.popleft()
        if len(starts) > count:
            self.broken(f"starts as one too many: {len(starts)} within a period, and {count} may", story)
