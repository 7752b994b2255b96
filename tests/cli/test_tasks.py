"""`paceline tasks`: what it asks, and what it says of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.cli import asking
from paceline.cli.app import run
from paceline.client.task_record import TaskRecord, record_of
from paceline.errors import NotAllowed, ResultUnknown, TaskFailed

ID = "0f" * 16
FOUND = {"state": "delayed", "why": "it may not start before 2026-12-01 02:00:00.000+00:00", "node": ""}


def row(name: str, waiting: int, delayed: int, nodes: int) -> dict[str, Any]:
    return {"name": name, "waiting": waiting, "delayed": delayed, "nodes": nodes}


class StubFuture:
    def __init__(self, end: object) -> None:
        self.end = end

    def exception(self, timeout_s: float) -> Exception | None:
        return self.end if isinstance(self.end, Exception) else None

    def described(self, timeout_s: float) -> object:
        return self.end


RECORD: dict[str, Any] = {
    "state": "succeeded",
    "why": "it succeeded; its submitter has the result, or can fetch it",
    "is_open": False,
    "name": "shop.report",
    "priority": 7,
    "attempt": 2,
    "failed_attempts": 1,
    "lost_attempts": 0,
    "failures": [[1, 1_700_000_000_500, "ValueError: no"]],
    "node": "n1",
    "not_before_ms": None,
    "expires_ms": None,
    "accepted_ms": 1_700_000_000_000,
    "started_ms": 1_700_000_001_000,
    "ended_ms": 1_700_000_002_000,
    "kept_until_ms": 1_700_000_602_000,
    "result_expired": False,
}


class StubClient:
    """Knows one task."""

    def __init__(self) -> None:
        self.told = dict(RECORD)
        self.end: object = "two\nlines"
        self.asked: list[tuple[str, float]] = []
        self.closed = False
        self.rows = [row("shop.old", 20, 3, 0), row("shop.new", 1_204, 0, 3)]
        self.cancelled: list[str] = []
        self.states = {ID: "cancelled"}
        self.became = {"cancelled": 22, "stopping": 1, "running": 0, "ended": 2}
        self.more_names = 0

    def connect(self) -> None:
        pass

    def record(self, task_id: str, timeout_s: float) -> TaskRecord:
        return record_of(bytes.fromhex(task_id), self.told)

    def task(self, task_id: bytes) -> StubFuture:
        return StubFuture(self.end)

    def where_is(self, task_id: str, timeout_s: float) -> dict[str, Any]:
        self.asked.append((task_id, timeout_s))
        return dict(FOUND) if task_id == ID else {"state": "unknown", "why": "no task of this id was accepted"}

    def waiting(self, name: str | None, timeout_s: float) -> dict[str, Any]:
        rows = [each for each in self.rows if name in (None, each["name"])]
        return {
            "names": rows,
            "more_names": self.more_names,
            "ids": [bytes.fromhex(ID)] if name and rows else [],
            "skip": None,
        }

    def cancel_where(
        self, name: str | None, *, state: tuple[str, ...], all_names: bool, graph: str | None, timeout: float
    ) -> dict[str, int]:
        self.cancelled.append(" ".join([name or "all" * all_names or f"of {graph}", *state]))
        return self.became

    def cancel_tasks(self, ids: tuple[str, ...], timeout_s: float) -> dict[str, str]:
        self.cancelled += ids
        return {task_id: self.states.get(task_id, "unknown") for task_id in ids}

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StubClient:
    stub = StubClient()
    monkeypatch.setattr(asking, "connect", lambda *_: stub)
    return stub


def test_where_a_task_is_is_one_line(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "why", ID.upper()]) == 0
    assert capsys.readouterr().out == "delayed: it may not start before 2026-12-01 02:00:00.000+00:00\n"
    assert client.asked == [(ID, 5.0)]
    assert client.closed


def test_json_is_the_whole_answer(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "why", ID, "--json", "--timeout", "7"]) == 0
    assert json.loads(capsys.readouterr().out) == {"task_id": ID, **FOUND}
    assert client.asked == [(ID, 7.0)]


def test_an_unknown_task_ends_with_12(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "why", "00" * 16]) == 12
    assert capsys.readouterr().err == f"paceline: error: {'00' * 16}: no task of this id was accepted\n"
    assert client.closed


@pytest.mark.parametrize("text", ["order-42", "0f" * 15, ""])
def test_what_is_no_id_is_a_usage_error(client: StubClient, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert run(["tasks", "why", text]) == 2
    assert "32 hexadecimal digits" in capsys.readouterr().err
    assert client.asked == []


# --- what waits, by name


def test_what_waits_is_a_line_for_each_name(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.rows.append(row("evil\x1b[2J", 1, 0, 0))
    client.rows.append(row("shop.quiet", 2, 0, 0) | {"idle_nodes": 1})
    assert run(["tasks", "waiting"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "   waiting    delayed  nodes  task",
        "        20          3      0  shop.old  (no node runs it)",
        "     1,204          0      3  shop.new",
        "         1          0      0  evil\\x1b[2J  (no node runs it)",
        "         2          0      0  shop.quiet  (the nodes that run it take no tasks)",
    ]
    assert client.closed


def test_of_one_name_there_are_ids(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "waiting", "--name", "shop.old"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"ids: {ID}"
    assert run(["tasks", "waiting", "--name", "shop.old", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ids"] == [ID]
    assert run(["tasks", "waiting", "--name", "shop.gone"]) == 0
    assert capsys.readouterr().out == "no task named shop.gone waits\n"


def test_many_names_are_cut_short(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.rows = [row(f"t{number}", 1, 0, 1) for number in range(60)]
    assert run(["tasks", "waiting"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[-1]) == (42, "and 20 other names; --json shows more of them, --name one")


# --- cancel


WAIT = "waiting delayed"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a person was asked, who says no and then always yes."""
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt.partition(" [")[0])
        return "n" if len(asked) == 1 else "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", answer)
    return asked


def test_tasks_of_a_name_are_cancelled_once_that_is_confirmed(
    client: StubClient, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    assert run(["tasks", "cancel", "--name", "shop.old", "--yes"]) == 0
    done = "cancelled 22 tasks named shop.old; 1 had been given to nodes and are asked to stop; 2 had ended by then"
    assert capsys.readouterr().out == f"{done}\n"
    assert run(["tasks", "cancel", "--name", "shop.old"]) == 130
    assert run(["tasks", "cancel", "--name", "shop.old", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"name": "shop.old", "states": ["waiting", "delayed"], **client.became}
    assert asked == ["23 tasks named shop.old wait. Cancel them?"] * 2
    assert client.cancelled == [f"shop.old {WAIT}"] * 2


@pytest.mark.parametrize(
    ("arguments", "question", "wanted"),
    [
        (("--name", "shop.*"), "1227 tasks named shop.* wait. Cancel them?", f"shop.* {WAIT}"),
        (("--name", "*.old", "--state", "delayed"), "3 tasks named *.old wait. Cancel them?", "*.old delayed"),
        (("--all",), "1227 tasks of any name wait. Cancel them?", f"all {WAIT}"),
        (
            ("--name", "shop.old", "--state", "running"),
            "Cancel the tasks named shop.old, and ask those that run to stop?",
            "shop.old running",
        ),
        (
            ("--all", "--state", "running", "--state", "waiting", "--state", "running"),
            "1224 tasks of any name wait. Cancel them, and ask those that run to stop?",
            "all running waiting",
        ),
    ],
)
def test_it_is_asked_how_many_are_meant(
    client: StubClient, asked: list[str], arguments: tuple[str, ...], question: str, wanted: str
) -> None:
    assert run(["tasks", "cancel", *arguments]) == 130
    assert client.cancelled == []
    assert run(["tasks", "cancel", *arguments]) == 0
    assert (asked, client.cancelled) == ([question] * 2, [wanted])


def test_of_more_names_than_are_told_it_is_asked_whatever_the_count(client: StubClient, asked: list[str]) -> None:
    client.rows, client.more_names = [row("shop.old", 1, 0, 0)], 7
    assert run(["tasks", "cancel", "--name", "*old"]) == 130
    assert asked == ["1 and more tasks named *old wait. Cancel them?"]
    assert client.cancelled == []


def test_who_can_not_be_asked_has_to_say_yes(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("--name", "shop.old"), ("--all",), ("--name", "shop.gone", "--state", "running")):
        assert run(["tasks", "cancel", *arguments]) == 2
        assert "say --yes" in capsys.readouterr().err
    assert client.cancelled == []
    client.rows = [row("shop.old", 1, 0, 0)]
    assert run(["tasks", "cancel", "--name", "shop.old"]) == 0
    assert client.cancelled == [f"shop.old {WAIT}"]


def test_a_name_under_which_nothing_waits_is_no_failure(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.became = dict.fromkeys(client.became, 0)
    assert run(["tasks", "cancel", "--name", "shop.gone"]) == 0
    said = "no task named shop.gone is waiting or delayed; `paceline tasks waiting` shows what waits\n"
    assert capsys.readouterr().out == said


def test_tasks_are_cancelled_by_id(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = "00" * 16
    assert run(["tasks", "cancel", ID.upper(), unknown, ID]) == 12
    assert capsys.readouterr().out.splitlines() == [
        f"{ID}: cancelled",
        f"{unknown}: no task of this id was accepted, or its record is gone",
    ]
    assert client.cancelled == [ID, unknown]


def test_what_runs_is_told_to_be_asked_to_stop(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.states = {ID: "stopping", "11" * 16: "running"}
    assert run(["tasks", "cancel", *client.states]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{ID}: asked to stop: it runs",
        f"{'11' * 16}: not cancelled: it runs, and a node is too old to stop it; `paceline status` says which",
    ]


def test_what_is_over_is_not_cancelled(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.states = {ID: "cancelled", "22" * 16: "finished"}
    assert run(["tasks", "cancel", *client.states]) == 13
    assert capsys.readouterr().out.splitlines() == [
        f"{ID}: cancelled",
        f"{'22' * 16}: not cancelled: it has ended; `paceline tasks show {'22' * 16}` says how",
    ]
    assert run(["tasks", "cancel", *client.states, "--json"]) == 13


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (ID, "--name", "shop.old"),
        (ID, "--all"),
        (ID, "--state", "running"),
        ("--name", "shop.old", "--all"),
        ("--name", "*"),
        ("--name", "**", "--yes"),
        ("--state", "waiting", "--yes"),
        ("--all", "--state", "ended"),
        ("--name",),
        ("--name", ""),
        ("order-42",),
    ],
)
def test_it_must_be_clear_what_is_to_be_cancelled(client: StubClient, arguments: tuple[str, ...]) -> None:
    assert run(["tasks", "cancel", *arguments]) == 2
    assert client.cancelled == []


SHOWN = f"""\
task        {ID}
name        shop.report
state       succeeded: it succeeded; its submitter has the result, or can fetch it
priority    7
attempt     2 (1 failed, 0 lost)
node        n1
accepted    2023-11-14 22:13:20.000+00:00
started     2023-11-14 22:13:21.000+00:00
ended       2023-11-14 22:13:22.000+00:00
kept until  2023-11-14 22:23:22.000+00:00
failed      attempt 1, 2023-11-14 22:13:20.500+00:00: ValueError: no
result      two
            lines
"""


def test_a_record_is_shown_line_by_line(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "show", ID]) == 0
    assert capsys.readouterr().out == SHOWN
    assert client.closed


def test_a_record_is_shown_whole_as_json(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.end = {"a": 1}
    assert run(["tasks", "show", ID, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["task_id"], shown["state"], shown["result"], shown["expires"]) == (ID, "succeeded", {"a": 1}, None)
    assert shown["failures"] == [
        {"attempt": 1, "failed_at": "2023-11-14 22:13:20.500+00:00", "error": "ValueError: no"}
    ]
    assert shown["ended_at"] == "2023-11-14 22:13:22.000+00:00"


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (TaskFailed("ValueError", "on purpose"), "error       ValueError: on purpose"),
        (NotAllowed("the key of 'x' may not do that"), "not shown   the key of 'x' may not do that"),
        (None, "result      null"),
    ],
)
def test_how_it_ended_is_shown_as_far_as_that_may_be_read(
    client: StubClient, capsys: pytest.CaptureFixture[str], end: object, line: str
) -> None:
    client.end = end
    assert run(["tasks", "show", ID]) == 0
    assert line in capsys.readouterr().out.splitlines()


def test_a_result_that_is_gone_is_not_shown(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.end = ResultUnknown()
    assert run(["tasks", "show", ID]) == 0
    assert "result " not in capsys.readouterr().out.replace("the result, ", "")


@pytest.mark.parametrize(
    ("change", "code"), [({"state": "unknown"}, 12), ({"state": "ended", "result_expired": True}, 16)]
)
def test_what_has_no_record_ends_the_command_with_the_code_of_its_error(
    client: StubClient, change: dict[str, Any], code: int
) -> None:
    client.told |= change
    assert run(["tasks", "show", ID]) == code


def test_of_a_task_that_runs_no_result_is_asked_for(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.told |= {"state": "dispatched", "is_open": True, "started_ms": None, "ended_ms": None}
    assert run(["tasks", "show", ID]) == 0
    shown = capsys.readouterr().out
    assert "ended" not in shown
    assert "result  " not in shown
