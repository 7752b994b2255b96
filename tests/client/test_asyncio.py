"""Futures in asyncio, and tasks that nobody wants any more: they are cancelled, and nothing waits for that."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from client.session_rig import Rig, call, task_id, welcome
from paceline.client import Client, Future
from paceline.client.mapping import Mapped
from paceline.errors import TaskCancelled
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.client import Cancel, CancelReply, CancelState, Update
from paceline_protocol.messages.records import TaskEnd


def cancelled_ids(node: FakeNode) -> set[bytes]:
    return {task_id for message in node.received if isinstance(message, Cancel) for task_id in message.ids}


def held(node: FakeNode, client: Client) -> Future[int]:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    return future


def test_an_await_that_times_out_cancels_its_task_at_the_cluster(node: FakeNode, client: Client) -> None:
    future = held(node, client)
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(future, 0.01))  # type: ignore[arg-type]
    node.wait_for(lambda: future.task_id in cancelled_ids(node))
    with pytest.raises(TaskCancelled):
        future.result(DEADLINE_S)
    assert client._driver.resolver.eager == 0


def test_a_cancelled_await_cancels_its_task_and_a_shielded_one_does_not(node: FakeNode, client: Client) -> None:
    future, kept = held(node, client), held(node, client)

    async def await_all() -> None:
        await asyncio.gather(future, asyncio.shield(kept))

    async def main() -> None:
        awaiting = asyncio.create_task(await_all())
        while client._driver.resolver.eager < 2:  # both awaits have begun
            await asyncio.sleep(0)
        awaiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaiting
        with pytest.raises(TaskCancelled):
            await future
        node.release()
        assert await kept == 1

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    assert cancelled_ids(node) == {future.task_id}


def test_cancel_in_an_event_loop_asks_and_does_not_wait(node: FakeNode, client: Client) -> None:
    future = held(node, client)

    async def main() -> None:
        with client._driver.turns.lock:  # which another thread may have for a while
            assert not future.cancel()
        with pytest.raises(TaskCancelled):
            await future
        assert future.cancel()

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_asyncio_waits_for_futures_in_every_way_that_it_has(client: Client) -> None:
    async def main() -> None:
        futures = [client.submit("add", number) for number in range(20)]
        done, pending = await asyncio.wait(futures)  # type: ignore[type-var]
        assert (done, pending) == (set(futures), set())
        futures = [client.submit("add", number) for number in range(20)]
        assert await asyncio.gather(*futures) == list(range(20))
        futures = [client.submit("add", number) for number in range(20)]
        assert sorted([await each for each in asyncio.as_completed(futures)]) == list(range(20))
        assert await asyncio.ensure_future(client.submit("add", 1)) == 1
        failing = client.submit("fail", "no")
        done, _ = await asyncio.wait([failing], return_when=asyncio.FIRST_EXCEPTION)  # type: ignore[type-var]
        assert isinstance(done.pop().exception(), ValueError)

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_asyncio_wait_returns_what_is_pending_and_leaves_no_callback_behind(node: FakeNode, client: Client) -> None:
    future = held(node, client)

    async def main() -> None:
        done, pending = await asyncio.wait([future], timeout=0.01)  # type: ignore[type-var]
        assert (done, pending) == (set(), {future})

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    assert client._driver.resolver.eager == 0
    node.release()
    assert future.result(DEADLINE_S) == 1
    assert cancelled_ids(node) == set()


def test_a_callback_that_is_added_in_an_event_loop_runs_in_that_loop(node: FakeNode, client: Client) -> None:
    future = held(node, client)
    threads: list[threading.Thread] = []

    async def main() -> None:
        called = asyncio.Event()

        def callback(_: Future[int]) -> None:
            threads.append(threading.current_thread())
            called.set()

        future.add_done_callback(callback)
        node.release()
        await called.wait()
        called.clear()
        future.add_done_callback(callback)
        await called.wait()

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    assert threads == [threading.main_thread()] * 2


def test_a_callback_whose_loop_is_closed_runs_all_the_same(node: FakeNode, client: Client) -> None:
    future = held(node, client)
    called = threading.Event()

    async def main() -> None:
        future.add_done_callback(lambda _: called.set())

    asyncio.run(main())
    node.release()
    assert called.wait(DEADLINE_S)


def test_a_callback_that_was_removed_is_not_called(node: FakeNode, client: Client) -> None:
    future = held(node, client)
    calls: list[str] = []
    removed = calls.append
    future.add_done_callback(lambda _: calls.append("kept"))
    future.add_done_callback(removed)  # type: ignore[arg-type]
    assert future.remove_done_callback(removed) == 1  # type: ignore[arg-type]
    assert future.remove_done_callback(removed) == 0  # type: ignore[arg-type]
    node.release()
    future.result(DEADLINE_S)
    client._driver.wait_until(lambda: calls, DEADLINE_S)
    assert calls == ["kept"]


def test_what_asyncio_and_concurrent_futures_can_not_do_with_a_future_is_refused_at_once(client: Client) -> None:
    future = client.submit("add", 1)

    async def main() -> None:
        with pytest.raises(TypeError, match="coroutine"):
            await asyncio.create_task(future)  # type: ignore[arg-type]

    asyncio.run(main())
    with pytest.raises(TypeError, match=r"client\.as_completed"):
        concurrent.futures.wait([future])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"client\.as_completed"):
        next(concurrent.futures.as_completed([future]))  # type: ignore[list-item]


# --- what nobody wants any more --------------------------------------------------------------------------------------


def under_way(node: FakeNode, client: Client) -> Mapped[int]:
    """A map of which one result was taken and others are held."""
    results = client.map("echo", range(200), window=100)
    assert next(results) == 0
    client._driver.wait_until(lambda: not client._session.ledger.tasks, DEADLINE_S)
    node.hold = True
    for _ in range(15):  # of the 64 that the first batch had; then half a window of others is submitted
        next(results)
    return results


def test_an_iterator_that_is_collected_in_a_thread_that_has_the_lock_cancels_and_waits_for_nothing(
    node: FakeNode, client: Client
) -> None:
    results = under_way(node, client)
    waiting = set(client._session.ledger.tasks)
    assert waiting
    cycle: list[object] = [results]
    cycle.append(cycle)
    del results
    with client._driver.turns.lock:
        del cycle
        collector = threading.Thread(target=gc.collect, daemon=True)
        collector.start()  # another thread: it, too, meets a lock that it can't have
        collector.join(DEADLINE_S)
        assert not collector.is_alive()
    node.wait_for(lambda: waiting <= cancelled_ids(node))


def test_close_waits_until_the_cluster_has_heard_of_what_was_abandoned(node: FakeNode) -> None:
    with Client(node.address) as client:
        results = under_way(node, client)
        waiting = set(client._session.ledger.tasks)
        results.close()
    assert waiting
    assert waiting <= cancelled_ids(node)


def test_what_is_abandoned_while_nobody_leads_is_cancelled_by_the_next_leader() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    rig.submit(1, 2)
    rig.session.lost("a:1", rig.now)
    rig.session.abandon([task_id(1), task_id(9)], rig.now)
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    [cancel] = [message for _, message in rig.sent() if isinstance(message, Cancel)]
    assert cancel.ids == (task_id(1),)  # the other is of nobody here
    rig.hear("b:1", CancelReply(cancel.request, ((task_id(1), int(CancelState.CANCELLED)),)))
    rig.hear("b:1", Update(1, (), (), ((task_id(1), int(TaskEnd.CANCELLED), b""),)))
    assert not rig.session.requests
    assert not rig.session.requests.replies
    assert list(rig.session.ledger.tasks) == [task_id(2)]


def test_however_many_tasks_are_abandoned_at_once_each_is_cancelled() -> None:
    rig = Rig()
    rig.attach()
    count = 2 * MAX_REQUEST_TASKS + 1
    for number in range(count):
        rig.session.submit(call(number), rig.now)
    rig.session.abandon([task_id(number) for number in range(count)], rig.now)
    cancels = [message for _, message in rig.sent() if isinstance(message, Cancel)]
    assert [len(cancel.ids) for cancel in cancels] == [MAX_REQUEST_TASKS, MAX_REQUEST_TASKS, 1]


def test_what_is_abandoned_one_by_one_in_the_meantime_is_cancelled_together(node: FakeNode, client: Client) -> None:
    node.hold = True
    futures = [client.submit("echo", number) for number in range(MAX_REQUEST_TASKS + 1)]
    futures[-1].accepted(DEADLINE_S)
    with client._driver.turns.lock:
        for future in futures:
            client._driver.abandon((future,))
    node.wait_for(lambda: {future.task_id for future in futures} <= cancelled_ids(node))
    assert node.count(Cancel) == 2
