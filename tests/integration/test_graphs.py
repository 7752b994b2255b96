"""Small graphs that are submitted in one go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import DEADLINE_S
from paceline import Client, Cluster
from paceline.errors import ConfigError, UpstreamFailed
from paceline.graphs import chain, chord, group, map_reduce, step
from paceline.worker.registry import load_module
from paceline_protocol.errors import UnserializableValue

FILE = Path(__file__).with_name("dependency_tasks.py")
tasks: Any = load_module(str(FILE))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Cluster.local(FILE, workers=2) as cluster, cluster.client() as connected:
        yield connected


def test_a_chain_calls_each_with_the_result_of_the_one_before_it(client: Client) -> None:
    assert chain(client, step(tasks.mix, 1, 2)).result(DEADLINE_S) == tasks.mix(1, 2)
    found = chain(client, step(tasks.mix, 1, 2), step(tasks.mix, 3), tasks.mix).result(DEADLINE_S)
    assert found == tasks.mix(tasks.mix(tasks.mix(1, 2), 3))
    failed = chain(client, step(tasks.fail, "no"), step(tasks.mix, 3), tasks.mix)
    assert isinstance(failed.exception(DEADLINE_S), UpstreamFailed)


def test_a_group_has_a_future_for_each_and_a_chord_is_called_with_all_results(client: Client) -> None:
    steps = [step(tasks.mix, number) for number in range(1_000)]
    assert [future.result(DEADLINE_S) for future in group(client, steps)] == list(range(1_000))
    assert chord(client, steps[:5], step(tasks.total, 7)).result(DEADLINE_S) == 7 + sum(range(5))


@pytest.mark.parametrize(("count", "fan_in"), [(1, 2), (2, 2), (9, 2), (1_000, 7), (300, 64)])
def test_map_reduce_makes_one_of_all(client: Client, count: int, fan_in: int) -> None:
    found = map_reduce(client, tasks.mix, range(count), tasks.total, fan_in=fan_in).result(2 * DEADLINE_S)
    assert found == sum(range(count))


def test_nothing_is_submitted_if_one_call_can_not_be(client: Client) -> None:
    committed = tasks.mix.options(confirm="committed")
    client.submit(committed, 1).result(DEADLINE_S)
    before = client.status()["accepted_total"]
    with pytest.raises(UnserializableValue):
        group(client, [step(tasks.mix, 1), step(tasks.mix, object())])
    with pytest.raises(ConfigError, match="at least one step"):
        chain(client)
    with pytest.raises(ConfigError, match="at least one item"):
        map_reduce(client, tasks.mix, [], tasks.total)
    with pytest.raises(ConfigError, match="a whole number from 2"):
        map_reduce(client, tasks.mix, [1], tasks.total, fan_in=1)
    assert client.submit(committed, 1).result(DEADLINE_S) == 1
    assert client.status()["accepted_total"] == before + 1


def test_calls_with_one_key_in_a_group_are_one_task(client: Client) -> None:
    keyed = tasks.mix.options(idempotency_key="one of a group")
    first, second = group(client, [step(keyed, 1), step(keyed, 2)])
    assert first.task_id == second.task_id
    assert first.result(DEADLINE_S) == second.result(DEADLINE_S) == 1
