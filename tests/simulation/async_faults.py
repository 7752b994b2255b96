"""Ways to break many tasks at once in a worker; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.task import Task
from paceline_protocol.limits import MAX_INT
from simulation.peer_faults import Method


def have_room_for_all(true: Any) -> Any:
    """An async worker is given whatever there is."""
    return property(lambda self: True)


def kill_at_once(true: Any) -> Any:
    """What is over its limit is not cancelled before its worker is killed."""
    return property(lambda self: False)


def spare_nobody(true: Any) -> Any:
    """What runs beside a task for which their worker is killed has lost an attempt."""
    return lambda running: False


def begin_all_again(true: Any) -> Any:
    """That begins again, though it may only once."""
    return lambda options: True


def let_go_on(true: Any) -> Any:
    """What goes on though it was cancelled goes on."""
    return 100.0


def have_one_ledger(true: Method) -> Method:
    """A leader takes the places of async tasks for those of any."""

    def enrol(
        self: LiveTasks,
        node_id: str,
        slots: int,
        names: Any,
        window_bytes: int = MAX_INT,
        async_slots: int = 0,
        async_names: Any = (),
    ) -> NodeLedger:
        ledger: NodeLedger = true(self, node_id, slots + async_slots, names, window_bytes)
        return ledger

    return enrol


def run_beside_others(true: Method) -> Method:
    """What has ended worker after worker has others beside it all the same."""

    def place(self: LiveTasks, task: Task, state: int) -> Any:
        task.runs_alone = False
        return true(self, task, state)

    return place
