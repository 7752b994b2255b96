"""`paceline tasks`: what it asks, and what it says of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.cli import tasks as module
from paceline.cli.app import run

ID = "0f" * 16
FOUND = {"state": "delayed", "why": "it may not start before 2026-12-01 02:00:00.000+00:00", "node": ""}


def row(name: str, waiting: int, delayed: int, nodes: int) -> dict[str, Any]:
    return {"name": name, "waiting": waiting, "delayed": delayed, "nodes": nodes}


class StubClient:
    """Knows one task."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.closed = False
        self.rows = [row("shop.old", 20, 3, 0), row("shop.new", 1_204, 0, 3)]
        self.cancelled: list[str] = []

    def connect(self) -> None:
        pass

    def where_is(self, task_id: str, timeout_s: float) -> dict[str, Any]:
        self.asked.append((task_id, timeout_s))
        return dict(FOUND) if task_id == ID else {"state": "unknown", "why": "no task of this id was accepted"}

    def waiting(self, name: str, timeout_s: float) -> dict[str, Any]:
        rows = [each for each in self.rows if name in ("", each["name"])]
        return {"names": rows, "more_names": 0, "ids": [bytes.fromhex(ID)] if name and rows else [], "skip": None}

    def cancel_waiting(self, name: str, timeout_s: float) -> dict[str, int]:
        self.cancelled.append(name)
        return {"cancelled": 22, "started": 1}

    def cancel_tasks(self, ids: tuple[str, ...], timeout_s: float) -> dict[str, str]:
        self.cancelled += ids
        return {task_id: "cancelled" if task_id == ID else "unknown" for task_id in ids}

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StubClient:
    stub = StubClient()
    monkeypatch.setattr(module, "connect", lambda *_: stub)
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
    assert run(["tasks", "waiting"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "   waiting    delayed  nodes  task",
        "        20          3      0  shop.old  (no node runs it)",
        "     1,204          0      3  shop.new",
        "         1          0      0  evil\\x1b[2J  (no node runs it)",
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


def test_tasks_of_a_name_are_cancelled_once_that_is_confirmed(
    client: StubClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["tasks", "cancel", "--name", "shop.old", "--yes"]) == 0
    assert capsys.readouterr().out == "cancelled 22 of 23 tasks named shop.old; 1 had started or ended by then\n"
    answers, asked = iter("ny"), []

    def answer(prompt: str) -> str:
        asked.append(prompt.partition(" [")[0])
        return next(answers)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", answer)
    assert run(["tasks", "cancel", "--name", "shop.old"]) == 130
    assert run(["tasks", "cancel", "--name", "shop.old", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"name": "shop.old", "cancelled": 22, "started": 1}
    assert asked == ["23 tasks named shop.old wait. Cancel them?"] * 2
    assert client.cancelled == ["shop.old", "shop.old"]


def test_who_can_not_be_asked_has_to_say_yes(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "cancel", "--name", "shop.old"]) == 2
    assert "say --yes" in capsys.readouterr().err
    assert client.cancelled == []
    client.rows = [row("shop.old", 1, 0, 0)]
    assert run(["tasks", "cancel", "--name", "shop.old"]) == 0
    assert client.cancelled == ["shop.old"]


def test_a_name_under_which_nothing_waits_is_no_failure(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "cancel", "--name", "shop.gone"]) == 0
    assert capsys.readouterr().out == "no task named shop.gone waits; `paceline tasks waiting` shows what does\n"
    assert client.cancelled == []


def test_tasks_are_cancelled_by_id(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = "00" * 16
    assert run(["tasks", "cancel", ID.upper(), unknown, ID]) == 12
    assert capsys.readouterr().out.splitlines() == [
        f"{ID}: cancelled",
        f"{unknown}: no task of this id was accepted, or its record is gone",
    ]
    assert client.cancelled == [ID, unknown]


@pytest.mark.parametrize("arguments", [(), (ID, "--name", "shop.old"), ("--name",), ("--name", ""), ("order-42",)])
def test_it_must_be_clear_what_is_to_be_cancelled(client: StubClient, arguments: tuple[str, ...]) -> None:
    assert run(["tasks", "cancel", *arguments]) == 2
    assert client.cancelled == []
