"""Many calls of one task whose results are taken one by one: ``Client.map`` and ``Client.imap_unordered``.

The arguments may never end, and results may be taken slowly. So what is under way is bounded, in calls and in bytes: no
argument is read before there is room for its call, and room comes when results are taken. Arguments are read half a
window at a time: submitted one by one as results come, calls would travel one by one.

The bytes are those of the packed arguments of what is ahead, and what its results are going to take, by what those have
taken that were taken before. Nobody knows how large the first results are.

Whoever stops early wants nothing of it any more: what is under way is cancelled. That is asked for without waiting and
without a lock, since the garbage collector drops iterators at any moment.

An iterator is for one thread at a time, and for one loop: ``for`` and ``async for`` take the same results.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypedDict, TypeVar

from paceline.client.driver.driver import Driver, PackedCall
from paceline.client.driver.interrupts import is_of_handler
from paceline.client.future import REFUSED, Future, Sink
from paceline.client.inputs import packed_call
from paceline.options import check_seconds, shown
from paceline.parameters import Parameter, Parameters, with_parameters
from paceline_protocol.errors import FoundReference
from paceline_protocol.messages.records import Options
from paceline_protocol.payload import pack_args

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

WINDOW_TASKS: Final = 1024
WINDOW_BYTES: Final = 64 << 20
FIRST_TASKS: Final = 64
"""The first batch is small, so that work begins while the arguments of the next are read."""


class MapBounds(TypedDict, total=False):
    """The keywords of ``map`` and ``imap_unordered``, of a client and of a task."""

    window: int
    window_bytes: int
    timeout: float | None
    return_exceptions: bool


class Calls:
    """Where the calls come from: a target, and an iterator of its arguments."""

    __slots__ = ("_after", "_owner", "arguments", "limit_bytes", "name", "options", "parameters", "priority")

    def __init__(
        self,
        parts: tuple[str, int, Options | None],
        arguments: Iterator[tuple[Any, ...]],
        limit_bytes: int,
        parameters: dict[str, Parameter | Parameters] | None = None,
        *,
        owner: Driver | None = None,
        after: tuple[Any, ...] = (),
    ) -> None:
        """``limit_bytes``: of the packed arguments of one call; 0 for what the nodes allow. ``parameters``: those in
        which options stand. ``owner``: of futures among the arguments. ``after``: what each of the calls waits for."""
        self._owner = owner
        self._after = after
        self.parameters = parameters
        self.name, self.priority, self.options = parts
        self.arguments = arguments
        self.limit_bytes = limit_bytes

    def pack(self, args: tuple[Any, ...], payload_limit_bytes: int) -> PackedCall:
        """Raises UnserializableValue, PayloadTooLarge, and ConfigError for what is no value of an option."""
        options = self.options
        if self.parameters:
            options = with_parameters(self.parameters, options, args, {})
        limit_bytes = self.limit_bytes or payload_limit_bytes
        if not self._after:
            try:
                return self.name, self.priority, pack_args(args, {}, limit_bytes), options
            except FoundReference:
                pass
        return packed_call(self._owner, (self.name, self.priority, options), args, {}, limit_bytes, self._after)


class Bounds:
    """What may be under way, and how results are taken. Raises ValueError for bounds that are none, and ConfigError for
    a timeout that is none."""

    __slots__ = ("deadline_s", "return_exceptions", "timeout_s", "window", "window_bytes")

    def __init__(self, window: int, window_bytes: int, timeout: float | None, return_exceptions: bool) -> None:
        for name, value, unit in (("window", window, ""), ("window_bytes", window_bytes, " of bytes")):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {shown(value)}, and must be a whole number{unit} from 1")
        if timeout is not None:
            check_seconds("timeout", timeout)
        self.window = window
        self.window_bytes = window_bytes
        self.timeout_s = timeout
        self.deadline_s = None if timeout is None else time.monotonic() + timeout
        self.return_exceptions = return_exceptions

    def rest_s(self) -> float | None:
        """How long to wait for a result; None for as long as it takes."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())

    def too_late(self) -> TimeoutError:
        return TimeoutError(f"the next result did not come within {self.timeout_s} s")


class _Waker:
    """Wakes whoever waits in a loop, once a task has ended. It knows nothing of the iterator, which may be dropped
    while tasks go on that have it as a callback."""

    def __init__(self) -> None:
        self._woken: asyncio.Future[None] | None = None

    def __call__(self, _future: Future[Any]) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def wait(self, driver: Driver, future: Future[Any], rest_s: float | None) -> bool:
        """Wait until it is called. ``future``: one that is waited for. False: the time was over first."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        watch = driver.watch(future, loop)
        try:
            async with asyncio.timeout(rest_s):
                await self._woken
        except TimeoutError:
            return False
        finally:
            self._woken = None
            if watch is not None:
                watch.cancel()
        return True


class ResultIterator(Generic[T]):
    """An iterator of results, and an asynchronous one. What both ways of taking them have in common: how calls are
    submitted ahead of them, and what becomes of these when somebody stops early."""

    def __init__(self, driver: Driver, calls: Calls, bounds: Bounds) -> None:
        self._driver = driver
        self._calls = calls
        self._bounds = bounds
        self._half = bounds.window // 2
        self._count = 0  # of what is ahead
        self._ahead_bytes = 0  # of its arguments
        self._result_bytes = 0.0  # of one result, by those that were taken
        self._new: deque[Future[Any]] = deque()  # submitted just now
        self._wanted = min(bounds.window, FIRST_TASKS)  # 0: the arguments have ended
        self._error: Exception | None = None  # which ended them, and is raised behind the results of what was read

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    def close(self) -> None:
        """Take no more results: cancel what is under way. Waits for nothing."""
        if self._count or self._new:
            self._driver.abandon([*self._ahead(), *self._new])
        self._count = self._wanted = 0
        self._new.clear()
        self._error = None

    async def aclose(self) -> None:
        """The same; it waits for nothing."""
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_error", self) is not self:  # else it was not made
            self.close()

    # --- ahead ---------------------------------------------------------------------------------------------------

    def _ahead(self) -> Iterable[Future[Any]]:
        raise NotImplementedError

    def _put_ahead(self, futures: Iterable[Future[Any]], sizes: Iterable[int]) -> None:
        """The calls of these are under way; ``sizes``: of their arguments."""
        raise NotImplementedError

    def _bytes_of(self, count: int) -> float:
        return self._ahead_bytes + count * self._result_bytes

    def _fill(self) -> None:
        """Submit more, if there is room. May wait for room at the client."""
        if self._count and self._bytes_of(self._count) > self._bounds.window_bytes / 2:
            return
        batch: list[PackedCall] = []
        refused: Exception | None = None  # of the arguments behind the batch, which can't be sent
        is_full = False
        size_bytes = 0
        try:
            for args in itertools.islice(self._calls.arguments, self._wanted):
                try:
                    call = self._calls.pack(args, self._driver.session.payload_limit_bytes)
                except Exception as error:
                    if is_of_handler(error) or not self._bounds.return_exceptions:
                        raise
                    refused = error
                    break
                batch.append(call)
                size_bytes += len(call[2])
                if self._bytes_of(self._count + len(batch)) + size_bytes >= self._bounds.window_bytes:
                    is_full = True
                    break
            is_full = is_full or refused is not None or len(batch) == self._wanted
        except Exception as error:
            if is_of_handler(error):
                raise
            self._error = error
        if batch or self._error is None:
            self._driver.submit_many(batch, self._new)
        sizes = [len(call[2]) for call in batch]
        if refused is not None:
            future: Future[Any] = Future(self._driver, b"", self._calls.name)
            future.resolve(REFUSED, refused)
            self._new.append(future)
            sizes.append(0)
        self._put_ahead(self._new, sizes)
        self._count += len(sizes)
        self._ahead_bytes += size_bytes
        self._new = deque()
        self._wanted = max(1, self._half) if is_full else 0

    async def _fill_in_loop(self) -> None:
        """The same; the first use looks for the leader, for which the loop does not stop."""
        if self._driver.session.is_idle:
            import asyncio

            await asyncio.to_thread(self._driver.connect)
        self._fill()

    # --- results -------------------------------------------------------------------------------------------------

    def _take(self, future: Future[Any], args_bytes: int) -> T:
        """The result of a future that has ended, and is ahead no more."""
        size_bytes = future.result_bytes
        self._result_bytes += (size_bytes - self._result_bytes) / 16 if self._result_bytes else size_bytes
        self._ahead_bytes -= args_bytes
        self._count -= 1
        if self._bounds.return_exceptions and (error := future.exception(0)) is not None:
            value: T = error  # type: ignore[assignment] # whoever asks for that has both
            return value
        result: T = future.result(0)
        return result

    def _end(self) -> None:
        """Nothing is ahead any more. Raises what ended the arguments."""
        error, self._error = self._error, None
        if error is not None:
            raise error


class Mapped(ResultIterator[T], Iterator[T], AsyncIterator[T]):
    """The results of ``Client.map``: in the order of the arguments."""

    def __init__(self, driver: Driver, calls: Calls, bounds: Bounds) -> None:
        super().__init__(driver, calls, bounds)
        self._futures: deque[Future[Any]] = deque()
        self._sizes: deque[int] = deque()

    def _ahead(self) -> Iterable[Future[Any]]:
        return self._futures

    def _put_ahead(self, futures: Iterable[Future[Any]], sizes: Iterable[int]) -> None:
        self._sizes.extend(sizes)
        self._futures.extend(futures)

    def __next__(self) -> T:
        try:
            if self._wanted and self._count <= self._half:
                self._fill()
            if self._count:
                future = self._futures[0]
                if not future.done() and not self._driver.wait_until(future.done, self._bounds.rest_s(), future):
                    raise self._bounds.too_late()
                self._futures.popleft()
                return self._take(future, self._sizes.popleft())
            self._end()
        except BaseException:
            self.close()
            raise
        raise StopIteration

    async def __anext__(self) -> T:
        try:
            if self._wanted and self._count <= self._half:
                await self._fill_in_loop()
            if self._count:
                future = self._futures[0]
                if not future.done():
                    waker = _Waker()
                    future.add_done_callback(waker)
                    if not await waker.wait(self._driver, future, self._bounds.rest_s()):
                        raise self._bounds.too_late()
                self._futures.popleft()
                return self._take(future, self._sizes.popleft())
            self._end()
        except BaseException:
            self.close()
            raise
        raise StopAsyncIteration


class Unordered(ResultIterator[T], Iterator[T], AsyncIterator[T]):
    """The results of ``Client.imap_unordered``: as they come."""

    def __init__(self, driver: Driver, calls: Calls, bounds: Bounds) -> None:
        super().__init__(driver, calls, bounds)
        self._sizes: dict[Future[Any], int] = {}
        self._sink = Sink()
        self._waker: _Waker | None = None  # once results were asked for in a loop

    def _ahead(self) -> Iterable[Future[Any]]:
        return self._sizes

    def _put_ahead(self, futures: Iterable[Future[Any]], sizes: Iterable[int]) -> None:
        self._sizes.update(zip(futures, sizes, strict=True))
        self._driver.collect(futures, self._sink)
        if self._waker is not None:
            for future in futures:
                future.add_done_callback(self._waker)

    def close(self) -> None:
        super().close()
        self._sink.close()

    def _next_ended(self) -> Future[Any] | None:
        """One that has ended and was not taken; None while there is none."""
        ended = self._sink.ended
        while ended:
            future = ended.popleft()
            if future in self._sizes:  # else it was told twice, as after an interrupt
                return future
        return None

    def __next__(self) -> T:
        try:
            if self._wanted and self._count <= self._half:
                self._fill()
            ended = self._sink.ended
            while self._count:
                future = self._next_ended()
                if future is not None:
                    return self._take(future, self._sizes.pop(future))
                if not self._driver.wait_until(lambda: ended, self._bounds.rest_s(), next(iter(self._sizes))):
                    raise self._bounds.too_late()
            self._end()
        except BaseException:
            self.close()
            raise
        raise StopIteration

    async def __anext__(self) -> T:
        try:
            if self._waker is None:
                self._waker = _Waker()
                for future in self._sizes:
                    future.add_done_callback(self._waker)
            if self._wanted and self._count <= self._half:
                await self._fill_in_loop()
            while self._count:
                ended = self._next_ended()
                if ended is not None:
                    return self._take(ended, self._sizes.pop(ended))
                if not await self._waker.wait(self._driver, next(iter(self._sizes)), self._bounds.rest_s()):
                    raise self._bounds.too_late()
            self._end()
        except BaseException:
            self.close()
            raise
        raise StopAsyncIteration
