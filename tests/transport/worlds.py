"""What the conformance suite needs of a network, over both transports: ends to connect, and a way to let time pass."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from paceline.runtime.transport.memory_transport import MemoryEndpoint, MemoryNetwork, MemoryTransport
from paceline.runtime.transport.transport import Received, Sent, Source, Transport
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline.security import Credentials, CurveKeys, IssuedKey, NodeKeys
from paceline.sockets import show
from paceline_protocol.stream import FrameReader, pack_frame

DEADLINE_S = 10.0
MAX_FRAME_BYTES = 4 << 20


class End(Protocol):
    """A client's or a worker's end of a connection."""

    def send(self, frame: bytes) -> object: ...
    def receive(self) -> list[bytes]: ...
    def close(self) -> None: ...


class World(Protocol):
    def node(self) -> Transport: ...
    def restart(self, address: str) -> Transport: ...
    def client(self, node: Transport) -> End: ...
    def worker(self, node: Transport, worker_id: bytes) -> End: ...

    def web(self, node: Transport, child_id: bytes) -> End: ...
    def readable(self, node: Transport) -> int: ...
    def settle(self) -> None: ...
    def close(self) -> None: ...


def until(world: World, condition: Callable[[], bool], what: str) -> None:
    """Let the network work until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        world.settle()
        if condition():
            return
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"


def take(world: World, node: Transport, count: int) -> list[Received]:
    """Poll until ``count`` are received, and not more."""
    received: list[Received] = []

    def enough() -> bool:
        received.extend(node.poll(0.02))
        return len(received) >= count

    until(world, enough, f"{count} received")
    assert len(received) == count, received
    return received


def hear(world: World, end: End, count: int, node: Transport | None = None) -> list[bytes]:
    """Receive ``count`` frames at an end. A large frame to a worker leaves only as its ``node`` polls."""
    frames: list[bytes] = []

    def enough() -> bool:
        if node is not None:
            assert node.poll(0) == []
        frames.extend(end.receive())
        return len(frames) >= count

    until(world, enough, f"{count} frames at an end")
    return frames


def connect_peer(world: World, source: Transport, destination: Transport) -> None:
    """Send one batch, as often as it takes for the connection to stand."""

    def sent() -> bool:
        destination.poll(0)
        return source.send_peer(destination.address, [b"hello", b"hello"]) is Sent.OK

    until(world, sent, "a peer's connection")
    until(world, lambda: any(item[0] is Source.PEER for item in destination.poll(0.02)), "the first batch")


class MemoryWorld:
    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self._nodes = 0
        self._clients = 0

    def node(self) -> MemoryTransport:
        self._nodes += 1
        return self.network.node(f"node{self._nodes}:7077")

    def restart(self, address: str) -> MemoryTransport:
        return self.network.node(address)

    def client(self, node: Transport) -> MemoryEndpoint:
        self._clients += 1
        return self.network.client(node.address, b"session%d" % self._clients)

    def worker(self, node: Transport, worker_id: bytes) -> MemoryEndpoint:
        return self.network.worker(node.address, worker_id)

    def web(self, node: Transport, child_id: bytes) -> MemoryEndpoint:
        return self.network.web(node.address, child_id)

    def readable(self, node: Transport) -> int:
        assert isinstance(node, MemoryTransport)
        node.make_readable(1000)
        return 1000

    def settle(self) -> None:
        self.network.deliver_due()

    def close(self) -> None:
        pass


class ZmqEnd:
    """A DEALER, as clients use."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        options: dict[int, int | bytes],
        credentials: Credentials | None,
    ) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        if credentials is not None:
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            show(self.socket, credentials, host, int(port))
        self._monitor = self.socket.get_monitor_socket()  # before connecting, so that no event is missed
        self.socket.connect(endpoint)

    def send(self, frame: bytes) -> object:
        return self.socket.send(frame, zmq.NOBLOCK)

    def receive(self) -> list[bytes]:
        frames = []
        while self.socket.poll(5, zmq.POLLIN):
            frames.append(self.socket.recv(zmq.NOBLOCK))
        return frames

    def ask(self, frame: bytes, timeout_s: float) -> bool:
        """Send a frame and wait for the answer to it."""
        self.socket.send(frame)
        return bool(self.socket.poll(int(timeout_s * 1000))) and bool(self.socket.recv())

    def events(self) -> list[zmq.Event]:
        """What happened to the connection since the last call."""
        events = []
        while self._monitor.poll(0):
            events.append(zmq.Event(recv_monitor_message(self._monitor)["event"]))
        return events

    def close(self) -> None:
        self.socket.disable_monitor()
        self._monitor.close()
        self.socket.close()


class WorkerEnd:
    """The other end of a socket pair, as workers use."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.socket.setblocking(False)
        self._reader = FrameReader()
        self._unsent = bytearray()

    def send(self, frame: bytes) -> object:
        self._unsent += pack_frame(frame)
        return self.flush()

    def flush(self) -> None:
        """Nobody reads while the test writes: what the socket does not take leaves as the world settles."""
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            return

    def ask(self, frame: bytes, timeout_s: float) -> bool:
        """Send a frame and wait for the answer to it."""
        self.send(frame)
        if not select.select([self.socket], [], [], timeout_s)[0]:
            return False
        return len(self._reader.feed(self.socket.recv(65_536))) == 1

    def receive(self) -> list[bytes]:
        frames = []
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        while poller.poll(5):
            data = self.socket.recv(65_536)
            if not data:
                break
            frames += self._reader.feed(data)
        return frames

    def close(self) -> None:
        self.socket.close()


class ZmqWorld:
    def __init__(self, keys: CurveKeys | None = None, token: bytes = b"") -> None:
        """``issued``: the keys of clients, for nodes that are made later."""
        self.keys = keys
        self.token = token
        self.issued: tuple[IssuedKey, ...] = ()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._nodes: list[ZmqTransport] = []
        self._ends: list[ZmqEnd] = []  # kept to the end: a socket that is collected unclosed warns
        self._workers: list[WorkerEnd] = []
        self._sockets: list[socket.socket] = []
        self._fds: list[int] = []

    def node(self, port: int = 0) -> ZmqTransport:
        keys = NodeKeys(self.keys, issued=self.issued) if self.keys else None
        node = ZmqTransport("127.0.0.1", port, keys=keys, token=self.token, max_frame_bytes=MAX_FRAME_BYTES)
        self._nodes.append(node)
        return node

    def restart(self, address: str) -> ZmqTransport:
        return self.node(int(address.rpartition(":")[2]))

    def client(self, node: Transport, own: CurveKeys | None = None, **options: int | bytes) -> ZmqEnd:
        """A client with the cluster's keys; ``own`` replaces the pair that it shows."""
        settings: dict[int, int | bytes] = {getattr(zmq, name): value for name, value in options.items()}
        credentials = Credentials(own or self.keys, (self.keys.public,)) if self.keys else Credentials(token=self.token)
        return self._end(f"tcp://{node.address}", settings, credentials)

    def plain_client(self, node: Transport) -> ZmqEnd:
        """One that shows nothing."""
        return self._end(f"tcp://{node.address}", {}, None)

    def worker(self, node: Transport, worker_id: bytes) -> WorkerEnd:
        return self._child(node, worker_id, Source.WORKER)

    def web(self, node: Transport, child_id: bytes) -> WorkerEnd:
        return self._child(node, child_id, Source.WEB)

    def _child(self, node: Transport, child_id: bytes, source: Source) -> WorkerEnd:
        assert isinstance(node, ZmqTransport)
        ours, theirs = socket.socketpair()
        self._sockets += [ours, theirs]
        node.add_child(child_id, source, ours)
        worker = WorkerEnd(theirs)
        self._workers.append(worker)
        return worker

    def _end(self, endpoint: str, options: dict[int, int | bytes], credentials: Credentials | None) -> ZmqEnd:
        end = ZmqEnd(self._context, endpoint, options, credentials)
        self._ends.append(end)
        return end

    def readable(self, node: Transport) -> int:
        reader, writer = os.pipe()
        os.write(writer, b"x")
        self._fds += [reader, writer]
        return reader

    def settle(self) -> None:
        """The I/O threads do it, and the kernel."""
        for worker in self._workers:
            worker.flush()

    def close(self) -> None:
        for node in self._nodes:
            node.close()
        self._context.destroy(linger=0)
        for connected in self._sockets:
            connected.close()
        for fd in self._fds:
            os.close(fd)
