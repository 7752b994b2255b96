"""The promise of a task's result.

A future holds what the cluster sent, undecoded; the thread that asks for the result decodes it, so that the thread that
drives the socket is not held up by large results.
"""

from __future__ import annotations

import builtins
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, TypeAlias, TypeVar

from paceline.codecs import build
from paceline.errors import (
    ClientClosed,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskTimedOut,
    UpstreamFailed,
    failed_before,
)
from paceline.options import check_seconds
from paceline_protocol.errors import PayloadError
from paceline_protocol.forms import use_futures
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.moments import datetime_of
from paceline_protocol.payload import ErrorInfo, pack_error, unpack_error, unpack_value

if TYPE_CHECKING:
    import asyncio

    from paceline.client.progress import TaskProgress

T_co = TypeVar("T_co", covariant=True)

PENDING: Final = 0
SUCCEEDED: Final = int(TaskEnd.SUCCEEDED)
REFUSED: Final = -1
"""Beside the numbers of TaskEnd: the task never ran as far as this client knows, and ``_payload`` is the exception."""


Callback: TypeAlias = Callable[["Future[Any]"], object]


class Owner(Protocol):
    """What a future asks of the client that made it."""

    def wait_until(self, ready: Callable[[], object], timeout_s: float | None, future: Future[Any]) -> bool:
        """Wait until ``ready()``. False: the timeout. ``future``: one that is waited for."""
        ...

    def watch(self, future: Future[Any], loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle | None:
        """Look after a future that is awaited for long. Cancel the handle once it is not."""
        ...

    def wait_accepted(self, future: Future[Any], timeout_s: float | None) -> bool:
        """Wait until the future's task is accepted or has ended. False: the timeout."""
        ...

    def cancel(self, future: Future[Any], timeout_s: float) -> bool:
        """Ask for the cancellation of the future's task, and wait for its end. True: it is cancelled. Raises
        TimeoutError if nobody has answered."""
        ...

    def add_done_callback(self, future: Future[Any], callback: Callback) -> None:
        """Call back when the future is resolved, at once if it is."""
        ...

    def remove_done_callback(self, future: Future[Any], callback: Callback) -> int:
        """Forget a callback. How many there were."""
        ...

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        """Ask for the cancellation of their tasks, and wait for nothing."""
        ...

    def progress(self, task_id: bytes, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        ...


class Sink:
    """Where one :meth:`Client.as_completed` has futures collected as they end. Closing it takes no lock, as the garbage
    collector drops iterators at any moment: a future forgets closed ones when it is given the next."""

    __slots__ = ("ended", "is_open")

    def __init__(self) -> None:
        self.ended: deque[Future[Any]] = deque()
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        self.ended.clear()


class InLoop:
    """A callback that was added where an event loop runs, and belongs into that loop."""

    __slots__ = ("_loop", "callback")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callback) -> None:
        self.callback = callback
        self._loop = loop

    def __call__(self, future: Future[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(self.callback, future)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            self.callback(future)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread. asyncio is not imported for that."""
    asyncio_module = sys.modules.get("asyncio")
    loop: asyncio.AbstractEventLoop | None = None if asyncio_module is None else asyncio_module._get_running_loop()
    return loop


class Future(Generic[T_co]):
    """One submitted task. Made by ``Client.submit``, or again from its id by ``Client.task``; safe to use from any
    thread, awaitable in any asyncio loop."""

    __slots__ = ("_callbacks", "_owner", "_payload", "_sinks", "_state", "_value", "name", "task_id")

    def __init__(self, owner: Owner, task_id: bytes, name: str) -> None:
        self.task_id = task_id
        self.name = name
        self._owner = owner
        self._state = PENDING
        self._payload: bytes | Exception | None = None
        self._value: Any = None
        self._callbacks: list[Callback] | None = None
        self._sinks: list[Sink] | None = None  # those of as_completed

    def done(self) -> bool:
        """True once the task ended, however it did."""
        return self._state != PENDING

    def cancelled(self) -> bool:
        return self._state == TaskEnd.CANCELLED

    def result(self, timeout: float | None = None) -> T_co:
        """The return value; waits for it at most ``timeout`` seconds.

        Raises what the task raised if that is a built-in exception, with a TaskFailed as its cause, and otherwise
        TaskFailed; TaskTimedOut, TaskLost, TaskCancelled, TaskExpired; UnknownTask, QueueFull and the like if the
        cluster refused the task; NoLeader or NoNodeFound if the cluster was away for too long; TimeoutError.
        """
        if self._state == PENDING:
            self._wait(timeout)
        if self._state == SUCCEEDED:
            # Decoded once, so that every call gives the same object.
            payload = self._payload
            if isinstance(payload, bytes):
                self._value = unpack_value(payload, None, build)
                self._payload = None
            value: T_co = self._value
            return value
        raise self._error()

    def described(self, timeout: float | None = None) -> Any:
        """As :meth:`result`, for who shows it and may not have its classes: a value of a class is a
        ``paceline.codecs.CodedValue``, with the names of its codec and of its class, and its state. Nothing is looked
        for and no codec is called. Once :meth:`result` has made the value, it is that one."""
        self._wait(timeout)
        payload = self._payload
        if self._state == SUCCEEDED and isinstance(payload, bytes):
            return unpack_value(payload)
        return self.result(0)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """What :meth:`result` would raise, None if the task succeeded. Raises TimeoutError itself."""
        self._wait(timeout)
        return None if self._state == TaskEnd.SUCCEEDED else self._error()

    def accepted(self, timeout: float | None = None) -> None:
        """Wait until the cluster has accepted the task, so that it survives the loss of any minority of voters.

        Or until it has ended, which it may before that. With ``durability`` "none": until the leader has it, and nobody
        else.

        Raises what kept it from being accepted, and TimeoutError.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        if self._state == PENDING and not self._owner.wait_accepted(self, timeout):
            raise TimeoutError(f"task {self.name} was not accepted within {timeout} s")
        if self._state == REFUSED:
            raise self._error()

    def cancel(self, timeout: float = 5.0) -> bool:
        """Cancel the task. One that runs is asked to stop, and waited for, at most ``timeout`` seconds. True if it is
        cancelled: it never starts, or has stopped. False if it has ended otherwise, or still runs: what was asked for
        stands then, and the future tells what became of it.

        Where an event loop runs it does not wait, which would stop the loop: it asks, and returns False. Awaiting the
        future tells then: it raises TaskCancelled if the task is cancelled.

        Raises TimeoutError if the leader has not answered in time; NoLeader or NoNodeFound; ClientClosed if the client
        was closed before it knew how the task ended.
        """
        if self._state != PENDING:
            if isinstance(self._payload, ClientClosed):
                raise self._error()
            return self.cancelled()
        if running_loop() is not None:
            self._owner.abandon((self,))
            return self.cancelled()
        check_seconds("timeout", timeout)
        was_cancelled = self._owner.cancel(self, timeout)
        if self._state == REFUSED:
            raise self._error()
        return was_cancelled or self.cancelled()

    def progress(self, timeout: float = 5.0) -> TaskProgress | None:
        """How far the task says it is, as `Client.progress` has it; None if it has said nothing. It asks the cluster,
        and waits for the answer, at most ``timeout`` seconds: in asyncio, ``await asyncio.to_thread(future.progress)``.

        Raises what `Client.progress` raises.
        """
        from paceline.client.progress import NO_ANSWER, progress_of

        check_seconds("timeout", timeout)
        body = self._owner.progress(self.task_id, timeout)
        if body is None:
            raise TimeoutError(NO_ANSWER.format(timeout))
        return progress_of(self.task_id, body)

    def add_done_callback(self, callback: Callable[[Future[T_co]], object]) -> None:
        """Call ``callback(future)`` when the task has ended, at once if it has.

        It runs in a thread of the client's, or in one that waits and is not the main thread, so it must be short; if
        the task has ended already, here and now. What it raises is logged, SystemExit too; in the main thread what a
        signal handler raised, and KeyboardInterrupt, are raised again. Added where an event loop runs, it runs in that
        loop, as with asyncio's own futures.
        """
        loop = running_loop()
        self._owner.add_done_callback(self, callback if loop is None else InLoop(loop, callback))

    def remove_done_callback(self, callback: Callable[[Future[T_co]], object]) -> int:
        """Forget a callback that was not called yet. Returns how often it was there."""
        return self._owner.remove_done_callback(self, callback)

    @property
    def _condition(self) -> NoReturn:
        """concurrent.futures looks for it: its wait() and as_completed() work on its own futures alone."""
        raise TypeError(
            "concurrent.futures can't wait for futures of paceline; use client.as_completed() or client.wait(), "
            "or a paceline.Executor; in asyncio await them, with asyncio.wait, asyncio.gather or asyncio.as_completed"
        )

    def __await__(self) -> Generator[Any, None, T_co]:
        if self._state == PENDING:
            import asyncio

            loop = asyncio.get_running_loop()
            woken = loop.create_future()

            def wake() -> None:
                if not woken.done():  # the awaiting task may have been cancelled
                    woken.set_result(None)

            def ended(_: Future[Any]) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(wake)

            self._owner.add_done_callback(self, ended)
            watch = self._owner.watch(self, loop)
            try:
                yield from woken
            except asyncio.CancelledError:
                self._owner.remove_done_callback(self, ended)
                self._await_cancelled()
                raise
            finally:
                if watch is not None:
                    watch.cancel()
        return self.result(0)

    def _await_cancelled(self) -> None:
        """Nobody awaits it any more: then nobody wants the task either, as with asyncio's own futures."""
        self._owner.abandon((self,))

    def __repr__(self) -> str:
        if self._state == PENDING:
            state = "pending"
        else:
            state = "refused" if self._state == REFUSED else TaskEnd(self._state).name.lower()
        return f"<future of {self.name} {self.task_id.hex()}: {state}>"

    def _wait(self, timeout: float | None) -> None:
        if timeout is not None:
            check_seconds("timeout", timeout)
        if self._state == PENDING and not self._owner.wait_until(self.done, timeout, self):
            raise TimeoutError(f"task {self.name} did not end within {timeout} s")

    def _error(self) -> Exception:
        if isinstance(self._payload, Exception):
            # One exception may stand for many futures: without this, it would gather all their tracebacks.
            return self._payload.with_traceback(None)
        return error_of(self._state, self._payload or b"")

    # --- for the client that made it, under its lock -------------------------------------------------------------

    def resolve(self, state: int, payload: bytes | Exception) -> None:
        """The task has ended; for the client alone. May be told again. Then :meth:`take_callbacks`."""
        if self._state == PENDING:
            self._payload = payload
            self._state = state
        while self._sinks:
            self._sinks[-1].ended.append(self)
            self._sinks.pop()

    def watch(self, callback: Callback) -> None:
        """Keep a callback until the task has ended; for the client alone."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    @property
    def has_callbacks(self) -> bool:
        """Whether some are kept; for the client alone."""
        return bool(self._callbacks)

    def unwatch(self, callback: Callback) -> int:
        """Forget a callback; for the client alone. Returns how often it was there."""
        before = self._callbacks or []
        self._callbacks = [each for each in before if (each.callback if isinstance(each, InLoop) else each) != callback]
        return len(before) - len(self._callbacks)

    @property
    def has_succeeded(self) -> bool:
        """Whether the task has ended so; for the client alone."""
        return self._state == SUCCEEDED

    @property
    def ended_as(self) -> tuple[int, bytes]:
        """The TaskEnd and the payload of a task that did not succeed; for the client alone."""
        if isinstance(self._payload, bytes):
            return self._state, self._payload
        error = self._error()
        return int(TaskEnd.FAILED), pack_error(error, "")

    @property
    def result_bytes(self) -> int:
        """What came of the task, packed, until somebody has asked for the result; for the client alone."""
        return len(self._payload) if isinstance(self._payload, bytes) else 0

    def take_callbacks(self) -> list[Callback]:
        """Those that are due, once; for the client alone."""
        callbacks, self._callbacks = self._callbacks or [], None
        return callbacks

    def is_of(self, owner: Owner) -> bool:
        """Whether this is the client that has made it, under whose lock it ends."""
        return self._owner is owner

    def collect_in(self, sink: Sink) -> None:
        """Have this future collected when the task has ended, at once if it has; for the client alone."""
        if self._state != PENDING:
            sink.ended.append(self)
        else:
            self._sinks = [*(each for each in self._sinks or () if each.is_open), sink]


class FutureOfAny(Future[Any]):
    """Of a task by its id, whoever submitted it. Who stops awaiting it has not asked for the task, and cancels none."""

    __slots__ = ()

    def _await_cancelled(self) -> None:
        pass


use_futures(Future)


def error_of(state: int, payload: bytes) -> Exception:
    """The exception for a task that ended in another state than SUCCEEDED."""
    if state == TaskEnd.CANCELLED and not payload:
        return TaskCancelled()
    info = unpack_error(payload)
    earlier = tuple((attempt, datetime_of(at_ms), summary) for attempt, at_ms, summary in info.earlier)
    if state == TaskEnd.CANCELLED:
        return TaskCancelled(info.message, earlier)
    if state == TaskEnd.UPSTREAM_FAILED:
        return _upstream_failed(info)
    if state == TaskEnd.TIMED_OUT:
        match info.args:
            case (float(limit_s),):
                return TaskTimedOut(limit_s, earlier)
            case (float(ran_s), str(deadline)):
                return TaskTimedOut(ran_s, earlier, deadline)
        return TaskTimedOut(0.0, earlier)
    if state in (TaskEnd.LOST, TaskEnd.EXPIRED):
        ended: Exception = _lost(info) if state == TaskEnd.LOST else TaskExpired(info.message)
        if earlier:
            ended.add_note(failed_before(earlier).strip())
        return ended
    name = info.type_name if info.module == "builtins" else f"{info.module}.{info.type_name}"
    failed = TaskFailed(name, info.message, info.traceback, earlier)
    restored = _restore(info.type_name, info.args) if info.module == "builtins" else None
    if restored is None:
        return failed
    restored.__cause__ = failed
    return restored


def _upstream_failed(info: ErrorInfo) -> UpstreamFailed:
    match info.args:
        case (str(task_id), int(end), bytes(payload)):
            failed = UpstreamFailed(info.message, task_id)
            failed.__cause__ = _cause(end, payload)
            return failed
    return UpstreamFailed(info.message)


def _cause(end: int, payload: bytes) -> Exception | None:
    """The error of a task by which another ended. A node has packed it, and may have packed anything."""
    try:
        return None if end in (SUCCEEDED, TaskEnd.UPSTREAM_FAILED) else error_of(end, payload)
    except PayloadError:
        return None


def _lost(info: ErrorInfo) -> TaskLost:
    match info.args:
        case (int(attempts), str(detail)):
            return TaskLost(attempts, detail)
    return TaskLost(1, info.message)


def _restore(type_name: str, args: tuple[Any, ...] | None) -> Exception | None:
    """The built-in exception, None if this is none or can't be built again from its arguments."""
    cls = getattr(builtins, type_name, None)
    if args is None or not (isinstance(cls, type) and issubclass(cls, Exception)):
        return None
    if issubclass(cls, StopIteration | StopAsyncIteration):
        return None  # raised in a generator or a coroutine, they would end it and not report anything
    try:
        return cls(*args)
    except (TypeError, ValueError, OverflowError):
        return None
