"""Graphs with a name on real nodes: counted, listed and cancelled as one, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_real_nodes import paceline
from integration.conftest import wait_until
from paceline import Client, Cluster, NamedTask
from paceline.errors import GraphUnknown, TaskCancelled, TaskFailed, UpstreamFailed
from paceline.graphs import chain, group, map_reduce, step

MODULE = """
import time
from pathlib import Path

from paceline import task

@task
def add(*values: int) -> int:
    return sum(values)

@task
def total(values: list[int]) -> int:
    return sum(values)

@task
def fail() -> None:
    raise ValueError("no")

@task(cancel_raises=True)
def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)

@task
def spread(count: int) -> list[int]:
    return [future.result() for future in [add.submit(n) for n in range(count)]]

@task
async def spread_async(count: int) -> list[int]:
    return [await future for future in [add.submit(n) for n in range(count)]]
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "graph_tasks.py"
    path.write_text(MODULE)
    return str(path)


def ended(client: Client, name: str) -> dict[str, int]:
    """How the tasks of a graph ended, once all have."""
    graph = client.graph(name)
    wait_until(lambda: graph.progress().is_over, lambda: f"the graph is over: {graph.progress()}")
    told = graph.progress()
    words = ("succeeded", "failed", "cancelled", "lost", "expired", "timed_out", "upstream_failed")
    return {word: count for word in words if (count := getattr(told, word))}


def test_a_graph_is_counted_whoever_leads_and_children_belong_to_it(module: str) -> None:
    with Cluster.local(module, nodes=3, workers=1) as cluster, cluster.client() as client:
        with pytest.raises(GraphUnknown, match="'nightly'"):
            client.graph("nightly").progress()
        last = map_reduce(client, "graph_tasks.add", range(20), "graph_tasks.total", fan_in=10, graph="nightly")
        failed = chain(client, "graph_tasks.fail", step("graph_tasks.add", 1), graph="nightly")
        assert last.result(30) == sum(range(20))
        with pytest.raises(UpstreamFailed):
            failed.result(30)
        for parent in ("spread", "spread_async"):
            task = NamedTask(f"graph_tasks.{parent}", graph="nightly")
            assert client.submit(task, 5).result(60) == list(range(5))
        other = group(
            client, [step("graph_tasks.add", 1), step(NamedTask("graph_tasks.add", graph="mine"), 2)], graph="o"
        )
        assert [each.result(30) for each in other] == [1, 2]
        expected = {"succeeded": 20 + 2 + 1 + 2 * (1 + 5), "failed": 1, "upstream_failed": 1}
        assert ended(client, "nightly") == expected
        leader = cluster.leader
        assert leader is not None
        leader.kill()
        assert ended(client, "nightly") == expected
        assert (ended(client, "o"), ended(client, "mine")) == ({"succeeded": 1}, {"succeeded": 1})
        assert [each.name for each in client.graphs()] == ["mine", "nightly", "o"]
        client.submit(NamedTask("graph_tasks.add", graph="nightly"), 1).result(30)
        wait_until(lambda: client.graph("nightly").progress().total == 38, "one more is counted")


def test_a_graph_is_listed_held_and_cancelled_as_one(module: str, tmp_path: Path) -> None:
    gate = tmp_path / "open"
    with Cluster.local(module, nodes=1, workers=1) as cluster, cluster.client() as client:
        where = ("--connect", cluster.nodes[0].address)
        waits = NamedTask("graph_tasks.wait_for", graph="nightly")
        futures = [client.submit(waits, str(gate)) for _ in range(3)]
        futures.append(client.submit(NamedTask("graph_tasks.add", graph="nightly", delay=3600), 1))
        futures.append(client.submit(NamedTask("graph_tasks.total", graph="nightly"), futures[:2]))
        free = client.submit("graph_tasks.add", 7)
        for future in (*futures, free):
            future.accepted(30)
        graph = client.graph("nightly")
        wait_until(lambda: graph.progress().running, "one runs")
        told = graph.progress()
        assert (told.total, told.running + told.waiting, told.delayed, told.depending) == (5, 3, 1, 1)

        assert client.hold_where(graph="nightly")["done"] >= 2
        assert client.live_tasks(graph="nightly").tasks
        assert all(live.task_id != free.task_id for live in client.live_tasks(graph="nightly").tasks)
        listed = json.loads(paceline("tasks", "ls", "--graph", "nightly", "--json", *where).stdout)
        assert {row["task_id"] for row in listed["tasks"]} == {future.task_id.hex() for future in futures}
        shown = json.loads(paceline("graphs", "show", "nightly", "--json", *where).stdout)
        assert (shown["total"], shown["ended"], shown["is_over"]) == (5, 0, False)
        assert "0 of 5 tasks have ended" in paceline("graphs", "show", "nightly", *where).stdout
        unknown = paceline("graphs", "show", "weekly", *where)
        assert (unknown.returncode, "'weekly'" in unknown.stderr) == (GraphUnknown.exit_code, True)

        cancelled = json.loads(paceline("graphs", "cancel", "nightly", "--yes", "--json", *where).stdout)
        assert cancelled["cancelled"] + cancelled["stopping"] == 5
        for future in futures:
            assert isinstance(future.exception(30), TaskCancelled | UpstreamFailed | TaskFailed)
        assert free.result(30) == 7
        assert sum(ended(client, "nightly").values()) == 5
        listing = paceline("graphs", "ls", *where).stdout.splitlines()
        assert [line.split() for line in listing[1:]] == [["5", "5", "0", "nightly"]]
