"""Ways to break what becomes of dead tasks; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.dead_task_requests import DeadTaskRequests
from paceline.core.scheduling.recording import Recording
from paceline.core.scheduling.retention import Retention
from paceline.core.state.dead_tasks import DeadTasks
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline_protocol.messages.client import DeadChanges
from paceline_protocol.messages.records import CALL_ID, Call, EndRecord, Options
from simulation.peer_faults import Method


def keep_for_half_the_time(true: Method) -> Method:
    def begins(self: Retention, task: Task, *args: Any, **kwargs: Any) -> EndRecord:
        record: EndRecord = true(self, task, *args, **kwargs)
        until, dead_until, _ = self._new[task.id]
        assert task.options is not None
        self._new[task.id] = until, dead_until and dead_until - task.options.keep_dead_ms / 2e3, record
        return record

    return begins


def keep_what_leaves(true: Method) -> Method:
    def drop(self: DeadTasks, table: TaskTable, task_id: bytes) -> bool:
        return task_id in self.by_id

    return drop


def answer_at_once(true: Method) -> Method:
    def wait(self: DeadTaskRequests, change: Any, task_id: bytes, state: int) -> None:
        true(self, change, task_id, state)
        self.replies.append((change.key, DeadChanges(change.number, "", ((task_id, state, ""),))))

    return wait


def hand_out_at_once(true: Method) -> Method:
    def requeue(self: Recording, task_id: bytes, call: Call, now: float) -> None:
        true(self, task_id, call, now)
        self._tasks.come_due(self._tasks.live[call[CALL_ID]], now)

    return requeue


def keep_its_moments(true: Method) -> Method:
    def options(options: Options, task_id: bytes, now_ms: int) -> Options:
        return {**options, "requeued_from": task_id.hex()}

    return options
