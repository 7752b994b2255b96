"""Calls with an idempotency_key, with real nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from integration.conftest import DEADLINE_S, wait_until
from paceline import Cluster, NamedTask
from paceline.errors import TaskFailed
from paceline_protocol.keyed import keyed_id

KEYS = 40


def record(key: int) -> NamedTask:
    return NamedTask("sample_tasks.record", idempotency_key=f"key {key}", unique_for=600)


def runs(directory: Path) -> dict[int, int]:
    found: dict[int, int] = {}
    for path in directory.iterdir():
        number = int(path.name.split(".")[0])
        found[number] = found.get(number, 0) + 1
    return found


def test_calls_with_one_key_run_once_though_their_clients_and_the_leader_die(
    three_nodes: Cluster, tmp_path: Path
) -> None:
    directory = str(tmp_path)
    with three_nodes.client() as client:
        for key in range(KEYS):
            assert client.submit(record(key), directory, key).result(DEADLINE_S) == key
    leader = three_nodes.leader
    assert leader is not None
    with three_nodes.client() as client, three_nodes.client() as other:
        again = [each.submit(record(key), directory, key) for key in range(KEYS) for each in (client, other)]
        leader.kill()
        again += [each.submit(record(key), directory, key) for key in range(KEYS) for each in (client, other)]
        assert [future.result(DEADLINE_S) for future in again] == [key for key in range(KEYS) for _ in "ab"] * 2
    assert runs(tmp_path) == dict.fromkeys(range(KEYS), 1)


def test_two_clients_that_submit_at_once_have_one_task(one_node: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = NamedTask("sample_tasks.wait_for", idempotency_key="gate")
    with one_node.client() as client, one_node.client() as other:
        futures = [each.submit(waits, str(gate)) for each in (client, other)]
        assert {future.task_id for future in futures} == {keyed_id("sample_tasks.wait_for", "gate")}
        for future in futures:
            future.accepted(DEADLINE_S)
        gate.touch()
        assert len({future.result(DEADLINE_S) for future in futures}) == 1


def test_an_error_is_told_again_too_and_another_key_runs(one_node: Cluster) -> None:
    fails = NamedTask("sample_tasks.fail", idempotency_key="k")
    with one_node.client() as client:
        errors = [client.submit(fails, kind).exception(DEADLINE_S) for kind in ("builtin", "own")]
        assert str(errors[0]) == str(errors[1])
        assert isinstance(errors[0], ValueError | TaskFailed)
        other = client.submit(NamedTask("sample_tasks.fail", idempotency_key="l"), "own")
        assert str(other.exception(DEADLINE_S)) != str(errors[0])


def test_a_key_is_free_once_its_time_is_over(one_node: Cluster, tmp_path: Path) -> None:
    task = NamedTask("sample_tasks.record", idempotency_key="short", unique_for=0.2)
    with one_node.client() as client:
        assert client.submit(task, str(tmp_path), 1).result(DEADLINE_S) == 1

        def ran_again() -> bool:
            return client.submit(task, str(tmp_path), 2).result(DEADLINE_S) == 2

        wait_until(ran_again, "the key is free")
    assert runs(tmp_path) == {1: 1, 2: 1}


def test_it_is_awaited_in_a_loop(one_node: Cluster) -> None:
    async def main() -> list[int]:
        task = NamedTask("sample_tasks.square", idempotency_key="seven")
        return await asyncio.gather(*(client.submit(task, 7) for _ in range(3)))

    with one_node.client() as client:
        client.connect()
        assert asyncio.run(main()) == [49, 49, 49]
