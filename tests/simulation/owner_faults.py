"""Ways to break who counts as gone, of the clients whose tasks end with them; as those of ``peer_faults.py``."""

from __future__ import annotations

from math import inf

from paceline.core.scheduling.owners import Owners
from paceline.core.state.task import Task
from simulation.peer_faults import Method


def wait_for_a_part(true: Method) -> Method:
    def take_lost(self: Owners, grace_s: float, now: float) -> list[Task]:
        lost: list[Task] = true(self, grace_s / 8, now)
        return lost

    return take_lost


def count_from_ever(true: Method) -> Method:
    """Who was not heard by an earlier leader is gone for this one."""

    def begin(self: Owners, now: float) -> None:
        true(self, now)
        self._since = -inf

    return begin


def never_stand_still(true: Method) -> Method:
    def take_lost(self: Owners, grace_s: float, now: float) -> list[Task]:
        self._looked_at = now
        lost: list[Task] = true(self, grace_s, now)
        return lost

    return take_lost


def know_nobody(true: Method) -> Method:
    """Who comes back for a task does not have it."""

    def add(self: Owners, task: Task) -> None:
        session, task.session = task.session, None
        true(self, task)
        task.session = session

    return add
