"""map and imap_unordered: how much is under way, in which order results come, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from paceline.client import Client, Future
from paceline.client.driver.driver import Driver, PackedCall
from paceline.client.future import SUCCEEDED, Sink
from paceline.client.mapping import WINDOW_TASKS, Bounds, Calls, Mapped, ResultIterator, Unordered
from paceline.errors import ConfigError
from paceline_protocol.errors import UnserializableValue
from paceline_protocol.messages.client import Cancel
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import pack_value, unpack_args

KINDS = pytest.mark.parametrize("kind", [Mapped, Unordered])
METHODS = pytest.mark.parametrize("method", ["map", "imap_unordered"])


class Cluster:
    """In the place of a driver: each task has ended once anybody waits for one. It knows what was under way at most."""

    def __init__(self, result: Callable[[Any], Any] = lambda value: value) -> None:
        self.session = SimpleNamespace(payload_limit_bytes=1 << 30, is_idle=False)
        self.most = self.most_bytes = 0
        self.submitted = self.cancelled = 0
        self._result = result
        self._open: dict[Future[Any], PackedCall] = {}
        self._sinks: dict[Future[Any], Sink] = {}

    def submit_many(self, calls: Sequence[PackedCall], futures: deque[Future[Any]]) -> None:
        for call in calls:
            future: Future[Any] = Future(cast("Any", self), b"", call[0])
            self._open[future] = call
            futures.append(future)
        self.submitted += len(calls)
        self.most = max(self.most, len(self._open))
        self.most_bytes = max(self.most_bytes, sum(len(call[2]) for call in self._open.values()))

    def collect(self, futures: Iterable[Future[Any]], sink: Sink) -> None:
        for future in futures:
            future.collect_in(sink)

    def wait_until(self, ready: Callable[[], object], timeout_s: float | None, future: Future[Any]) -> bool:
        while not ready():
            ended = next(reversed(self._open)) if len(self._open) % 2 else next(iter(self._open))
            (args, _) = unpack_args(self._open.pop(ended)[2])
            ended.resolve(SUCCEEDED, pack_value(self._result(*args)))
        return True

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        self.cancelled += sum(not future.done() for future in futures)


def results(kind: type[ResultIterator[Any]], cluster: Cluster, values: Iterable[Any], **bounds: Any) -> Any:
    asked = {"window": WINDOW_TASKS, "window_bytes": 1 << 20, "timeout": None, "return_exceptions": False} | bounds
    calls = Calls(("echo", 4, None), zip(values, strict=False), 0)
    return kind(cast("Driver", cluster), calls, Bounds(**asked))


@KINDS
def test_a_hundred_thousand_arguments_are_in_memory_a_window_at_a_time(kind: type[ResultIterator[Any]]) -> None:
    cluster = Cluster()
    taken = results(kind, cluster, range(100_000))
    total = sum(next(taken) for _ in range(5_000))
    tracemalloc.start()
    try:
        total += sum(taken)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == sum(range(100_000))
    assert cluster.submitted == 100_000
    assert cluster.most <= WINDOW_TASKS
    assert most < 3_000_000


@KINDS
def test_arguments_are_read_as_results_are_taken_though_they_never_end(kind: type[ResultIterator[Any]]) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    cluster = Cluster()
    taken = results(kind, cluster, endless(), window=10)
    assert read == 0
    for count in range(1, 100):
        next(taken)
        assert read <= count + 10
    taken.close()
    assert cluster.cancelled > 0
    assert list(taken) == []


@KINDS
def test_what_is_under_way_is_bounded_in_bytes_of_arguments(kind: type[ResultIterator[Any]]) -> None:
    cluster = Cluster(len)
    taken = results(kind, cluster, (bytes(10_000) for _ in range(500)), window_bytes=100_000)
    assert sum(taken) == 5_000_000
    assert 50_000 < cluster.most_bytes <= 110_000


@KINDS
def test_one_call_is_under_way_however_large_it_is(kind: type[ResultIterator[Any]]) -> None:
    cluster = Cluster(len)
    assert list(results(kind, cluster, (bytes(10_000) for _ in range(5)), window_bytes=1)) == [10_000] * 5
    assert cluster.most == 1


@KINDS
def test_what_is_under_way_is_bounded_by_what_results_have_taken_before(kind: type[ResultIterator[Any]]) -> None:
    cluster = Cluster(bytes)
    taken = results(kind, cluster, (10_000 for _ in range(1_000)), window_bytes=100_000)
    for _ in range(200):  # nobody knows how large the first ones are
        next(taken)
    cluster.most = 0
    assert sum(map(len, taken)) == 8_000_000
    assert cluster.most <= 11


def test_map_keeps_the_order_and_the_other_does_not() -> None:
    assert list(results(Mapped, Cluster(), range(5_000))) == list(range(5_000))
    others = list(results(Unordered, Cluster(), range(5_000)))
    assert others != list(range(5_000))
    assert sorted(others) == list(range(5_000))


# --- with a client ---------------------------------------------------------------------------------------------------


def test_the_first_result_that_comes_is_taken_first(node: FakeNode, client: Client) -> None:
    node.hold = True
    taken = client.imap_unordered("echo", range(3), timeout=DEADLINE_S)
    got: list[int] = []
    puller = threading.Thread(target=lambda: got.extend(taken))
    puller.start()
    node.wait_for(lambda: len(node._held) == 3)
    last = node._held[2][1][0]
    node.end(last, TaskEnd.SUCCEEDED, pack_value("the last one"))
    client._driver.wait_until(lambda: got, DEADLINE_S)
    assert got == ["the last one"]
    node.release()
    puller.join(DEADLINE_S)
    assert sorted(map(str, got)) == ["0", "1", "the last one"]


@METHODS
def test_an_exception_is_raised_and_the_rest_is_cancelled(node: FakeNode, client: Client, method: str) -> None:
    node.hold = True
    taken = getattr(client, method)("fail", ["mine", "yours"], timeout=DEADLINE_S)
    caught: list[Exception] = []

    def pull() -> None:
        with pytest.raises(ValueError, match="mine") as error:
            next(taken)
        caught.append(error.value)

    puller = threading.Thread(target=pull)
    puller.start()
    node.wait_for(lambda: len(node._held) == 2)
    node.release(1)
    puller.join(DEADLINE_S)
    assert caught
    assert list(taken) == []
    node.wait_for(lambda: node.count(Cancel) == 1)


@METHODS
def test_exceptions_can_be_results_as_others(client: Client, method: str) -> None:
    values: list[Any] = [1, object(), "two", *range(200)]
    taken = list(getattr(client, method)("add", values, return_exceptions=True))
    errors = [each for each in taken if isinstance(each, Exception)]
    assert sorted(type(error).__name__ for error in errors) == ["TypeError", "UnserializableValue"]
    if method == "map":
        assert isinstance(taken[1], UnserializableValue)
        assert isinstance(taken[2], TypeError)
        assert taken[3:] == list(range(200))
    assert len(taken) == len(values)


@METHODS
def test_the_error_of_an_iterable_is_raised_behind_all_results_also_then(client: Client, method: str) -> None:
    def numbers() -> Iterator[int]:
        yield from range(70)
        raise OSError("the input ended early")

    got: list[int] = []
    with pytest.raises(OSError, match="ended early"):
        got.extend(getattr(client, method)("echo", numbers(), return_exceptions=True))
    assert sorted(got) in (list(range(70)), [])  # extend() takes what came before it was raised, or nothing


@METHODS
def test_a_timeout_is_raised_and_what_is_under_way_is_cancelled(node: FakeNode, client: Client, method: str) -> None:
    node.hold = True
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        next(getattr(client, method)("echo", [1], timeout=0.05))
    node.wait_for(lambda: node.count(Cancel) == 1)


@METHODS
def test_who_leaves_a_loop_early_has_the_rest_cancelled(node: FakeNode, client: Client, method: str) -> None:
    for count, value in enumerate(getattr(client, method)("echo", range(300), window=100)):
        assert value in range(300)
        if not count:  # of the 64 that the first batch has; behind 14 of them half a window of others is submitted
            client._driver.wait_until(lambda: not client._session.ledger.tasks, DEADLINE_S)
            node.hold = True
        if count == 15:
            break
    gc.collect()
    client.submit("echo", 1).accepted(DEADLINE_S)
    node.wait_for(lambda: node.count(Cancel) == 1)


@METHODS
@pytest.mark.parametrize(
    ("bound", "kind"),
    [({"window": 0}, ValueError), ({"window_bytes": 1.5}, ValueError), ({"timeout": "soon"}, ConfigError)],
)
def test_bounds_that_are_none_are_refused_at_once(
    client: Client, method: str, bound: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=next(iter(bound))):
        getattr(client, method)("echo", [1], **bound)
    with pytest.raises(TypeError, match="not a task"):
        getattr(client, method)(len, [1])


# --- in a loop -------------------------------------------------------------------------------------------------------


@METHODS
def test_results_are_taken_in_a_loop_that_goes_on_meanwhile(node: FakeNode, method: str) -> None:
    async def main() -> list[int]:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0)

        beating = asyncio.create_task(beat())
        with_client = Client(node.address)
        got = [value async for value in getattr(with_client, method)("echo", range(500), window=50)]
        beating.cancel()
        assert beats > 10
        await asyncio.to_thread(with_client.close)
        return got

    got = asyncio.run(main())
    assert (got if method == "map" else sorted(got)) == list(range(500))


@METHODS
def test_in_a_loop_a_timeout_and_a_cancelled_task_cancel_what_is_under_way(
    node: FakeNode, client: Client, method: str
) -> None:
    node.hold = True

    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
            await anext(getattr(client, method)("echo", [1], timeout=0.05))
        waiting = asyncio.create_task(anext(getattr(client, method)("echo", [2])))
        while len(node.known) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    node.wait_for(lambda: sum(len(each.ids) for each in node.received if isinstance(each, Cancel)) == 2)


@METHODS
def test_results_may_be_taken_in_both_ways(client: Client, method: str) -> None:
    taken = getattr(client, method)("echo", range(200), window=20)
    got = [next(taken) for _ in range(7)]

    async def main() -> None:
        got.extend([await anext(taken) for _ in range(50)])

    asyncio.run(main())
    got.extend(taken)
    assert sorted(got) == list(range(200))
