"""What a worker does that runs many tasks at once: it begins each task once it has read of it, on one event loop in the
main thread, or in a thread beside that (``run_in="thread"``).

How many it has at once is its node's business, which gives it no more than it has slots. The rules of this module:

- Each task has a context of its own, in which :func:`current_task` finds it; threads run in that context, too.
- Its outcome is told once it has ended, whatever else runs. Coroutines that it has left are cancelled behind that, as
  ``asyncio.run`` does; nobody waits for them. Those that do not end are named in the log.
- A request to stop reaches one task: CancelledError is raised in its coroutine. In a thread nothing can be raised:
  there the task looks itself (``current_task().cancelled``).
- Whatever a task does, the worker goes on, as in ``execute.py``: a task that stops the loop has it started again.

Not among the compiled modules: there is next to nothing here but what user code and asyncio do.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import socket
import sys
from _thread import allocate_lock  # the name of before a module has patched it
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from time import monotonic_ns
from types import CoroutineType
from typing import Any, Final, NoReturn

from paceline.codecs import build
from paceline.errors import UnknownTask
from paceline.worker.blocking import BlockedLoop
from paceline.worker.current import HERE, CurrentTask
from paceline.worker.execute import CANCELLED, FAILED, SUCCEEDED, end_fork, failed, is_stop, pack_failure
from paceline.worker.inputs import args_with_results
from paceline.worker.loop import CLEAN_UP_LIMIT_S, NAMED_COROUTINES, limited, name_of
from paceline.worker.registry import THREAD, tasks
from paceline.worker.stop_requests import BEGUN, RUNS, STOP
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.codec import encode, encode_fields
from paceline_protocol.inputs import may_have_results
from paceline_protocol.messages.children import Done, LoopBlocked
from paceline_protocol.messages.records import Assignment, Options, Outcome
from paceline_protocol.messages.trace import Stage, Trace
from paceline_protocol.options import is_traced
from paceline_protocol.payload import WITH_CLASSES, pack_value, unpack_args
from paceline_protocol.stream import pack_frame

FLUSH_AFTER_BYTES: Final = 1024 * 1024
OUTCOME_OVERHEAD_BYTES: Final = 64

_logger = logging.getLogger("paceline.worker")


class Attempt:
    """One task that runs here. ``number``: among those that this worker has begun. ``left``: what it has started on
    the loop and has not ended."""

    __slots__ = ("assignment", "current", "flags", "has_begun", "in_thread", "is_asked", "left", "number", "task")

    def __init__(self, assignment: Assignment, number: int) -> None:
        self.number = number
        task_id, attempt, name, _args, options = assignment
        self.assignment = assignment
        self.flags = [0, 0, 0]  # as in the numbers that a worker shares with its node: which one is to stop
        asked = options or {}
        deadline_ms = asked.get("deadline", 0)
        self.current = CurrentTask(task_id.hex(), name, attempt, deadline_ms, self.flags, 1, asked.get("units", ""))
        self.has_begun = False
        self.in_thread = False
        self.is_asked = False
        self.left: set[asyncio.Task[Any]] = set()
        self.task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """It is to stop."""
        if self.is_asked:
            return
        self.is_asked = True
        self.flags[STOP] = 1
        if self.task is not None and self.has_begun and not self.in_thread:
            self.task.cancel()  # one that has not begun looks when it does


class Steps(Coroutine[Any, Any, Any]):
    """A coroutine, whose task is named in the memory that the worker shares with its node whenever its code runs. If
    the worker ends in the midst of that, its node knows by whom, and the others lose nothing by it."""

    __slots__ = ("_coroutine", "_number", "_server")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], server: AsyncServer, number: int) -> None:
        self._coroutine = coroutine
        self._server = server
        self._number = number

    def send(self, value: Any) -> Any:
        server = self._server
        server.numbers[RUNS] = 0 if server.threads_run else self._number
        try:
            return self._coroutine.send(value)
        finally:
            if server.is_fork:
                _end_fork(sys.exception())
            server.numbers[RUNS] = 0

    def throw(self, *error: Any) -> Any:
        server = self._server
        server.numbers[RUNS] = 0 if server.threads_run else self._number
        try:
            return self._coroutine.throw(*error)
        finally:
            if server.is_fork:
                _end_fork(sys.exception())
            server.numbers[RUNS] = 0

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # whoever looks at the coroutine of a task looks at that


class AsyncServer:
    """Serves one worker from when it is told how many tasks it may run at once, until Stop, or the node is gone."""

    def __init__(
        self,
        link: socket.socket,
        frames: Callable[[bytes], Sequence[bytes]],
        handle: Callable[[bytes], bool],
        numbers: memoryview,
        limit_bytes: int,
        slots: int,
        send: Callable[[bytes, bytes], None],
        end_alarm: Callable[[Sequence[Assignment]], None],
    ) -> None:
        """``frames``: cuts what comes into frames; ``handle``: what to do with one, False after Stop. ``numbers``: of
        ``begun_tasks.py``. ``limit_bytes``: of a result. ``send``: a frame, and what is packed before it."""
        self._link = link
        self._frames = frames
        self._handle = handle
        self.numbers = numbers
        self.threads_run = 0  # calls in threads: while there are any, nobody can tell whose code ends the worker
        self._threads_lock = allocate_lock()
        self.is_fork = False
        os.register_at_fork(after_in_child=partial(setattr, self, "is_fork", True))
        self._limit_bytes = limit_bytes
        self._send = send
        self._end_alarm = end_alarm
        self._pid = os.getpid()
        self._number = 0
        self._running: dict[bytes, Attempt] = {}
        self._left: dict[asyncio.Task[Any], str] = {}  # what tasks have left that have ended, and that is to end, too
        self._outcomes: list[Outcome] = []
        self._ended: list[Assignment] = []
        self._waiting_bytes = 0
        self._traces = b""
        self._is_over = False
        self._failure: BaseException | None = None
        self._threads = ThreadPoolExecutor(slots, "paceline task")
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._loop.set_task_factory(self._make_task)
        self._run_in_executor = self._loop.run_in_executor
        self._loop.run_in_executor = self._in_executor  # type: ignore[method-assign,assignment]
        self._context = contextvars.copy_context()
        self._told_unraised: set[str] = set()  # names of tasks that there are
        self._blocked = BlockedLoop(self._loop, self._who_blocks, self._tell_blocked)

    def serve(self) -> None:
        """Run the loop until Stop. Raises SystemExit if the link to the node ends otherwise."""
        self._loop.add_reader(self._link.fileno(), self._read)
        while not self._is_over:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001 - of a coroutine that a task has left, as by sys.exit()
                if self._failure is None:
                    _logger.warning("what a task has left in its event loop raised %s", type(error).__qualname__)
        if self._failure is not None:
            raise self._failure

    # --- from the node ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = self._link.recv(65_536, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data or not all(map(self._handle, self._frames(data))):
            self._end()

    def _end(self, failure: BaseException | None = None) -> None:
        self._is_over = True
        self._failure = failure
        self._loop.stop()

    def begin(self, assignments: Sequence[Assignment]) -> None:
        """The node gives it these."""
        for assignment in assignments:
            self._number += 1
            self.numbers[BEGUN] = self._number
            attempt = self._running[assignment[0]] = Attempt(assignment, self._number)
            self._start(attempt)
        self._blocked.watch()

    def _start(self, attempt: Attempt) -> None:
        context = self._context.copy()
        context.run(HERE.set, attempt)
        attempt.task = asyncio.Task(Steps(self._run(attempt), self, attempt.number), loop=self._loop, context=context)
        attempt.task.add_done_callback(partial(self._has_run, attempt), context=self._context)

    def _has_run(self, attempt: Attempt, _task: asyncio.Task[None]) -> None:
        """A task that has cancelled all there are has ended others before they began: these begin all the same."""
        if not attempt.has_begun:
            self._start(attempt)

    def stop(self, ids: Sequence[bytes]) -> None:
        """Those of these tasks that run are to stop."""
        for task_id in ids:
            attempt = self._running.get(task_id)
            if attempt is not None:
                attempt.ask()

    # --- one task -----------------------------------------------------------------------------------------------

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **keywords: Any,
    ) -> asyncio.Task[Any]:
        """A task of asyncio's, which belongs to the task of ours that starts it."""
        owner = HERE.get()
        if isinstance(owner, Attempt) and isinstance(coroutine, Coroutine):
            coroutine = Steps(coroutine, self, owner.number)
        made: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **keywords)
        if isinstance(owner, Attempt):
            owner.left.add(made)
            made.add_done_callback(owner.left.discard)
        return made

    async def _run(self, attempt: Attempt) -> None:
        task_id, number, name, packed_args, options = attempt.assignment
        started_ns = monotonic_ns()
        has_args, attempt.has_begun = False, True
        try:
            if attempt.is_asked:
                raise asyncio.CancelledError
            task = tasks.get(name)
            if task is None:
                raise UnknownTask(name, f"this worker has no task named {name!r}; its node runs other modules")
            if options is not None and may_have_results(options):
                args, kwargs = args_with_results(packed_args, options)
            else:
                args, kwargs = unpack_args(packed_args, None, build)
            has_args = True
            # Many may run for long: none keeps its arguments longer than its own code does.
            attempt.assignment, packed_args = (task_id, number, name, b"", options), b""
            if task.run_in == THREAD:
                attempt.in_thread = True
                if options is not None:
                    self._tell_unraised(name, options)
                called = self._loop.run_in_executor(self._threads, _called, task.function, args, kwargs)
                args, kwargs = [], {}
                value, raised = await called
                if raised is not None:
                    raise raised
            else:
                value = task.function(*args, **kwargs)
                args, kwargs = [], {}
                if isinstance(value, CoroutineType):
                    soft_limit_s = 0.0 if options is None else options.get("soft_time_limit", 0) / 1_000
                    value = await (limited(value, soft_limit_s) if soft_limit_s else value)
        except BaseException as error:  # noqa: BLE001 - the task's own error, whatever it is, is its outcome
            if os.getpid() != self._pid:
                end_fork(error)
            if attempt.is_asked and is_stop(error):
                self._answer(attempt, CANCELLED, STOPPED, started_ns)
            elif has_args:
                self._answer(attempt, *failed(error, options), started_ns)
            else:
                self._answer(attempt, FAILED, pack_failure(error), started_ns)
            return
        if os.getpid() != self._pid:
            end_fork(None)
        try:
            packed = pack_value(value, self._limit_bytes, WITH_CLASSES)
        except BaseException as error:  # noqa: BLE001 - a result that can't be sent is an outcome too
            self._answer(attempt, FAILED, pack_failure(error, name), started_ns)
        else:
            self._answer(attempt, SUCCEEDED, packed, started_ns)

    def _tell_unraised(self, name: str, options: Options) -> None:
        """@task refuses what raises in a thread; whoever submits by name alone does not see where it is to run."""
        unraised = [key for key in ("soft_time_limit", "cancel_raises") if options.get(key)]
        if unraised and name not in self._told_unraised:
            self._told_unraised.add(name)
            _logger.warning(
                "task %s runs in a thread, in which nothing can be raised, so that %s does nothing; leave it out where "
                "the task is submitted, and give it a time_limit, or have it look at current_task().cancelled",
                name,
                " and ".join(unraised),
                extra={"task_name": name},
            )

    def _in_executor(self, executor: Executor | None, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """In place of the loop's own: a thread runs in the context of its task, as in asyncio.to_thread(), and it is
        known that one does."""
        if executor is not None and not isinstance(executor, ThreadPoolExecutor):
            return self._run_in_executor(executor, function, *args)
        return self._run_in_executor(executor, self._in_thread, contextvars.copy_context(), function, *args)

    def _in_thread(self, context: contextvars.Context, function: Callable[..., Any], *args: Any) -> Any:
        with self._threads_lock:
            self.threads_run += 1
        self.numbers[RUNS] = 0
        try:
            return context.run(function, *args)
        finally:
            with self._threads_lock:
                self.threads_run -= 1

    def _answer(self, attempt: Attempt, state: int, payload: bytes, started_ns: int) -> None:
        """A task has ended. What ends in one turn of the loop is told together."""
        task_id, number, name, _args, options = attempt.assignment
        ended_ns = monotonic_ns()
        del self._running[task_id]
        if not self._outcomes:
            self._loop.call_soon(self._flush, context=self._context)
        self._outcomes.append((task_id, number, state, payload, (ended_ns - started_ns) // 1000))
        self._ended.append(attempt.assignment)
        if options is not None and is_traced(options):
            stamps = ((int(Stage.WORKER_START), started_ns), (int(Stage.WORKER_END), ended_ns))
            self._traces += pack_frame(encode(Trace(task_id, stamps)))
        self._waiting_bytes += len(payload) + OUTCOME_OVERHEAD_BYTES
        if self._waiting_bytes >= FLUSH_AFTER_BYTES:
            self._flush()
        if attempt.left:
            self._clean_up(name, attempt.left)

    def _flush(self) -> None:
        if not self._outcomes:
            return
        outcomes, ended, traces = self._outcomes, self._ended, self._traces
        self._outcomes, self._ended, self._traces, self._waiting_bytes = [], [], b"", 0
        if not self._running:
            self._end_alarm(ended)  # while others run it may be theirs
        try:
            self._send(encode_fields(Done, (outcomes,)), traces)
        except SystemExit as error:  # the node takes nothing, or is gone
            self._end(error)

    def _clean_up(self, name: str, left: set[asyncio.Task[Any]]) -> None:
        """End what a task has left, beside those that run."""
        for each in list(left):
            self._left[each] = name
            each.add_done_callback(self._has_ended)
            each.cancel()
        self._loop.call_later(CLEAN_UP_LIMIT_S, self._look_what_is_left, name, left, context=self._context)

    def _has_ended(self, left: asyncio.Task[Any]) -> None:
        del self._left[left]
        if not left.cancelled():
            left.exception()  # it is looked at, or the loop would complain

    def _look_what_is_left(self, name: str, left: set[asyncio.Task[Any]]) -> None:
        if left:
            _logger.warning(
                "task %s left %d coroutines that have not ended %g s after they were cancelled (%s); they go on in the "
                "event loop that it shares with others. Let CancelledError through, or end them in the task",
                name,
                len(left),
                CLEAN_UP_LIMIT_S,
                ", ".join(sorted(name_of(each) for each in left)[:NAMED_COROUTINES]),
                extra={"task_name": name},
            )

    # --- whoever blocks the loop --------------------------------------------------------------------------------

    def _who_blocks(self) -> tuple[str, bool]:
        """The name of the task whose code the loop runs now, as another thread sees it, "" if that is not known; and
        whether it has ended, and this is what it has left."""
        running = asyncio.current_task(self._loop)
        if running is None:
            return "", False
        for attempt in list(self._running.values()):
            if attempt.task is running or running in attempt.left:
                return attempt.assignment[2], False
        name = self._left.get(running, "")
        return name, name != ""

    def _tell_blocked(self, name: str, blocked_ms: int) -> bool:
        """In the loop: it was blocked, or was not. False if nothing is here any more that could do so."""
        if name:
            try:
                self._send(encode(LoopBlocked(name, blocked_ms)), b"")
            except SystemExit as error:
                self._end(error)
        return bool(self._running or self._left)


def _end_fork(raised: BaseException | None) -> NoReturn:
    """End a process that a task has forked, as it gives way to its parent's loop. ``raised``: None if it awaits."""
    if raised is None:
        raised = RuntimeError("a process that a task has forked can't await: the event loop is that of its worker")
    end_fork(None if isinstance(raised, StopIteration) else raised)


def _called(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, BaseException | None]:
    """What a function returns or raises. A future, or a coroutine, can't raise every exception: not StopIteration."""
    try:
        return function(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - it is raised in the task
        return None, error
