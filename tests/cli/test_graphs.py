"""``paceline graphs``, and --graph, with a played client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.cli import asking
from paceline.cli.app import run
from paceline.client import GraphProgress
from paceline.client.graphs import ENDS, LIVE


def progress(name: str, **counts: int) -> GraphProgress:
    given = dict.fromkeys((*LIVE, "logging", *ENDS), 0) | counts
    return GraphProgress(name=name, total=sum(counts.values()), **given)


class PlayedGraph:
    def __init__(self, told: GraphProgress, cancelled: list[str]) -> None:
        self.told = told
        self.cancelled = cancelled

    def progress(self, timeout: float) -> GraphProgress:
        return self.told

    def cancel(self, timeout: float) -> dict[str, int]:
        self.cancelled.append(self.told.name)
        return {"cancelled": 2, "stopping": 1, "running": 0, "ended": 0}


class PlayedClient:
    def __init__(self) -> None:
        self.told = [progress("a", succeeded=3), progress("b", running=1, depending=1_200, failed=2)]
        self.cancelled: list[str] = []
        self.altered: list[dict[str, Any]] = []

    def connect(self) -> None: ...

    def close(self, timeout: float) -> None: ...

    def graphs(self, timeout: float) -> list[GraphProgress]:
        return self.told

    def graph(self, name: str) -> PlayedGraph:
        return PlayedGraph(next(each for each in self.told if each.name == name), self.cancelled)

    def hold_where(self, name: str | None, **asked: Any) -> dict[str, int]:
        self.altered.append({"name": name, **asked})
        return {"done": 3, "running": 0}

    def cancel_where(self, name: str | None, **asked: Any) -> dict[str, int]:
        self.altered.append({"name": name, **asked})
        return {"cancelled": 3, "stopping": 0, "running": 0, "ended": 0}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> PlayedClient:
    played = PlayedClient()
    monkeypatch.setattr(asking, "connect", lambda *_: played)
    return played


def test_graphs_are_listed_those_that_are_not_over_first(
    client: PlayedClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["graphs", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [["1,203", "2", "0", "b"], ["3", "3", "3", "a"]]
    assert run(["graphs", "ls", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["graphs"]
    assert [(row["name"], row["total"], row["ended"], row["is_over"]) for row in rows] == [
        ("b", 1_203, 2, False),
        ("a", 3, 3, True),
    ]
    client.told = []
    assert run(["graphs", "ls"]) == 0
    assert capsys.readouterr().out == "no graph\n"


def test_a_graph_is_shown_with_what_is_not_0(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graphs", "show", "b"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "b: 2 of 1,203 tasks have ended",
        "         1 running",
        "     1,200 depending",
        "         2 failed",
    ]


def test_a_graph_is_cancelled_once_that_is_confirmed(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graphs", "cancel", "b"]) == 2
    assert "1201 tasks of b have not ended. Cancel them? Nobody can be asked here" in capsys.readouterr().err
    assert client.cancelled == []
    assert run(["graphs", "cancel", "b", "--yes"]) == 0
    assert capsys.readouterr().out == "2 cancelled, 1 stopping\n"
    assert client.cancelled == ["b"]


def test_filters_take_a_graph(client: PlayedClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "hold", "--graph", "b", "--yes"]) == 0
    assert run(["tasks", "cancel", "--graph", "b", "--name", "shop.*"]) == 2
    assert run(["tasks", "cancel", "--graph", "b", "--name", "shop.*", "--yes"]) == 0
    assert "cancelled 3 tasks named shop.* of the graph b\n" in capsys.readouterr().out
    held, cancelled = client.altered
    assert (held["name"], held["graph"], held["all_names"]) == (None, "b", False)
    assert (cancelled["name"], cancelled["graph"], cancelled["all_names"]) == ("shop.*", "b", False)


@pytest.mark.parametrize("name", ["", "a\nb", "g" * 201])
def test_what_names_no_graph_is_refused(name: str, client: PlayedClient) -> None:
    for arguments in (["graphs", "show", name], ["tasks", "ls", "--graph", name], ["graphs", "cancel", name]):
        assert run(arguments) == 2
