"""How many dead tasks are kept, and what is counted and said of those for which there is no room."""

from __future__ import annotations

from typing import Final

from paceline.core.measures.tally import Tally
from paceline.core.scheduling.unheard import Notice
from paceline.core.settings import Settings
from paceline.core.state.dead_tasks import DEAD_BYTES
from paceline.core.state.task import Task


class DeadLimits:
    """Of one leader. ``limit_tasks``, ``limit_bytes``: past either the oldest are discarded."""

    __slots__ = ("_is_said", "_notice", "_tally", "limit_bytes", "limit_tasks")

    def __init__(self, settings: Settings, tally: Tally, notice: Notice | None = None) -> None:
        """``notice``: has a line logged."""
        self.limit_tasks: Final = settings.dead_limit_tasks
        self.limit_bytes: Final = settings.dead_limit_bytes
        self._tally = tally
        self._notice = notice
        self._is_said = False

    def may_keep(self, task: Task, payload: bytes, record_bytes: int) -> bool:
        """Whether there is room for a task that has died, if all others make way. ``payload``: its error.
        ``record_bytes``: what its record counts for."""
        if DEAD_BYTES + len(task.args) + len(payload) + record_bytes <= self.limit_bytes and self.limit_tasks:
            return True
        self.no_room_for(1)
        return False

    def no_room_for(self, count: int) -> None:
        """So many dead tasks are not kept for as long as they ask for. It is said once."""
        self._tally.dead_dropped += count
        if not self._is_said and self._notice is not None:
            self._is_said = True
            self._notice(
                "warning",
                f"there is no room for more dead tasks than {self.limit_tasks}, or {self.limit_bytes >> 20} MiB "
                "(--dead-limit-mib): the oldest are discarded. `paceline dead ls` shows what is kept, "
                "paceline_dead_tasks_dropped_total counts what is not",
            )
