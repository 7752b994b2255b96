"""The process of the stub nodes (``node.py``): their sockets, and whoever starts it.

``python -m paceline_bench.stub.process LEADER_ADDRESS STUBS CLUSTER_NAME [CLUSTER_FILE]`` runs all of them until its
stdin ends. Each line on stdin is answered by a line of JSON, with the Dispatch frames and the tasks that came until
then. With a cluster file every connection is encrypted.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType

import zmq

from paceline.client import Client
from paceline.config import LOOPBACK_HOST, ClusterFile, format_address, parse_address
from paceline.core.settings import Settings
from paceline.local import Cluster
from paceline.local_token import read_token
from paceline.runtime.transport import zap
from paceline.runtime.transport.gate import Gate
from paceline.runtime.transport.zmq_sockets import open_peer, open_router, open_zap
from paceline.security import Credentials, NodeKeys
from paceline_bench.stub.node import Stub, StubError
from paceline_protocol.codec import MAX_FRAME_BYTES
from paceline_protocol.messages.client import AdminOp

ENROL_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
TIMERS_EVERY_S = 0.05
READ_BYTES = 4_096


class StubProcess:
    """All stubs, each with a ROUTER of its own and a DEALER to the leader, as in every node."""

    def __init__(self, leader_address: str, count: int, cluster_name: str, keys: NodeKeys | None) -> None:
        settings = Settings(cluster_name=cluster_name, expect=0)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stubs: dict[int, tuple[Stub, zmq.Socket[bytes], zmq.Socket[bytes]]] = {}  # by the ROUTER's descriptor
        self._epoll = select.epoll()
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        # Without keys they let everybody in: a token is for one port, and they listen at many.
        self._gate = Gate(keys, b"")
        credentials = Credentials(keys.own, keys.servers) if keys else Credentials(token=read_token())
        self._zap = open_zap(self._context)  # before the ROUTERs: without it they let everybody in
        self._epoll.register(self._zap.fileno(), select.EPOLLIN)
        for number in range(count):
            router = open_router(self._context, LOOPBACK_HOST, 0, keys.own if keys else None, MAX_FRAME_BYTES)
            _, port = parse_address(router.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://"))
            stub = Stub(f"57{number:014x}", format_address(LOOPBACK_HOST, port), leader_address, settings)
            leader = open_peer(self._context, leader_address, credentials, MAX_FRAME_BYTES)
            self._stubs[router.fileno()] = stub, router, leader
            self._epoll.register(router.fileno(), select.EPOLLIN)
        everybody = [(stub.node_id, stub.address) for stub, _, _ in self._stubs.values()]
        for stub, _, _ in self._stubs.values():
            stub.known = tuple(entry for entry in everybody if entry[0] != stub.node_id)

    def run(self) -> None:
        """Run until stdin ends. It also ends when the process dies that started this one."""
        timers_at_s = 0.0
        while True:
            now = time.monotonic()
            if now >= timers_at_s:
                timers_at_s = now + TIMERS_EVERY_S
                for stub, _, leader in self._stubs.values():
                    _send(leader, stub.hello_if_due(now))
            for descriptor, _ in self._epoll.poll(max(0.0, timers_at_s - now)):
                if descriptor in self._stubs:
                    self._receive(*self._stubs[descriptor])
                elif descriptor != sys.stdin.fileno():
                    self._let_in()
                elif os.read(descriptor, READ_BYTES):
                    self._tell()
                else:
                    return

    def _receive(self, stub: Stub, router: zmq.Socket[bytes], leader: zmq.Socket[bytes]) -> None:
        """All that is there: the descriptor tells nothing twice."""
        now = time.monotonic()
        try:
            while True:
                sender, *frames = router.recv_multipart(zmq.NOBLOCK)
                if len(frames) > 1:
                    _send(leader, stub.receive(frames, now))
                else:
                    _reply(router, sender, stub.receive_client(frames[0]))
        except zmq.Again:
            pass

    def _let_in(self) -> None:
        """The leader, and its clients, by their key. All that ask: this descriptor too tells nothing twice."""
        assert self._zap is not None
        try:
            while True:
                asker, delimiter, *request = self._zap.recv_multipart(zmq.NOBLOCK)
                self._zap.send_multipart([asker, delimiter, *zap.answer(request, self._gate.user_of)])
        except zmq.Again:
            pass

    def _tell(self) -> None:
        stubs = [stub for stub, _, _ in self._stubs.values()]
        counts = {"dispatches": sum(stub.dispatches for stub in stubs), "tasks": sum(stub.tasks for stub in stubs)}
        print(json.dumps(counts), flush=True)

    def close(self) -> None:
        self._context.destroy(linger=0)
        self._epoll.close()


def _send(leader: zmq.Socket[bytes], frames: list[bytes]) -> None:
    """Once, as every node sends to a peer: what can't leave is lost, and the protocol repairs that."""
    if frames:
        try:
            leader.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            pass


def _reply(router: zmq.Socket[bytes], client: bytes, frame: bytes) -> None:
    try:
        router.send_multipart([client, frame], zmq.NOBLOCK)
    except zmq.ZMQError as error:
        if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):  # it left: it asks several, and needs one
            raise


def main(arguments: Sequence[str]) -> None:
    leader_address, count, cluster_name, *cluster_file = arguments
    keys = ClusterFile.load(cluster_file[0]).node_keys if cluster_file else None
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))  # five for each stub
    process = StubProcess(leader_address, int(count), cluster_name, keys)
    try:
        process.run()
    finally:
        process.close()


# --- for whoever starts it --------------------------------------------------------------------------------------


class StubNodes(AbstractContextManager["StubNodes"]):
    """A running process of stubs, for a cluster of one node and its client. They run where this process may run."""

    def __init__(self, cluster: Cluster, client: Client, count: int) -> None:
        self.count = count
        self._client = client
        client.change_cluster(AdminOp.VOTERS, "1")
        status = client.status()
        (leader,) = status["nodes"]
        arguments = [leader["address"], str(count), status["cluster_name"]]
        if cluster.cluster_file is not None:
            arguments.append(str(cluster.cluster_file))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "paceline_bench.stub.process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_enrolled(self) -> None:
        """Wait until the leader has the account of every stub, and may dispatch to it. Raises StubError."""
        end_s = time.monotonic() + ENROL_TIMEOUT_S
        while (enrolled := self._enrolled()) < self.count:
            if self._process.poll() is not None:
                raise StubError(f"the process of the stub nodes ended with {self._process.returncode}")
            if time.monotonic() > end_s:
                raise StubError(f"{enrolled} of {self.count} stub nodes enrolled within {ENROL_TIMEOUT_S:g} s")
            time.sleep(0.05)

    def _enrolled(self) -> int:
        return sum(bool(node.get("slots")) and not node["is_self"] for node in self._client.status()["nodes"])

    def dispatched(self) -> tuple[int, int]:
        """Dispatch frames that came until now, and the tasks in them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        counts = json.loads(self._process.stdout.readline())
        return counts["dispatches"], counts["tasks"]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


if __name__ == "__main__":
    main(sys.argv[1:])
