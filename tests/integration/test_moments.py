"""Tasks that wait for a moment, and tasks that expire, with real nodes, whose leader is killed or which all are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, wait_until, workers_of
from paceline import Cluster, NamedTask
from paceline.errors import TaskExpired

DELAY_S = 2.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_delayed_tasks_run_once_their_moment_has_come_though_the_leader_is_killed(three_nodes: Cluster) -> None:
    leader = three_nodes.leader
    assert leader is not None
    with three_nodes.client() as client:
        after_ms = now_ms() + round(DELAY_S * 1_000)
        delayed = NamedTask("sample_tasks.now_ms", delay=DELAY_S)
        futures = [client.submit(delayed) for _ in range(50)]
        futures[-1].accepted(DEADLINE_S)
        assert client.status()["delayed"] == 50
        leader.kill()
        ran_ms = [future.result(DEADLINE_S) for future in futures]
    assert min(ran_ms) >= after_ms


def test_a_delayed_task_is_there_after_a_restart_of_all(tmp_path: Path) -> None:
    with Cluster.local(TASKS, nodes=1, workers=1, journal="fsync") as cluster, cluster.client() as client:
        after_ms = now_ms() + round(DELAY_S * 1_000)
        future = client.submit(NamedTask("sample_tasks.now_ms", delay=DELAY_S))
        future.accepted(DEADLINE_S)
        tomorrow = client.submit(NamedTask("sample_tasks.now_ms", delay=86_400))
        tomorrow.accepted(DEADLINE_S)
        cluster.nodes[0].kill()
        cluster.nodes[0].restart()
        assert future.result(DEADLINE_S) >= after_ms
        with cluster.client() as stranger:
            found = stranger.where_is(tomorrow.task_id.hex(), DEADLINE_S)
        assert (found["state"], found["name"]) == ("delayed", "sample_tasks.now_ms")
        assert found["why"].startswith("it may not start before ")


def test_what_waits_behind_another_task_expires_and_never_runs(tmp_path: Path) -> None:
    release = tmp_path / "release"
    with Cluster.local(TASKS, nodes=1, workers=1) as cluster, cluster.client() as client:
        blocker = client.submit("sample_tasks.wait_for", str(release))
        wait_until(lambda: client.status()["running"] == 1, "the only worker is busy")
        futures = [
            client.submit(NamedTask("sample_tasks.record", expires=0.5), str(tmp_path), number) for number in range(5)
        ]
        for future in futures:
            with pytest.raises(TaskExpired, match="was not started"):
                future.result(DEADLINE_S)
        release.touch()
        assert blocker.result(DEADLINE_S) in [worker.pid for worker in workers_of(cluster.nodes[0].pid)]
        assert client.submit("sample_tasks.square", 7).result(DEADLINE_S) == 49
        status = client.status()
    assert status["expired_total"] == 5
    assert not list(tmp_path.glob("*.*")), "none of them ran"
