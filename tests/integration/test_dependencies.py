"""Tasks that depend on tasks, with real nodes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import DEADLINE_S, wait_until
from paceline import Client, Cluster, Future
from paceline.errors import ConfigError, InputUnknown, TaskCancelled, TaskFailed, UpstreamFailed
from paceline.worker.registry import load_module

FILE = Path(__file__).with_name("dependency_tasks.py")
tasks: Any = load_module(str(FILE))
"""Under the name that nodes know it by."""
EDGES = 2_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.local(FILE, workers=2) as started:
        yield started


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as connected:
        yield connected


def graph(seed: int, edges: int) -> list[list[int]]:
    """Of each task those before it on which it depends, some twice, in an order of its own."""
    rng = random.Random(seed)
    found: list[list[int]] = []
    left = edges
    while left > 0:
        before = len(found)
        count = min(left, rng.choice((0, 1, 1, 2, 3, 8)), 3 * before)
        recent = max(0, before - 40)
        found.append([rng.randrange(recent if rng.random() < 0.8 else 0, before) for _ in range(count)])
        left -= count
    return found


def run_here(edges: list[list[int]]) -> list[int]:
    values: list[int] = []
    for number, inputs in enumerate(edges):
        values.append(tasks.mix(number, *[values[each] for each in inputs]))
    return values


def submit_graph(client: Client, edges: list[list[int]]) -> list[Future[int]]:
    futures: list[Future[int]] = []
    for number, inputs in enumerate(edges):
        given = [futures[each] for each in inputs]
        if number % 5 == 4 and len(given) >= 3 and len(given) % 2:
            pairs = [(given[at], given[at + 1]) for at in range(1, len(given), 2)]
            futures.append(client.submit(tasks.mix_nested, number, {"first": given[0], "rest": pairs}))
        else:
            futures.append(client.submit(tasks.mix_awaited if number % 7 == 3 else tasks.mix, number, *given))
    return futures


@pytest.mark.parametrize("count", [EDGES, 5 * EDGES])
def test_a_random_graph_has_the_values_of_a_run_without_a_cluster(client: Client, count: int) -> None:
    edges = graph(count, count)
    futures = submit_graph(client, edges)
    assert [future.result(4 * DEADLINE_S) for future in futures] == run_here(edges)
    wait_until(lambda: client.status()["results_kept"] == 0, "results are kept for tasks that have ended")


def test_a_leader_that_dies_in_the_midst_of_a_graph_changes_no_value() -> None:
    edges = graph(2, EDGES // 2)
    with Cluster.local(FILE, nodes=3, workers=1) as nodes, nodes.client() as client:
        futures = submit_graph(client, edges)
        futures[len(edges) // 4].result(4 * DEADLINE_S)
        leader = nodes.leader
        assert leader is not None
        leader.kill()
        assert [future.result(4 * DEADLINE_S) for future in futures] == run_here(edges)


def test_what_depends_on_a_thousand_roots_that_fail_ends_with_the_cause_of_its_own(client: Client) -> None:
    roots = [client.submit(tasks.fail, f"root {number}") for number in range(1_000)]
    leaves = [client.submit(tasks.mix, 0, client.submit(tasks.mix, 0, root)) for root in roots]
    for number, leaf in enumerate(leaves):
        error = leaf.exception(4 * DEADLINE_S)
        assert isinstance(error, UpstreamFailed)
        assert error.task_id == roots[number].task_id.hex()
        assert isinstance(error.__cause__, ValueError)
        assert str(error.__cause__) == f"root {number}"
        assert isinstance(error.__cause__.__cause__, TaskFailed)


def test_a_wide_fan_in_a_diamond_and_the_same_future_twice(client: Client) -> None:
    many = [client.submit(tasks.mix, number) for number in range(4_000)]
    assert client.submit(tasks.mix, 1, *many).result(4 * DEADLINE_S) == tasks.mix(1, *range(4_000))
    top = client.submit(tasks.mix, 5)
    left, right = client.submit(tasks.mix, 1, top), client.submit(tasks.mix, 2, top)
    joined = client.submit(tasks.mix, 3, left, right, left)
    assert joined.result(DEADLINE_S) == tasks.mix(3, tasks.mix(1, 5), tasks.mix(2, 5), tasks.mix(1, 5))


def test_one_that_waits_says_for_what_and_is_cancelled_with_what_it_waits_for(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = client.submit(tasks.wait_for.options(cancel_grace=0.1), str(gate), 1)
    second = client.submit(tasks.mix.options(after=[first]), 2)
    third = client.submit(tasks.mix, 3, second)
    wait_until(lambda: client.where_is(third)["state"] == "waiting", "it does not wait")
    assert client.where_is(third)["why"] == f"it depends on tasks that have not ended: {second.task_id.hex()}"
    assert [each.state for each in client.live_tasks().tasks if each.task_id == third.task_id] == ["delayed"]
    first.cancel()
    for future in (second, third):
        error = future.exception(DEADLINE_S)
        assert isinstance(error, UpstreamFailed)
        assert isinstance(error.__cause__, TaskCancelled)


def test_after_waits_for_success_and_allow_failed_inputs_for_any_end(client: Client, tmp_path: Path) -> None:
    trace = str(tmp_path / "trace")
    before = client.submit(tasks.note, trace, 1)
    assert client.submit(tasks.mix.options(after=[before, before.task_id.hex()]), 7).result(DEADLINE_S) == 7
    failed = client.submit(tasks.fail, "no")
    lost = client.submit(tasks.mix, 1, failed)
    values = [failed, lost, before]
    expected = ["ValueError", "UpstreamFailed", "int"]
    assert client.submit(tasks.kinds, values).result(DEADLINE_S) == expected
    assert [future.done() for future in values] == [True] * 3
    assert client.submit(tasks.kinds, values).result(DEADLINE_S) == expected, "the client has these ends itself"
    assert isinstance(client.submit(tasks.mix.options(after=[failed]), 1).exception(DEADLINE_S), UpstreamFailed)
    assert Path(trace).read_text() == "x"


def test_results_that_are_too_large_together_end_the_task_by_name() -> None:
    with Cluster.local(FILE, workers=1) as small, small.client() as client:
        limit_bytes = client._limit_bytes() or 0
        parts = [client.submit(tasks.large, limit_bytes // 2 - 500) for _ in range(3)]
        assert client.submit(tasks.size, parts[0]).result(4 * DEADLINE_S) == limit_bytes // 2 - 500
        again = [client.submit(tasks.large, limit_bytes // 2 - 500) for _ in range(3)]
        error = client.submit(tasks.size, *again).exception(4 * DEADLINE_S)
        assert isinstance(error, TaskFailed)
        assert error.error_type == "paceline.errors.InputsTooLarge"


def test_a_future_of_another_client_and_a_task_that_nobody_knows_are_refused_by_name(
    cluster: Cluster, client: Client
) -> None:
    with cluster.client() as other:
        foreign = other.submit(tasks.mix, 1)
        with pytest.raises(ConfigError, match="is of another client"):
            client.submit(tasks.mix, 2, [foreign])
        with pytest.raises(ConfigError, match="is of another client"):
            client.submit(tasks.mix.options(after=[foreign]), 2)
    error = client.submit(tasks.mix.options(after=["0f" * 16]), 1).exception(DEADLINE_S)
    assert isinstance(error, InputUnknown)


def test_a_call_by_name_and_a_map_may_depend_on_tasks_too(client: Client) -> None:
    first = client.submit("dependency_tasks.mix", 1)
    assert client.submit("dependency_tasks.mix", 2, first).result(DEADLINE_S) == tasks.mix(2, 1)
    futures = [client.submit(tasks.mix, number) for number in range(20)]
    assert list(client.map(tasks.mix, range(20), futures)) == [tasks.mix(number, number) for number in range(20)]


def test_a_call_whose_input_the_cluster_has_released_meanwhile_is_submitted_again_with_the_value(
    client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    first = client.submit(tasks.wait_for, str(gate), 5)
    calls = [client._pack(tasks.mix, (7, first), {}), client._pack(tasks.mix.options(after=[first]), (7,), {})]
    assert all(options is not None for *_, options in calls), "they name it"
    gate.touch()
    assert first.result(DEADLINE_S) == 5
    wait_until(lambda: client.where_is(first)["state"] == "ended", "its result is not released")
    found = [client._driver.submit(call).result(DEADLINE_S) for call in calls]
    assert found == [tasks.mix(7, 5), tasks.mix(7)]


def test_what_a_dead_task_was_called_with_is_shown_and_it_is_requeued_with_values_alone(
    client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    first = client.submit(tasks.wait_for, str(gate), 5)
    dead = client.submit(tasks.fail.options(keep_dead=True, confirm="committed"), first)
    gate.touch()
    assert isinstance(dead.exception(DEADLINE_S), ValueError)
    assert repr(client.dead_task(dead.task_id).args) == f"(<the result of task {first.task_id.hex()}>,)"
    refused = client.requeue(dead.task_id)[dead.task_id.hex()]
    assert (refused.state, "requeue it with args" in refused.detail) == ("refused", True)
    assert client.requeue(dead.task_id, args=["again"])[dead.task_id.hex()].state == "requeued"
