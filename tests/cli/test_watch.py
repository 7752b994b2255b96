"""`paceline watch`: what it shows, and what it ends with. The client is a stand-in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from paceline.cli import asking
from paceline.cli import watch as module
from paceline.cli.app import run
from paceline.cli.watch import LINE_CHARS, SILENT_S, LogLines, Printer, Watched, line_of
from paceline.client import TaskOutput, TaskProgress
from paceline.errors import NotAllowed, ResultUnknown, TaskCancelled, TaskFailed, TaskLost

ID, OTHER = "0f" * 16, "1e" * 16
AT = datetime(2026, 12, 1, tzinfo=UTC)


def far(done: float | None, total: float | None = None, text: str = "", attempt: int = 1) -> TaskProgress:
    return TaskProgress(done=done, total=total, text=text, at=AT, heard_at=AT, attempt=attempt, node="n1")


def output(text: str, skipped: int = 0, attempt: int | None = 1) -> TaskOutput:
    return TaskOutput(
        text=text, skipped=skipped, size=len(text.encode()), heard_at=AT, attempt=attempt, node="n1" if attempt else ""
    )


class StubFuture:
    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def done(self) -> bool:
        return isinstance(self.outcome, NotAllowed)  # which is said at once, however long the task runs

    def exception(self, timeout_s: float) -> Exception | None:
        return self.outcome if isinstance(self.outcome, Exception) else None

    def described(self, timeout_s: float) -> Any:
        return self.outcome


class StubClient:
    """``script``: by id, what it is told with each look: (state, progress, output), the last of them for ever."""

    def __init__(self) -> None:
        self.script: dict[str, list[tuple[str, TaskProgress | None, str]]] = {}
        self.outcomes: dict[str, Any] = {}

    def connect(self) -> None: ...

    def close(self, timeout: float) -> None: ...

    def task(self, task_id: str) -> StubFuture:
        return StubFuture(self.outcomes.get(task_id, "done"))

    def where_is(self, task_id: str, timeout_s: float) -> dict[str, Any]:
        if task_id not in self.script:
            return {"state": "unknown", "why": "no task of this id was accepted", "is_open": False}
        state = self.script[task_id][0][0]
        return {"state": state, "why": "", "is_open": state in ("ready", "dispatched")}

    def progress(self, task_id: str, timeout_s: float) -> TaskProgress | None:
        said = self.script[task_id]
        return (said.pop(0) if len(said) > 1 else said[0])[1]

    def output(self, task_id: str, timeout_s: float) -> TaskOutput:
        return output(self.script[task_id][0][2])


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StubClient:
    stub = StubClient()
    monkeypatch.setattr(asking, "connect", lambda *_: stub)
    monkeypatch.setattr(module, "EVERY_S", 0)
    return stub


def test_a_task_is_followed_to_its_result(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.script[ID] = [
        ("ready", None, ""),
        ("dispatched", far(1, 4, "first"), ""),
        ("dispatched", far(1, 4, "first"), ""),
        ("succeeded", far(4, 4), ""),
    ]
    assert run(["watch", ID]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0f0f0f0f ready",
        "0f0f0f0f dispatched [#####...............]  25 % 1/4 first",
        "0f0f0f0f succeeded [####################] 100 % 4/4: done",
    ]


def test_as_json_each_thing_that_is_new_is_a_line(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.script[ID] = [
        ("dispatched", far(1), "a"),
        ("dispatched", far(1), "a\nb\n"),
        ("succeeded", far(2), "a\nb\nc"),
    ]
    assert run(["watch", ID, "--json", "--logs"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["log"] for line in lines if "log" in line] == ["a", "b", "c"]
    told = [line for line in lines if "log" not in line]
    assert [(line["state"], line["done"]) for line in told] == [("dispatched", 1), ("succeeded", 2)]
    assert told[0] == {
        "task_id": ID,
        "state": "dispatched",
        "done": 1,
        "total": None,
        "text": "",
        "attempt": 1,
        "node": "n1",
        "heard_at": "2026-12-01 00:00:00.000+00:00",
    }
    assert (told[-1]["result"], told[-1]["exit_code"]) == ("done", 0)


@pytest.mark.parametrize(
    ("state", "outcome", "code", "said"),
    [
        ("failed", TaskFailed("KeyError", "'x'", ""), 20, "failed: KeyError: 'x'"),
        ("lost", TaskLost(3, "killed by SIGSEGV"), 21, "lost: the task was lost 3 times"),
        ("cancelled", TaskCancelled(), 22, "cancelled: "),
        ("ended", ResultUnknown("the result is gone"), 12, "ended: the result is gone"),
        ("succeeded", ResultUnknown("the result is gone"), 12, "succeeded: the result is gone"),
        ("succeeded", NotAllowed("an observer may only ask"), 0, "succeeded"),
        ("failed", NotAllowed("an observer may only ask"), 20, "failed"),
        ("ended", NotAllowed("an observer may only ask"), 15, "ended"),
    ],
)
def test_it_ends_as_the_task_does(
    client: StubClient, capsys: pytest.CaptureFixture[str], state: str, outcome: Exception, code: int, said: str
) -> None:
    client.script[ID] = [(state, None, "")]
    client.outcomes[ID] = outcome
    assert run(["watch", ID]) == code
    assert capsys.readouterr().out.startswith(f"0f0f0f0f {said}")


def test_an_observer_follows_a_task_to_its_end_and_is_not_told_its_result(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.script[ID] = [("dispatched", far(1, 2), ""), ("succeeded", far(2, 2), "")]
    client.outcomes[ID] = NotAllowed("an observer may only ask")
    assert run(["watch", ID]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["dispatched", "succeeded"]


def test_of_several_the_first_that_has_not_succeeded_counts_and_an_unknown_one_is_told_beside_the_others(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.script[ID] = [("dispatched", None, ""), ("failed", None, "")]
    client.outcomes[ID] = TaskFailed("KeyError", "'x'", "")
    assert run(["watch", ID, OTHER]) == 20
    assert run(["watch", OTHER, ID]) == 12
    assert "1e1e1e1e unknown: " in capsys.readouterr().out


def test_an_unknown_id_alone_is_an_error_and_so_is_what_is_no_id(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["watch", ID]) == 12
    assert "no task of this id was accepted" in capsys.readouterr().err
    assert run(["watch"]) == 2
    assert run(["watch", "12"]) == 2


def test_what_a_task_writes_changes_nothing_of_the_terminal(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.script[ID] = [("succeeded", far(1, 2, "\x1b[2J"), "\x1b[31mred\n")]
    assert run(["watch", ID, "--logs"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31mred" in out


def test_on_a_terminal_what_has_not_ended_stands_below_and_is_renewed(capsys: pytest.CaptureFixture[str]) -> None:
    stub = StubClient()
    stub.script[ID] = [("dispatched", far(1, 2, "x" * 200), "")]
    printer, task = Printer(is_terminal=True), Watched(stub, ID, 1.0)  # type: ignore[arg-type]
    for lines in ([], ["logged"]):
        task.look(logs=False)
        for line in lines:
            printer.log(task, line)
        printer.tell(task)
        printer.rest()
    first, erased = capsys.readouterr().out.split("\x1b[1A\x1b[J")
    assert len(first.rstrip("\n")) <= 80
    assert erased == f"logged\n{first}"


def test_on_a_terminal_no_more_stands_below_than_it_has_room_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "5")
    stub, printer = StubClient(), Printer(is_terminal=True)
    ids = [f"{number:032x}" for number in range(6)]
    for task_id in ids:
        stub.script[task_id] = [("dispatched", far(1), "")]
        task = Watched(stub, task_id, 1.0)  # type: ignore[arg-type]
        task.look(logs=False)
        printer.tell(task)
    printer.rest()
    printer.rest()
    first, second = capsys.readouterr().out.split("\x1b[4A\x1b[J")
    assert first.splitlines()[3] == "... and 3 more"
    assert first == second


def test_the_text_of_a_task_forges_no_line_when_it_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    stub = StubClient()
    stub.script[ID] = [("dispatched", far(1, 1, "done\n1e1e1e1e succeeded"), "")]
    task = Watched(stub, ID, 1.0)  # type: ignore[arg-type]
    task.look(logs=False)
    task.exit_code = 0
    Printer(is_terminal=False).tell(task)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_log_goes_on_where_it_was_and_says_what_is_missing() -> None:
    log = LogLines()
    assert list(log.new(output("one\ntw"))) == ["one"]
    assert list(log.new(output("one\ntwo\nthree"))) == ["two"]
    assert list(log.new(output("ree\nfour\n", skipped=10))) == ["three", "four"]
    assert list(log.new(output("later\n", skipped=29))) == ["--- 10 bytes before this are not kept ---", "later"]
    assert list(log.new(output("anew", attempt=2))) == ["--- attempt 2, on node n1 ---"]
    assert list(log.rest()) == ["anew"]
    assert list(log.rest()) == []


def test_a_node_that_does_not_answer_has_no_line_shown_twice() -> None:
    log = LogLines()
    assert list(log.new(output("one\ntw"))) == ["one"]
    assert list(log.new(output("", attempt=None))) == []
    assert list(log.new(output("one\ntwo\n"))) == ["two"]


def test_a_line_that_never_ends_is_shown_in_parts() -> None:
    log = LogLines()
    bar = "\r 10 %" * LINE_CHARS
    assert list(log.new(output(bar))) == [bar]
    assert list(log.new(output("\r 20 %", skipped=len(bar)))) == []
    assert list(log.new(output("\n", skipped=len(bar) + 6))) == ["\r 20 %"]


def test_a_line_says_the_attempt_and_for_how_long_nothing_was_heard() -> None:
    stub = StubClient()
    stub.script[ID] = [("dispatched", far(0.5, None, "half", attempt=3), "")]
    task = Watched(stub, ID, 1.0)  # type: ignore[arg-type]
    task.look(logs=False)
    task.silent_s = SILENT_S
    assert line_of(task) == "0f0f0f0f dispatched 0.5 half (attempt 3) (silent for 10 s)"
