"""`paceline drain` and `paceline quiet`: what each asks of the leader, and what it says of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modes import source_only
from paceline.cli import drain as module
from paceline.cli.drain import drain, quiet
from paceline.errors import RequestRefused
from paceline_protocol.messages.client import AdminOp

LEADER, OTHER = "1a" * 8, "2c" * 8


def row(node_id: str, **more: Any) -> dict[str, Any]:
    return {"id": node_id, "address": "", "alive": True, "silent_s": 0.0, "feature_level": 13, **more}


class FakeClient:
    """Answers as a leader would: with each status the node that drains has come as far as the next of ``states``."""

    before: dict[str, Any] = {"availability": "serves"}  # noqa: RUF012

    def __init__(self, *states: dict[str, Any] | None, level: int = 13, refusal: str = "") -> None:
        self.asked: list[tuple[AdminOp, str]] = []
        self._states = list(states)
        self._level = level
        self._refusal = refusal

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def status(self, timeout: float) -> dict[str, Any]:
        state: dict[str, Any] | None = self.before
        if self.asked:
            state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        others = [] if state is None else [row(OTHER, **state)]
        return {"leader_id": LEADER, "nodes": [row(LEADER, feature_level=self._level), *others]}

    def change_cluster(self, op: AdminOp, argument: str, timeout: float) -> str:
        self.asked.append((op, argument))
        if self._refusal:
            raise RequestRefused(self._refusal)
        return f"node {OTHER} drains"


def invoke(client: FakeClient, monkeypatch: pytest.MonkeyPatch, command: Any, *arguments: str) -> Result:
    monkeypatch.setattr(module, "connect", lambda *_: client)
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    return CliRunner().invoke(command, arguments, standalone_mode=False)


DRAINS = {"availability": "draining"}


@source_only
@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"availability": "drained"}, "has drained: it runs nothing"),
        ({"availability": "serves"}, "takes tasks again, as somebody has wanted meanwhile"),
        ({"availability": "quiet"}, "is quiet, as somebody has wanted meanwhile"),
        ({"availability": "draining", "silent_s": 3.0}, "is gone: its process has ended"),
        (None, "is gone: its process has ended"),
    ],
)
def test_a_drain_waits_until_the_node_has_drained_and_says_what_has_become_of_it(
    last: dict[str, Any] | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient(DRAINS, DRAINS, last)
    result = invoke(client, monkeypatch, drain, "2c", "--timeout", "1.5")
    assert result.exception is None
    assert client.asked == [(AdminOp.DRAIN, f"{OTHER} 1500")]
    assert result.output.splitlines()[0] == f"node {OTHER} drains"
    assert said in result.output.splitlines()[1]


@source_only
def test_a_node_that_drains_already_has_the_time_that_was_asked_for_last(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient(DRAINS, {"availability": "drained"})
    client.before = DRAINS
    assert invoke(client, monkeypatch, drain, "2c", "--timeout", "1").exception is None
    assert client.asked == [(AdminOp.QUIET, OTHER), (AdminOp.DRAIN, f"{OTHER} 1000")]


@source_only
def test_a_drain_need_not_be_waited_for_and_is_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(FakeClient(DRAINS), monkeypatch, drain, OTHER, "--no-wait", "--json")
    assert json.loads(result.output) == {
        "change": "drain",
        "node": OTHER,
        "state": "draining",
        "detail": f"node {OTHER} drains",
    }


@source_only
def test_a_node_that_does_not_drain_in_time_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FINISH_S", 0.0)
    result = invoke(FakeClient(DRAINS), monkeypatch, drain, OTHER, "--timeout", "0")
    assert isinstance(result.exception, TimeoutError)
    assert "has not drained within 0 s" in str(result.exception)


@source_only
@pytest.mark.parametrize(
    ("arguments", "op", "change"), [((), AdminOp.QUIET, "quiet"), (("--off",), AdminOp.SERVE, "serve")]
)
def test_a_node_is_quiet_or_serves_again(
    arguments: tuple[str, ...], op: AdminOp, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient(DRAINS)
    result = invoke(client, monkeypatch, quiet, "2c", *arguments, "--json")
    assert (client.asked, json.loads(result.output)["change"]) == ([(op, OTHER)], change)


@source_only
@pytest.mark.parametrize("command", [drain, quiet])
def test_what_the_leader_refuses_or_is_too_old_for_ends_the_command(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = invoke(FakeClient(DRAINS, refusal="node 2c is not heard"), monkeypatch, command, "2c")
    assert "is not heard" in str(refused.exception)
    old = FakeClient(DRAINS, level=12)
    assert "the leader is older" in str(invoke(old, monkeypatch, command, "2c").exception)
    assert old.asked == []


@source_only
@pytest.mark.parametrize("arguments", [("",), ("nobody",), (OTHER, "--timeout", "-1"), (OTHER, "--timeout", "1e9"), ()])
def test_what_names_no_node_or_no_time_is_refused_and_nothing_is_asked(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient(DRAINS)
    result = invoke(client, monkeypatch, drain, *arguments)
    assert result.exception is not None
    assert client.asked == []
