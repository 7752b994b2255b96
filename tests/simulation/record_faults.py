"""Ways to break how results are kept and read; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.clients.session_table import SessionTable
from paceline.core.clients.sessions import ClientSession
from paceline.core.scheduling.admission import Admission
from paceline.core.scheduling.recording import Recording
from paceline.core.scheduling.retention import Retention
from paceline.core.state.records import Records
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import EndRecord
from simulation.peer_faults import Method


def release_what_is_kept(true: Method) -> Method:
    def without_kept(self: Recording, ids: list[bytes]) -> list[bytes]:
        return ids

    return without_kept


def keep_for_half_the_time(true: Method) -> Method:
    def begins(self: Retention, task: Task, *args: Any, **kwargs: Any) -> EndRecord:
        record: EndRecord = true(self, task, *args, **kwargs)
        until, dead_until, _ = self._new[task.id]
        assert task.options is not None
        self._new[task.id] = until and until - task.options.result_ttl_ms / 2e3, dead_until, record
        return record

    return begins


def go_by_the_wall_clock(true: Method) -> Method:
    def take_reached(self: Retention, now: float) -> list[bytes]:
        shown_s = self._clock.ms(now) / 1_000 - 1_700_000_000.0
        found: list[bytes] = true(self, shown_s)
        return found

    return take_reached


def know_nothing_of_what_expired(true: Method) -> Method:
    def untold(self: Admission, task_id: bytes, why: str) -> tuple[Refusal, str]:
        return Refusal.UNKNOWN_ID, why

    return untold


def lend_nothing(true: Method) -> Method:
    """What a reader acknowledges is released."""

    def add_result(
        self: SessionTable, session: ClientSession, task_id: bytes, end: int, payload: bytes, *, is_read: bool = False
    ) -> None:
        true(self, session, task_id, end, payload)

    return add_result


def tell_readers_at_once(true: Method) -> Method:
    def add_result_for_others(self: SessionTable, task_id: bytes, end: int, payload: bytes, *, is_final: bool) -> None:
        true(self, task_id, end, payload, is_final=True)

    return add_result_for_others


def remember_the_last_end(true: Method) -> Method:
    def remember(self: Records, table: TaskTable, kept: Any) -> None:
        true(self, table, kept)
        for outcome, record in kept:
            if outcome[0] in table.results:
                self.by_id[outcome[0]] = record

    return remember
