"""Ways to break what is promised of tasks that wait for tasks; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.work.parking import Parking
from simulation.peer_faults import Method


def never_give_slots_back(true: Method) -> Method:
    """The leader counts a task that waits as one that runs."""

    def park(self: LiveTasks, node_id: str, tasks: dict[bytes, bytes]) -> None:
        return None

    return park


def park_nobody(true: Any) -> Any:
    """A node has no task give its slot back."""
    return property(lambda self: 0)


def count_twice(true: Method) -> Method:
    """Whoever goes on has given one more slot back."""

    def room(self: Parking, busy: int) -> int:
        return busy + int(true(self, busy))

    return room
