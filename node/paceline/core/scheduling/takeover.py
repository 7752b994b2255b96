"""What a node does between its election and its lead: it takes over the tasks that were accepted before.

There may be a million of them, and a node that is silent for as long as that takes is voted out by its followers, as
its successor would be for the same reason. So it is done in slices of a turn, between heartbeats. The table stands
still meanwhile: whatever changes it is proposed by a leader.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from paceline.core.measures.tally import Tally
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.table import TaskTable

SLICE_TASKS: Final = 4_096
"""Taken over in a turn: a few milliseconds."""


class Takeover:
    """One node's preparation to lead one term. ``tasks`` are complete once ``step`` has returned True."""

    def __init__(
        self, table: TaskTable, term: int, applied_index: int, own_id: str = "", tally: Tally | None = None
    ) -> None:
        self.term = term
        self.applied_index = applied_index  # of the table
        self.tasks = LiveTasks(own_id, dict(table.tasks), tally)
        self._table = table
        self._left = iter(list(table.tasks.values()))

    def step(self, now: float, limit_tasks: int = SLICE_TASKS) -> bool:
        """Take over some more. True: these were the last."""
        lost_attempts = self._table.lost_attempts
        taken = 0
        for task in islice(self._left, limit_tasks):
            self.tasks.recover(task, lost_attempts.get(task.id, 0), now)
            taken += 1
        return taken < limit_tasks
