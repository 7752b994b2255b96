"""Tasks that run for longer than they may, with real nodes and workers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from integration.conftest import DEADLINE_S, TASKS, wait_until, workers_of
from paceline import Cluster, NamedTask, TaskTimedOut
from paceline.errors import TaskExpired, TaskFailed


def test_code_of_c_that_holds_the_lock_of_python_is_ended_too() -> None:
    with Cluster.local(TASKS, nodes=1, workers=1) as cluster, cluster.client() as client:
        stuck = client.submit(NamedTask("sample_tasks.hold_the_lock", time_limit=0.5))
        with pytest.raises(TaskTimedOut, match=r"longer than its time_limit of 0\.5 s") as raised:
            stuck.result(DEADLINE_S)
        assert raised.value.limit_s == 0.5
        assert client.submit("sample_tasks.square", 7).result(DEADLINE_S) == 49
        status = client.status()
        told = client.where_is(stuck)
    assert status["timed_out_total"] == 1
    assert (status["lost_total"], told["state"]) in ((0, "timed_out"), (0, "ended"))


def test_a_process_that_the_task_has_started_is_ended_with_it(one_node: Cluster, tmp_path: Path) -> None:
    started = tmp_path / "pid"
    with one_node.client() as client:
        future = client.submit(NamedTask("sample_tasks.wait_for_a_process", time_limit=1.0), str(started))
        with pytest.raises(TaskTimedOut):
            future.result(DEADLINE_S)
    pid = int(started.read_text())
    wait_until(lambda: not psutil.pid_exists(pid), "its process has ended, too")


def test_a_task_that_takes_too_long_is_tried_again(one_node: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "begun"
    asked = {"retries": 2, "jitter": False, "backoff": 0, "time_limit": 0.5}
    with one_node.client() as client:
        assert client.submit(NamedTask("sample_tasks.hang_until", **asked), str(log), 3).result(DEADLINE_S) == 3
        with pytest.raises(TaskTimedOut) as raised:
            client.submit(NamedTask("sample_tasks.hang_until", **asked), str(tmp_path / "other"), 99).result(DEADLINE_S)
    assert [attempt for attempt, _, _ in raised.value.earlier] == [1, 2]
    assert "paceline.errors.TaskTimedOut: it ran for longer than its time_limit of 0.5 s" in str(raised.value)


def test_while_tasks_with_limits_run_a_worker_stands_ready_for_the_one_that_is_killed() -> None:
    with Cluster.local(TASKS, nodes=1, workers=1) as cluster, cluster.client() as client:
        node = cluster.nodes[0]
        assert len(workers_of(node.pid)) == 1
        limited = NamedTask("sample_tasks.hold_the_lock", time_limit=5.0)
        stuck = client.submit(limited)
        wait_until(lambda: len(workers_of(node.pid)) == 2, "a spare has been started")
        spare = max(workers_of(node.pid), key=lambda worker: worker.create_time())
        with pytest.raises(TaskTimedOut):
            stuck.result(DEADLINE_S)
        assert client.submit("sample_tasks.worker_pid").result(DEADLINE_S) == spare.pid


def test_a_soft_limit_is_an_exception_that_a_client_gets(one_node: Cluster, tmp_path: Path) -> None:
    with one_node.client() as client:
        late = client.submit(NamedTask("sample_tasks.hang_until", soft_time_limit=0.2), str(tmp_path / "begun"), 99)
        with pytest.raises(TaskFailed, match=r"SoftTimeLimitExceeded: the task has run for 0.2 s") as raised:
            late.result(DEADLINE_S)
    assert raised.value.error_type == "paceline.errors.SoftTimeLimitExceeded"


def test_a_task_and_what_it_waits_for_end_by_its_deadline(tmp_path: Path) -> None:
    log = tmp_path / "begun"
    with Cluster.local(TASKS, nodes=1, workers=2) as cluster, cluster.client() as client:
        tree = client.submit(NamedTask("sample_tasks.wait_for_another", deadline=1.0, retries=3), str(log))
        with pytest.raises(TaskTimedOut, match="had not ended by its deadline, 20") as raised:
            tree.result(DEADLINE_S)
        assert raised.value.deadline
        assert client.map("sample_tasks.square", [7]).__next__() == 49
        wait_until(lambda: client.status()["timed_out_total"] == 2, "what it waited for was ended, too")
    assert log.read_text() == "begun\n", "there is no time for another attempt"


def test_what_has_not_started_by_its_deadline_is_told_so(one_node: Cluster) -> None:
    with one_node.client() as client:
        busy = [client.submit("sample_tasks.pause", 1.0, number) for number in range(4)]
        late = client.submit(NamedTask("sample_tasks.square", deadline=0.05), 7)
        with pytest.raises(TaskExpired):
            late.result(DEADLINE_S)
        for each in busy:
            each.result(DEADLINE_S)
