"""The executor: what others do with one of concurrent.futures, on a cluster."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import threading
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from paceline import Executor
from paceline.client import Client
from paceline.errors import ConfigError
from paceline_protocol.errors import MalformedPayload
from paceline_protocol.messages.client import Cancel
from paceline_protocol.messages.records import TaskEnd


@pytest.fixture
def executor(client: Client) -> Iterator[Executor]:
    with Executor(client) as executor:
        yield executor


def test_it_is_an_executor_whose_futures_are_those_of_concurrent_futures(executor: Executor) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    future = executor.submit("add", 2, b=3)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(DEADLINE_S) == 5
    assert len(future.task.task_id) == 16
    failed = executor.submit("fail", "mine")
    assert isinstance(failed.exception(DEADLINE_S), ValueError)
    with pytest.raises(ValueError, match="mine"):
        failed.result()


def test_functions_that_wait_for_futures_of_concurrent_futures_wait_for_these(
    node: FakeNode, executor: Executor
) -> None:
    node.hold = True
    futures = [executor.submit("echo", number) for number in range(3)]
    node.wait_for(lambda: len(node._held) == 3)
    node.release(1)
    done, not_done = concurrent.futures.wait(futures, DEADLINE_S, concurrent.futures.FIRST_COMPLETED)
    assert (done, not_done) == ({futures[0]}, {*futures[1:]})
    node.release()
    assert {each.result() for each in concurrent.futures.as_completed(futures, DEADLINE_S)} == {0, 1, 2}


def test_asyncio_wraps_them_and_runs_tasks_in_the_executor(node: FakeNode, executor: Executor) -> None:
    async def main() -> None:
        assert await asyncio.wrap_future(executor.submit("echo", 1)) == 1
        assert await asyncio.get_running_loop().run_in_executor(executor, "echo", 2) == 2  # type: ignore[arg-type]
        node.hold = True
        waits = asyncio.wrap_future(executor.submit("echo", 3))
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits

    asyncio.run(main())
    node.wait_for(lambda: node.count(Cancel) == 1)
    node.release()


def test_map_submits_all_at_once_and_keeps_the_order(node: FakeNode, executor: Executor) -> None:
    assert list(executor.map("add", range(200), range(200), chunksize=7)) == [2 * number for number in range(200)]
    node.hold = True
    results = executor.map("echo", range(3))
    node.wait_for(lambda: len(node._held) == 3)
    node.release()
    assert list(results) == [0, 1, 2]


def test_map_with_a_buffer_reads_its_arguments_as_results_are_taken(executor: Executor) -> None:
    read = itertools.count()
    results = executor.map("echo", read, buffersize=5)
    assert [next(results) for _ in range(20)] == list(range(20))
    assert next(read) <= 26
    results.close()  # type: ignore[attr-defined]


def test_map_raises_in_its_place_and_cancels_the_rest(node: FakeNode, executor: Executor) -> None:
    results = executor.map("add", [1, "two"], [1, 2])
    assert next(results) == 2
    with pytest.raises(TypeError):
        next(results)
    node.hold = True
    late = executor.map("echo", range(3), timeout=0.05)
    with pytest.raises(TimeoutError):
        next(late)
    node.wait_for(lambda: sum(len(each.ids) for each in node.received if isinstance(each, Cancel)) == 3)
    node.release()


def test_a_result_that_was_taken_is_kept_by_nobody(executor: Executor) -> None:
    for result in executor.map("echo", [{number} for number in range(10)]):
        seen = weakref.ref(result)
        del result
        gc.collect()
        assert seen() is None


def test_a_cancelled_future_says_so_in_the_way_of_concurrent_futures(node: FakeNode, executor: Executor) -> None:
    node.hold = True
    future = executor.submit("echo", 1)
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    node.wait_for(lambda: len(node._held) == 1)
    assert future.cancel()
    assert future.cancelled()
    assert called.wait(DEADLINE_S)
    with pytest.raises(CancelledError):
        future.result()
    assert concurrent.futures.wait([future], DEADLINE_S).done == {future}
    node.release()
    finished = executor.submit("echo", 1)
    assert finished.result(DEADLINE_S) == 1
    assert not finished.cancel()


def test_an_end_that_can_not_be_read_is_an_end_too(node: FakeNode, executor: Executor) -> None:
    node.hold = True
    future = executor.submit("echo", 1)
    node.wait_for(lambda: len(node._held) == 1)
    node.end(future.task.task_id, TaskEnd.LOST, b"")
    assert isinstance(future.exception(DEADLINE_S), MalformedPayload)  # nothing was in it
    node.release()


def test_shut_down_it_takes_no_more_and_waits_for_what_it_has(node: FakeNode, client: Client) -> None:
    node.hold = True
    executor = Executor(client)
    future = executor.submit("echo", 1)
    node.wait_for(lambda: len(node._held) == 1)
    executor.shutdown(wait=False)
    assert not future.done()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit("echo", 2)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map("echo", [2])
    node.release()
    executor.shutdown()
    assert future.done()
    assert client.submit("echo", 3).result(DEADLINE_S) == 3, "it does not close what is not its own"


def test_shut_down_it_cancels_what_has_not_ended_on_request(node: FakeNode, client: Client) -> None:
    node.hold = True
    executor = Executor(client)
    futures = [executor.submit("echo", number) for number in range(3)]
    node.wait_for(lambda: len(node._held) == 3)
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)


@pytest.mark.parametrize("waits", [True, False])
def test_a_client_of_its_own_is_closed_once_all_has_ended(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setenv("PACELINE_CONNECT", node.address)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        executor = Executor()
        future = executor.submit("echo", 1)
        executor.shutdown(wait=waits)
        assert future.result(DEADLINE_S) == 1
        lifetime = executor._client._driver.lifetime
        deadline = threading.Event()
        for _ in range(1_000):
            if lifetime.has_ended:
                break
            deadline.wait(0.01)
        assert lifetime.has_ended


def test_a_future_whose_submit_was_interrupted_keeps_no_shutdown_waiting(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(*_: object) -> None:
        raise KeyboardInterrupt

    executor = Executor(client)
    with monkeypatch.context() as patched:
        patched.setattr(type(client._driver), "add_done_callback", struck)
        with pytest.raises(KeyboardInterrupt):
            executor.submit("echo", 1)
    executor.shutdown()


def test_what_can_not_be_used_is_refused(executor: Executor) -> None:
    with pytest.raises(TypeError, match=r"decorate it with @paceline\.task"):
        executor.submit(len, [1])
    with pytest.raises(ConfigError, match=r"paceline\.Client"):
        Executor("localhost")  # type: ignore[arg-type]
    for wrong in ({"chunksize": 0}, {"buffersize": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            executor.map("echo", [1], **wrong)
