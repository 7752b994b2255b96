"""Ways to break tasks that depend on tasks; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.inputs import Inputs
from paceline.core.scheduling.recording import Recording
from paceline.core.scheduling.releases import Releases
from paceline.core.state.call_options import CallOptions
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from simulation.peer_faults import Method


def wait_for_the_first_alone(true: property) -> property:
    def input_ids(options: CallOptions) -> list[bytes]:
        assert true.fget is not None
        found: list[bytes] = true.fget(options)
        return found[:1]

    return property(input_ids)


def start_what_depends_on_what_failed(_true: Method) -> Method:
    def has_failed(_self: Inputs, _task: Task, _input_id: bytes) -> bool:
        return False

    return has_failed


def end_nothing(_true: Method) -> Method:
    def end_upstream_failed(self: Recording, _now: float) -> None:
        self._tasks.inputs.failed.clear()

    return end_upstream_failed


def drop_what_is_needed(_true: Method) -> Method:
    def hold_needed(_self: Releases, ids: list[bytes], *, expired: bool) -> list[bytes]:
        return ids

    return hold_needed


def forget_what_is_held(_true: Any) -> property:
    def held(_table: TaskTable) -> dict[bytes, None]:
        return {}

    return property(held)
