"""One task, run: packed arguments in, how it ended and a packed result or error out.

The rules of this module:

- Whatever a task's code does, the worker goes on: each way to end that Python can see is an outcome. sys.exit() and a
  KeyboardInterrupt that a task raises end the task, and not the worker.
- An error reads as if the task had been called directly: frames of the worker and of the event loop are left out.
- No sockets. Nothing here knows that there is a node.
"""

from __future__ import annotations

import linecache
import os
import stat
import sys
import traceback
from _signal import SIG_DFL, getsignal  # type: ignore[import-not-found] # those of signal are enums
from signal import ITIMER_REAL, SIGALRM, setitimer
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from paceline.codecs import build
from paceline.errors import Cancelled, Retry, UnknownTask
from paceline.importing import import_own
from paceline.worker.alarm import Alarm
from paceline.worker.current import begin_together
from paceline.worker.registry import tasks
from paceline.worker.soft_limit import SoftLimits
from paceline.worker.stop_requests import StopRequests, raise_cancelled
from paceline.worker.visible_gpus import show_gpus, show_gpus_again
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.codec import encode_failed_attempt
from paceline_protocol.errors import PayloadError, UnserializableValue
from paceline_protocol.forms import class_name
from paceline_protocol.inputs import may_have_results
from paceline_protocol.limits import SUMMARY_LIMIT_BYTES
from paceline_protocol.messages.records import MAY_RETRY, Options, TaskEnd
from paceline_protocol.options import may_retry
from paceline_protocol.payload import (
    NAME_LIMIT_BYTES,
    WITH_CLASSES,
    ErrorInfo,
    pack_error,
    pack_error_info,
    pack_value,
    trim,
    unpack_args,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.worker.batches import BatchSignature
    from paceline.worker.loop import Loop
    from paceline_protocol.messages.records import Assignment

SUCCEEDED: Final = int(TaskEnd.SUCCEEDED)
CANCELLED: Final = int(TaskEnd.CANCELLED)
FAILED: Final = int(TaskEnd.FAILED)
SOURCE_LIMIT_BYTES = 16 * 1024 * 1024
"""A larger file is no source whose lines a traceback shows."""

# Looked at for each task: a Final of a compiled module is not looked up as a name is.
_SIGALRM: Final = int(SIGALRM)
_DEFAULT: Final = SIG_DFL
_handler_of: Final = getsignal
_tasks: Final = tasks
_getpid: Final = os.getpid  # a task may replace it
_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_NOT_SHOWN = (
    os.path.dirname(__file__) + os.sep,
    "paceline/worker/",  # of the compiled modules
    os.path.join(_STANDARD_LIBRARY, "asyncio") + os.sep,
    os.path.join(_STANDARD_LIBRARY, "importlib") + os.sep,
    "<frozen importlib",
)
"""Files whose frames are left out of tracebacks: the worker, the event loop, the import of the tasks' module."""


class TaskRunner:
    """Runs tasks one after the other, in the thread that calls it."""

    def __init__(self, payload_limit_bytes: int, stop_requests: StopRequests) -> None:
        self._payload_limit_bytes = payload_limit_bytes
        self._pid = _getpid()
        self._alarm = Alarm()
        self._looks_after_each = False  # as one has left an alarm without a handler
        self._loop: Loop | None = None
        self._soft_limits = SoftLimits()
        self._stop_requests = stop_requests

    def execute(self, name: str, packed_args: bytes, options: Options | None = None) -> tuple[int, bytes]:
        """(TaskEnd, payload), or (MAY_RETRY, payload) if the call asks for that in its ``options``. CANCELLED is the
        end of one that was asked to stop, and did. Raises nothing, unless memory is gone for good."""
        has_begun = False
        units = "" if options is None else options.get("units", "")
        seen_before = show_gpus(units) if units else None
        try:
            try:
                task = _tasks.get(name)
                if task is None:
                    raise UnknownTask(name, f"this worker has no task named {name!r}; its node runs other modules")
                if options is not None and may_have_results(options):
                    args, kwargs = import_own("paceline.worker.inputs").args_with_results(packed_args, options)
                else:
                    args, kwargs = unpack_args(packed_args, None, build)
                has_begun = True
                soft_limit_s = 0.0 if options is None else options.get("soft_time_limit", 0) / 1_000
                if options is not None and (soft_limit_s or "cancel_raises" in options):
                    value = self._call_struck(task.function, args, kwargs, options)
                else:
                    value = task.function(*args, **kwargs)
                if type(value) is CoroutineType:
                    value = self._run_coroutine(value, soft_limit_s)
            finally:
                if _handler_of(_SIGALRM) is not _DEFAULT or self._looks_after_each:
                    self._alarm.end(name)
                if seen_before is not None:
                    show_gpus_again(seen_before)
        except BaseException as error:  # noqa: BLE001 - the task's own error, whatever it is, is its outcome
            try:  # an alarm may have struck, and may repeat; nothing looks for signals before it is switched off here
                if not self._alarm.is_of_module and setitimer(ITIMER_REAL, 0)[0] > 0:
                    self._alarm.tell(name)  # where compiled code is struck for the last time
            except BaseException:  # noqa: BLE001, S110 - the task ends by its first strike
                pass
            if _getpid() != self._pid:
                end_fork(error)
            if self._stop_requests.is_asked and is_stop(error):
                return CANCELLED, STOPPED
            return failed(error, options) if has_begun else (FAILED, pack_failure(error))
        if _getpid() != self._pid:
            end_fork(None)
        try:
            return SUCCEEDED, pack_value(value, self._payload_limit_bytes, WITH_CLASSES)
        except BaseException as error:  # noqa: BLE001 - a result that can't be sent is an outcome too
            return FAILED, pack_failure(error, name)

    def execute_together(
        self, name: str, calls: Sequence[Assignment], first: int
    ) -> list[tuple[Assignment, int, object]]:
        """(call, TaskEnd or MAY_RETRY, payload) for each of these, whose function is called once; of what SUCCEEDED, in
        place of the payload, the value that is to be :meth:`packed`. ``first``: the number of the first of them."""
        ends: dict[int, tuple[int, object]] = {}
        bound: list[dict[str, object]] = []
        begun: list[int] = []
        signature = _signature_of(name)
        for index, (_id, _attempt, _name, packed_args, options) in enumerate(calls):
            if self._stop_requests.is_asked_of(first + index):
                ends[index] = CANCELLED, b""
                continue
            try:
                if options is not None and may_have_results(options):
                    args, kwargs = import_own("paceline.worker.inputs").args_with_results(packed_args, options)
                else:
                    args, kwargs = unpack_args(packed_args, None, build)
                bound.append(signature.bind(args, kwargs))
                begun.append(index)
            except BaseException as error:  # noqa: BLE001 - it ends that call, and no other
                ends[index] = FAILED, pack_failure(error)
        if begun:
            returned = self._call_together(name, bound, calls[begun[0]][4])
            for place, index in enumerate(begun):
                found: object = returned if isinstance(returned, BaseException) else returned[place]
                if not isinstance(found, BaseException):
                    ends[index] = SUCCEEDED, found
                elif self._stop_requests.is_asked_of(first + index) and is_stop(found):
                    ends[index] = CANCELLED, STOPPED
                else:
                    ends[index] = failed(found, calls[index][4])
        return [(call, *ends[index]) for index, call in enumerate(calls)]

    def _call_together(
        self, name: str, bound: Sequence[dict[str, object]], options: Options | None
    ) -> list[object] | BaseException:
        """What a function returns for each of these calls, or the exception that it raises for all of them."""
        try:
            task = _tasks[name]
            try:
                args, kwargs = _signature_of(name).columns(bound)
                soft_limit_s = 0.0 if options is None else options.get("soft_time_limit", 0) / 1_000
                if options is not None and soft_limit_s:
                    value = self._call_struck(task.function, args, kwargs, options)
                else:
                    value = task.function(*args, **kwargs)
                if type(value) is CoroutineType:
                    value = self._run_coroutine(value, soft_limit_s)
            finally:
                if _handler_of(_SIGALRM) is not _DEFAULT or self._looks_after_each:
                    self._alarm.end(name)
            if _getpid() == self._pid:
                found: list[object] = import_own("paceline.worker.batches").results_of(name, value, len(bound))
                return found
        except BaseException as error:  # noqa: BLE001 - it is the outcome of each
            try:  # as in execute()
                if not self._alarm.is_of_module and setitimer(ITIMER_REAL, 0)[0] > 0:
                    self._alarm.tell(name)
            except BaseException:  # noqa: BLE001, S110 - it ends by its first strike
                pass
            if _getpid() != self._pid:
                end_fork(error)
            return error
        return end_fork(None)

    def packed(self, name: str, value: object) -> tuple[int, bytes]:
        """(TaskEnd, payload) of what a task returned."""
        try:
            return SUCCEEDED, pack_value(value, self._payload_limit_bytes, WITH_CLASSES)
        except BaseException as error:  # noqa: BLE001 - a result that can't be sent is an outcome too
            return FAILED, pack_failure(error, name)

    def begin_together(self, numbers: memoryview, first: int, calls: Sequence[Assignment]) -> None:
        """One function is to run for these, which have the numbers from ``first`` on; none: it has ended."""
        begin_together(numbers, first, calls, self._stop_requests)

    def _call_struck(self, function: Callable[..., Any], args: Any, kwargs: Any, options: Options) -> Any:
        """The result of a function in which something may strike, as it runs."""
        if options.get("cancel_raises"):
            args, kwargs = (raise_cancelled, function, args, kwargs), {}
            function = self._stop_requests.call
        soft_limit_ms = options.get("soft_time_limit", 0)
        if soft_limit_ms:
            return self._soft_limits.call(soft_limit_ms / 1_000, function, args, kwargs)
        return function(*args, **kwargs)

    def _run_coroutine(self, coroutine: CoroutineType[Any, Any, Any], soft_limit_s: float) -> Any:
        if self._loop is None:
            self._loop = import_own("paceline.worker.loop").Loop()
        return self._loop.run(coroutine, soft_limit_s, self._stop_requests)

    def end_alarm(self, run: Sequence[Assignment]) -> None:
        """Switch off an alarm without a handler that one of these tasks has left as it returned. It would end the
        process, so nothing is raised here.

        Called once for many tasks that were short, since to ask the system after each costs more than they may. Once
        there was one, it is asked after each, and the task that leaves another is known by its name."""
        if _handler_of(_SIGALRM) is not _DEFAULT or self._alarm.is_of_module:
            return
        if setitimer(ITIMER_REAL, 0)[0] > 0:
            self._alarm.was_left_by(run)
            self._looks_after_each = True

    @property
    def has_left(self) -> bool:
        """Whether an async task has left coroutines that run. Its outcome is to be told before :meth:`clean_up`."""
        return self._loop is not None and self._loop.has_left

    def clean_up(self, name: str) -> None:
        """End what this task has left, in bounded time. Raises nothing."""
        if self._loop is None:
            return
        try:
            self._loop.clean_up(name)
            self._alarm.end(name)
        except BaseException:  # noqa: BLE001 - as in execute()
            if not self._alarm.is_of_module:
                setitimer(ITIMER_REAL, 0)


def _signature_of(name: str) -> BatchSignature:
    signature = _tasks[name].batch_signature
    assert signature is not None, "that is why it is called so"
    return signature


def is_stop(error: BaseException) -> bool:
    """Whether a task that was asked to stop has stopped by this."""
    asyncio = sys.modules.get("asyncio")
    return isinstance(error, Cancelled) or (asyncio is not None and isinstance(error, asyncio.CancelledError))


def failed(error: BaseException, options: Options | None) -> tuple[int, bytes]:
    """How an attempt ended that raised this."""
    has_retries = options is not None and options.get("retries", 0) > 0
    try:
        if isinstance(error, Retry):
            if not has_retries:
                return FAILED, pack_failure(_without_retries(error))
        elif not has_retries or not may_retry(options, type(error)) or _is_of_call(error):
            return FAILED, pack_failure(error)
        asked_ms = error.delay_ms if isinstance(error, Retry) else None
        delay = 0 if asked_ms is None else asked_ms + 1
        return MAY_RETRY, encode_failed_attempt((_summary(error), delay, FAILED, pack_failure(error)))
    except BaseException:  # noqa: BLE001 - a user's exception may be broken in ways that nobody foresaw
        return FAILED, pack_failure(error)


def _is_of_call(error: BaseException) -> bool:
    """Whether the task has not begun, as its arguments are not those that it takes."""
    return type(error) is TypeError and not format_traceback(error)


def _without_retries(error: Retry) -> Retry:
    """The same for a task that asks for none, with what it lacks."""
    said = Retry(f"{error}; for that it needs a retry, as of @task(retries=3)")
    said.__cause__, said.__context__ = error.__cause__, error.__context__
    return said.with_traceback(error.__traceback__)


def _summary(error: BaseException) -> str:
    """An exception in a line that can be shown; of a Retry without words its cause."""
    if type(error) is Retry and not error.message:
        error = error.__cause__ or error.__context__ or error
    *_, line = describe(error).splitlines() or [""]
    shown = "".join([char if char.isprintable() else ascii(char)[1:-1] for char in line[:SUMMARY_LIMIT_BYTES]])
    return trim(shown, SUMMARY_LIMIT_BYTES)


def _of_result(error: BaseException, name: str) -> BaseException:
    """The error of packing a result, with the task's name in its message, and without the packer's own frames."""
    if isinstance(error, UnserializableValue):
        path = error.path.replace("the value", f"the result of {name}", 1)
        return UnserializableValue(path, error.type_name, error.advice)
    if isinstance(error, PayloadError):
        error.args = (f"the result of {name}: {error}",)
    return error.with_traceback(None)


def pack_failure(error: BaseException, result_of: str = "") -> bytes:
    """``result_of``: the task whose result could not be packed."""
    try:
        if result_of:
            error = _of_result(error, result_of)
        return pack_error(error, format_traceback(error))
    except BaseException as broken:  # noqa: BLE001 - a user's exception may be broken in ways that nobody foresaw
        message = f"(it can't be described: {class_name(type(broken))})"
        return pack_error_info(ErrorInfo(trim(class_name(type(error)), NAME_LIMIT_BYTES), "?", message, None, ""))


def format_traceback(error: BaseException) -> str:
    """The traceback from the first frame of the user's; empty if there is none, when the message says it all."""
    try:  # each look at the user's exception may run code of his, which may do anything
        entry: TracebackType | None = error.__traceback__
        while entry is not None and entry.tb_frame.f_code.co_filename.startswith(_NOT_SHOWN):
            entry = entry.tb_next
        if entry is None and error.__cause__ is None and error.__context__ is None:
            return ""
        return "".join(traceback.format_exception(type(error), error, entry))
    except BaseException as broken:  # noqa: BLE001 - so that is its outcome
        return f"the traceback can't be shown: formatting it raised {class_name(type(broken))}"


def describe(error: BaseException) -> str:
    """An exception in a line or a few, as at the end of a traceback. Raises nothing."""
    try:
        return "".join(traceback.format_exception_only(error)).strip()
    except BaseException as broken:  # noqa: BLE001 - as above
        return f"{class_name(type(error))} (it can't be described: {class_name(type(broken))})"


def read_no_devices() -> None:
    """Have tracebacks show source lines of ordinary files alone. What a frame says is its file may be anything, as
    /dev/zero, which Python would read to its end."""
    read = linecache.updatecache

    def update(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
        try:
            found = os.stat(filename)
        except (OSError, ValueError):
            return read(filename, module_globals)  # it may be in a zip file, or nowhere
        if stat.S_ISREG(found.st_mode) and found.st_size <= SOURCE_LIMIT_BYTES:
            return read(filename, module_globals)
        return []

    linecache.updatecache = update


def end_fork(error: BaseException | None) -> NoReturn:
    """End a process that a task has forked and that has returned from the task's function.

    It must not answer in place of the worker, and must not touch the worker's socket. It ends as a script does.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code & 0xFF)
