"""Ways to break calls with a key; as those of ``peer_faults.py``."""

from __future__ import annotations

from paceline.core.scheduling.recording import Recording
from paceline.core.state.task import Task
from simulation.peer_faults import Method


def run_what_has_ended_again(true: Method) -> Method:
    def has_result(self: Recording, task_id: bytes) -> bool:
        return task_id not in self._table.records and bool(true(self, task_id))

    return has_result


def tell_at_once(true: property) -> property:
    def waits_for_commit(task: Task) -> bool:
        return task.options is not None and task.options.waits_for_commit and not task.options.is_keyed

    return property(waits_for_commit)
