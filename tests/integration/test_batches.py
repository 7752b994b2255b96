"""Calls that are handed to their function together, on real nodes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from cli.test_real_nodes import paceline, running_node
from integration import batch_tasks
from integration.conftest import wait_until
from paceline import Client, Cluster, NamedTask
from paceline.errors import TaskCancelled, TaskLost, TaskTimedOut

MODULE = str(Path(batch_tasks.__file__))


def runs(directory: Path) -> list[list[int]]:
    """The calls of each call of a function."""
    path = directory / "runs"
    return [[int(number) for number in line.split()] for line in path.read_text().splitlines()] if path.exists() else []


def test_many_calls_are_few_runs_and_each_ends_as_itself_though_the_leader_dies(tmp_path: Path) -> None:
    with Cluster.local(MODULE, nodes=3, workers=2) as cluster, cluster.client() as client:
        futures = [client.submit("batch_tasks.double", str(tmp_path), number) for number in range(400)]
        wait_until(lambda: len(runs(tmp_path)) >= 4, "some run")
        leader = cluster.leader
        assert leader is not None
        leader.kill()
        assert [future.result(60) for future in futures] == [2 * number for number in range(400)]
    made = runs(tmp_path)
    assert max(map(len, made)) <= 16
    assert len(made) < 200
    counts = Counter(number for each in made for number in each)
    assert all(counts[number] >= (2 if number % 7 == 0 else 1) for number in range(400))


def test_one_of_those_that_run_is_cancelled_and_told_so_and_the_others_end(tmp_path: Path) -> None:
    with Cluster.local(MODULE, workers=1) as cluster, cluster.client() as client:
        futures = [client.submit("batch_tasks.waits", str(tmp_path), number) for number in range(4)]
        wait_until((tmp_path / "begun").exists, "they run")
        assert futures[2].cancel(30)
        assert [futures[number].result(30) for number in (0, 1, 3)] == [0, 1, 3]
        with pytest.raises(TaskCancelled):
            futures[2].result(30)


def test_a_worker_that_dies_ends_each_that_may_start_once_and_a_limit_ends_all(tmp_path: Path) -> None:
    with Cluster.local(MODULE, workers=1) as cluster, cluster.client() as client:
        lost = [client.submit("batch_tasks.dies", str(tmp_path), number) for number in range(4)]
        for future in lost:
            with pytest.raises(TaskLost):
                future.result(30)
        assert runs(tmp_path) == [[0, 1, 2, 3]]
        late = [client.submit("batch_tasks.too_long", seconds) for seconds in (0.0, 30.0, 0.0, 0.0)]
        for future in late:
            with pytest.raises(TaskTimedOut):
                future.result(30)


def test_calls_by_name_go_together_by_what_the_nodes_announce_and_why_says_what_they_wait_for(tmp_path: Path) -> None:
    with running_node(MODULE, "--workers", "1", "--no-discovery") as (_, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}
        arguments = ("batch_tasks.waits", str(tmp_path))
        first = paceline("submit", *arguments, "1", "--connect", address, "--json")
        task_id = json.loads(first.stdout)["task_id"]
        with Client(address) as client:
            why = client.where_is(task_id)["why"]
            assert "it waits for others that its function is to be called with" in why
            assert why.endswith("1 are there, of 4")
            others = [client.submit(NamedTask("batch_tasks.waits"), str(tmp_path), number) for number in (2, 3, 4)]
            wait_until((tmp_path / "begun").exists, "they run")
            assert others[1].cancel(30)
            assert [others[number].result(30) for number in (0, 2)] == [2, 4]
            assert client.task(task_id).result(30) == 1
