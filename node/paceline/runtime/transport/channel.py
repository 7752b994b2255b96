"""A node's end of the socket pair that it shares with one of its workers.

Not ZeroMQ, as everything that crosses machines is: between two processes of one machine a ZeroMQ hop wakes four threads
(the sender's and the receiver's own, and an I/O thread on either side), and a socket pair wakes one. That is a third
of a round trip. See docs/decisions/0011.

The rules of this module:

- Nothing blocks. What the worker does not take at once is kept, and leaves when it reads on. With more than
  ``UNSENT_LIMIT_BYTES`` of it the channel is broken.
- A broken channel sends no more, and is read to the end before it has ``ended``: what a worker said before it died
  counts.
"""

from __future__ import annotations

import socket

from paceline.runtime.transport.transport import Source
from paceline_protocol.codec import MAX_FRAME_BYTES
from paceline_protocol.errors import FrameTooLarge
from paceline_protocol.stream import FrameReader, pack_frame

READ_BYTES = 65_536
BURST_READS = 16
"""How much one receive takes: 1 MiB, so that a worker with a large result delays the others by that much."""
UNSENT_LIMIT_BYTES = 2 * MAX_FRAME_BYTES


class Channel:
    """One child's frames, both ways.

    ``ended`` once the worker closed its end or sent what is no frame, or once a broken channel is read to the end.
    ``has_unread`` after a receive that left something behind.
    """

    __slots__ = ("_broken", "_reader", "_socket", "_unsent", "child_id", "ended", "fd", "has_unread", "source")

    def __init__(self, child_id: bytes, connected: socket.socket, source: Source = Source.WORKER) -> None:
        """``source``: what the child is, as it is said of all its frames."""
        connected.setblocking(False)
        self.child_id = child_id
        self.source = source
        self.fd = connected.fileno()
        self.ended = False
        self.has_unread = False
        self._broken = False
        self._socket = connected
        self._reader = FrameReader()
        self._unsent = bytearray()

    @property
    def wants_turn(self) -> bool:
        """Whether flush() and receive() are to be called when the socket takes more. A broken one does at once."""
        return bool(self._unsent) or self._broken

    def send(self, frame: bytes) -> bool:
        """Write a frame, or keep it until the worker reads on. False: the channel is broken, or was."""
        if self._broken:
            return False
        data = pack_frame(frame)
        if self._unsent:
            if len(self._unsent) + len(data) > UNSENT_LIMIT_BYTES:
                self._break()
                return False
            self._unsent += data
            return True
        sent = self._write(data)
        if sent < len(data) and not self._broken:
            self._unsent += memoryview(data)[sent:]
        return not self._broken

    def flush(self) -> None:
        """The socket takes more: write what was kept."""
        if self._unsent:
            del self._unsent[: self._write(self._unsent)]

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # the worker is gone, or reads no more: what it had to read is lost
            self._break()
            return 0

    def _break(self) -> None:
        self._broken = True
        self._unsent = bytearray()

    def receive(self) -> list[bytes]:
        """The frames that have arrived, a bounded number of reads at a time."""
        frames: list[bytes] = []
        self.has_unread = False
        for _ in range(BURST_READS):
            try:
                data = self._socket.recv(READ_BYTES)
                if data:
                    frames += self._reader.feed(data)
            except BlockingIOError:
                self.ended = self._broken
                return frames
            except (OSError, FrameTooLarge):
                data = b""
            if not data:
                self._break()
                self.ended = True
                return frames
            if len(data) < READ_BYTES and not self._broken:
                return frames
        self.has_unread = True
        return frames
