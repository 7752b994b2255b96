"""A node that has more workers while tasks wait, with real processes."""

from __future__ import annotations

from pathlib import Path

import psutil

from integration.conftest import DEADLINE_S, log_with, wait_until, workers_of
from modes import source_only
from paceline import Client, Cluster

MOST = 4
TASKS = f"""
import os, time
from pathlib import Path
from paceline import task

@task
def meet(place: str, count: int) -> int:
    Path(place, str(os.getpid())).touch()
    until = time.monotonic() + {DEADLINE_S}
    while len(os.listdir(place)) < count:
        assert time.monotonic() < until, "the others do not come"
        time.sleep(0.01)
    return os.getpid()

@task
def pid() -> int:
    return os.getpid()
"""
KEPT_SHORTLY = """
import sys
from paceline.runtime.children import scaling
scaling.KEPT_S = 0.5
from paceline.cli import main
sys.exit(main())
"""


def described(folder: Path) -> Cluster:
    module = folder / "scaling_tasks.py"
    module.write_text(TASKS)
    cluster = Cluster.local(module, nodes=1, workers=1, max_workers=MOST)
    cluster._command += ["--log-level", "info"]
    return cluster


def all_meet(client: Client, place: Path) -> set[int]:
    """The workers that run as many tasks at once as there may be workers."""
    place.mkdir()
    futures = [client.submit("scaling_tasks.meet", str(place), MOST) for _ in range(MOST)]
    return {future.result(DEADLINE_S) for future in futures}


def slots(client: Client) -> int:
    return int(client.status()["nodes"][0]["slots"])


def test_tasks_that_wait_for_each_other_meet_as_a_node_starts_workers_for_those_that_wait(tmp_path: Path) -> None:
    with described(tmp_path) as cluster, cluster.client() as client:
        assert slots(client) == 1
        assert len(all_meet(client, tmp_path / "place")) == MOST
        assert slots(client) == MOST
        log_with(cluster.nodes[0], f"more workers are started, for {MOST} in all")


@source_only  # changes a constant
def test_they_leave_once_there_was_nothing_to_do_for_them_and_come_again(tmp_path: Path) -> None:
    cluster = described(tmp_path)
    cluster._command[1:4] = ["-P", "-c", KEPT_SHORTLY]
    with cluster, cluster.client() as client:
        node = cluster.nodes[0]
        first = all_meet(client, tmp_path / "first")
        wait_until(lambda: len(workers_of(node.pid)) == 1, "three have ended")
        wait_until(lambda: slots(client) == 1, "the leader knows it")
        assert client.submit("scaling_tasks.pid").result(DEADLINE_S) in first
        assert "is ended, as there was nothing to do for it" in node._log_path.read_text()
        assert len(all_meet(client, tmp_path / "second")) == MOST
        assert sum(psutil.pid_exists(pid) for pid in first) <= 1
