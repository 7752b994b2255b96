"""The client against a fake node: calls, threads, callbacks, await, failover, and the ways in which it can't work."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from client.fake_node import DEADLINE_S, FakeNode, lost_payload, wait_until
from paceline.client import Client, Future, NamedTask, current_client
from paceline.client.driver import driver
from paceline.errors import (
    ClientClosed,
    IncompatibleVersion,
    NoLeader,
    NoNodeFound,
    ResultUnknown,
    TaskCancelled,
    TaskFailed,
    TaskLost,
    UnknownTask,
)
from paceline_protocol.errors import PayloadTooLarge, UnserializableValue
from paceline_protocol.messages import Cancel, Options, Ping, Submit, TaskEnd, Wait


@dataclass
class StubTask:
    name: str = "add"
    priority: int = 7
    wire_options: Options | None = field(default_factory=lambda: {"max_attempts": 2})


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[Client]:
    with Client(node.address, connect_timeout_s=DEADLINE_S) as client:
        yield client


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


# --- calls ------------------------------------------------------------------------------------------------------


def test_a_result_comes_back(client: Client) -> None:
    future = client.submit("add", 2, b=3)
    assert future.result(DEADLINE_S) == 5
    assert future.done()
    assert future.exception() is None
    assert not future.cancelled()
    assert future.name == "add"
    assert len(future.task_id) == 16


def test_one_result_is_one_object_however_often_it_is_asked_for(client: Client) -> None:
    future = client.submit("echo", [1, 2])
    assert future.result(DEADLINE_S) is future.result()


def test_many_at_once_travel_in_few_frames(node: FakeNode, client: Client) -> None:
    futures = [client.submit("echo", number) for number in range(3000)]
    assert [future.result(DEADLINE_S) for future in futures] == list(range(3000))
    assert node.count(Submit) < 1000


def test_a_task_object_brings_its_options(node: FakeNode, client: Client) -> None:
    assert client.submit(StubTask(), 1, 2).result(DEADLINE_S) == 3
    assert client.submit(NamedTask("add", priority=9), 1, 2).result(DEADLINE_S) == 3
    first, second = node.known.values()
    assert (first[2], first[4]) == (7, {"max_attempts": 2})
    assert (second[2], second[4]) == (9, None)


def test_a_plain_function_is_refused_with_the_remedy(client: Client) -> None:
    def plain() -> None: ...

    with pytest.raises(TypeError, match=r"plain is not a task; decorate it with @paceline\.task"):
        client.submit(plain)  # type: ignore[arg-type]


def test_arguments_that_can_not_be_sent_are_refused_at_once(client: Client) -> None:
    with pytest.raises(UnserializableValue, match="argument 2"):
        client.submit("add", 1, object())
    with pytest.raises(PayloadTooLarge) as caught:
        client.submit("echo", bytes(100_000))
    assert caught.value.limit == 64 * 1024


def test_a_built_in_exception_is_raised_as_itself_with_the_workers_traceback_as_cause(client: Client) -> None:
    with pytest.raises(ValueError, match="broken") as caught:
        client.submit("fail", "broken").result(DEADLINE_S)
    cause = caught.value.__cause__
    assert isinstance(cause, TaskFailed)
    assert "in fail" in cause.traceback


def test_an_exception_of_the_users_own_becomes_task_failed(client: Client) -> None:
    error = client.submit("fail_custom").exception(DEADLINE_S)
    assert isinstance(error, TaskFailed)
    assert error.error_type.endswith("Custom")


def test_a_lost_task_says_how_often_and_how(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    node.wait_for(lambda: future.task_id in node.known)
    node.end(future.task_id, TaskEnd.LOST, lost_payload())
    with pytest.raises(TaskLost) as caught:
        future.result(DEADLINE_S)
    assert (caught.value.attempts, caught.value.detail) == (3, "signal 9")


def test_an_unknown_task_is_refused(client: Client) -> None:
    future = client.submit("nowhere")
    with pytest.raises(UnknownTask, match="nowhere"):
        future.result(DEADLINE_S)
    with pytest.raises(UnknownTask):
        client.submit("nowhere").accepted(DEADLINE_S)


def test_a_result_that_does_not_come_in_time_is_a_timeout(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    with pytest.raises(TimeoutError, match="add"):
        future.result(0.01)
    with pytest.raises(TimeoutError):
        future.exception(0)
    node.release()
    assert future.result(DEADLINE_S) == 1


def test_a_task_is_accepted_before_it_ends(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    assert not future.done()


def test_an_unaccepted_task_is_a_timeout(node: FakeNode, client: Client) -> None:
    node.accepts = False
    with pytest.raises(TimeoutError, match="accepted"):
        client.submit("add", 1).accepted(0.05)
    client.close(0)


def test_cancelling_a_task_that_has_not_started(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    assert future.cancel(DEADLINE_S) is True
    assert future.cancelled()
    with pytest.raises(TaskCancelled):
        future.result()
    assert future.cancel() is True


def test_cancelling_a_task_that_ended_is_in_vain(client: Client) -> None:
    future = client.submit("add", 1)
    future.result(DEADLINE_S)
    assert future.cancel(DEADLINE_S) is False


def test_status_is_a_map(node: FakeNode, client: Client) -> None:
    assert client.status(DEADLINE_S) == {"leader_id": "n1", "node": "n1"}


def test_results_are_acknowledged_when_nothing_more_is_submitted(node: FakeNode, client: Client) -> None:
    client.submit("add", 1).result(DEADLINE_S)
    node.wait_for(lambda: any(isinstance(message, Ping) and message.ack >= 1 for message in node.received))


# --- map and as_completed ---------------------------------------------------------------------------------------


def test_map_keeps_the_order(client: Client) -> None:
    assert list(client.map("add", range(2000), range(2000))) == [2 * number for number in range(2000)]
    assert list(client.map("add", [])) == []


def test_map_is_lazy_and_stays_within_its_window(client: Client) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = client.map("echo", endless(), window=10)
    assert taken == 0
    assert [next(results) for _ in range(50)] == list(range(1, 51))
    assert taken <= 50 + 10


def test_map_raises_the_first_exception_at_its_place(client: Client) -> None:
    results = client.map("add", [1, "two", 3], [1, 2, 3])
    assert next(results) == 2
    with pytest.raises(TypeError):
        next(results)
    assert list(results) == []


def test_map_that_is_dropped_cancels_what_is_ahead(node: FakeNode, client: Client) -> None:
    node.hold = True
    results = client.map("add", range(8), window=4)
    pulled = threading.Thread(target=lambda: next(results))
    pulled.start()
    node.wait_for(lambda: len(node._held) == 4)
    node.release(1)
    pulled.join(DEADLINE_S)
    results.close()  # type: ignore[attr-defined]
    node.wait_for(lambda: node.count(Cancel) == 1)


def test_map_refuses_a_wrong_target_at_once(client: Client) -> None:
    with pytest.raises(TypeError):
        client.map(len, [1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="window"):
        client.map("add", [1], window=0)


def test_as_completed_gives_futures_in_the_order_of_their_ends(node: FakeNode, client: Client) -> None:
    node.hold = True
    first, second = client.submit("add", 1), client.submit("add", 2)
    node.wait_for(lambda: len(node.known) == 2)
    node.end(second.task_id, TaskEnd.CANCELLED)
    ended = client.as_completed([first, second, second], timeout=DEADLINE_S)
    assert next(ended) is second
    node.release()
    assert list(ended) == [first]
    assert list(client.as_completed([first])) == [first]


def test_as_completed_has_a_timeout(node: FakeNode, client: Client) -> None:
    node.hold = True
    with pytest.raises(TimeoutError, match="1 of 1"):
        list(client.as_completed([client.submit("add", 1)], timeout=0.01))


# --- threads ----------------------------------------------------------------------------------------------------


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
    for name, value in (("TICK_S", 3_600.0), ("IDLE_TICK_S", 3_600.0), ("PILE_S", 0.0)):
        monkeypatch.setattr(driver, name, value)  # so that no other thread reads the answers
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
        wait_until(lambda: client._driver._asleep)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        future.result(DEADLINE_S)
    interrupter.join(DEADLINE_S)
    node.release()
    assert future.result(DEADLINE_S) == 1


# --- callbacks and await ----------------------------------------------------------------------------------------


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


# --- failover ---------------------------------------------------------------------------------------------------


def test_tasks_survive_a_leader_that_is_killed(node: FakeNode) -> None:
    node.hold = True
    with FakeNode("n2", leads=False, leader=node) as successor, Client(node.address, successor.address) as client:
        accepted = client.submit("echo", "accepted")
        accepted.accepted(DEADLINE_S)
        node.accepts = False
        unaccepted = client.submit("echo", "unaccepted")
        node.wait_for(lambda: node.count(Submit) == 2)
        node.stop()
        successor.known.update(node.known)
        successor.term, successor.leads = 2, True
        assert unaccepted.result(DEADLINE_S) == "unaccepted"
        assert accepted.result(DEADLINE_S) == "accepted"
        assert [message.ids for message in successor.received if isinstance(message, Wait)] == [(accepted.task_id,)]


def test_a_redirect_is_followed(node: FakeNode, client: Client) -> None:
    assert client.submit("echo", 1).result(DEADLINE_S) == 1
    with FakeNode("n2", term=2) as successor:
        node.leader, node.leads, node.term = successor, False, 2
        assert client.submit("echo", 2).result(DEADLINE_S) == 2
        assert list(successor.known)


def test_a_task_that_the_next_leader_does_not_know_has_an_unknown_result(node: FakeNode) -> None:
    node.hold = True
    with FakeNode("n2", leads=False) as successor, Client(node.address, successor.address) as client:
        future = client.submit("add", 1)
        future.accepted(DEADLINE_S)
        node.stop()
        successor.term, successor.leads = 2, True
        with pytest.raises(ResultUnknown):
            future.result(DEADLINE_S)


def test_a_cluster_that_stays_away_fails_what_is_outstanding(node: FakeNode) -> None:
    node.hold = True
    with Client(node.address, failover_timeout_s=0.3, connect_timeout_s=0.3) as client:
        future = client.submit("add", 1)
        future.accepted(DEADLINE_S)
        node.stop()
        with pytest.raises(NoNodeFound):
            future.result(DEADLINE_S)
        with pytest.raises(NoNodeFound):
            client.submit("add", 1)


# --- the ways in which it can't work ----------------------------------------------------------------------------


def test_no_node_found_names_what_was_tried() -> None:
    address = free_address()
    client = Client(address, connect_timeout_s=0.1)
    with pytest.raises(NoNodeFound) as caught:
        client.submit("add", 1)
    assert caught.value.tried == (address,)
    with pytest.raises(NoNodeFound):
        client.status(0.1)
    client.close()


def test_no_leader_but_a_status() -> None:
    with FakeNode(leads=False) as node:
        client = Client(node.address, connect_timeout_s=0.2)
        assert client.status(DEADLINE_S)["leader_id"] == ""
        with pytest.raises(NoLeader), client:
            pass
        with pytest.raises(ClientClosed):
            client.submit("add", 1)


def test_another_version_is_named() -> None:
    with (
        FakeNode(version=99) as node,
        pytest.raises(IncompatibleVersion, match="99"),
        Client(node.address, connect_timeout_s=DEADLINE_S),
    ):
        pass


def test_a_node_that_starts_late_is_found(node: FakeNode) -> None:
    address = node.address
    node.stop()
    client = Client(address, connect_timeout_s=DEADLINE_S)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.submit, "add", 1)
        with FakeNode(port=int(address.rpartition(":")[2])):
            assert future.result(DEADLINE_S).result(DEADLINE_S) == 1
            client.close()


def test_closing_waits_for_acceptance_and_fails_what_has_not_ended(node: FakeNode, client: Client) -> None:
    node.hold = True
    futures = [client.submit("add", number) for number in range(500)]
    client.close(DEADLINE_S)
    assert len(node.known) == 500
    with pytest.raises(ClientClosed):
        futures[0].result()
    with pytest.raises(ClientClosed):
        client.submit("add", 1)
    client.close()


def test_closing_does_not_wait_longer_than_it_is_told(node: FakeNode, client: Client) -> None:
    node.accepts = False
    future = client.submit("add", 1)
    client.close(0.01)
    with pytest.raises(ClientClosed):
        future.result()


def test_closing_ends_the_waiting_of_other_threads(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(future.exception, DEADLINE_S) for _ in range(3)]
        client.close(DEADLINE_S)
        assert {type(each.result(DEADLINE_S)) for each in waiting} == {ClientClosed}


def test_a_closed_client_leaves_no_thread_and_no_descriptor(node: FakeNode) -> None:
    def run() -> int:
        with Client(node.address) as client:
            client.submit("add", 1).result(DEADLINE_S)
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = run()
    after = [run() for _ in range(3)][-1]
    assert after <= before
    assert not [thread for thread in threading.enumerate() if thread.name == "paceline-client"]


def test_the_current_client_is_the_innermost_one_that_is_open(node: FakeNode, client: Client) -> None:
    assert current_client() is client
    with Client(node.address) as inner:
        assert current_client() is inner
    assert current_client() is client


def test_a_forked_child_can_not_use_the_parents_client(client: Client) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client.submit("add", 1)
        except RuntimeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert b"parent process" in os.read(read, 1000)
    os.close(read)
    assert client.submit("add", 1).result(DEADLINE_S) == 1
