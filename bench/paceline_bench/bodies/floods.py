"""What somebody who wants to harm a node can send it, over and over: a table of floods, and a process that sends one.

``python -m paceline_bench.bodies.floods NAME ADDRESS`` floods the node at ADDRESS until its stdin ends. It writes a
line once its connections stand, and for each line that it reads another, with how many messages left and how many
answers came.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgpack  # type: ignore[import-untyped]
import zmq

from paceline.config import parse_address
from paceline.local_token import USER_NAME, password, read_token
from paceline.security import Credentials
from paceline.sockets import show
from paceline_protocol.codec import HEADER_BYTES, decode_fields, encode, encode_calls
from paceline_protocol.kinds import BY_CLASS
from paceline_protocol.limits import MAX_BATCH_ITEMS, MAX_FRAME_BYTES, PAYLOAD_LIMIT_BYTES
from paceline_protocol.messages import Message
from paceline_protocol.messages.client import Cancel, Hello, Ping, StatusRequest, Submit, TaskRequest, Update, Wait
from paceline_protocol.messages.membership import Envelope, PeerHello
from paceline_protocol.messages.records import Call
from paceline_protocol.payload import pack_args

CONNECT_TIMEOUT_S: Final = 10.0
MANY_CONNECTIONS: Final = 200
SEVERAL_CONNECTIONS: Final = 24
DRIBBLERS: Final = 8
DRIBBLE_BYTES: Final = 512 << 10
_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN".ljust(55, b"\0")
_INITIATE: Final = b"\x08INITIATE\x0bSocket-Type\x00\x00\x00\x06DEALER"
_ENDED: Final = b"e" * 16
"""The task that each flood has run first, and whose result it does not acknowledge."""

Frames = Iterator[list[bytes]]
"""What one connection sends: messages of one frame as a client, of more as a peer."""


@dataclass(frozen=True, slots=True)
class Flood:
    """``messages``: what one connection sends after its Hello, without end."""

    what: str
    messages: Callable[[], Frames]
    connections: int = 1


def _same(*messages: Message) -> Frames:
    return itertools.cycle([[encode(message)] for message in messages])


def _raw(frame: bytes) -> Frames:
    return itertools.repeat([frame])


def _ids(count: int) -> tuple[bytes, ...]:
    return tuple(struct.pack(">QQ", 7, number) for number in range(count))


def _frame(cls: type[Message], *fields: object) -> bytes:
    """Without the checks of the codec, which sends nothing that others refuse."""
    packed: bytes = msgpack.packb(fields)
    return BY_CLASS[cls].header + packed


def _submits(calls_each: int, args: bytes = b"") -> Frames:
    """Calls of a task that nobody knows, each time the same."""
    calls: list[Call] = [(task_id, "nobody.knows", 4, args, None) for task_id in _ids(calls_each)]
    packed = encode_calls(calls)
    return ([_frame(Submit, seq, 0, packed, False)] for seq in itertools.count(1))


def _submits_of_one(count: int) -> Frames:
    call: Call = (_ENDED, "paceline_bench.bodies.tasks.noop", 4, pack_args((1,), {}), None)
    packed = encode_calls([call] * count)
    return ([_frame(Submit, seq, 0, packed, False)] for seq in itertools.count(1))


def _big_frame(size: int) -> bytes:
    return BY_CLASS[Submit].header + bytes(size - HEADER_BYTES)


def _big_submit(size: int) -> Frames:
    packed = msgpack.packb([(_ids(1)[0], "nobody.knows", 4, bytes(size), None)])
    return _raw(_frame(Submit, 1, 0, packed, False))


def _invented_peers() -> Frames:
    for number in itertools.count():
        envelope = Envelope("", f"invented{number % 5000}", 1, "")
        hello = PeerHello("127.0.0.1:9", "default", 1, "", 0, (), True)
        yield [encode(envelope), encode(hello)]


FLOODS: Final[dict[str, Flood]] = {
    "hellos": Flood("Hello", lambda: _same(Hello(b"f" * 16, ""))),
    "pings": Flood("Ping", lambda: _same(Ping(0))),
    "status": Flood("StatusRequest", lambda: _same(StatusRequest(1))),
    "where": Flood("TaskRequest of an ended task", lambda: _same(TaskRequest(1, _ENDED))),
    "random": Flood("frames of 100 random bytes", lambda: ([os.urandom(100)] for _ in itertools.count())),
    "nested": Flood(
        "nested array headers, 25 KB",
        lambda: _raw(BY_CLASS[Wait].header + (b"\xdc\x3f\xff" * 8_333).ljust(25_000, b"\1")),
    ),
    "announced": Flood(
        "headers that announce 2^32 items", lambda: _raw(BY_CLASS[Wait].header + b"\xdd\xff\xff\xff\xff" * 5_000)
    ),
    "unknown": Flood("Submits of 256 unknown names", lambda: _submits(256)),
    "many-calls": Flood("Submits of 16,384 unknown names", lambda: _submits(MAX_BATCH_ITEMS)),
    "one-task": Flood("Submits that name one ended task 16,384 times", lambda: _submits_of_one(MAX_BATCH_ITEMS)),
    "waits": Flood("Waits of 4,096 unknown ids", lambda: _raw(_frame(Wait, 0, _ids(4_096)))),
    "long-waits": Flood("Waits of 16,384 unknown ids", lambda: _raw(_frame(Wait, 0, _ids(MAX_BATCH_ITEMS)))),
    "cancels": Flood("Cancels of one task", lambda: _same(Cancel(1, (_ENDED,)))),
    "long-cancels": Flood("Cancels of 16,384 tasks", lambda: _raw(_frame(Cancel, 1, _ids(MAX_BATCH_ITEMS)))),
    "big-frames": Flood("frames of 64 MiB", lambda: _raw(_big_frame(MAX_FRAME_BYTES))),
    "big-submits": Flood("Submits of 60 MiB", lambda: _big_submit(60 << 20)),
    "big-calls": Flood("Submits of 16 MiB, the limit", lambda: _big_submit(PAYLOAD_LIMIT_BYTES)),
    "many-hellos": Flood(
        f"Hello on {MANY_CONNECTIONS} connections", lambda: _same(Hello(b"f" * 16, "")), MANY_CONNECTIONS
    ),
    "many-status": Flood(
        f"StatusRequest on {SEVERAL_CONNECTIONS} connections", lambda: _same(StatusRequest(1)), SEVERAL_CONNECTIONS
    ),
    "many-submits": Flood(
        f"Submits of 256 on {SEVERAL_CONNECTIONS} connections", lambda: _submits(256), SEVERAL_CONNECTIONS
    ),
    "peers": Flood("PeerHello of invented peers", _invented_peers),
    "dribbles": Flood(f"{DRIBBLERS} frames of 64 MiB, 512 KiB at a time", lambda: iter(()), DRIBBLERS),
}


class Flooder:
    """The connections of one flood. ``sent``, ``heard``: messages."""

    def __init__(self, flood: Flood, address: str) -> None:
        self.sent = self.heard = 0
        self._context = zmq.Context()
        self._sockets: list[tuple[zmq.Socket[bytes], Frames]] = []
        for _ in range(flood.connections):
            dealer = self._context.socket(zmq.DEALER)
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.setsockopt(zmq.SNDHWM, 16)
            show(dealer, Credentials(token=read_token()), *parse_address(address))
            dealer.connect(f"tcp://{address}")
            self._sockets.append((dealer, flood.messages()))
        for dealer, _ in self._sockets:
            dealer.send(encode(Hello(b"f" * 16, "")))
            self._answer(dealer)
        self._run_one(self._sockets[0][0])

    @staticmethod
    def _answer(dealer: zmq.Socket[bytes]) -> bytes:
        if not dealer.poll(round(CONNECT_TIMEOUT_S * 1e3)):
            raise TimeoutError("the node does not answer")
        return dealer.recv()

    def _run_one(self, dealer: zmq.Socket[bytes]) -> None:
        """Run the task that some floods name."""
        call: Call = (_ENDED, "paceline_bench.bodies.tasks.noop", 4, pack_args((1,), {}), None)
        dealer.send(encode(Submit(1, 0, encode_calls([call]), True)))
        while True:
            cls, fields = decode_fields(self._answer(dealer))
            if cls is Update and (fields[2] or fields[3]):
                return

    def turn(self) -> None:
        """Send what leaves, and read what came."""
        before = self.sent
        for dealer, messages in self._sockets:
            try:
                for _ in range(64):
                    dealer.send_multipart(next(messages), zmq.NOBLOCK, copy=False)
                    self.sent += 1
            except zmq.Again:
                pass
            try:
                while True:
                    dealer.recv(zmq.NOBLOCK)
                    self.heard += 1
            except zmq.Again:
                pass
        if self.sent == before:
            self._sockets[0][0].poll(1, zmq.POLLOUT)


class Dribbler:
    """Connections that each send a frame of the largest size in small pieces, and begin another once the node has
    answered that one: until then it may be unread, however fast the pieces come. ``sent``: frames that have begun."""

    def __init__(self, flood: Flood, address: str) -> None:
        self.sent = self.heard = 0
        host, port = address.rsplit(":", 1)
        self._left: dict[socket.socket, int] = {}  # bytes of the frame under way
        for _ in range(flood.connections):
            connected = socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S)
            self._shake_hands(connected, password(read_token(), int(port)))
            connected.setblocking(False)
            self._begin(connected)

    @staticmethod
    def _shake_hands(connected: socket.socket, secret: str) -> None:
        """ZMTP PLAIN (RFC 24). Raises OSError if the node does not go on with it."""
        texts = b"".join(bytes((len(text),)) + text.encode() for text in (USER_NAME, secret))
        for command, answer in ((b"\x05HELLO" + texts, b"WELCOME"), (_INITIATE, b"READY")):
            greeting = _GREETING if answer == b"WELCOME" else b""
            connected.sendall(greeting + bytes((4, len(command))) + command)
            heard = b""
            while answer not in heard:
                piece = connected.recv(1 << 10)
                if not piece:
                    raise ConnectionError(f"the node ends the connection in place of {answer.decode()}")
                heard += piece

    def _begin(self, connected: socket.socket) -> None:
        connected.send(b"\x02" + struct.pack(">Q", MAX_FRAME_BYTES))
        self._left[connected] = MAX_FRAME_BYTES
        self.sent += 1

    def turn(self) -> None:
        """Send a piece on each connection."""
        for connected, left in self._left.items():
            try:
                if left:
                    self._left[connected] = left - connected.send(bytes(min(left, DRIBBLE_BYTES)))
                elif connected.recv(1 << 16):
                    self.heard += 1
                    self._begin(connected)
            except BlockingIOError:
                pass
        time.sleep(0.01)


def main(name: str, address: str) -> None:
    """Flood until stdin ends."""
    flood = FLOODS[name]
    sender = Dribbler(flood, address) if name == "dribbles" else Flooder(flood, address)
    print("ready", flush=True)
    stopping = threading.Event()

    def report() -> None:
        for _ in sys.stdin:
            print(sender.sent, sender.heard, flush=True)
        stopping.set()

    threading.Thread(target=report, daemon=True).start()
    while not stopping.is_set():
        sender.turn()
    os._exit(0)  # what is still queued is of no use to anybody


if __name__ == "__main__":
    main(*sys.argv[1:])
