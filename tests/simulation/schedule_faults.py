"""Ways to break schedules; as those of ``peer_faults.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline.core.scheduling.module_schedules import ModuleSchedules
from paceline.core.scheduling.schedule_keeper import ScheduleKeeper
from paceline.core.state.schedules import AppliedFiring, ScheduleRow, Schedules
from paceline.core.state.table import TaskTable
from paceline.core.work.leader_link import LeaderLink
from paceline_protocol.messages.schedules import ScheduleAnswer, ScheduleChange, ScheduleOp, When
from simulation.peer_faults import Method


def forget_that_it_has_fired(true: Method) -> Method:
    def fire(self: Schedules, table: TaskTable, firing: AppliedFiring) -> None:
        before = self.by_name.get(firing[0])
        true(self, table, firing)
        if before is not None and firing[0] in self.by_name:
            row = self.by_name[firing[0]]
            self.by_name[firing[0]] = row._replace(next_ms=before.next_ms, handled_ms=before.handled_ms)

    return fire


def leave_one_out(true: Method) -> Method:
    def next_after(when: When, after_ms: int) -> int:
        found: int = true(when, true(when, after_ms))
        return found

    return next_after


def make_up_for_the_last_alone(true: Method) -> Method:
    def due_moments(row: ScheduleRow, now_ms: int) -> tuple[list[int], int, int]:
        moments, missed, next_ms = true(row, now_ms)
        return moments[-1:], missed + len(moments) - 1, next_ms

    return due_moments


def fire_beside_what_runs(true: Method) -> Method:
    def is_running(self: ScheduleKeeper, row: ScheduleRow) -> bool:
        return False

    return is_running


def name_it_by_its_schedule(true: Method) -> Method:
    def fired_id(name: str, moment_ms: int) -> bytes:
        found: bytes = true(name, moment_ms // 10_000_000)
        return found

    return fired_id


def answer_before_the_log_has_it(true: Method) -> Method:
    def log_change(self: ScheduleKeeper, key: bytes, number: int, change: ScheduleChange) -> None:
        self._answer(key, number, ScheduleAnswer.DONE, "")
        true(self, key, number, change)

    return log_change


def fire_what_is_paused(true: Method) -> Method:
    def change(self: Schedules, change: ScheduleChange) -> None:
        if change[0] != ScheduleOp.PAUSE:
            true(self, change)

    return change


def write_no_snapshot(true: Method) -> Method:
    def captured(self: Schedules) -> list[Any]:
        return []

    return captured


def watch_none_of_those_before(true: Method) -> Method:
    def init(self: ScheduleKeeper, *args: Any) -> None:
        true(self, *args)
        self._due.fires.clear()

    return init


def have_what_was_announced_last(true: Method) -> Method:
    def gather(self: ModuleSchedules, enrolled: Mapping[str, int]) -> None:
        true(self, enrolled)
        self._present = {name: definitions[-1:] for name, definitions in self._present.items()}

    return gather


def let_anybody_change_them(true: Method) -> Method:
    def is_owned(self: ScheduleKeeper, row: ScheduleRow | None) -> bool:
        return False

    return is_owned


def announce_none(true: Method) -> Method:
    def announce_schedules(self: LeaderLink, now: float) -> None:
        pass

    return announce_schedules


def make_all_that_is_backfilled(true: Method) -> Method:
    def was_made(self: ScheduleKeeper, task_id: bytes) -> bool:
        return False

    return was_made


def backfill_the_last_first(true: Method) -> Method:
    def want(self: Schedules, name: str, moments: tuple[int, ...]) -> None:
        true(self, name, moments[::-1])

    return want


def forget_what_is_to_be_backfilled(true: Method) -> Method:
    def watch(self: ScheduleKeeper, name: str) -> None:
        true(self, name)
        row = self._table.schedules.get(name)
        if row is not None and row.backfill and not row.waiting:
            self._queued.discard(name)

    return watch
