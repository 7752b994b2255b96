"""`paceline tasks ls`, `retry`, and `why` of several: what they ask, and what they say of the answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from paceline.cli import asking
from paceline.cli.app import run
from paceline.cli.live_tasks import WIDTH_CHARS, span
from paceline.client import LivePage, LiveTask
from paceline.client.session.listing import ALL_STATES

ID, OTHER = "0f" * 16, "1e" * 16


def task(state: str, name: str = "shop.pay", **changes: Any) -> LiveTask:
    given: dict[str, Any] = {
        "task_id": bytes.fromhex(ID),
        "priority": 4,
        "attempt": 1,
        "failed_attempts": 0,
        "lost_attempts": 0,
        "node": "",
        "since_s": 3.25,
        "not_before": None,
        "stopping": False,
    }
    return LiveTask(name=name, state=state, **(given | changes))


class PlayedClient:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.tasks: tuple[LiveTask, ...] = ()
        self.next: str | None = None
        self.states = {ID: "due"}

    def connect(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass

    def status(self, timeout_s: float) -> dict[str, Any]:
        return {"nodes": [{"id": "ab12" * 4, "address": "10.0.0.1:7077"}, {"id": "cd34" * 4, "address": ""}]}

    def live_tasks(self, name: str | None, **asked: Any) -> LivePage:
        self.asked.append({"name": name, **asked})
        return LivePage(tasks=self.tasks, next=self.next, running=1, waiting=1_000_000, delayed=2)

    def run_now(self, ids: tuple[str, ...], timeout_s: float) -> dict[str, str]:
        return {task_id: self.states.get(task_id, "unknown") for task_id in ids}

    def where_is(self, task_id: str, timeout_s: float) -> dict[str, Any]:
        if task_id != ID:
            return {"state": "unknown", "why": "no task of this id was accepted"}
        return {"state": "delayed", "why": "it may not start yet"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> PlayedClient:
    played = PlayedClient()
    monkeypatch.setattr(asking, "connect", lambda *_: played)
    return played


def test_tasks_are_listed_by_state_in_lines_of_80_columns(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.tasks = (
        task("running", node="ab12" * 4, since_s=None),
        task("waiting", "shop.reports.of_all_that_was_sold.monthly", since_s=7_200.0),
        task("delayed", not_before=datetime.now(UTC) + timedelta(days=400), attempt=3),
    )
    client.next = "3.1.0.40"
    assert run(["tasks", "ls", "--limit", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 running, 1,000,000 waiting, 2 delayed",
        "",
        "running                                for  on node   task",
        f"{ID}            ab12ab12  shop.pay",
        "",
        "waiting                                for  priority  task",
        f"{ID}     2.0 h  4         \u2026all_that_was_sold.monthly",
        "",
        "delayed                              still  attempt   task",
        f"{ID}     400 d  3         shop.pay",
        "there may be more: --after 3.1.0.40",
    ]
    assert client.asked == [
        {"name": None, "state": ALL_STATES, "node": None, "graph": None, "limit": 3, "after": None, "timeout": 30.0}
    ]


def test_the_widest_line_fits_into_80_columns(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.tasks = (task("running", "n" * 255, node="ab12" * 4, since_s=9_999 * 86_400),)
    assert run(["tasks", "ls"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) == WIDTH_CHARS


def test_filters_are_passed_on_and_a_node_may_be_named_as_elsewhere(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--name", "shop.*", "--state", "running", "--state", "delayed", "--node", "ab", "--after", "3.1.0.4"]
    client.tasks = (task("delayed", not_before=datetime(2026, 12, 1, tzinfo=UTC)),)
    assert run(["tasks", "ls", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"][0]["task_id"] == ID
    assert found["tasks"][0]["not_before"] == "2026-12-01 00:00:00.000+00:00"
    assert (found["next"], found["waiting"]) == (None, 1_000_000)
    assert client.asked[0] == {
        "name": "shop.*",
        "state": ("running", "delayed"),
        "node": "ab12" * 4,
        "graph": None,
        "limit": 40,
        "after": "3.1.0.4",
        "timeout": 30.0,
    }


@pytest.mark.parametrize(
    "wrong",
    [["--name", ""], ["--state", "asleep"], ["--node", "ef"], ["--limit", "0"], ["--limit", "x"], ["--after", "1.2"]],
)
def test_what_can_not_be_listed_is_refused(
    wrong: list[str], client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tasks", "ls", *wrong]) == 2
    assert client.asked == []
    assert wrong[0].lstrip("-").upper() in capsys.readouterr().err.upper()


def test_nothing_found_is_no_error(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    for chosen in (["--name", "shop.gone"], ["--state", "running"]):
        assert run(["tasks", "ls", *chosen]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "1 running, 1,000,000 waiting, 2 delayed in all",
            "no such task",
        ]


@pytest.mark.parametrize(
    ("state", "code", "says"),
    [
        ("due", 0, "it runs as soon as a node has room"),
        ("waiting", 0, f"`paceline tasks why {ID}` says more"),
        ("running", 0, "a node has it already"),
        ("ended", 13, f"it has ended; `paceline tasks show {ID}` says how"),
        ("dead", 13, f"`paceline dead requeue {ID}` runs it once more"),
        ("not_yet", 13, "try again in a moment"),
        ("unknown", 12, "no task of this id was accepted"),
    ],
)
def test_what_became_of_a_task_that_is_to_run_now_is_said(
    state: str, code: int, says: str, client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.states = {ID: state}
    assert run(["tasks", "retry", ID]) == code
    assert says in capsys.readouterr().out
    assert run(["tasks", "retry", ID, "--json"]) == code
    assert json.loads(capsys.readouterr().out) == {ID: state}


def test_several_may_be_asked_for_and_one_that_nobody_knows_is_told_by_the_exit_code(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tasks", "why", ID, OTHER]) == 12
    assert capsys.readouterr().out.splitlines() == [
        f"{ID}  delayed: it may not start yet",
        f"{OTHER}  unknown: no task of this id was accepted",
    ]
    assert run(["tasks", "why", ID, OTHER, "--json"]) == 12
    assert [each["task_id"] for each in json.loads(capsys.readouterr().out)["tasks"]] == [ID, OTHER]
    assert run(["tasks", "retry", ID, OTHER]) == 12
    for command in ("why", "retry"):
        assert run(["tasks", command]) == 2
        assert run(["tasks", command, "order-7"]) == 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (90.0, "1.5 min"), (5_400.0, "1.5 h"), (864_000.0, "10 d")],
)
def test_a_span_of_time_is_short(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
