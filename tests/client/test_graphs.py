"""To which graph calls belong, and how a client asks for graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from modes import source_only
from paceline import Client, NamedTask, task
from paceline.client.inherited import inherited, labelled
from paceline.client.targets import parts_of
from paceline.client.together import Together
from paceline.errors import ConfigError, GraphUnknown
from paceline.options import TaskOptions
from paceline.parent_deadline import PARENT
from paceline_protocol.messages.records import NO_LOG, Options
from paceline_protocol.payload import pack_value

pytestmark = source_only


@pytest.fixture
def client() -> Iterator[Client]:
    """One that is never used for more than it knows by itself."""
    made = Client("127.0.0.1:1")
    yield made
    made.close(0)


@task
def add(*numbers: int) -> int:
    return sum(numbers)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (None, {"graph": "g"}),
        ({"retries": 1}, {"retries": 1, "graph": "g"}),
        ({"graph": "own"}, {"graph": "own"}),
        ({"durability": NO_LOG}, {"durability": NO_LOG}),
        ({}, {"durability": 0, "graph": "g"}),
        ({"durability": 0, "graph": 0}, {"durability": 0, "graph": 0}),
    ],
)
def test_a_call_belongs_to_the_graph_of_its_parent_unless_it_says_its_own(
    options: Options | None, found: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert labelled(options, "g") == found
    assert inherited(options) is options
    monkeypatch.setattr(PARENT, "ask", lambda: {"graph": "g"})
    assert inherited(options) == found
    monkeypatch.setattr(PARENT, "ask", lambda: None)
    assert inherited(options) is options


def test_a_call_takes_over_graph_and_deadline_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PARENT, "ask", lambda: {"graph": "g", "deadline": 9_000, "retries": 3})
    assert parts_of(add)[2] == {"graph": "g", "deadline": 9_000}
    assert parts_of("tasks.add")[2] == {"durability": 0, "graph": "g", "deadline": 9_000}
    assert parts_of(NamedTask("tasks.add", graph=None))[2] == {"durability": 0, "graph": 0, "deadline": 9_000}


def test_calls_that_are_submitted_together_belong_to_a_graph(client: Client) -> None:
    together = Together(client, "g")
    together.submit(add, 1)
    together.submit(add.options(graph="own"), 1)
    together.submit("tasks.add", 1)
    assert [call[3] for _, call in together._calls] == [
        {"graph": "g"},
        {"graph": "own"},
        {"durability": 0, "graph": "g"},
    ]


@pytest.mark.parametrize("name", ["", "a\n", 7, None, b"g", "g" * 201])
def test_what_names_no_graph_is_refused(name: Any, client: Client) -> None:
    with pytest.raises(ConfigError, match="graph"):
        client.graph(name)
    if name is not None:
        for wrong in (client.cancel_where, client.hold_where, client.live_tasks, TaskOptions):
            with pytest.raises(ConfigError, match="graph"):
                wrong(graph=name)
        with pytest.raises(ConfigError, match="graph"):
            Together(client, name)


def row(name: str, *, ends: dict[str, int], **counts: int) -> dict[str, Any]:
    where = dict.fromkeys(("running", "waiting", "delayed", "depending", "logging"), 0) | counts
    return {"name": name, "total": sum(where.values()) + sum(ends.values()), **where, "ends": ends, "of_later": 1}


def test_graphs_are_asked_for_page_by_page_and_one_that_is_not_known_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {
        ("", ""): {"graphs": [row("a", ends={"failed": 2})], "next": "a"},
        ("", "a"): {"graphs": [row("b", running=1, ends={})], "next": None},
        ("a", ""): {"graphs": [row("a", ends={"failed": 2})], "next": None},
        ("c", ""): {"graphs": [], "next": None},
    }
    monkeypatch.setattr(client._driver, "graphs", lambda name, after, timeout_s: pack_value(pages[name, after]))
    told = client.graphs()
    assert [(each.name, each.total, each.running, each.failed, each.ended, each.is_over) for each in told] == [
        ("a", 2, 0, 2, 2, True),
        ("b", 1, 1, 0, 0, False),
    ]
    assert client.graph("a").progress() == told[0]
    with pytest.raises(GraphUnknown, match=r"no graph named 'c'"):
        client.graph("c").progress()
    monkeypatch.setattr(client._driver, "graphs", lambda name, after, timeout_s: None)
    with pytest.raises(TimeoutError):
        client.graphs(0.1)
