"""A node's side of its workers, played by the test: a real Pool, and this end of a worker's socket pair."""

from __future__ import annotations

import itertools
import select
import time
from collections import deque
from pathlib import Path
from typing import Any, TypeVar

from paceline.runtime.children.worker_pool import WorkerPool
from paceline_protocol import codec, payload
from paceline_protocol.messages import Message
from paceline_protocol.messages.children import CleaningUp, Done, Remarks, Run, WorkerReady
from paceline_protocol.messages.records import Assignment, Options, TaskEnd
from paceline_protocol.stream import FrameReader, pack_frame

DEADLINE_S = 20.0
PAYLOAD_LIMIT_BYTES = 100_000

SAMPLE_TASKS = Path(__file__).parent / "sample_tasks.py"

M = TypeVar("M")


def readable(fd: int, timeout_s: float = DEADLINE_S) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


class PlayedNode:
    """One worker and what a node would say to it."""

    def __init__(self, *modules: str, log_format: str = "text") -> None:
        self._reader = FrameReader()
        self._frames: deque[bytes] = deque()
        self._ids = itertools.count(1)
        self._given = 0  # tasks, by the methods that wait for them
        self._stopped = 0
        self.given_id = b""  # of the last task that was run
        self.remarks: list[Remarks] = []
        self.pool = WorkerPool(size=1, modules=modules, payload_limit_bytes=PAYLOAD_LIMIT_BYTES, log_format=log_format)
        self.pool.start()
        (self.child,) = self.pool.workers.values()
        self.child.link.settimeout(DEADLINE_S)

    def receive(self, expected: type[M]) -> M:
        while True:
            message = self.receive_any(expected.__name__)
            if isinstance(message, Remarks):  # of tasks that print, beside all else
                self.remarks.append(message)
                if expected is not Remarks:
                    continue
            assert isinstance(message, expected)
            return message

    def receive_any(self, expected: str = "message") -> Message:
        while not self._frames:
            data = self.child.link.recv(65_536)
            assert data, f"the worker's end came before a {expected}"
            self._frames += self._reader.feed(data)
        return codec.decode(self._frames.popleft())

    def send(self, message: Message) -> None:
        self.send_frame(codec.encode(message))

    def send_frame(self, frame: bytes) -> None:
        self.child.link.sendall(pack_frame(frame))

    def assignment(self, name: str, *args: Any, **kwargs: Any) -> Assignment:
        return next(self._ids).to_bytes(16, "big"), 1, name, payload.pack_args(args, kwargs), None

    def run(
        self,
        name: str,
        *args: Any,
        kind: type[Done | CleaningUp] = Done,
        options: Options | None = None,
        **kwargs: Any,
    ) -> tuple[int, bytes]:
        """Run one task: (state, payload)."""
        assignment = (*self.assignment(name, *args, **kwargs)[:4], options)
        self.given_id = assignment[0]
        self.send(Run((assignment,)))
        self._given += 1
        (outcome,) = self.receive(kind).outcomes
        task_id, attempt, state, packed, duration_us = outcome
        assert (task_id, attempt) == assignment[:2]
        assert duration_us >= 0
        return state, packed

    def begin(self, name: str, *args: Any, options: Options | None = None) -> int:
        """Have one task run, and wait until its worker has begun it. Returns its number there."""
        self.send(Run(((*self.assignment(name, *args)[:4], options),)))
        assert self.child.begun_tasks is not None
        before = self._given
        self._given += 1
        end = time.monotonic() + DEADLINE_S
        while self.child.begun_tasks.begun <= before:
            assert time.monotonic() < end, "the worker has not begun its task"
            time.sleep(0.002)
        return self._given

    def stop(self, number: int) -> None:
        """Ask the worker to stop the task of this number."""
        self._stopped = number
        self.pool.stop_task(self.child.id, number)

    def ended(self) -> tuple[int, bytes]:
        """How its only task has ended: (state, payload). Until then the worker is asked again to stop it, as by a node
        with each Beat."""
        end = time.monotonic() + DEADLINE_S
        while not self._frames and not readable(self.child.link.fileno(), 0.2):
            assert time.monotonic() < end, "its task has not ended"
            self.pool.stop_task(self.child.id, self._stopped)
        ((_, _, state, packed, _),) = self.receive(Done).outcomes
        return state, packed

    def cleaned_up(self) -> None:
        """The worker has ended what its last task left."""
        ((_, _, end, _, _),) = self.receive(Done).outcomes
        assert end == TaskEnd.CANCELLED

    def result(self, name: str, *args: Any, **kwargs: Any) -> Any:
        state, packed = self.run(name, *args, **kwargs)
        assert state == TaskEnd.SUCCEEDED, payload.unpack_error(packed)
        return payload.unpack_value(packed)

    def error(self, name: str, *args: Any, **kwargs: Any) -> payload.ErrorInfo:
        state, packed = self.run(name, *args, **kwargs)
        assert state == TaskEnd.FAILED
        return payload.unpack_error(packed)

    def wait_end(self) -> str:
        """How the worker ended."""
        assert readable(self.child.fd), "the worker did not end"
        reaped = self.pool.reap(self.child.fd)
        assert reaped is not None
        assert reaped.id == self.child.id
        return reaped.how

    def close(self) -> None:
        self.pool.stop(0)


class Nodes:
    """Starts played nodes, and closes them after the test."""

    def __init__(self) -> None:
        self._started: list[PlayedNode] = []

    def start(self, *modules: str) -> PlayedNode:
        node = PlayedNode(*modules)
        self._started.append(node)
        return node

    def start_ready(self, *modules: str) -> tuple[PlayedNode, WorkerReady]:
        node = self.start(*modules)
        return node, node.receive(WorkerReady)

    def close(self) -> None:
        for node in self._started:
            node.close()
