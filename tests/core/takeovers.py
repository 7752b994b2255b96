"""What a leader begins with, for tests that need no node around it."""

from __future__ import annotations

from paceline.core.deadlines import Moments
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.retrying import Retrying
from paceline.core.scheduling.takeover import Takeover
from paceline.core.state.table import TaskTable
from paceline.core.wall_clock import WallClock


def taken_over(
    table: TaskTable, clock: WallClock | None = None, moments: Moments | None = None, now: float = 0.0
) -> tuple[LiveTasks, DueTasks]:
    """Everything in the table, recovered, and the moments of these tasks by this clock, which else shows ``now``."""
    retrying = Retrying(None, dict(table.failures))
    due = DueTasks(
        WallClock() if clock is None else clock, Moments() if moments is None else moments, retrying=retrying
    )
    takeover = Takeover(table, term=1, applied_index=0, due=due)
    assert takeover.step(now, limit_tasks=len(table.tasks) + len(table.records) + len(table.dead) + 1)
    return takeover.tasks, due
