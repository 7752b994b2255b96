"""Workers that are replaced between two tasks, with real nodes and workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.request import urlopen

import psutil
import pytest

from integration.conftest import DEADLINE_S, TASKS, log_with, settled_status, wait_until, workers_of
from paceline import Client, Cluster, NamedTask
from paceline.errors import TaskLost

MAX_TASKS = 9  # a limit below 10 is the same for each worker


def node_with(*options: str, workers: int = 1) -> Cluster:
    cluster = Cluster.local(TASKS, nodes=1, workers=workers, metrics=True)
    cluster._command += ["--log-level", "info", *options]
    return cluster


def spare_is_ready(cluster: Cluster, times: int = 1) -> Callable[[], bool]:
    return lambda: cluster.nodes[0]._log_path.read_text().count("spare worker is ready") >= times


def warnings_of_workers(log: str) -> list[str]:
    """Others may come on a machine that is busy."""
    return [line for line in log.splitlines() if " WARNING " in line and "worker" in line]


def pid_of_the_worker(client: Client) -> int:
    return int(client.submit("sample_tasks.worker_pid").result(DEADLINE_S))


def test_no_worker_runs_more_tasks_than_it_may_and_none_is_lost() -> None:
    with node_with("--worker-max-tasks", str(MAX_TASKS), workers=2) as cluster, cluster.client() as client:
        task = NamedTask("sample_tasks.worker_pid", max_attempts=1)  # a lost attempt would end it
        pids = Counter(future.result(DEADLINE_S) for future in [client.submit(task) for _ in range(20 * MAX_TASKS)])
        assert max(pids.values()) == MAX_TASKS
        status = settled_status(client)
        assert (status["succeeded_total"], status["lost_total"]) == (20 * MAX_TASKS, 0)
        log = log_with(cluster.nodes[0], f"is ended and replaced, as it has run as many tasks as it may, {MAX_TASKS}")
    assert warnings_of_workers(log) == []


def test_the_spare_serves_at_once_in_place_of_a_worker_that_has_run_as_many_tasks_as_it_may() -> None:
    with node_with("--worker-max-tasks", str(MAX_TASKS)) as cluster, cluster.client() as client:
        node = cluster.nodes[0]
        wait_until(spare_is_ready(cluster), "the spare is ready")
        before = {worker.pid for worker in workers_of(node.pid)}
        first, *pids = [pid_of_the_worker(client) for _ in range(2 * MAX_TASKS - 1)]
        (spare,) = before - {first}
        assert pids == [first] * (MAX_TASKS - 1) + [spare] * (MAX_TASKS - 1), "no task has waited for an import"
        wait_until(lambda: not psutil.pid_exists(first), "the first one has ended")
        assert [one["slots"] for one in client.status()["nodes"]] == [1]


@pytest.mark.parametrize(
    ("options", "task"),
    [
        (["--worker-max-age", "1"], ("sample_tasks.worker_pid", ())),
        (["--worker-max-rss-mib", "200"], ("sample_tasks.leak", (20 << 20,))),
    ],
    ids=["age", "memory"],
)
def test_a_worker_that_is_old_or_has_grown_is_replaced_and_no_task_is_lost(
    options: list[str], task: tuple[str, tuple[int, ...]]
) -> None:
    name, arguments = task
    with node_with(*options) as cluster, cluster.client() as client:
        pids: set[int] = set()

        def several_have_served() -> bool:
            pids.add(client.submit(NamedTask(name, max_attempts=1), *arguments).result(DEADLINE_S))
            return len(pids) >= 3

        wait_until(several_have_served, "two workers were replaced")
        assert client.status()["lost_total"] == 0
        said = "is ended and replaced, as it has"
        wait_until(lambda: log_with(cluster.nodes[0], said).count(said) >= 2, "that is said of both")
        log = log_with(cluster.nodes[0])
    assert warnings_of_workers(log) == []


def test_a_task_that_takes_more_memory_than_its_worker_may_have_is_lost_with_it_and_says_so() -> None:
    with node_with("--worker-memory-limit-mib", "300") as cluster, cluster.client() as client:
        takes = client.submit(NamedTask("sample_tasks.take_memory", max_attempts=2), 400 << 20)
        other = client.submit(NamedTask("sample_tasks.worker_pid", max_attempts=1))
        with pytest.raises(
            TaskLost, match=r"lost 2 times .*the worker was killed, as it has .* of memory, and its limit is 300 MiB"
        ):
            takes.result(DEADLINE_S)
        other.result(DEADLINE_S)
        log_with(cluster.nodes[0], f"while it ran task sample_tasks.take_memory {takes.task_id.hex()}, attempt 2")
        with urlopen(f"http://{cluster.nodes[0].metrics_address}/metrics") as reply:
            assert 'paceline_worker_exits_total{cause="memory_limit"} 2.0' in reply.read().decode()


def test_a_limit_below_what_every_worker_has_is_told_once_and_starts_no_workers_without_end() -> None:
    with node_with("--worker-max-rss-mib", "5", workers=2) as cluster, cluster.client() as client:
        node = cluster.nodes[0]
        said = "a worker that has run no task is to be replaced already"
        wait_until(lambda: said in node._log_path.read_text(), "that is said")
        wait_until(spare_is_ready(cluster), "the spare is ready")
        before = {worker.pid for worker in workers_of(node.pid)}
        assert pid_of_the_worker(client) in before
        log = node._log_path.read_text()
    assert log.count(said) == 1
