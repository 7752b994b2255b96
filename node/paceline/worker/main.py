"""The worker process: a child of a node, and the only process that runs user code.

The rules of this module:

- One thread, one stream (a socket pair), one task at a time; or many at once, if its node says so before the first
  (``async_server.py``). The worker speaks to its own node only, and keeps no state
  that matters: when it dies, the kernel tells the node at once, and its tasks go to other workers.
- The worker speaks first: it is ready, with the names of the tasks that it can run, or a module can't be imported.
- The worker blocks while it waits for work. It polls nothing, since a thread watches for the node's end
  (``parent.py``).
- While a task runs for long, its node takes back the tasks behind it: the worker passes over them when it comes to them
  (``core/work/worker_slot.py``).
- A task that is to be cancelled while it runs is asked to stop in the same memory (``stop_requests.py``).
- An outcome is sent when its Run is done, or earlier: before a task that is not known to be short, and once
  FLUSH_AFTER_NS have passed. So a long task does not hold back the outcomes of short tasks before it.
- What tasks say of themselves while they run a thread sends beside that, if they say anything (``own_remarks.py``).
- What a task has left is ended once its outcome is told. The node hears that this begins, and when it is over, and ends
  a worker that does not come through.
"""

from __future__ import annotations

import argparse
import errno
import gc
import logging
import mmap
import os
import signal
import socket
import struct
import sys
from _thread import LockType, RLock, allocate_lock, start_new_thread  # the name of before a module has patched it
from collections.abc import Sequence
from select import POLLOUT, poll
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, NoReturn

from paceline.errors import ConfigError, DuplicateTaskName, UsedWhileImporting
from paceline.importing import import_own, importing
from paceline.line_writer import LogHandler
from paceline.log_formats import JsonFormatter, TextFormatter
from paceline.parent_deadline import PARENT
from paceline.stop_signal import ASKED_NUMBERS
from paceline.worker import current
from paceline.worker.ending import end_in_time
from paceline.worker.execute import TaskRunner, describe, format_traceback, read_no_devices
from paceline.worker.own_remarks import OwnRemarks
from paceline.worker.own_waits import OwnWaits
from paceline.worker.parent import EXIT_PARENT_GONE, allow_open_files, die_with_parent
from paceline.worker.registry import async_names, batched_names, defaults, load_module, schedules, tasks
from paceline.worker.stop_requests import ASKED, StopRequests
from paceline.worker.task_output import prepare_log, watch
from paceline_protocol.codec import (
    MAX_FRAME_BYTES,
    MAX_STRING_CHARS,
    MAX_TRACEBACK_CHARS,
    decode_fields,
    encode,
    encode_defaults,
    encode_fields,
    encode_own_schedules,
)
from paceline_protocol.errors import LimitExceeded, ProtocolError
from paceline_protocol.limits import MAX_TASK_NAMES
from paceline_protocol.messages.children import (
    CleaningUp,
    Done,
    NodeMoved,
    Run,
    ServeAsync,
    Stop,
    StopAttempts,
    WorkerFailed,
    WorkerReady,
)
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd
from paceline_protocol.messages.trace import Stage, Trace
from paceline_protocol.options import is_traced, together
from paceline_protocol.payload import trim
from paceline_protocol.stream import FrameReader, pack_frame

if TYPE_CHECKING:
    from paceline.worker.async_server import AsyncServer

EXIT_MODULE_FAILED = 3
EXIT_NODE_STUCK = 5
EXIT_LINK_CLOSED = 6

FLUSH_AFTER_NS: Final = 1_000_000
FLUSH_AFTER_BYTES: Final = 1024 * 1024
SEND_DEADLINE_S = 60
READ_BYTES: Final = 65_536
BEGUN_BYTES: Final = 8 * (ASKED + ASKED_NUMBERS)
_SUCCEEDED: Final = int(TaskEnd.SUCCEEDED)
_PASSED_OVER: Final = int(TaskEnd.CANCELLED)

_OUTCOME_OVERHEAD_BYTES: Final = 64
"""More than a Done frame needs for one outcome beside its payload, and more than it needs beside its outcomes."""

_logger = logging.getLogger("paceline.worker")
_sending: Final = RLock()
"""Held while a frame is sent: a thread sends what tasks say of themselves, and a handler of signals may wait for
tasks."""


class Worker:
    """Takes Run messages from the node and answers them until Stop, or until the node is gone."""

    def __init__(self, link: socket.socket, payload_limit_bytes: int, begun: memoryview) -> None:
        """``begun``: the numbers of ``begun_tasks.py``."""
        self._link = link
        self._begun = begun
        self._begun_number = 0
        PARENT.ask = current.options
        PARENT.waits = OwnWaits(lambda frame: _send_aside(link, frame), self._flush).waits
        self._unsent: list[Outcome] = []  # of what stood before the task that runs
        self._flushing: LockType | None = None  # held while another thread sends them
        self._feed = FrameReader().feed
        # A result always fits into a Done, together with the outcomes that may wait already.
        limit_bytes = min(payload_limit_bytes, MAX_FRAME_BYTES - FLUSH_AFTER_BYTES - 2 * _OUTCOME_OVERHEAD_BYTES)
        self._limit_bytes = limit_bytes
        self._server: AsyncServer | None = None  # of a worker that runs many tasks at once
        self._runner = TaskRunner(limit_bytes, StopRequests(begun))
        self._remarks = current.remarks = OwnRemarks(lambda frame: _send_aside(link, frame), lambda: _has_room(link))
        self._traces = b""  # of sampled tasks whose outcomes wait to leave
        self._batched = batched_names()
        self._last_ns: dict[str, int] = {}  # how long each task took the last time; bounded by the registry

    def serve(self) -> None:
        while self._take():
            if self._server is not None:
                self._server.serve()
                return

    def _serve_async(self, slots: int) -> None:
        """From now on it runs many tasks at once."""
        server = import_own("paceline.worker.async_server").AsyncServer
        self._server = server(
            self._link,
            self._feed,
            self._handle,
            self._begun,
            self._limit_bytes,
            slots,
            self._send,
            self._runner.end_alarm,
        )

    def _take(self) -> bool:
        """Wait for frames and handle them; False after Stop, and when the node is gone.

        A call of its own, so that a worker that waits does not hold on to the last frame.
        """
        try:
            data = self._link.recv(READ_BYTES)
        except OSError as error:
            _end_without_link(error)
        return bool(data) and all(map(self._handle, self._feed(data)))

    def _handle(self, frame: bytes) -> bool:
        """False after Stop."""
        try:
            cls, fields = decode_fields(frame)
        except ProtocolError as error:
            _logger.error("a frame from the node was ignored: %s", error)
            return True
        if cls is Run:
            if self._server is None:
                self._run(*fields)
            else:
                self._server.begin(*fields)
        elif cls is Stop:
            return False
        elif cls is ServeAsync:
            self._serve_async(*fields)
        elif cls is StopAttempts and self._server is not None:
            self._server.stop(*fields)
        elif cls is NodeMoved:
            import_own("paceline.own_cluster").node_moved(*fields)
        else:
            _logger.error("a %s from the node was ignored: a worker does not take it", cls.__name__)
        return True

    def _run_batches(self, assignments: Sequence[Assignment]) -> None:
        """Some of these are of functions that are called for several calls at once. Those that may go together are all
        that their node sends then (``core/work/slots.py``); a call that asks for no ``batch`` goes alone."""
        common = [(each[2], together(each[4] or {})) for each in assignments]
        if common[0][0] in self._batched and common[0][1] and len(set(common)) == 1:
            self._run_together(assignments)
            return
        for assignment in assignments:
            if assignment[2] in self._batched:
                self._run_together([assignment])
            else:
                self._run([assignment])

    def _run_together(self, calls: Sequence[Assignment]) -> None:
        """Call the function of these calls once, for all of them but those that somebody wants cancelled by now: what
        is taken back none of them can be, as they begin together."""
        runner, begun, first, name = self._runner, self._begun, self._begun_number + 1, calls[0][2]
        self._begun_number = begun[0] = first + len(calls) - 1
        self._unsent = []
        runner.begin_together(begun, first, calls)
        started_ns = monotonic_ns()
        ends = runner.execute_together(name, calls, first)
        ended_ns = monotonic_ns()
        runner.begin_together(begun, first, ())
        ran_us = (ended_ns - started_ns) // 1000
        outcomes: list[Outcome] = []
        waiting_bytes = 0
        for (task_id, attempt, _name, _args, options), state, found in ends:
            end, payload = state, found
            if state == _SUCCEEDED:
                end, payload = runner.packed(name, found)
            assert isinstance(payload, bytes), "else it has succeeded"
            if outcomes and waiting_bytes + len(payload) > FLUSH_AFTER_BYTES:
                self._send_done(outcomes, calls)
                outcomes, waiting_bytes = [], 0
            outcomes.append((task_id, attempt, end, payload, ran_us))
            waiting_bytes += len(payload) + _OUTCOME_OVERHEAD_BYTES
            if options is not None and is_traced(options):
                self._trace(task_id, started_ns, ended_ns)
        if not runner.has_left:
            self._send_done(outcomes, calls)
            return
        self._send_done(outcomes, calls, CleaningUp)
        runner.clean_up(name)
        self._send_done([(calls[-1][0], calls[-1][1], _PASSED_OVER, b"", 0)], calls)

    def _run(self, assignments: Sequence[Assignment]) -> None:
        batched = self._batched
        if batched and not batched.isdisjoint([each[2] for each in assignments]):
            self._run_batches(assignments)
            return
        runner = self._runner
        begun, number = self._begun, self._begun_number
        current.run = begun, number, assignments
        last_ns, has_waited = self._last_ns, current.has_waited
        outcomes = self._unsent = []
        waiting_bytes = 0
        started_ns = flushed_ns = monotonic_ns()
        for task_id, attempt, name, args, options in assignments:
            if outcomes and (
                started_ns - flushed_ns >= FLUSH_AFTER_NS
                or waiting_bytes >= FLUSH_AFTER_BYTES
                or last_ns.get(name, FLUSH_AFTER_NS) >= FLUSH_AFTER_NS
            ):
                self._send_done(outcomes, assignments)
                outcomes = self._unsent = []
                waiting_bytes = 0
                started_ns = flushed_ns = monotonic_ns()
            number += 1
            begun[0] = number
            if number <= begun[1]:  # looked at after that was written
                outcomes.append((task_id, attempt, _PASSED_OVER, b"", 0))
                continue
            state, payload = runner.execute(name, args, options)
            ended_ns = monotonic_ns()
            if self._flushing is not None:
                self._end_flush()
            if name in tasks:
                last_ns[name] = ended_ns - started_ns if name not in has_waited else FLUSH_AFTER_NS
            outcomes.append((task_id, attempt, state, payload, (ended_ns - started_ns) // 1000))
            if options is not None and is_traced(options):
                self._trace(task_id, started_ns, ended_ns)
            waiting_bytes += len(payload) + _OUTCOME_OVERHEAD_BYTES
            started_ns = ended_ns
            if runner.has_left:
                self._send_done(outcomes, assignments, CleaningUp)
                waiting_bytes = 0
                runner.clean_up(name)
                self._send_done([(task_id, attempt, _PASSED_OVER, b"", 0)], assignments)
                outcomes = self._unsent = []
                started_ns = flushed_ns = monotonic_ns()
        current.run = None
        self._begun_number = number
        if outcomes:
            self._send_done(outcomes, assignments)

    def _flush(self) -> None:
        """A task is about to wait: what stood before it is told. Another thread does so, since anything may be raised
        in this one by a handler of signals; none of its outcomes is to be lost by that, or told twice."""
        if self._unsent and self._flushing is None:
            self._flushing = is_done = allocate_lock()
            is_done.acquire()
            start_new_thread(self._send_unsent, (is_done, self._unsent))
            is_done.acquire()
            is_done.release()
            self._flushing = None

    def _send_unsent(self, is_done: LockType, outcomes: list[Outcome]) -> None:
        try:
            frame = encode_fields(Done, (list(outcomes),))
            outcomes.clear()
            _send_aside(self._link, frame)
        finally:
            is_done.release()

    def _end_flush(self) -> None:
        """The task has ended, and something was raised in it meanwhile."""
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            flushing.acquire()
            flushing.release()

    def _trace(self, task_id: bytes, started_ns: int, ended_ns: int) -> None:
        """Note the stamps of a sampled task. They are sent just before its outcome, so that the node has both when it
        reports the outcome."""
        stamps = ((int(Stage.WORKER_START), started_ns), (int(Stage.WORKER_END), ended_ns))
        self._traces += pack_frame(encode(Trace(task_id, stamps)))

    def _send_done(
        self, outcomes: list[Outcome], run: Sequence[Assignment], kind: type[Done | CleaningUp] = Done
    ) -> None:
        """``run``: what they are of. This may wait for the node, so no alarm of theirs is to strike any more."""
        self._runner.end_alarm(run)
        traces, self._traces = self._traces, b""
        self._send(encode_fields(kind, (outcomes,)), traces)

    def _send(self, frame: bytes, before: bytes) -> None:
        """With what tasks have said of themselves, before what is told of their ends."""
        if self._remarks:
            remarks = self._remarks.take_before_outcome()
            if remarks:
                before += pack_frame(remarks)
        send(self._link, frame, before=before)


def send(link: socket.socket, frame: bytes, before: bytes = b"") -> None:
    """Send a frame, waiting at most SEND_DEADLINE_S until the node takes it. After that the worker ends.

    ``before``: frames that are packed for the stream already, and are sent in the same write."""
    try:
        with _sending:
            link.sendall(before + pack_frame(frame))
    except BlockingIOError:
        _logger.critical("the node took nothing for %d s; this worker ends", SEND_DEADLINE_S)
        raise SystemExit(EXIT_NODE_STUCK) from None
    except OSError as error:
        _end_without_link(error)


def _send_aside(link: socket.socket, frame: bytes) -> None:
    """As :meth:`send`, from another thread than that which runs the tasks. Raises SystemExit to end that thread."""
    try:
        with _sending:
            link.sendall(pack_frame(frame))
    except BlockingIOError:  # in the midst of a frame: nothing can follow it
        _logger.critical("the node took nothing for %d s; this worker ends", SEND_DEADLINE_S)
        os._exit(EXIT_NODE_STUCK)
    except OSError:  # the other thread sees that, too, and ends the worker
        raise SystemExit from None


def _has_room(link: socket.socket) -> bool:
    """Whether the node takes what it is sent: then most of the link's buffer is free, more than a Remarks needs. True
    of a link that is closed, too: who sends finds that out."""
    sees = poll()
    try:
        sees.register(link, POLLOUT)
    except ValueError:  # its descriptor is -1
        return True
    return bool(sees.poll(0))


def _end_without_link(error: OSError) -> NoReturn:
    """The node is gone; or it is not, and a task has closed the worker's descriptors, as os.closerange() does."""
    if error.errno is None:  # no call of the system has failed: a handler of signals has raised this
        raise error
    if error.errno in (errno.EBADF, errno.ENOTSOCK):
        _logger.critical("the worker's connection to its node was closed by a task; this worker ends")
        raise SystemExit(EXIT_LINK_CLOSED) from None
    raise SystemExit(EXIT_PARENT_GONE) from None


def main(arguments: Sequence[str]) -> int:
    """Run as a worker until Stop. Returns the exit code."""
    options = _parse(arguments)
    die_with_parent(options.link)
    allow_open_files(options.open_files)
    _prepare_process(is_json=options.log_format == "json")
    read_no_devices()
    link = socket.socket(fileno=options.link)
    try:
        return _work(link, options.modules, options.payload_limit, _shared_numbers(options.begun))
    finally:
        # The kernel closes the link after it has the exit code. If the link ended before, the node would kill the
        # worker.
        link.detach()
        end_in_time()


def _shared_numbers(fd: int | None) -> memoryview:
    """Those of ``begun_tasks.py``, shared with the node if that has given a descriptor for them."""
    if fd is None:
        return memoryview(bytearray(BEGUN_BYTES)).cast("Q")
    shared = mmap.mmap(fd, BEGUN_BYTES)
    os.close(fd)
    return memoryview(shared).cast("Q")


def _work(link: socket.socket, modules: Sequence[str], payload_limit_bytes: int, begun: memoryview) -> int:
    # Not settimeout(): that would make every receive a poll and a read.
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_DEADLINE_S, 0))
    failed = _load(modules)
    if failed is not None:
        send(link, encode(failed))
        return EXIT_MODULE_FAILED
    # The imported modules stay: the collector need not look at them again, and forked children share their pages.
    gc.collect()
    gc.freeze()
    worker = Worker(link, payload_limit_bytes, begun)  # before its node may signal to it
    names, own_schedules = tuple(sorted(tasks)), encode_own_schedules(schedules())
    send(link, encode(WorkerReady(os.getpid(), names, encode_defaults(defaults()), async_names(), own_schedules)))
    worker.serve()
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m paceline.worker", description="Started by a node.")
    parser.add_argument("--link", required=True, type=int, metavar="FD", help="the stream to the node; ends with it")
    parser.add_argument("--begun", type=int, metavar="FD", help="memory in which to count the tasks that were begun")
    parser.add_argument("--open-files", type=int, metavar="FILES", help="the soft limit of open files")
    parser.add_argument("--payload-limit", required=True, type=int, metavar="BYTES", help="the largest packed result")
    parser.add_argument("--log-format", default="text", choices=["text", "json"], help="of its log and of all output")
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="a dotted name or a .py file")
    return parser.parse_args(arguments)


def _prepare_process(*, is_json: bool) -> None:
    # The node decides when a worker ends. This is a handler that does nothing, and not SIG_IGN, which the subprocesses
    # of a task would inherit; exec resets a handler.
    signal.signal(signal.SIGINT, lambda _signal, _frame: None)
    for stream in ("stdout", "stderr"):
        watch(stream, is_json=is_json)
    handler = LogHandler()  # of the worker itself; what tasks log and print is theirs
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter())
    _logger.addHandler(handler)
    _logger.propagate = False
    prepare_log()
    sys.argv = sys.argv[:1]  # a module that looks at the command line would find the node's arguments


def _check_announced() -> None:
    """Raises ConfigError if there are more options, or schedules, than a node can announce."""
    try:
        encode_defaults(defaults())
    except LimitExceeded as error:
        raise ConfigError(
            f"with it the names and options of all tasks take {error.size} bytes, and a node announces at most "
            f"{error.limit}; give some of the modules to other nodes, or name fewer exceptions in retry_on"
        ) from None
    try:
        encode_own_schedules(schedules())
    except LimitExceeded as error:
        raise ConfigError(
            f"there are more schedules than a node can announce: {error}; give some of the modules to other nodes, or "
            "make them without @task, as `paceline cron add` does"
        ) from None


def _load(modules: Sequence[str]) -> WorkerFailed | None:
    """Import the modules. Returns the failure of the first that fails, since the others may depend on it; or None."""
    for module in modules:
        try:
            with importing(module):
                load_module(module)
            if len(tasks) > MAX_TASK_NAMES:
                raise ConfigError(
                    f"with it there are {len(tasks)} tasks, and a node runs at most {MAX_TASK_NAMES}; give some of the "
                    "modules to other nodes, or make what differs an argument of one task"
                )
            _check_announced()
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a module ends the import, as an error does
            text = describe(error)
            # Their messages have the places, and their tracebacks more than that.
            shown = "" if type(error) in (DuplicateTaskName, UsedWhileImporting) else format_traceback(error)
            return WorkerFailed(
                os.getpid(),
                trim(module, MAX_STRING_CHARS),
                trim(text, MAX_TRACEBACK_CHARS),
                trim(shown, MAX_TRACEBACK_CHARS, keep_end=True),
            )
    return None
