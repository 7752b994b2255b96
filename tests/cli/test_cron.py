"""`paceline cron`: what it asks, and what it says of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from paceline.cli import asking
from paceline.cli.app import run
from paceline.client import Backfilled, ScheduledTask
from paceline.errors import NotAllowed, RequestRefused, ScheduleOwned, UnknownSchedule
from paceline.schedules import Timetable, at, cron, every

MOMENT = datetime(2026, 12, 2, 1, 0, tzinfo=UTC)
TASK_ID = b"\x0f" * 16


def scheduled(name: str = "nightly", **changes: Any) -> ScheduledTask:
    told: dict[str, Any] = {
        "name": name,
        "task": "reports.build",
        "when": cron("0 2 * * *", tz="Europe/Berlin"),
        "priority": 4,
        "misfire": "once",
        "misfire_limit": 100,
        "overlap": "skip",
        "owner": "",
        "paused": False,
        "next": MOMENT,
        "last": MOMENT,
        "last_task_id": TASK_ID,
        "last_state": "succeeded",
        "waiting": 0,
        "fired": 12,
        "missed": 1,
        "overlapped": 0,
        "backfill": 0,
        "why": "",
    }
    return ScheduledTask(**told | changes)


class PlayedClient:
    def __init__(self) -> None:
        self.found = [scheduled(), scheduled("weekly", paused=True, next=None, last=None, why="the queue is full\x1b")]
        self.asked: list[Any] = []
        self.changes = True
        self.error: Exception | None = None

    def connect(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass

    def schedules(self, name: str | None, timeout_s: float) -> Iterator[ScheduledTask]:
        return iter([each for each in self.found if name in (None, each.name)])

    def add_schedule(self, name: str, when: Timetable, target: Any, **given: Any) -> bool:
        self.asked.append((name, when, target.name, target.wire_options, given))
        return self._done()

    def remove_schedule(self, name: str, timeout_s: float) -> None:
        self._done()

    def pause_schedule(self, name: str, timeout_s: float) -> bool:
        return self._done()

    def resume_schedule(self, name: str, timeout_s: float) -> bool:
        return self._done()

    def trigger_schedule(self, name: str, timeout_s: float) -> Any:
        self._done()

        class Made:
            task_id = TASK_ID

        return Made()

    def backfill_schedule(self, name: str, begin: datetime, end: datetime, timeout_s: float) -> Backfilled:
        self.asked.append((name, begin, end))
        self._done()
        return Backfilled(waiting=3, made=2)

    def _done(self) -> bool:
        if self.error is not None:
            raise self.error
        return self.changes


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> PlayedClient:
    played = PlayedClient()
    monkeypatch.setattr(asking, "connect", lambda *_: played)
    return played


def test_schedules_are_listed_with_their_next_moment_and_what_became_of_the_last(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cron", "ls"]) == 0
    assert capsys.readouterr().out == (
        "nightly: reports.build, 0 2 * * * (Europe/Berlin)\n"
        "  next   2026-12-02 01:00:00.000+00:00\n"
        f"  last   2026-12-02 01:00:00.000+00:00  {TASK_ID.hex()}  succeeded\n"
        "  so far 12 fired, 1 missed\n"
        "\n"
        "weekly: reports.build, 0 2 * * * (Europe/Berlin)\n"
        "  next   paused\n"
        "  so far 12 fired, 1 missed\n"
        "  due, and has no task yet: the queue is full\\x1b\n"
    )
    assert run(["cron", "ls", "--name", "none"]) == 0
    assert "no such schedule" in capsys.readouterr().out
    assert run(["cron", "ls", "--name", "nightly", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["schedules"]
    assert (told["next"], told["last_task_id"], told["when"], told["fired"]) == (
        "2026-12-02 01:00:00.000+00:00",
        TASK_ID.hex(),
        "0 2 * * * (Europe/Berlin)",
        12,
    )


def test_next_moments_are_shown(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cron", "next", "nightly", "-n", "2"]) == 0
    assert capsys.readouterr().out == "2026-12-02 01:00:00.000+00:00\n2026-12-03 01:00:00.000+00:00\n"
    assert run(["cron", "next", "nightly", "-n", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "nightly", "next": ["2026-12-02 01:00:00.000+00:00"]}
    assert run(["cron", "next", "monthly"]) == UnknownSchedule.exit_code == 18


@pytest.mark.parametrize(
    ("said", "when"),
    [
        (["--cron", "0 2 * * *", "--tz", "Europe/Berlin"], cron("0 2 * * *", tz="Europe/Berlin")),
        (["--cron", "@daily"], cron("@daily")),
        (["--every", "5m"], every(minutes=5)),
        (["--at", "2026-12-02T02:00+01:00"], at(MOMENT)),
    ],
)
def test_a_schedule_is_added(
    client: PlayedClient, capsys: pytest.CaptureFixture[str], said: list[str], when: Timetable
) -> None:
    command = ["cron", "add", "nightly", "reports.build", "2026", "x", "--kw", "dry=true", *said]
    assert run([*command, "--overlap", "skip", "--misfire", "all", "--misfire-limit", "7", "--retries", "3"]) == 0
    assert capsys.readouterr().out == "nightly: added\n"
    ((name, timetable, task, options, given),) = client.asked
    assert (name, timetable, task, options["retries"]) == ("nightly", when, "reports.build", 3)
    assert (given["args"], given["kwargs"]) == ([2026, "x"], {"dry": True})
    assert (given["misfire"], given["misfire_limit"], given["overlap"]) == ("all", 7, "skip")
    client.changes = False
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "nightly", "state": "unchanged"}


@pytest.mark.parametrize(
    ("said", "code", "says"),
    [
        ([], 2, "one of them"),
        (["--cron", "@daily", "--every", "5m"], 2, "one of them"),
        (["--every", "5m", "--tz", "UTC"], 2, "--tz is the zone of --cron"),
        (["--every", "soon"], 2, "can't be used"),
        (["--at", "tomorrow"], 2, "can't be used"),
        (["--every", "0"], 47, "an interval of 0 s"),
        (["--cron", "0 0 30 2 *"], 47, "never fires"),
        (["--cron", "@daily", "--tz", "Mars/Olympus"], 47, "no time zone"),
    ],
)
def test_what_can_not_be_a_time_is_refused(
    client: PlayedClient, capsys: pytest.CaptureFixture[str], said: list[str], code: int, says: str
) -> None:
    assert run(["cron", "add", "nightly", "reports.build", *said]) == code
    assert says in capsys.readouterr().err
    assert client.asked == []


def test_a_schedule_is_paused_resumed_removed_and_triggered(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("pause", "resume", "rm", "trigger"):
        assert run(["cron", verb, "nightly"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "nightly: paused",
        "nightly: resumed",
        "nightly: removed",
        TASK_ID.hex(),
    ]
    assert run(["cron", "trigger", "nightly", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "nightly", "task_id": TASK_ID.hex()}
    client.changes = False
    assert run(["cron", "pause", "nightly"]) == 0
    assert capsys.readouterr().out == "nightly: unchanged\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownSchedule("nightly"), 18),
        (RequestRefused("no"), 13),
        (NotAllowed("no"), 15),
        (ScheduleOwned("nightly", "reports"), 56),
    ],
)
def test_what_is_not_done_has_its_exit_code(client: PlayedClient, error: Exception, code: int) -> None:
    client.error = error
    for verb in ("pause", "resume", "rm", "trigger"):
        assert run(["cron", verb, "nightly"]) == code


def test_a_backfill_says_how_many_moments_have_their_tasks_made(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["cron", "backfill", "nightly", "--from", "2026-11-01T00:00Z", "--to", "2026-11-30T00:00+01:00"]
    assert run(asked) == 0
    assert capsys.readouterr().out == "nightly: 3 moments have their tasks made now, 2 had theirs before\n"
    assert client.asked == [("nightly", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 29, 23, tzinfo=UTC))]
    assert run([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "nightly", "waiting": 3, "made": 2}
    assert run(["cron", "backfill", "nightly", "--from", "yesterday", "--to", "2026-11-30T00:00Z"]) == 2
    assert "--from" in capsys.readouterr().err
