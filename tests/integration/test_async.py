"""Many tasks at once in one worker, with real nodes and workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from integration.conftest import DEADLINE_S, wait_until, workers_of
from paceline import Cluster, NamedTask
from paceline.errors import TaskLost, TaskTimedOut

TASKS = Path(__file__).with_name("async_tasks.py")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.local(TASKS, nodes=1, workers=1, metrics=True, async_slots=50) as started:
        yield started


def test_as_many_run_at_once_as_there_are_slots_and_the_other_worker_is_free(cluster: Cluster, tmp_path: Path) -> None:
    """All of them wait for what the plain task does, which is submitted behind them."""
    with cluster.client() as client:
        path = str(tmp_path / "there")
        waiting = [client.submit(f"async_tasks.{name}", path) for name in ("wait_for", "wait_in_thread") * 30]
        plain = client.submit("async_tasks.create", path).result(DEADLINE_S)
        (pid,) = {future.result(DEADLINE_S) for future in waiting}
        assert pid != plain
        assert len(workers_of(cluster.nodes[0].pid)) == 2


def test_of_what_runs_beside_others_one_is_cancelled_and_one_over_its_limit_ends(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.client() as client:
        path = str(tmp_path / "there")
        cancelled, beside = client.submit("async_tasks.wait_for", path), client.submit("async_tasks.wait_for", path)
        late = client.submit(NamedTask("async_tasks.wait_for", time_limit=0.2), path)
        with pytest.raises(TaskTimedOut):
            late.result(DEADLINE_S)
        assert cancelled.cancel()
        client.submit("async_tasks.create", path).result(DEADLINE_S)
        assert beside.result(DEADLINE_S) > 0


def test_a_task_that_always_ends_its_worker_is_lost_alone_and_what_ran_beside_it_succeeds(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.client() as client:
        path, begun = str(tmp_path / "there"), tmp_path / "begun"
        beside = [client.submit("async_tasks.wait_for", path) for _ in range(5)]
        ends = client.submit("async_tasks.end_worker", str(begun))
        with pytest.raises(TaskLost):
            ends.result(DEADLINE_S)
        assert begun.read_text() == 5 * "."
        client.submit("async_tasks.create", path).result(DEADLINE_S)
        assert all(future.result(DEADLINE_S) for future in beside)


def test_who_blocks_others_is_counted(cluster: Cluster) -> None:
    def counted() -> float:
        with urlopen(f"http://{cluster.nodes[0].metrics_address}/metrics", timeout=DEADLINE_S) as reply:
            for line in reply.read().decode().splitlines():
                if line.startswith("paceline_async_loop_blocked_total "):
                    return float(line.split()[1])
        raise AssertionError("the metric is not there")

    before = counted()
    with cluster.client() as client:
        client.submit("async_tasks.block", 0.4).result(DEADLINE_S)
    wait_until(lambda: counted() > before, "it is counted")
    assert "task async_tasks.block has blocked the event loop" in cluster.nodes[0]._log_path.read_text()
