"""One client in many threads: who waits, who reads, where callbacks run, and `await`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from client.fake_node import DEADLINE_S, FakeNode, wait_until
from paceline.client import Client, Future
from paceline.client.driver import background, driver, turns
from paceline.errors import NoLeader
from paceline_protocol.messages.client import Submit, TaskRequest


def test_threads_share_a_client(client: Client) -> None:
    def work(base: int) -> list[int]:
        return [client.submit("add", base, number).result(DEADLINE_S) for number in range(100)]

    with ThreadPoolExecutor(8) as pool:
        for base, results in zip(range(8), pool.map(work, range(8)), strict=True):
            assert results == [base + number for number in range(100)]


def test_two_threads_wait_and_each_gets_its_own(node: FakeNode, client: Client) -> None:
    node.hold = True
    futures = [client.submit("echo", number) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        # The first to wait drives; the second must take over, and the other way round.
        for future in (futures[0], futures[1]):
            future.accepted(DEADLINE_S)
        results = [pool.submit(future.result, DEADLINE_S) for future in futures]
        node.release(1)
        assert results[0].result(DEADLINE_S) == 0
        node.release()
        assert results[1].result(DEADLINE_S) == 1


def test_many_threads_wait_for_one_future(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("echo", "x")
    future.accepted(DEADLINE_S)
    with ThreadPoolExecutor(6) as pool:
        results = [pool.submit(future.result, DEADLINE_S) for _ in range(6)]
        node.release()
        assert [result.result(DEADLINE_S) for result in results] == ["x"] * 6


def test_one_thread_submits_while_another_waits(node: FakeNode, client: Client) -> None:
    node.hold = True
    held = client.submit("echo", "held")
    held.accepted(DEADLINE_S)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(held.result, DEADLINE_S)
        later = client.submit("echo", "later")
        later.accepted(DEADLINE_S)
        node.release()
        assert later.result(DEADLINE_S) == "later"
        assert waiting.result(DEADLINE_S) == "held"


def test_calls_that_come_one_by_one_leave_one_by_one_though_nobody_waits_for_a_result(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((turns, "TICK_S"), (background, "TICK_S"), (background, "IDLE_TICK_S")):
        monkeypatch.setattr(module, name, 3_600.0)  # so that no other thread reads the answers
    monkeypatch.setattr(driver, "PILE_S", 0.0)
    with Client(node.address) as alone, Client(node.address) as other:
        for number in range(100):
            alone.submit("echo", number)
            other.submit("echo", number).result(DEADLINE_S)  # the node has answered all that it got before
    assert node.count(Submit) > 150  # of both


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Python leaves SIGINT alone where it was ignored before, as for what a shell starts in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_the_wait_and_the_client_goes_on(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        wait_until(lambda: client._driver.turns.asleep)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        future.result(DEADLINE_S)
    interrupter.join(DEADLINE_S)
    node.release()
    assert future.result(DEADLINE_S) == 1


# --- callbacks and await ---------------------------------------------------------------------------------------------


def test_callbacks_run_although_nobody_waits(client: Client) -> None:
    called = threading.Event()
    seen: list[Future[int]] = []

    def callback(future: Future[int]) -> None:
        seen.append(future)
        called.set()

    future = client.submit("add", 1)
    future.add_done_callback(callback)
    assert called.wait(DEADLINE_S)
    assert seen == [future]
    future.add_done_callback(callback)
    assert seen == [future, future]


def test_a_callback_may_wait_for_another_task(client: Client) -> None:
    results: list[int] = []
    called = threading.Event()

    def callback(future: Future[int]) -> None:
        results.append(client.submit("add", future.result(), 10).result(DEADLINE_S))
        called.set()

    future = client.submit("add", 1)
    future.add_done_callback(callback)
    assert future.result(DEADLINE_S) == 1
    assert called.wait(DEADLINE_S)
    assert results == [11]


def test_a_callback_that_raises_is_logged_and_the_others_run(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    called = threading.Event()
    future = client.submit("add", 1)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(DEADLINE_S)
    assert "ZeroDivisionError" in caplog.text


def test_futures_can_be_awaited(client: Client) -> None:
    async def main() -> list[int]:
        futures = [client.submit("add", number, 1) for number in range(50)]
        return [await future for future in futures]

    assert asyncio.run(asyncio.wait_for(main(), DEADLINE_S)) == list(range(1, 51))


def test_awaiting_raises_what_the_task_raised(client: Client) -> None:
    async def main() -> None:
        await client.submit("fail", "inside")

    with pytest.raises(ValueError, match="inside"):
        asyncio.run(main())


def test_why_a_search_was_given_up_is_told_though_another_began_before_who_waited_woke(
    node: FakeNode, client: Client
) -> None:
    node.accepts = False
    turns, session = client._driver.turns, client._session

    def give_up_and_search_anew(now: float) -> None:
        session.fail(NoLeader(1.0, "the first search"))
        session.connect(now)
        turns.flush(now)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.where_is, "00" * 16, DEADLINE_S)
        node.wait_for(lambda: node.count(TaskRequest))
        turns.change(give_up_and_search_anew)
        with pytest.raises(NoLeader, match="the first search"):
            asked.result(DEADLINE_S)
    assert not session.requests.failures
