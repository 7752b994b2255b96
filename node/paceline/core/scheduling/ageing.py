"""Ageing: a task of a low priority is not starved by those of higher ones.

While tasks of several priorities wait in a queue, each AGED_EVERY-th that it gives is the oldest of them, whatever its
priority. So of a task before which N older ones wait no more than AGED_EVERY * (N + 1) are given until it is, whatever
comes after it; where fair keys take turns, of each priority the one whose turn it is counts. The rest go by priority.
That is counted in tasks and not in time: what waits for hours has the same share as what waits for a second, so that a
backlog that is old does not stand before what is urgent.
"""

from __future__ import annotations

from typing import Final

AGED_EVERY: Final = 16


class Ageing:
    """Of one queue. ``is_due``: the next task that is given is the oldest. ``priority``: which one that has, if several
    lanes have been compared; else -1. ``is_mixed``: lanes have tasks of different priorities, though each may have
    those of one."""

    __slots__ = ("_given", "is_due", "is_mixed", "priority")

    def __init__(self) -> None:
        self.is_due = False
        self.is_mixed = False
        self.priority = -1
        self._given = 0

    def given(self) -> None:
        """A task was given while tasks of several priorities wait."""
        self._given = 0 if self.is_due else self._given + 1
        self.is_due = self._given >= AGED_EVERY - 1
