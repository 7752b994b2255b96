"""Tags and amounts on real nodes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from cli.test_real_nodes import paceline, running_node
from integration.conftest import wait_until
from paceline import Client, Cluster, NamedTask, task
from paceline.errors import ConfigError
from paceline.local.node_process import Node

# Of so many each of three nodes is preferred by some, whatever the ids of the nodes are: they are drawn anew each time.
MODELS = [f"model {number}" for number in range(64)]
MODULE = """
import os
import time
from pathlib import Path

from paceline import task


def note(directory, what):
    with open(Path(directory) / "events", "a") as events:  # one write, which nothing else comes between
        events.write(f"{what}\\n")


@task(needs={"gpu": 1})
def train(directory: str, number: int) -> int:
    note(directory, f"begin {os.getppid()} {number}")
    (Path(directory) / f"begun.{number}").touch()
    deadline = time.monotonic() + 30
    while not (Path(directory) / f"end.{number}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    note(directory, f"end {os.getppid()} {number}")
    return number


@task
def add(a: int, b: int) -> int:
    return a + b
"""


@task(tags=["ssd"], needs={"gpu": 1})
def train() -> None: ...


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "placed_tasks.py"
    path.write_text(MODULE)
    return str(path)


def most_at_once(directory: Path) -> int:
    return max(most_by_node(directory).values())


def most_by_node(directory: Path) -> dict[int, int]:
    """How many ran at once at most, by the process of their node. Of one that was killed nothing ends."""
    running, most = Counter[int](), Counter[int]()
    for line in (directory / "events").read_text().splitlines():
        what, node, _ = line.split()
        running[int(node)] += 1 if what == "begin" else -1
        most[int(node)] = max(most[int(node)], running[int(node)])
    return dict(most)


def test_nodes_of_different_resources_are_given_no_more_than_they_declare_though_the_leader_dies(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster.local(module, nodes=3, workers=4)
    start, declared = cluster._start_node, iter((1, 2, 3))

    def start_with_gpus(*arguments: str) -> Node:
        return start(*arguments, command=[*cluster._command, "--resource", f"gpu={next(declared)}"])

    monkeypatch.setattr(cluster, "_start_node", start_with_gpus)
    with cluster, cluster.client() as client:
        gpus = {node.pid: number for number, node in enumerate(cluster.nodes, start=1)}
        leader = cluster.leader
        assert leader is not None
        futures = [client.submit("placed_tasks.train", str(tmp_path), number) for number in range(12)]

        def begun() -> list[int]:
            return [number for number in range(12) if (tmp_path / f"begun.{number}").exists()]

        wait_until(lambda: len(begun()) == 6, lambda: f"all that is declared is in use: {begun()}")
        assert client.submit("placed_tasks.add", 2, 3).result(30) == 5  # what needs nothing goes on
        assert most_by_node(tmp_path) == gpus
        leader.kill()
        wait_until(lambda: cluster.leader not in (None, leader), "another leads")
        assert client.submit("placed_tasks.add", 2, 3).result(30) == 5  # and hands out, beside what it has adopted
        assert most_by_node(tmp_path) == gpus
        for number in range(12):
            (tmp_path / f"end.{number}").touch()
        assert [future.result(60) for future in futures] == list(range(12))
        assert most_by_node(tmp_path) == gpus


def test_a_task_goes_to_the_node_that_has_what_it_asks_for_and_what_no_node_has_is_said(
    module: str, tmp_path: Path
) -> None:
    places = ("--tag", "ssd", "--resource", "gpu=2", "--resource", "memory=1GiB", "--resource", "cpu=0")
    with running_node(module, "--workers", "4", "--no-discovery", *places) as (_, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}
        with Client(address) as client:
            futures = [client.submit("placed_tasks.train", str(tmp_path), number) for number in range(4)]
            on_ssd = NamedTask("placed_tasks.add", tags=["ssd"], needs={"memory_mb": 1024})
            assert client.submit(on_ssd, 2, 3).result(30) == 5
            wait_until((tmp_path / "begun.1").exists, "two run")
            assert "needs gpu=1, and none of the 1 nodes that have so much" in client.where_is(futures[3])["why"]
            large = client.submit(NamedTask("placed_tasks.add", needs={"gpu": 3, "tape": 1}, tags=["ssd"]), 1, 1)
            large.accepted(30)
            why = client.where_is(large)["why"]
            assert "no node that runs placed_tasks.add has what it asks for" in why
            assert "2 gpu of 3, no tape of 1" in why
            assert client.status()["unplaced_total"] == 1
            assert "WARNING: no node has what 1 tasks ask for" in paceline("status", "--connect", address).stdout
            for number in range(4):
                (tmp_path / f"end.{number}").touch()
            assert [future.result(30) for future in futures] == [0, 1, 2, 3]
            assert most_at_once(tmp_path) == 2
            where = ("--connect", address, "--json")
            options = ("--tags", "ssd", "--needs", "gpu=2,memory=1GiB", "--wait")
            done = paceline("submit", "placed_tasks.add", "2", "3", *options, *where)
            assert json.loads(done.stdout)["result"] == 5
            assert large.cancel(30)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"needs": {"gpu": 0}}, "the amount of gpu is a whole number of units from 1"),
        ({"needs": {"gpu": -1}}, "the amount of gpu is a whole number of units from 1"),
        ({"needs": {"gpu": 0.5}}, "the amount of gpu is a whole number of units from 1"),
        ({"needs": {"gpu": True}}, "the amount of gpu is a whole number of units from 1"),
        ({"needs": {"gpu": 2**53 + 1}}, "the amount of gpu is more than 2\\^53"),
        ({"needs": {"memory": 5}}, "memory is counted in MiB, as memory_mb"),
        ({"needs": {"a b": 1}}, "a name has 1 to 64 letters"),
        ({"needs": {1: 1}}, "a name has 1 to 64 letters"),
        ({"needs": {f"r{number}": 1 for number in range(33)}}, "it names 33 resources; 32 at most"),
        ({"needs": ["gpu"]}, "it is a dict of resources and amounts"),
        ({"needs": "gpu=1"}, "it is a dict of resources and amounts"),
        ({"tags": "ssd"}, "it is a list of tags"),
        ({"tags": ["a,b"]}, "a name has 1 to 64 letters"),
        ({"tags": {"ssd": 1}}, "it is a list of tags"),
        ({"tags": [f"t{number}" for number in range(33)]}, "it names 33 tags; 32 at most"),
    ],
)
def test_what_can_not_be_needed_is_refused_where_it_is_written(options: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        NamedTask("placed_tasks.add", **options)  # type: ignore[arg-type]


def test_tags_and_needs_are_written_in_any_order_and_once() -> None:
    assert (
        NamedTask("a", tags=iter(["b", "a", "b"]), needs={"z": 1, "a": 2}).wire_options
        == NamedTask("a", tags=("a", "b"), needs={"a": 2, "z": 1}).wire_options
    )

    assert train.wire_options == {"tags": "ssd", "needs": "gpu=1"}
    assert train.options(needs={"gpu": 2}).wire_options == {"tags": "ssd", "needs": "gpu=2"}


AFFINE_MODULE = """
import os

from paceline import task


@task(affinity_by="model")
def ask(model: str) -> int:
    return os.getppid()
"""


def test_tasks_of_one_affinity_run_on_one_node_and_on_another_once_that_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "affine_tasks.py"
    path.write_text(AFFINE_MODULE)
    with Cluster.local(str(path), nodes=3, workers=2) as cluster, cluster.client() as client:
        sys.path.insert(0, str(tmp_path))
        try:
            ask = import_module("affine_tasks").ask
        finally:
            sys.path.remove(str(tmp_path))
        before = {model: {client.submit(ask, model).result(30) for _ in range(4)} for model in MODELS}
        assert all(len(nodes) == 1 for nodes in before.values())
        assert len(set.union(*before.values())) == 3
        dead = next(node for node in cluster.nodes if node.pid in before[MODELS[0]])
        dead.kill()
        after = {model: client.submit(ask, model).result(30) for model in MODELS}
        assert after[MODELS[0]] != dead.pid
        stayed = [model for model in MODELS if dead.pid not in before[model]]
        assert {model: {after[model]} for model in stayed} == {model: before[model] for model in stayed}
        by_name = NamedTask("affine_tasks.ask", affinity=MODELS[0])
        assert {client.submit(by_name, "another").result(30) for _ in range(3)} == {after[MODELS[0]]}


GPU_MODULE = """
import os
import time
from pathlib import Path

from paceline import current_task, task


def seen():
    running = current_task()
    return {
        "units": {name: list(numbers) for name, numbers in running.units.items()},
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "order": os.environ.get("CUDA_DEVICE_ORDER"),
        "pid": os.getpid(),
    }


@task(needs={"gpu": 1})
def on_one(directory: str = "", others: int = 0) -> dict:
    if directory:
        (Path(directory) / f"in.{current_task().id}").touch()
        deadline = time.monotonic() + 30
        while len(list(Path(directory).glob("in.*"))) < others:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    return seen()


@task(needs={"gpu": 2})
def on_two() -> dict:
    return seen()


@task
def on_none() -> dict:
    return seen()


@task(needs={"gpu": 1})
async def at_once() -> dict:
    return seen()
"""


def test_each_task_sees_its_own_gpus_and_a_worker_one_set_of_them(tmp_path: Path) -> None:
    path = tmp_path / "gpu_tasks.py"
    path.write_text(GPU_MODULE)
    options = ("--workers", "2", "--no-discovery", "--resource", "gpu=1,3", "--resource", "port=8001,")
    with running_node(str(path), *options) as (_, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}
        with Client(address) as client:
            both = [client.submit("gpu_tasks.on_one", str(tmp_path), 2).result for _ in range(2)]
            told = [result(30) for result in both]
            assert sorted(each["units"]["gpu"] for each in told) == [[1], [3]]
            for each in told:
                assert each["visible"] == ",".join(map(str, each["units"]["gpu"]))
                assert each["order"] == "PCI_BUS_ID"
            none = client.submit("gpu_tasks.on_none").result(30)
            assert (none["units"], none["visible"]) == ({}, None), "and what ran there before has left nothing"
            two = client.submit("gpu_tasks.on_two").result(60)
            assert (two["units"], two["visible"]) == ({"gpu": [1, 3]}, "1,3")
            assert two["pid"] not in {each["pid"] for each in told}, "a process that has seen one GPU sees no other"
            again = client.submit("gpu_tasks.on_one").result(60)
            assert again["pid"] != two["pid"]
            at_once = client.submit("gpu_tasks.at_once").result(30)
            assert (len(at_once["units"]["gpu"]), at_once["visible"]) == (1, None)
            on_a_port = client.submit(NamedTask("gpu_tasks.on_none", needs={"port": 1})).result(30)
            assert (on_a_port["units"], on_a_port["visible"]) == ({"port": [8001]}, None)
