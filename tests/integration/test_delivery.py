"""What tasks may ask for, with real processes: workers and leaders get SIGKILL, and traces of each run are counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from integration.conftest import DEADLINE_S, wait_until, workers_of
from paceline import Cluster, NamedTask
from paceline.errors import TaskLost

TASKS = 200


def starts(directory: Path) -> Counter[int]:
    return Counter(int(path.name.split(".")[0]) for path in directory.iterdir())


def test_tasks_that_may_start_once_never_run_twice_when_workers_and_the_leader_are_killed(
    three_nodes: Cluster, tmp_path: Path
) -> None:
    leader = three_nodes.leader
    assert leader is not None
    follower = next(node for node in three_nodes.nodes if node is not leader)
    once = NamedTask("sample_tasks.record_slowly", delivery="at_most_once")
    with three_nodes.client() as client:
        futures = [client.submit(once, str(tmp_path), number) for number in range(TASKS)]
        futures[TASKS // 10].exception(DEADLINE_S)
        for worker in workers_of(follower.pid):
            worker.kill()
        futures[TASKS // 4].exception(DEADLINE_S)
        leader.kill()
        errors = [future.exception(DEADLINE_S) for future in futures]
    lost = [number for number, error in enumerate(errors) if error is not None]
    assert all(isinstance(errors[number], TaskLost) for number in lost)
    assert 0 < len(lost) < TASKS // 2, "what ran was lost, and what waited was not"
    started = starts(tmp_path)
    assert set(started.values()) == {1}
    assert set(range(TASKS)) - set(started) <= set(lost)


def test_a_task_that_is_not_logged_survives_the_leader_with_its_client(three_nodes: Cluster, tmp_path: Path) -> None:
    leader = three_nodes.leader
    assert leader is not None
    unlogged = NamedTask("sample_tasks.record_slowly", durability="none")
    with three_nodes.client() as client:
        futures = [client.submit(unlogged, str(tmp_path), number) for number in range(TASKS)]
        futures[-1].accepted(DEADLINE_S)
        futures[TASKS // 10].result(DEADLINE_S)
        assert client.status()["accepted_total"] == 0
        leader.kill()
        assert [future.result(DEADLINE_S) for future in futures] == list(range(TASKS))
        assert client.status()["accepted_total"] == 0


def test_a_result_that_is_confirmed_when_committed_is_known_to_the_next_leader(
    three_nodes: Cluster, tmp_path: Path
) -> None:
    leader = three_nodes.leader
    assert leader is not None
    confirmed = NamedTask("sample_tasks.record", confirm="committed")
    with three_nodes.client() as client:
        for number in range(20):
            assert client.submit(confirmed, str(tmp_path), number).result(DEADLINE_S) == number
        leader.kill()
        wait_until(lambda: client.status()["leader_id"] not in ("", leader.id), "another leads")
        # A follower that answers may not have heard yet that the last one is committed.
        wait_until(lambda: client.status()["recorded_total"] == 20, "it knows all that was committed")
    assert set(starts(tmp_path).values()) == {1}, "the next leader knew of every result, and had nothing to run again"
