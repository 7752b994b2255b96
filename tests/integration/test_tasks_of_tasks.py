"""Tasks that submit tasks: a worker knows the cluster that runs it."""

from __future__ import annotations

import pytest

from integration.conftest import DEADLINE_S, TASKS, wait_until
from paceline import Cluster
from paceline.own_cluster import FILE_VARIABLE, NODE_VARIABLE


@pytest.mark.parametrize("secure", [False, True])
def test_a_task_gets_the_result_of_a_task_that_it_submits(secure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NODE_VARIABLE, "127.0.0.1:1")  # as if all of this ran in a worker of another cluster
    monkeypatch.setenv(FILE_VARIABLE, "/nowhere/cluster.toml")
    with Cluster.local(TASKS, workers=2, secure=secure) as cluster, cluster.client() as client:
        assert client.submit("sample_tasks.square_elsewhere", 7).result(DEADLINE_S) == 49
        assert client.submit("sample_tasks.square_by_a_client", 8).result(DEADLINE_S) == 64


@pytest.mark.parametrize("task", ["square_held_up", "square_awaited"])
def test_parents_that_hold_every_worker_say_so(task: str) -> None:
    with Cluster.local(TASKS, workers=2, async_slots=1, max_parked=0) as cluster, cluster.client() as client:
        log = cluster.nodes[0]._log_path
        wait_until(lambda: client.status()["nodes"][0]["slots"] == 2, "both workers are ready")
        parents = [client.submit(f"sample_tasks.{task}", number) for number in (7, 8)]
        wait_until(lambda: "has waited" in log.read_text(), lambda: f"a parent says that it waits: {log.read_text()}")
        said = log.read_text()
        assert "for task sample_tasks.square (" in said
        assert "--max-parked" in said
        assert not any(parent.done() for parent in parents)


def test_recursion_deeper_than_the_slots_ends() -> None:
    with Cluster.local(TASKS, workers=2) as cluster, cluster.client() as client:
        assert client.submit("sample_tasks.fibonacci", 7).result(DEADLINE_S) == 13
        wait_until(lambda: client.status()["nodes"][0]["slots"] == 2, "stand-ins are no slots")


def test_parents_that_await_hold_no_worker_that_their_children_need() -> None:
    with Cluster.local(TASKS, workers=1) as cluster, cluster.client() as client:
        parents = [client.submit("sample_tasks.square_awaited", number) for number in range(20)]
        assert [parent.result(DEADLINE_S) for parent in parents] == [number * number for number in range(20)]


def test_a_worker_of_a_node_that_does_not_lead_reaches_the_leader() -> None:
    with Cluster.local(workers=0) as cluster, cluster.client() as client:
        leader = cluster.leader
        cluster.add_node(TASKS, workers=2)
        assert client.submit("sample_tasks.square_elsewhere", 7).result(DEADLINE_S) == 49
        assert cluster.leader is leader
