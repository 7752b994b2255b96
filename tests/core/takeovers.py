"""What a leader begins with, for tests that need no node around it."""

from __future__ import annotations

from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.takeover import Takeover
from paceline.core.state.table import TaskTable


def taken_over(table: TaskTable) -> LiveTasks:
    """Everything in the table, recovered."""
    takeover = Takeover(table, term=1, applied_index=0)
    assert takeover.step(0.0, limit_tasks=len(table.tasks) + 1)
    return takeover.tasks
