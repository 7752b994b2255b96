"""`paceline tasks why`: what it asks, and what it says of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.cli import tasks as module
from paceline.cli.app import run

ID = "0f" * 16
FOUND = {"state": "delayed", "why": "it may not start before 2026-12-01 02:00:00.000+00:00", "node": ""}


class StubClient:
    """Knows one task."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.closed = False

    def connect(self) -> None:
        pass

    def where_is(self, task_id: str, timeout_s: float) -> dict[str, Any]:
        self.asked.append((task_id, timeout_s))
        return dict(FOUND) if task_id == ID else {"state": "unknown", "why": "no task of this id was accepted"}

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
