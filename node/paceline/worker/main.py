"""The worker process: a child of a node, and the only process that runs user code.

The rules of this module:

- One thread, one socket, one task at a time. The worker speaks to its own node only and holds nothing that matters:
  when it dies, the node knows at once from the kernel, and what it was given goes elsewhere.
- It says one thing first: that it is ready, with the names it can run, or which module does not import.
- It blocks where it waits for work. Nothing is polled, since the parent's end is watched beside it (``parent.py``).
- An outcome leaves when its Run is done, or earlier: before a task that is not known to be short, and once
  FLUSH_AFTER_NS have passed. So a long task does not hold back the outcomes of short ones before it.
"""

from __future__ import annotations

import argparse
import gc
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from time import perf_counter_ns

import zmq

from paceline.worker.execute import Executor, format_traceback
from paceline.worker.parent import die_with_parent
from paceline.worker.registry import load_module, tasks
from paceline_protocol.codec import MAX_FRAME_BYTES, MAX_STRING_CHARS, MAX_TRACEBACK_CHARS, decode, encode
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages import Assignment, Done, Outcome, Run, Stop, WorkerFailed, WorkerReady
from paceline_protocol.payload import trim

EXIT_MODULE_FAILED = 3
EXIT_NODE_STUCK = 5

FLUSH_AFTER_NS = 1_000_000
FLUSH_AFTER_BYTES = 1024 * 1024
SEND_DEADLINE_MS = 60_000
CLOSE_LINGER_MS = 2_000

_OUTCOME_OVERHEAD_BYTES = 64
"""More than an outcome takes in a Done frame beside its payload; also more than the frame takes beside its outcomes."""

_logger = logging.getLogger("paceline.worker")


class Worker:
    """Takes Run messages from a socket and answers them until Stop."""

    def __init__(self, socket: zmq.Socket[bytes], payload_limit_bytes: int) -> None:
        self._socket = socket
        # A result always fits in a Done, with what may wait there already.
        limit_bytes = min(payload_limit_bytes, MAX_FRAME_BYTES - FLUSH_AFTER_BYTES - 2 * _OUTCOME_OVERHEAD_BYTES)
        self._execute = Executor(limit_bytes).execute
        self._last_ns: dict[str, int] = {}  # how long each task took the last time; bounded by the registry

    def serve(self) -> None:
        receive = self._socket.recv
        handle = self._handle
        while handle(receive()):
            pass

    def _handle(self, frame: bytes) -> bool:
        """False after Stop. A call of its own, so that a worker that waits does not hold on to the last frame."""
        try:
            message = decode(frame)
        except ProtocolError as error:
            _logger.error("a frame from the node was ignored: %s", error)
            return True
        if type(message) is Run:
            self._run(message.tasks)
        elif type(message) is Stop:
            return False
        else:
            _logger.error("a %s from the node was ignored: a worker takes Run and Stop", type(message).__name__)
        return True

    def _run(self, assignments: Sequence[Assignment]) -> None:
        execute = self._execute
        last_ns = self._last_ns
        outcomes: list[Outcome] = []
        waiting_bytes = 0
        started_ns = flushed_ns = perf_counter_ns()
        for task_id, attempt, name, args, _options in assignments:
            if outcomes and (
                started_ns - flushed_ns >= FLUSH_AFTER_NS
                or waiting_bytes >= FLUSH_AFTER_BYTES
                or last_ns.get(name, FLUSH_AFTER_NS) >= FLUSH_AFTER_NS
            ):
                self._send_done(outcomes)
                outcomes = []
                waiting_bytes = 0
                started_ns = flushed_ns = perf_counter_ns()
            state, payload = execute(name, args)
            ended_ns = perf_counter_ns()
            if name in tasks:
                last_ns[name] = ended_ns - started_ns
            outcomes.append((task_id, attempt, state, payload, (ended_ns - started_ns) // 1000))
            waiting_bytes += len(payload) + _OUTCOME_OVERHEAD_BYTES
            started_ns = ended_ns
        if outcomes:
            self._send_done(outcomes)

    def _send_done(self, outcomes: list[Outcome]) -> None:
        send(self._socket, encode(Done(tuple(outcomes))))


def send(socket: zmq.Socket[bytes], frame: bytes) -> None:
    """Send, waiting at most SEND_DEADLINE_MS for room. A node that takes nothing for that long gets no more answers."""
    try:
        socket.send(frame, zmq.NOBLOCK)
    except zmq.Again:
        if not socket.poll(SEND_DEADLINE_MS, zmq.POLLOUT):
            _logger.critical("the node took nothing for %d s; this worker ends", SEND_DEADLINE_MS // 1000)
            raise SystemExit(EXIT_NODE_STUCK) from None
        socket.send(frame, zmq.NOBLOCK)


def main(arguments: Sequence[str]) -> int:
    """Run as a worker until Stop. Returns the exit code."""
    options = _parse(arguments)
    die_with_parent(options.parent_fd)
    _prepare_process()
    context = zmq.Context[zmq.Socket[bytes]]()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, options.id)
    socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.connect(options.endpoint)
    try:
        failed = _load(options.modules)
        if failed is not None:
            send(socket, encode(failed))
            return EXIT_MODULE_FAILED
        # What was imported stays: no collection needs to look at it again, and forked children share its pages.
        gc.collect()
        gc.freeze()
        send(socket, encode(WorkerReady(os.getpid(), tuple(sorted(tasks)))))
        Worker(socket, options.payload_limit).serve()
        return 0
    finally:
        socket.close()
        context.term()  # returns once what was sent has left, or after CLOSE_LINGER_MS


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m paceline.worker", description="Started by a node.")
    parser.add_argument("--endpoint", required=True, help="where the node listens for its workers")
    parser.add_argument("--id", required=True, type=bytes.fromhex, help="this worker's routing id, in hexadecimal")
    parser.add_argument("--parent-fd", required=True, type=int, help="reaches its end when the node is gone")
    parser.add_argument("--payload-limit", required=True, type=int, metavar="BYTES", help="the largest packed result")
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="a dotted name or a .py file")
    return parser.parse_args(arguments)


def _prepare_process() -> None:
    # The node decides when a worker ends. A handler that does nothing, and not SIG_IGN: the subprocesses of a task
    # would inherit that, while a handler is reset by exec.
    signal.signal(signal.SIGINT, lambda _signal, _frame: None)
    sys.argv = sys.argv[:1]  # a module that looks at the command line would find the node's arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # into a file too, so that prints survive a crash


def _load(modules: Sequence[str]) -> WorkerFailed | None:
    """Import the modules. The first that fails is the answer: the rest may depend on it."""
    for module in modules:
        try:
            load_module(module)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a module ends the import, as an error does
            text = "".join(traceback.format_exception_only(error)).strip()
            return WorkerFailed(
                os.getpid(),
                trim(module, MAX_STRING_CHARS),
                trim(text, MAX_TRACEBACK_CHARS),
                trim(format_traceback(error), MAX_TRACEBACK_CHARS, keep_end=True),
            )
    return None
