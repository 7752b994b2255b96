"""`paceline dead`: what it asks, and what it says of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from paceline.cli import asking
from paceline.cli.app import run
from paceline.client.dead_tasks import DeadDetails, DeadGroup, DeadRecord, Requeued
from paceline.errors import NotAllowed, ResultUnknown

ID, NEW, OTHER = "0f" * 16, "1e" * 16, "2d" * 16
MOMENT = datetime(2026, 12, 1, 2, 0, 4, tzinfo=UTC)


def record(task_id: str = ID, name: str = "shop.charge") -> DeadRecord:
    return DeadRecord(
        task_id=bytes.fromhex(task_id),
        name=name,
        end="failed",
        error_type="ValueError",
        error="ValueError: no such order",
        priority=4,
        attempt=3,
        failed_attempts=2,
        lost_attempts=1,
        node="n1",
        started_at=None,
        died_at=MOMENT,
        kept_until=MOMENT,
        requeued_from=bytes.fromhex(OTHER),
        size_bytes=2_345,
    )


class PlayedClient:
    """Of a cluster with two dead tasks."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.states: dict[str, str] = {}
        self.groups = [
            DeadGroup(name=name, error_type="ValueError", count=count, oldest=MOMENT, newest=MOMENT)
            for name, count in (("shop.charge", 1_200), ("shop.report", 1))
        ]
        self.refusal: Exception | None = None

    def connect(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass

    def dead_groups(self, name: str | None, error: str | None, timeout_s: float) -> list[DeadGroup]:
        return [each for each in self.groups if name in (None, each.name) and error in (None, each.error_type)]

    def dead_tasks(self, name: str | None, error: str | None, timeout_s: float) -> Iterator[DeadRecord]:
        self.asked.append(("ls", name, error))
        yield from [record(), record(OTHER, "shop.report")] if self.groups else []

    def dead_task(self, task_id: str, timeout_s: float) -> DeadDetails:
        if self.refusal is not None:
            raise self.refusal
        return DeadDetails(
            record=record(),
            args=("order-7", 2),
            kwargs={"dry_run": True},
            exception=ValueError("no such order"),
            failures=((1, MOMENT, "ConnectionError: refused"),),
            options={"keep_dead": 60_000},
        )

    def requeue(self, ids: tuple[str, ...], timeout_s: float, *, args: Any, kwargs: Any) -> dict[str, Requeued]:
        self.asked.append(("requeue", ids, args, kwargs))
        return {task_id: self._requeued(self.states.get(task_id, "requeued")) for task_id in ids}

    def _requeued(self, state: str) -> Requeued:
        new_id = bytes.fromhex(NEW) if state in ("requeued", "requeued_before") else None
        return Requeued(state=state, new_id=new_id, detail="the queue is full" if state == "refused" else "")

    def discard(self, ids: tuple[str, ...], timeout_s: float) -> dict[str, str]:
        self.asked.append(("discard", ids))
        return {task_id: self.states.get(task_id, "discarded") for task_id in ids}

    def requeue_all(self, name: str | None, error: str | None, timeout_s: float, *, all_names: bool) -> dict[str, int]:
        assert all_names is (name is None and error is None)
        self.asked.append(("requeue all", name, error))
        return {"requeued": 2, "refused": 1} if self.states else {"requeued": 3}

    def discard_all(self, name: str | None, error: str | None, timeout_s: float, *, all_names: bool) -> dict[str, int]:
        assert all_names is (name is None and error is None)
        self.asked.append(("discard all", name, error))
        return {"discarded": 1_201}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> PlayedClient:
    played = PlayedClient()
    monkeypatch.setattr(asking, "connect", lambda *_: played)
    return played


def test_they_are_counted_by_name_and_error_and_listed(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dead", "ls"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "    dead  the last                  task: error",
        "   1,200  2026-12-01 02:00:04 UTC   shop.charge: ValueError",
        "       1  2026-12-01 02:00:04 UTC   shop.report: ValueError",
        "",
        f"{ID}  2026-12-01 02:00:04 UTC  shop.charge: ValueError: no such order",
        f"{OTHER}  2026-12-01 02:00:04 UTC  shop.report: ValueError: no such order",
        "and 1199 more; --limit shows more of them, --name and --error others",
    ]


def test_a_filter_is_passed_on_and_nothing_found_is_no_error(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dead", "ls", "--name", "shop.report", "--error", "ValueError", "--limit", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [group["name"] for group in found["groups"]] == ["shop.report"]
    assert found["tasks"][0]["task_id"] == ID
    assert found["tasks"][0]["died_at"] == "2026-12-01 02:00:04.000+00:00"
    assert client.asked == [("ls", "shop.report", "ValueError")]
    client.groups = []
    assert run(["dead", "ls"]) == 0
    assert capsys.readouterr().out == "no dead task is kept\n"


def test_all_of_one_is_shown(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dead", "show", ID]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'args          ["order-7", 2]' in lines
    assert "attempt       3 (2 failed, 1 lost)" in lines
    assert f"requeued from {OTHER}" in lines
    assert "failed        attempt 1, 2026-12-01 02:00:04.000+00:00: ConnectionError: refused" in lines
    assert run(["dead", "show", ID, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["args"], found["kwargs"], found["exception"]) == (["order-7", 2], {"dry_run": True}, "no such order")
    assert found["failures"][0]["error"] == "ConnectionError: refused"


@pytest.mark.parametrize(("error", "code"), [(ResultUnknown("no dead task"), 12), (NotAllowed("may only ask"), 15)])
def test_what_is_not_shown_has_its_exit_code(client: PlayedClient, error: Exception, code: int) -> None:
    client.refusal = error
    assert run(["dead", "show", ID]) == code


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("requeued", 0, f"{ID}: requeued, as {NEW}"),
        ("requeued_before", 0, f"{ID}: not requeued: it was before, as {NEW}"),
        ("refused", 13, f"{ID}: not requeued: the queue is full"),
        ("unknown", 12, f"{ID}: no dead task of this id is kept"),
    ],
)
def test_what_became_of_one_that_was_to_be_requeued(
    client: PlayedClient, capsys: pytest.CaptureFixture[str], state: str, code: int, said: str
) -> None:
    client.states = {ID: state}
    assert run(["dead", "requeue", ID.upper(), OTHER, ID]) == code
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(said)
    assert out[1] == f"{OTHER}: requeued, as {NEW}"
    assert client.asked == [("requeue", (ID, OTHER), None, None)], "an id that is given twice is asked for once"


def test_other_arguments_are_of_one_task_alone_and_one_that_was_requeued_before_has_not_got_them(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = ["--args", '["order-7", 2]', "--kwargs", '{"dry_run": true}']
    assert run(["dead", "requeue", ID, *changed, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {ID: {"state": "requeued", "new_id": NEW, "detail": ""}}
    assert client.asked == [("requeue", (ID,), ["order-7", 2], {"dry_run": True})]
    client.states = {ID: "requeued_before"}
    assert run(["dead", "requeue", ID, *changed]) == 13
    assert run(["dead", "requeue", ID, OTHER, *changed]) == 2
    assert "--args and --kwargs are of one task" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--args", "{}"], ["--args", "[1"], ["--kwargs", "[]"], ["--kwargs", "1"]])
def test_arguments_that_are_none_are_refused(
    client: PlayedClient, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert run(["dead", "requeue", ID, *wrong]) == 2
    assert "write a" in capsys.readouterr().err
    assert client.asked == []


def test_what_a_filter_finds_is_changed_once_somebody_has_said_yes(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dead", "requeue", "--all"]) == 2
    assert "1201 tasks are dead. Requeue them? Nobody can be asked here" in capsys.readouterr().err
    assert run(["dead", "requeue", "--name", "shop.report"]) == 0
    assert run(["dead", "requeue", "--error", "ValueError", "--yes", "--json"]) == 0
    assert capsys.readouterr().out == '3 requeued\n{"requeued": 3}\n'
    assert run(["dead", "discard", "--all", "--yes"]) == 0
    assert capsys.readouterr().out == "1201 discarded\n"
    client.states = {"some": "refused"}
    assert run(["dead", "requeue", "--all", "--yes"]) == 13
    assert client.asked == [
        ("requeue all", "shop.report", None),
        ("requeue all", None, "ValueError"),
        ("discard all", None, None),
        ("requeue all", None, None),
    ]


def test_a_filter_that_finds_nothing_ends_with_12(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("requeue", "discard"):
        assert run(["dead", verb, "--name", "shop.old"]) == 12
        assert capsys.readouterr().out == "no such dead task is kept; `paceline dead ls` shows what is\n"
        assert run(["dead", verb, "--error", "KeyError", "--json"]) == 12
        assert capsys.readouterr().out == "{}\n"
    assert client.asked == []
    assert run(["dead", "ls", "--name", "shop.old"]) == 0
    assert capsys.readouterr().out == "no such dead task is kept; `paceline dead ls` shows what is\n"
    client.groups.clear()
    assert run(["dead", "ls"]) == 0
    assert capsys.readouterr().out == "no dead task is kept\n"


@pytest.mark.parametrize(
    "choice", [[], [ID, "--all"], ["--all", "--name", "shop.charge"], ["no-id"], ["--name", ""], ["--error", ""]]
)
def test_which_are_meant_is_said_in_one_way(client: PlayedClient, choice: list[str]) -> None:
    assert run(["dead", "requeue", *choice, "--yes"]) == 2
    assert run(["dead", "discard", *choice, "--yes"]) == 2
    assert client.asked == []


def test_what_became_of_one_that_was_to_be_discarded(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.states = {OTHER: "unknown"}
    assert run(["dead", "discard", ID, OTHER]) == 12
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{ID}: discarded"
    assert second.startswith(f"{OTHER}: no dead task of this id is kept: its call has no keep_dead, ")
    assert "`paceline dead ls` shows what is kept" in second
    client.states = {OTHER: "requeued_before"}
    assert run(["dead", "discard", ID, OTHER, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {ID: "discarded", OTHER: "requeued_before"}
