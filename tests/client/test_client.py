"""The client against a fake node: what a program calls, and what it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from client.fake_node import DEADLINE_S, FakeNode, lost_payload
from paceline.client import Client, NamedTask
from paceline.errors import (
    TaskCancelled,
    TaskFailed,
    TaskLost,
    UnknownTask,
)
from paceline_protocol.errors import PayloadTooLarge, UnserializableValue
from paceline_protocol.messages.client import Cancel, Ping, Submit, TaskRequest
from paceline_protocol.messages.records import Options, TaskEnd


@dataclass
class StubTask:
    name: str = "add"
    priority: int = 7
    wire_options: Options | None = field(default_factory=lambda: {"max_attempts": 2})


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
    assert (second[2], second[4]) == (9, {})


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


def test_a_task_that_is_asked_to_stop_is_waited_for_and_what_was_asked_stands(node: FakeNode, client: Client) -> None:
    node.hold, node.stops = True, True
    future = client.submit("add", 1)
    assert future.cancel(0.05) is False
    assert future.cancel(0.05) is False
    assert client.cancel_tasks([future], DEADLINE_S) == {future.task_id.hex(): "stopping"}
    assert len(client._session.requests) == 1
    node.stops = False
    future.cancel(DEADLINE_S)
    assert future.cancelled()
    assert not client._session.requests


def test_cancelling_a_task_that_ended_is_in_vain(client: Client) -> None:
    future = client.submit("add", 1)
    future.result(DEADLINE_S)
    assert future.cancel(DEADLINE_S) is False


def test_status_is_a_map(node: FakeNode, client: Client) -> None:
    assert client.status(DEADLINE_S) == {"leader_id": "n1", "node": "n1"}


def test_where_a_task_is_can_be_asked_by_future_and_by_id(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    digits = future.task_id.hex()
    found = {"state": "ready", "why": "so it is", "name": None, "is_open": True}
    assert client.where_is(future, DEADLINE_S) == found
    assert client.where_is(digits, DEADLINE_S) == found
    assert client.where_is("-".join((digits[:8], digits[8:])), DEADLINE_S) == found
    assert client.where_is("00" * 16, DEADLINE_S)["state"] == "unknown"


def test_a_future_made_again_of_a_call_that_the_leader_is_not_ready_for_is_not_waited_for(
    node: FakeNode, client: Client
) -> None:
    node.is_ready = False
    future = client.submit("add", 1, b=2)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(client.task, future.task_id)
        node.wait_for(lambda: node.count(TaskRequest))
        again = asked.result(DEADLINE_S)
        assert not again.done()
        node.is_ready = True
        assert (again.result(DEADLINE_S), future.result(DEADLINE_S)) == (3, 3)


@pytest.mark.parametrize("text", ["", "order-42", "ab" * 15, "ab" * 17, "zz" * 16])
def test_what_is_no_id_is_refused_with_what_one_looks_like(client: Client, text: str) -> None:
    with pytest.raises(ValueError, match="is no id of a task: 32 hexadecimal digits"):
        client.where_is(text)


def test_a_leader_that_does_not_say_where_a_task_is_is_a_timeout(node: FakeNode, client: Client) -> None:
    client.connect()
    node.accepts = False
    with pytest.raises(TimeoutError, match="no answer within"):
        client.where_is("00" * 16, 0.05)
    client.close(0)


def test_results_are_acknowledged_when_nothing_more_is_submitted(node: FakeNode, client: Client) -> None:
    client.submit("add", 1).result(DEADLINE_S)
    node.wait_for(lambda: any(isinstance(message, Ping) and message.ack >= 1 for message in node.received))


# --- map and as_completed --------------------------------------------------------------------------------------------


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


def test_map_raises_the_error_of_an_iterable_behind_the_results_of_what_it_gave(client: Client) -> None:
    def numbers() -> Iterator[int]:
        yield from range(100)
        raise OSError("the input ended early")

    got: list[int] = []
    with pytest.raises(OSError, match="ended early"):
        got.extend(client.map("echo", numbers()))
    assert got == list(range(100))


def test_map_raises_the_error_of_an_argument_at_its_place(node: FakeNode, client: Client) -> None:
    got: list[object] = []
    with pytest.raises(UnserializableValue):
        got.extend(client.map("echo", [*range(100), object(), 101]))
    assert got == list(range(100))
    assert len(node.known) == 100


def test_map_raises_an_error_before_its_first_task_without_looking_for_a_cluster() -> None:
    def nothing() -> Iterator[int]:
        raise KeyError("mine")
        yield 0

    client = Client("127.0.0.1:1", connect_timeout_s=DEADLINE_S)
    with pytest.raises(KeyError, match="mine"):
        list(client.map("echo", nothing()))
    client.close()


def test_map_that_is_dropped_cancels_what_is_ahead(node: FakeNode, client: Client) -> None:
    node.hold = True
    results = client.map("add", range(8), window=4)
    pulled = threading.Thread(target=lambda: next(results))
    pulled.start()
    node.wait_for(lambda: len(node._held) == 4)
    node.release(1)
    pulled.join(DEADLINE_S)
    results.close()
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


def test_as_completed_leaves_nothing_in_the_futures_however_often_it_is_asked(node: FakeNode, client: Client) -> None:
    node.hold = True
    futures = [client.submit("echo", number) for number in range(3)]
    others = client.as_completed(futures, timeout=DEADLINE_S)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, others)
        for _ in range(50):
            with pytest.raises(TimeoutError):
                next(client.as_completed(futures, timeout=0.0))
        assert all(len(future._sinks or ()) <= 2 for future in futures)  # of `others`, and the last that was closed
        node.release()
        assert first.result(DEADLINE_S) is futures[0]
    assert list(others) == futures[1:]


def test_as_completed_has_a_timeout(node: FakeNode, client: Client) -> None:
    node.hold = True
    with pytest.raises(TimeoutError, match="1 of 1"):
        list(client.as_completed([client.submit("add", 1)], timeout=0.01))
