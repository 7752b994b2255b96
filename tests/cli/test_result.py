"""`paceline result`: what it asks, prints and ends with. The client is a stand-in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.cli import result as module
from paceline.cli.app import run
from paceline.errors import ResultUnknown, TaskFailed

ID = "0f" * 16


class StubClient:
    """Every task ends with ``outcome``."""

    task_id = bytes.fromhex(ID)

    def __init__(self) -> None:
        self.outcome: Any = {"a": 1}
        self.asked: list[str] = []
        self.waited: list[float] = []
        self.closed = False

    def task(self, task_id: str) -> StubClient:
        self.asked.append(task_id)
        return self

    def described(self, timeout_s: float) -> Any:
        self.waited.append(timeout_s)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StubClient:
    stub = StubClient()
    monkeypatch.setattr(module, "connect", lambda *_: stub)
    return stub


def test_a_result_is_printed_as_submit_prints_it(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["result", ID]) == 0
    assert (client.asked, client.waited, client.closed) == ([ID], [0.0], True)
    assert capsys.readouterr().out == '{"a": 1}\n'
    assert run(["result", ID.upper(), "--wait", "7", "--json"]) == 0
    assert (client.asked[-1], client.waited[-1]) == (ID, 7.0)
    assert json.loads(capsys.readouterr().out) == {"task_id": ID, "state": "succeeded", "result": {"a": 1}}


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (TimeoutError("task shop.add did not end within 0.0 s"), 23, "--wait SECONDS"),
        (ResultUnknown(), 12, "no longer knows this task"),
        (TaskFailed("ValueError", "on purpose"), 20, "ValueError: on purpose"),
    ],
)
def test_an_error_ends_it_with_its_exit_code(
    client: StubClient, capsys: pytest.CaptureFixture[str], outcome: Exception, code: int, said: str
) -> None:
    client.outcome = outcome
    assert run(["result", ID]) == code
    assert said in capsys.readouterr().err
    assert client.closed


def test_what_is_no_id_is_refused_before_anything_is_asked(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["result", "0f"]) == 2
    assert "is no id of a task" in capsys.readouterr().err
    assert client.asked == []
