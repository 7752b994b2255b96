"""Tasks that are tried again after they have failed, with real nodes, whose leader is killed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, wait_until
from paceline import Cluster, NamedTask
from paceline.errors import TaskCancelled, TaskFailed

STEADY = {"jitter": False, "backoff": 0.2}


def begun(path: Path) -> list[float]:
    """When each attempt was, by the clock of this machine."""
    return [float(line) for line in path.read_text().splitlines()]


def failures_before(error: Exception | None) -> int:
    """How many attempts had failed before the last one."""
    assert isinstance(error, ConnectionError)
    assert isinstance(error.__cause__, TaskFailed)
    return len(error.__cause__.earlier)


def test_a_task_is_tried_again_until_it_succeeds_and_each_wait_is_twice_as_long(
    one_node: Cluster, tmp_path: Path
) -> None:
    log = tmp_path / "begun"
    with one_node.client() as client:
        flaky = NamedTask("sample_tasks.fail_until", retries=3, **STEADY)
        assert client.submit(flaky, str(log), 4).result(DEADLINE_S) == 4
    first, second, third, fourth = begun(log)
    assert (second - first >= 0.2, third - second >= 0.4, fourth - third >= 0.8) == (True, True, True)


def test_a_task_that_fails_for_good_raises_its_last_error_with_those_before(one_node: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "begun"
    with one_node.client() as client:
        flaky = NamedTask("sample_tasks.fail_until", retries=2, jitter=False, backoff=0)
        with pytest.raises(ConnectionError, match="attempt 3 of 99") as raised:
            client.submit(flaky, str(log), 99).result(DEADLINE_S)
    failed = raised.value.__cause__
    assert isinstance(failed, TaskFailed)
    assert [(attempt, summary) for attempt, _, summary in failed.earlier] == [
        (1, "ConnectionError: attempt 1 of 99"),
        (2, "ConnectionError: attempt 2 of 99"),
    ]
    assert ": ConnectionError: attempt 2 of 99" in str(failed)
    assert len(begun(log)) == 3


def test_what_the_task_does_not_name_is_not_tried_again(one_node: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "begun"
    with one_node.client() as client:
        flaky = NamedTask("sample_tasks.fail_until", retries=5, retry_on=(ValueError, "TimeoutError"))
        with pytest.raises(ConnectionError):
            client.submit(flaky, str(log), 99).result(DEADLINE_S)
    assert len(begun(log)) == 1


def test_a_retry_that_waits_is_told_of_and_can_be_cancelled(one_node: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "begun"
    with one_node.client() as client:
        future = client.submit(NamedTask("sample_tasks.fail_until", retries=5, jitter=False, backoff=300), str(log), 99)
        wait_until(lambda: client.where_is(future)["failed_attempts"] == 1, "its first attempt has failed")
        told = client.where_is(future)
        assert told["why"].startswith("attempt 1 failed (ConnectionError: attempt 1 of 99); it is tried again at ")
        assert future.cancel(DEADLINE_S)
        with pytest.raises(TaskCancelled):
            future.result(DEADLINE_S)
    assert len(begun(log)) == 1


def test_failures_outlive_the_leader_and_none_is_forgotten(three_nodes: Cluster, tmp_path: Path) -> None:
    logs = [tmp_path / str(number) for number in range(20)]
    with three_nodes.client() as client:
        flaky = NamedTask("sample_tasks.fail_until", retries=3, jitter=False, backoff=1.0)
        futures = [client.submit(flaky, str(log), 99) for log in logs]
        wait_until(lambda: all(client.where_is(each)["failed_attempts"] == 1 for each in futures), "each has failed")
        leader = three_nodes.leader
        assert leader is not None
        leader.kill()
        failed = [future.exception(DEADLINE_S) for future in futures]
    assert [failures_before(error) for error in failed] == [3] * len(logs)
    for log in logs:
        first, second, *others = begun(log)
        assert second - first >= 1.0
        assert len(others) >= 2, "of which one may have been lost with the leader's node"


def test_failures_are_there_after_a_restart_of_all(tmp_path: Path) -> None:
    log = tmp_path / "begun"
    with Cluster.local(TASKS, nodes=1, workers=1, journal="fsync") as cluster, cluster.client() as client:
        future = client.submit(NamedTask("sample_tasks.fail_until", retries=1, jitter=False, backoff=1.0), str(log), 99)
        wait_until(lambda: client.where_is(future)["failed_attempts"] == 1, "its first attempt has failed")
        cluster.nodes[0].kill()
        cluster.nodes[0].restart()
        assert failures_before(future.exception(DEADLINE_S)) == 1
    assert len(begun(log)) >= 2
