"""Tasks that are cancelled while they run, with real nodes and workers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from integration.conftest import DEADLINE_S, wait_until, workers_of
from paceline import Client, Cluster, Future, NamedTask, TaskCancelled
from paceline.errors import RequestRefused

TASKS = Path(__file__).with_name("cancel_tasks.py")


@pytest.fixture(scope="module")
def one_node() -> Iterator[Cluster]:
    with Cluster.local(TASKS, nodes=1, workers=2) as cluster:
        yield cluster


def begun(client: Client, name: str, path: Path, **options: object) -> Future[object]:
    """A task of this name that runs."""
    future = client.submit(NamedTask(f"cancel_tasks.{name}", **options), str(path))  # type: ignore[arg-type]
    wait_until(path.exists, f"{name} has begun")
    return future


def test_an_async_task_gets_a_cancelled_error_at_its_await(one_node: Cluster, tmp_path: Path) -> None:
    with one_node.client() as client:
        future = begun(client, "await_for_ever", tmp_path / "begun")
        assert future.cancel(DEADLINE_S)
        assert future.cancelled()
        with pytest.raises(TaskCancelled, match="it stopped when it was asked to") as raised:
            future.result(DEADLINE_S)
    assert raised.value.began


def test_a_task_can_look_whether_it_is_asked_to_stop_and_what_it_returns_counts(
    one_node: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "begun"
    with one_node.client() as client:
        future = begun(client, "look_until_cancelled", path)
        assert client.cancel_tasks([future]) == {future.task_id.hex(): "stopping"}
        assert future.result(DEADLINE_S) == "in part"
        assert not future.cancel()
    assert path.read_text() == f"{future.task_id.hex()} 1 cancel_tasks.look_until_cancelled"


def test_a_task_that_asks_for_it_is_interrupted(one_node: Cluster, tmp_path: Path) -> None:
    with one_node.client() as client:
        assert begun(client, "sleep_for_ever", tmp_path / "begun", cancel_raises=True).cancel(DEADLINE_S)
        assert client.submit("cancel_tasks.square", 7).result(DEADLINE_S) == 49


def test_what_does_not_stop_runs_on_and_is_killed_after_its_grace(tmp_path: Path) -> None:
    with Cluster.local(TASKS, nodes=1, workers=1) as cluster, cluster.client() as client:
        lasts = begun(client, "wait_for_another", tmp_path / "gate")
        assert not lasts.cancel(0.3), "it does not look, and asks for nothing"
        told = client.where_is(lasts)
        assert (told["cancel_asked"], told["stopping"]) == (True, True)
        assert "somebody wants it cancelled since" in told["why"]
        (tmp_path / "gate.open").touch()
        assert lasts.result(DEADLINE_S)
        (before,) = workers_of(cluster.nodes[0].pid)
        future = begun(client, "sleep_for_ever", tmp_path / "begun", cancel_grace=0.2)
        assert future.cancel(DEADLINE_S)
        with pytest.raises(TaskCancelled, match=r"killed, as it has not stopped 0\.2 s after it was asked to"):
            future.result(DEADLINE_S)
        assert client.submit("cancel_tasks.square", 7).result(DEADLINE_S) == 49
        wait_until(lambda: not psutil.pid_exists(before.pid), "its worker is gone")
        assert client.status()["lost_total"] == 0


@pytest.mark.parametrize("name", ["fail_once_cancelled", "crash_once_cancelled"])
def test_what_fails_as_it_is_asked_to_stop_is_not_tried_again(one_node: Cluster, tmp_path: Path, name: str) -> None:
    path = tmp_path / "begun"
    with one_node.client() as client:
        future = begun(client, name, path, cancel_raises=True, retries=3, backoff=0)
        future.cancel(DEADLINE_S)
        error = OSError if name.startswith("fail") else TaskCancelled
        with pytest.raises(error):
            future.result(DEADLINE_S)
        assert client.submit("cancel_tasks.square", 7).result(DEADLINE_S) == 49
    assert path.read_text() == "begun\n"


def test_an_await_that_times_out_stops_its_task(one_node: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "begun"

    async def main(client: Client) -> None:
        future = client.submit("cancel_tasks.await_for_ever", str(path))
        while not path.exists():
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        with pytest.raises(TaskCancelled):
            await future

    with one_node.client() as client:
        asyncio.run(asyncio.wait_for(main(client), DEADLINE_S))


def test_tasks_are_cancelled_by_name_and_state(one_node: Cluster, tmp_path: Path) -> None:
    with one_node.client() as client, one_node.client() as operator:
        names = [tmp_path / f"begun{number}" for number in range(2)]
        runs = [begun(client, "sleep_for_ever", name, cancel_raises=True) for name in names]
        waits = [client.submit("cancel_tasks.square", number) for number in range(600)]
        late = [client.submit(NamedTask("cancel_tasks.square", delay=3600), number) for number in range(600)]
        others = [client.submit(NamedTask("cancel_tasks.fail_once_cancelled", delay=3600), "x") for _ in range(20)]
        assert all(future.accepted(DEADLINE_S) is None for future in [*waits, *late, *others])
        counts = operator.cancel_where("*.square", state="delayed")
        assert counts == {"cancelled": 600, "stopping": 0, "running": 0, "ended": 0}
        assert all(isinstance(future.exception(DEADLINE_S), TaskCancelled) for future in late)
        counts = operator.cancel_where("cancel_tasks.sq*", state=("waiting", "running"))
        assert (counts["cancelled"], sum(counts.values())) == (600, 600)
        assert not any(future.done() for future in [*runs, *others])
        assert operator.cancel_where("cancel_tasks.sl*", state="running")["stopping"] == 2
        assert all(isinstance(future.exception(DEADLINE_S), TaskCancelled) for future in [*waits, *runs])
        assert operator.cancel_where(all_names=True)["cancelled"] == len(others)
        assert client.submit("cancel_tasks.square", 7).result(DEADLINE_S) == 49


def test_if_the_leader_dies_while_many_are_cancelled_what_was_stays_so_and_the_rest_is_by_asking_again() -> None:
    with Cluster.local(TASKS, nodes=3, workers=1) as cluster, cluster.client() as client, cluster.client() as operator:
        futures = [client.submit(NamedTask("cancel_tasks.square", delay=3600), number) for number in range(10_000)]
        assert all(future.accepted(DEADLINE_S) is None for future in futures)
        told: list[Exception] = []

        def cancel() -> None:
            try:
                operator.cancel_where("*.square")
            except RequestRefused as error:
                told.append(error)

        cancelling = threading.Thread(target=cancel)
        cancelling.start()
        wait_until(futures[0].done, "some are cancelled")
        struck = [future for future in futures if future.done()]
        cluster.leader.kill()
        cancelling.join(DEADLINE_S)
        assert len(struck) < len(futures)
        assert ["until then: " in str(error) for error in told] == [True]
        left = operator.cancel_where("*.square")["cancelled"]
        assert 0 < left <= len(futures) - len(struck)
        assert all(isinstance(future.exception(DEADLINE_S), TaskCancelled) for future in futures)
