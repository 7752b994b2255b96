"""Schedules at a client: what it asks, and what it makes of the answers of a leader that is played."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from modes import source_only
from paceline.client import NamedTask
from paceline.client.driver.driver import Driver
from paceline.client.schedules import ScheduleQuestions
from paceline.errors import BadSchedule, ConfigError, NotAllowed, RequestRefused, ScheduleOwned, UnknownSchedule
from paceline.schedules import at, cron, every
from paceline.worker.registry import task
from paceline_protocol.codec import decode_definition, encode
from paceline_protocol.messages.schedules import (
    BackfillReply,
    BackfillSchedule,
    ChangeSchedule,
    PutSchedule,
    ScheduleAnswer,
    ScheduleDefinition,
    ScheduleReply,
    SchedulesRequest,
    TriggerSchedule,
)
from paceline_protocol.payload import pack_value, unpack_args

pytestmark = source_only
MOMENT_MS = 1_796_083_200_000
MOMENT = datetime.fromtimestamp(MOMENT_MS / 1_000, UTC)


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "task": "add",
        "when": (1, "@daily", "UTC", 0, 0),
        "priority": 4,
        "misfire": "once",
        "misfire_limit": 100,
        "overlap": "allow",
        "owner": "",
        "paused": False,
        "next_ms": MOMENT_MS,
        "handled_ms": 1,
        "last_ms": None,
        "last_id": None,
        "last_state": None,
        "waiting": 0,
        "fired": 0,
        "missed": 0,
        "overlapped": 0,
        "why": "",
        **changes,
    }


DAY = datetime(2026, 11, 30, tzinfo=UTC)


class Leader(Driver):
    """Has schedules, of which it names two at a time, and one answer for all requests."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows
        self.asked: list[Any] = []
        self.answer: ScheduleReply | None = ScheduleReply(1, "", ScheduleAnswer.DONE, "")

    @property
    def session(self) -> Any:
        class Session:
            payload_limit_bytes = 1_000

        return Session()

    @session.setter
    def session(self, value: Any) -> None:
        raise AssertionError

    def schedules(self, name: str, after: str, timeout_s: float) -> bytes | None:
        encode(SchedulesRequest(1, name, after))
        self.asked.append((name, after))
        behind = [each for each in self.rows if each["name"] > after]
        return pack_value({"schedules": behind[:2], "more": max(0, len(behind) - 2)})

    def put_schedule(self, name: str, definition: bytes, timeout_s: float) -> ScheduleReply | None:
        encode(PutSchedule(1, name, definition))
        self.asked.append((name, decode_definition(definition)))
        return self.answer

    def change_schedule(self, name: str, op: int, timeout_s: float) -> ScheduleReply | None:
        encode(ChangeSchedule(1, name, op))
        self.asked.append((name, op))
        return self.answer

    def trigger_schedule(self, name: str, task_id: bytes, timeout_s: float) -> ScheduleReply | None:
        encode(TriggerSchedule(1, name, task_id))
        self.asked.append((name, task_id))
        return self.answer

    def backfill_schedule(self, name: str, from_ms: int, to_ms: int, timeout_s: float) -> BackfillReply | None:
        encode(BackfillSchedule(1, name, from_ms, to_ms))
        self.asked.append((name, from_ms, to_ms))
        return None if self.answer is None else BackfillReply(*self.answer, 3, 2)

    def read(self, task_id: bytes, *, waits: bool) -> Any:
        return task_id


class Asking(ScheduleQuestions):
    def __init__(self, driver: Leader) -> None:
        self._driver = self.leader = driver

    @property
    def put(self) -> ScheduleDefinition:
        found: ScheduleDefinition = self.leader.asked[-1][1]
        return found


@task(name="report", priority=7, expires=60)
def report(month: str) -> str:
    return month


def test_a_schedule_is_put_with_its_task_its_moments_and_what_is_done_with_these() -> None:
    asking = Asking(Leader())
    when = cron("0 2 * * *", tz="Europe/Berlin")
    assert asking.add_schedule("nightly", when, report, args=["now"], kwargs={"x": 1}, misfire="all", overlap="queue")
    put = asking.put
    assert (put.task, put.priority, put.options, put.when) == ("report", 7, {"expires": -60_000}, when.wire)
    assert unpack_args(put.args) == (["now"], {"x": 1})
    assert (put.misfire, put.misfire_limit, put.overlap, put.owner) == (3, 100, 3, "")
    asking.add_schedule("nightly", every(minutes=5), "report")
    assert (asking.put.options, asking.put.misfire, asking.put.overlap) == ({}, 2, 1)
    asking.add_schedule("nightly", at(MOMENT), NamedTask("report", retries=0))
    assert asking.put.options == {"durability": 0, "retries": 0}


def test_the_answer_says_whether_anything_has_changed() -> None:
    asking = Asking(Leader())
    calls = (
        lambda: asking.add_schedule("a", every(minutes=5), "report"),
        lambda: asking.pause_schedule("a"),
        lambda: asking.resume_schedule("a"),
    )
    assert [call() for call in calls] == [True, True, True]
    asking.leader.answer = ScheduleReply(1, "", ScheduleAnswer.UNCHANGED, "")
    assert [call() for call in calls] == [False, False, False]
    asking.remove_schedule("a")
    future: Any = asking.trigger_schedule("a")
    assert asking.leader.asked[-1] == ("a", future)


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (None, TimeoutError, "no answer within"),
        (ScheduleReply(1, "observer", ScheduleAnswer.REFUSED, ""), NotAllowed, "observer"),
        (ScheduleReply(1, "", ScheduleAnswer.UNKNOWN, ""), UnknownSchedule, "no schedule named 'a'"),
        (ScheduleReply(1, "", ScheduleAnswer.REFUSED, "too many"), RequestRefused, "too many"),
        (ScheduleReply(1, "", ScheduleAnswer.OWNED, "shop"), ScheduleOwned, "comes with the module shop"),
    ],
)
def test_what_is_not_done_is_raised_by_name(reply: ScheduleReply | None, error: type[Exception], says: str) -> None:
    asking = Asking(Leader())
    asking.leader.answer = reply
    for call in (asking.remove_schedule, asking.pause_schedule, asking.resume_schedule, asking.trigger_schedule):
        with pytest.raises(error, match=says):
            call("a")
    with pytest.raises(error, match=says):
        asking.add_schedule("a", every(minutes=5), "report")
    with pytest.raises(error, match=says):
        asking.backfill_schedule("a", DAY, DAY)


def test_schedules_are_listed_page_by_page() -> None:
    asking = Asking(
        Leader(row("a"), row("b", last_ms=MOMENT_MS, last_id=b"1" * 16), row("c", next_ms=None, paused=True))
    )
    found = list(asking.schedules("*"))
    assert [each.name for each in found] == ["a", "b", "c"]
    assert asking.leader.asked == [("*", ""), ("*", "b")]
    assert (found[0].next, found[0].last, found[1].last, found[1].last_task_id) == (MOMENT, None, MOMENT, b"1" * 16)
    assert list(islice(found[0].moments(), 2)) == [MOMENT, MOMENT + timedelta(days=1)]
    assert list(found[2].moments()) == []


def test_a_zone_that_this_machine_does_not_know_is_no_reason_not_to_list() -> None:
    (found,) = Asking(Leader(row("a", when=(1, "@daily", "Mars/Olympus", 0, 0)))).schedules()
    assert str(found.when) == "@daily (Mars/Olympus)"
    with pytest.raises(BadSchedule, match="no time zone"):
        list(islice(found.moments(), 2))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "can't name a schedule"),
        ({"name": 5}, "can't name a schedule"),
        ({"name": "\ud800"}, "can't name a schedule"),
        ({"when": "@daily"}, "write cron"),
        ({"args": "abc"}, "args is a list"),
        ({"misfire": "never"}, "one of skip, once, all"),
        ({"overlap": 1}, "one of allow, skip, queue"),
        ({"misfire_limit": 0}, "1 to 1000"),
    ],
)
def test_what_can_not_be_asked_for_is_refused_here(changes: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"name": "a", "when": every(minutes=5), "target": "report", **changes}
    with pytest.raises(ConfigError, match=says):
        Asking(Leader()).add_schedule(**given)


def test_a_backfill_takes_moments_with_a_time_zone_and_says_how_many_there_are() -> None:
    asking = Asking(Leader())
    found = asking.backfill_schedule("a", DAY, DAY + timedelta(hours=1))
    assert (found.waiting, found.made) == (3, 2)
    assert asking.leader.asked == [("a", 1_000 * int(DAY.timestamp()), 1_000 * int(DAY.timestamp()) + 3_600_000)]
    with pytest.raises(BadSchedule, match="end"):
        asking.backfill_schedule("a", DAY, datetime(2026, 11, 30))
    with pytest.raises(ConfigError):
        asking.backfill_schedule("", DAY, DAY)
