"""What pyzmq itself costs on this machine: the hops of one task, with nothing in them.

Two hops are a request and its answer: client, node, client. Four are the way of a task: client, leader, worker, leader,
client. Each end is a process of its own, the client's socket is TCP, the worker's is ipc (as paceline's) or TCP, and
the frame has the size of a real one. The leader receives from one socket and sends to the other in turn, without a
poller: a loop that serves anything else can only be slower, which makes this a floor and not a rival.

With ``secure`` the TCP hops are encrypted with CURVE, as those of paceline are between machines; a worker that is
reached over ipc is not, as a worker of paceline's is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

import zmq

from paceline.local.scratch import ScratchDirectory
from paceline.security import CurveKeys, generate_keys
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.picture import distributions
from paceline_bench.report.progress import track
from paceline_bench.report.report import Report, ReportRow, microseconds

FRAME_BYTES = 80  # tests/bench compares it with a Submit of one no-op task
TIMEOUT_MS = 10_000
KEYS_VARIABLE = "PACELINE_FLOOR_KEYS"
"""Environment of the other processes: the key pair, if their TCP connections are to be encrypted."""


class FloorError(Exception):
    """A process of the floor did not answer."""


class Floor(AbstractContextManager["Floor"]):
    """The running processes of one shape; ``measure`` may be called many times, between other measurements."""

    def __init__(self, hops: int, worker_transport: str = "ipc", *, secure: bool = False) -> None:
        if hops not in (2, 4) or worker_transport not in ("ipc", "tcp"):
            raise ValueError(f"no floor of {hops} hops over {worker_transport}")
        self._directory = ScratchDirectory("paceline-floor-")
        self._processes: list[subprocess.Popen[str]] = []
        self._keys = generate_keys() if secure else None
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.rcvtimeo = self._socket.sndtimeo = TIMEOUT_MS
        try:
            if hops == 2:
                client_endpoint = self._start("echo")
            else:
                backend = (
                    f"ipc://{self._directory.path / 'worker'}" if worker_transport == "ipc" else "tcp://127.0.0.1:*"
                )
                client_endpoint, worker_endpoint = self._start("leader", backend).split()
                self._start("worker", worker_endpoint)
            _connect(self._socket, client_endpoint, self._keys)
            self.measure(100)
        except BaseException:
            self.close()
            raise

    def measure(self, samples: int) -> list[float]:
        """Round trips one at a time, in seconds."""
        socket, frame, clock = self._socket, bytes(FRAME_BYTES), time.perf_counter
        durations_s = []
        try:
            for _ in range(samples):
                started_s = clock()
                socket.send(frame)
                socket.recv()
                durations_s.append(clock() - started_s)
        except zmq.Again:
            raise FloorError(f"no answer within {TIMEOUT_MS} ms") from None
        return durations_s

    @property
    def pids(self) -> list[int]:
        """The processes at the other end: the leader, then the worker."""
        return [process.pid for process in self._processes]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
        self._socket.close()
        self._context.term()
        self._directory.remove()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, *arguments: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "paceline_bench.verbs.floor", *arguments],
            stdin=subprocess.PIPE,  # nothing is sent: its end tells the process that this one is gone
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
            env=os.environ | ({KEYS_VARIABLE: f"{self._keys.public} {self._keys.secret}"} if self._keys else {}),
        )
        self._processes.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()


# --- the other processes ------------------------------------------------------------------------------------------


def _keys() -> CurveKeys | None:
    text = os.environ.get(KEYS_VARIABLE)
    return CurveKeys(*text.split()) if text else None


def _bound(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> tuple[zmq.Socket[bytes], str]:
    socket = context.socket(zmq.ROUTER)
    keys = _keys()
    if keys is not None and endpoint.startswith("tcp:"):
        socket.curve_server = True
        socket.curve_secretkey = keys.secret.encode()
    socket.bind(endpoint)
    return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _connect(socket: zmq.Socket[bytes], endpoint: str, keys: CurveKeys | None) -> None:
    if keys is not None and endpoint.startswith("tcp:"):
        socket.curve_publickey = socket.curve_serverkey = keys.public.encode()
        socket.curve_secretkey = keys.secret.encode()
    socket.connect(endpoint)


def _end_with_client() -> None:
    os.read(0, 1)
    os._exit(0)


def echo() -> None:
    socket, endpoint = _bound(zmq.Context(), "tcp://127.0.0.1:*")
    print(endpoint, flush=True)
    while True:
        socket.send_multipart(socket.recv_multipart())


def leader(worker_endpoint: str) -> None:
    context = zmq.Context()
    clients, client_endpoint = _bound(context, "tcp://127.0.0.1:*")
    workers, worker_endpoint = _bound(context, worker_endpoint)
    print(client_endpoint, worker_endpoint, flush=True)
    worker, _ = workers.recv_multipart()  # it speaks first, for a ROUTER can't send to whom it has not heard
    while True:
        client, frame = clients.recv_multipart()
        workers.send_multipart((worker, frame))
        _, frame = workers.recv_multipart()
        clients.send_multipart((client, frame))


def worker(endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    _connect(socket, endpoint, _keys())
    socket.send(b"ready")
    print("ready", flush=True)
    while True:
        socket.send(socket.recv())


# --- the verb ---------------------------------------------------------------------------------------------------

SHAPES = (("2 hops, tcp", 2, "tcp"), ("4 hops, tcp and ipc", 4, "ipc"), ("4 hops, tcp alone", 4, "tcp"))


def run(samples: int, rounds: int, secure: bool = False) -> Report:
    """``samples`` round trips of each shape, which take turns."""
    per_round = max(1, samples // rounds)
    measured = {name: LatencyHistogram() for name, _, _ in SHAPES}
    with ExitStack() as stack:
        floors = {name: stack.enter_context(Floor(hops, transport, secure=secure)) for name, hops, transport in SHAPES}
        for _ in track(range(rounds), "floor: rounds"):
            for name, floor in floors.items():
                for duration_s in floor.measure(per_round):
                    measured[name].record(duration_s)
    return Report(
        verb="floor",
        journal="none",
        rows=[
            ReportRow(f"raw pyzmq, {name}, p50", microseconds(histogram.p50_s), f"{histogram.count:,} round trips")
            for name, histogram in measured.items()
        ],
        latencies=[histogram.latency(f"raw pyzmq, {name}") for name, histogram in measured.items()],
        pictures=[distributions("Raw pyzmq, one message at a time", measured)],
        details={
            name: {"p50_s": histogram.p50_s, "p99_s": histogram.p99_s, "samples": histogram.count}
            for name, histogram in measured.items()
        }
        | {"frame_bytes": FRAME_BYTES},
        secure=secure,
    )


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {"echo": echo, "leader": leader, "worker": worker}
    threading.Thread(target=_end_with_client, daemon=True).start()
    roles[sys.argv[1]](*sys.argv[2:])
