"""Tasks that wait are held, moved and given another priority on real nodes, whoever leads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_real_nodes import paceline
from paceline import Cluster, NamedTask
from paceline.errors import ConfigError

MODULE = """
from paceline import task

@task
def add(first: int, second: int) -> int:
    return first + second

@task(queue="slow")
def late(number: int) -> int:
    return number
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "altered_tasks.py"
    path.write_text(MODULE)
    return str(path)


def test_what_is_held_stays_so_under_every_leader_and_goes_on_once_it_is_released(module: str) -> None:
    with Cluster.local(module, nodes=3, workers=1) as cluster, cluster.client() as client:
        client.pause_queue("default")
        held = [client.submit("altered_tasks.add", number, 1) for number in range(5)]
        free = [client.submit("altered_tasks.add", number, 2) for number in range(5)]
        free[-1].accepted(30)
        assert set(client.hold(held).values()) == {"done"}
        assert set(client.move(free[0], "urgent").values()) == {"done"}
        leader = cluster.leader
        assert leader is not None
        leader.kill()
        assert free[0].result(30) == 2, "it waits in no paused queue any more"
        client.resume_queue("default")
        assert [future.result(30) for future in free] == [number + 2 for number in range(5)]
        assert not any(future.done() for future in held)
        assert client.where_is(held[0])["why"].startswith("somebody holds it")
        assert client.hold(free[1]) == {free[1].task_id.hex(): "ended"}
        assert client.unhold_where("altered_tasks.*")["done"] == 5
        assert [future.result(30) for future in held] == [number + 1 for number in range(5)]


def test_the_command_line_holds_moves_and_prioritises_what_matches(module: str) -> None:
    with Cluster.local(module, nodes=1, workers=1) as cluster, cluster.client() as client:
        where = ("--connect", cluster.nodes[0].address)
        client.pause_queue("slow")
        futures = [client.submit("altered_tasks.late", number) for number in range(300)]
        futures[-1].accepted(30)
        first = futures[0].task_id.hex()
        assert paceline("tasks", "hold", first, *where).stdout == f"{first}: held\n"
        asked = paceline("tasks", "hold", "--queue", "slow", *where)
        assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
        done = paceline("tasks", "hold", "--name", "altered_tasks.*", "--yes", "--json", *where)
        assert json.loads(done.stdout)["done"] == 299
        assert "released\n" in paceline("tasks", "unhold", "--all", "--yes", *where).stdout
        done = paceline("tasks", "prioritise", "--priority", "9", "--queue", "slow", "--yes", *where)
        assert done.stdout == "300 tasks now of priority 9\n"
        assert paceline("tasks", "move", "--to", "fast", "--queue", "slow", "--yes", *where).stdout == (
            "300 tasks moved to fast\n"
        )
        assert sum(future.result(60) for future in futures) == sum(range(300))
        late = paceline("tasks", "move", first, "--to", "slow", *where)
        assert (late.returncode, "it has ended" in late.stdout) == (13, True)
        unknown = paceline("tasks", "unhold", "0f" * 16, *where)
        assert (unknown.returncode, "no task of this id" in unknown.stdout) == (12, True)
        both = paceline("tasks", "hold", first, "--name", "altered_tasks.*", *where)
        assert (both.returncode, "give the ids of tasks, or" in both.stderr) == (2, True)


def test_what_can_not_be_altered_is_refused_where_it_is_said(module: str) -> None:
    with Cluster.local(module, nodes=1, workers=1) as cluster, cluster.client() as client:
        unlogged = NamedTask("altered_tasks.late", durability="none", delay=3600)
        future = client.submit(unlogged, 1)
        future.accepted(30)
        assert list(client.hold(future).values()) == ["unlogged"]
        assert client.hold_where("altered_tasks.late")["done"] == 0
        with pytest.raises(ConfigError, match="it is a whole number from 0 to 9"):
            client.prioritise(future, 10)
        with pytest.raises(ConfigError, match="its name has 1 to 64 letters"):
            client.move(future, "a b")
        with pytest.raises(ConfigError, match="only tasks that wait are altered"):
            client.hold_where("altered_tasks.*", state="running")
        with pytest.raises(ConfigError, match="say which, as name="):
            client.move_where("*", to="fast")
        with pytest.raises(ConfigError, match="older_than 'old' can't be used"):
            client.hold_where("altered_tasks.*", older_than="old")  # type: ignore[arg-type]
