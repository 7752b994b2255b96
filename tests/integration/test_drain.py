"""Real nodes that are stopped while they run tasks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from integration import rolling_restart
from paceline import Cluster, Future
from paceline.errors import TaskLost, TasksCutShort

TASKS = """
import os, time
from pathlib import Path
from paceline import current_task, task

@task
def begin(path: str, seconds: float) -> int:
    with Path(path).open("a") as file:
        file.write(f"{os.getppid()} {current_task().attempt}\\n")
    time.sleep(seconds)
    return os.getppid()

@task(delivery="at_most_once")
def once(path: str, seconds: float) -> int:
    return begin(path, seconds)
"""
DRAIN_S = 1.0
SHORT_S, LONG_S = 0.5, 3.0
NODES = 3


def test_a_leader_and_a_follower_are_restarted_under_load_and_no_task_fails_or_runs_twice(tmp_path: Path) -> None:
    module = tmp_path / "rolling_tasks.py"
    module.write_text(rolling_restart.TASKS)
    described = Cluster.local(module, nodes=NODES, workers=1, journal="fsync", drain_timeout=30.0)
    with described as cluster, cluster.client() as client:
        load = rolling_restart.Load(client, tmp_path / "ran", rate=200.0)
        load.start()
        leader = cluster.leader
        assert leader is not None
        follower = next(node for node in cluster.nodes if node is not leader)
        assert rolling_restart.restart(cluster, leader).was_leader
        assert cluster.leader is not leader
        rolling_restart.restart(cluster, follower)
        load.stop()  # each has its own result
        assert load.run_twice() == []
        assert client.status()["lost_total"] == 0


def begun(path: Path) -> list[tuple[int, int]]:
    """Of each run of a task: the process of its node, and the attempt."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), int(attempt)) for pid, attempt in map(str.split, lines)]


def wait_begun(path: Path) -> None:
    until = time.monotonic() + 20.0
    while not begun(path):
        assert time.monotonic() < until, f"{path} is not begun"
        time.sleep(0.01)


def test_what_a_stopped_node_runs_ends_there_or_runs_elsewhere_with_its_attempts(tmp_path: Path) -> None:
    module = tmp_path / "drained_tasks.py"
    module.write_text(TASKS)
    futures: dict[Path, Future[int]] = {}
    with Cluster.local(module, nodes=NODES, workers=3, drain_timeout=DRAIN_S) as cluster, cluster.client() as client:
        for kind, name, seconds in (("once", "once", LONG_S), ("long", "begin", LONG_S), ("short", "begin", SHORT_S)):
            for number in range(NODES):  # one of them goes to each node
                path = tmp_path / f"{kind}{number}"
                futures[path] = client.submit(f"drained_tasks.{name}", str(path), seconds)
                wait_begun(path)
        leader = cluster.leader
        assert leader is not None
        there = {path for path in futures if begun(path)[0][0] == leader.pid}
        assert {path.name.rstrip("012") for path in there} == {"once", "long", "short"}
        leader.terminate()
        for path, future in futures.items():
            if path in there and path.name.startswith("once"):
                with pytest.raises(TaskLost, match="drained for 1 s"):
                    future.result(timeout=30)
                assert begun(path) == [(leader.pid, 1)]
            elif path in there and path.name.startswith("long"):
                assert future.result(timeout=30) != leader.pid
                assert begun(path) == [(leader.pid, 1), (future.result(), 1)]
            else:
                assert begun(path) == [(future.result(timeout=30), 1)]
        assert leader._process.wait(10) == TasksCutShort.exit_code
        said = leader._log_path.read_text()
        assert "draining on SIGTERM: 3 tasks may end within 1 s" in said
        assert "drained: 1 task ended; 1 did not in time and were given back" in said
        assert "may be begun once only: drained_tasks.once" in said
