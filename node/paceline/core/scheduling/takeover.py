"""Takes over the tasks that were accepted before, between a node's election and its lead.

There may be a million of them. A node that was silent for as long as that takes would be deposed by its followers, and
its successor for the same reason. So the takeover is done in slices, one in each turn, between heartbeats. The table
does not change meanwhile, since only a leader proposes entries that change it.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from paceline.core.measures.tally import Tally
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.table import TaskTable

SLICE_TASKS: Final = 4_096
"""Tasks of one slice, which takes a few milliseconds."""


class Takeover:
    """One node's preparation to lead one term. ``tasks`` are complete once ``step`` has returned True."""

    def __init__(
        self,
        table: TaskTable,
        term: int,
        applied_index: int,
        due: DueTasks,
        own_id: str = "",
        tally: Tally | None = None,
    ) -> None:
        self.term = term
        self.applied_index = applied_index  # of the table
        self.tasks = LiveTasks(own_id, dict(table.tasks), tally, due.retrying, table.results)
        self.tasks.gates.has_none_before = not (table.totals.accepted or table.tasks)
        self.due = due
        self._table = table
        self._left = iter(list(table.tasks.values()))
        self._records = iter(list(table.records.items()))
        self._dead = iter(list(table.dead.items()))

    def step(self, now: float, limit_tasks: int = SLICE_TASKS) -> bool:
        """Take over some more. True: these were the last."""
        lost_attempts = self._table.lost_attempts
        taken = 0
        for task in islice(self._left, limit_tasks):
            lost, options = lost_attempts.get(task.id, 0), task.options
            if options is None or not options.has_moment:
                self.tasks.recover(task, lost, now)
            else:
                # What the log says has started once is not delayed again, but for a retry.
                self.due.recover(task, now)
                may_be_delayed = not lost or task.is_held or task.id in self.due.retrying.by_id
                self.tasks.recover(task, lost, now, delayed=may_be_delayed and self.due.is_early(task, now))
                self.due.watch(task, now)
            if options is not None and options.has_inputs:
                self.tasks.inputs.recovered(task, self._table.tasks)
            taken += 1
        for task_id, record in islice(self._records, limit_tasks - taken):
            self.due.retention.recover(task_id, record, now)
            taken += 1
        for task_id, dead in islice(self._dead, limit_tasks - taken):
            self.due.retention.recover_dead(task_id, dead, now)
            taken += 1
        return taken < limit_tasks
