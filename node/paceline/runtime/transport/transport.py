"""The interface of a transport: it receives frames with their source, and sends frames to clients, peers and workers.
``zmq_transport.py`` speaks ZeroMQ, ``memory_transport.py`` is its twin for tests and the simulator, and one suite of
tests runs against both.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from enum import Enum, IntEnum
from typing import Final, Protocol, TypeAlias

from paceline.security import Standing


class Source(IntEnum):
    """Where a received message comes from."""

    CLIENT = 1
    PEER = 2
    WORKER = 3
    CHILD = 4  # a watched file descriptor is readable
    WAKE = 5
    WEB = 6  # the web process


class Sent(Enum):
    """The result of a send."""

    OK = 1
    GONE = 2  # there is no such client, child or peer (any more)
    FULL = 3  # its queue is full, or a peer's connection does not stand (yet): nothing was kept, try again later


Received: TypeAlias = tuple[Source, bytes | int, list[bytes]]
"""CLIENT: (session, [frame]), or (session, []) for a frame that is not read (``Transport.unread``); PEER: (routing id,
[envelope, frame, ...]), without frames if there are more than MAX_BATCH_FRAMES, and with empty ones if whoever sent
them is no node, or is not read; WORKER, WEB: (child id, [frame]); CHILD: (fd, []); WAKE: (0, []). Which kind of
child a frame is from is said by whoever added the child's link."""


BURST_MESSAGES: Final = 64
"""How many messages one poll takes from one child, at most; and one turn from clients and peers."""


class Unread:
    """Which frames of clients are not worth reading: their messages are taken, and reported without a frame.
    ``above_bytes``: larger ones. ``sessions``: whatever these clients send. Both as the transport's owner likes."""

    def __init__(self, above_bytes: int) -> None:
        self.above_bytes = above_bytes
        self.sessions: Container[bytes] = ()


class Transport(Protocol):
    """The network of a node. See the rules in ``zmq_transport.py``."""

    unread: Unread

    faults: dict[bytes, str]
    """Workers that have sent what can't be read, found by :meth:`poll`, and what that is. Emptied by the owner."""

    @property
    def has_more(self) -> bool:
        """Whether :meth:`receive_more` may find something that :meth:`poll` has left."""

    @property
    def address(self) -> str:
        """Where others reach this node: "host:port"."""

    def poll(self, timeout_s: float) -> list[Received]:
        """Wait until something is here, at most ``timeout_s`` (rounded up to whole ms), and return it: from children,
        then one message from clients and peers, then children and wake. May return early with nothing."""

    def receive_more(self) -> Received | None:
        """One more message from clients and peers that is here, None if there is none. Connections take turns. WAKE
        while the rest of a message of too many frames is received, which nobody reads."""

    def standing(self, sender: bytes) -> Standing:
        """What the connection may say that brought this, a CLIENT's or PEER's; to be asked in the turn in which that
        was received."""

    def send_client(self, session: bytes, frame: bytes) -> Sent: ...

    def send_child(self, child_id: bytes, frame: bytes) -> Sent: ...

    def send_peer(self, address: str, frames: Sequence[bytes], *, is_quick: bool = False) -> Sent:
        """Send one batch. The first send to an address opens the connection and is FULL until it stands. ``is_quick``:
        past the large batches that were sent there before, on a connection of its own once that stands; it may be
        received before them."""

    def forget_peer(self, address: str) -> None:
        """Close the connections to an address, with what is queued for it. Unknown addresses are ignored."""

    def watch(self, fd: int) -> None:
        """Report CHILD at each poll while ``fd`` is readable, until unwatch."""

    def unwatch(self, fd: int) -> None: ...

    def wake(self) -> None:
        """End the poll under way, or the next one, with WAKE. From any thread or signal handler; many are one."""

    def close(self) -> None: ...
