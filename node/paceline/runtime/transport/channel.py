"""A node's end of the socket pair that it shares with one of its workers.

Between machines everything is ZeroMQ. Between two processes of one machine a ZeroMQ hop would wake four threads (the
sender's and the receiver's own, and an I/O thread on either side), and a socket pair wakes one. That is a third of a
round trip. See docs/decisions/0011.

The rules of this module:

- Nothing blocks. Bytes that the worker's socket does not take at once are kept, and sent when it takes more. If more
  than ``UNSENT_LIMIT_BYTES`` pile up, the channel is broken.
- A broken channel sends nothing any more. It is read to its end before it has ``ended``: frames that a worker sent
  before it died count.
- A worker writes its frames whole, and waits for nothing meanwhile. One that stops within a frame says nothing any more
  that can be understood, as after user code has written half of one; whoever waits for it would wait for ever.
"""

from __future__ import annotations

import socket

from paceline.runtime.transport.transport import Source
from paceline_protocol.codec import MAX_FRAME_BYTES
from paceline_protocol.errors import FrameTooLarge
from paceline_protocol.stream import FrameReader, pack_frame

READ_BYTES = 65_536
BURST_READS = 16
"""One receive takes 1 MiB at most, so a worker with a large result delays the others by no more than that."""
UNSENT_LIMIT_BYTES = 2 * MAX_FRAME_BYTES


class Channel:
    """The frames between a node and one child, both ways.

    ``ended``: the worker closed its end or sent bytes that are no frame, or a broken channel was read to its end.
    ``has_unread``: the last receive left bytes in the socket. ``fault``: what was sent that is no frame, "" if nothing.
    """

    __slots__ = ("_broken", "_reader", "_socket", "_unsent", "child_id", "ended", "fault", "fd", "has_unread", "source")

    def __init__(self, child_id: bytes, connected: socket.socket, source: Source = Source.WORKER) -> None:
        """``source``: what the child is, as it is said of all its frames."""
        connected.setblocking(False)
        self.child_id = child_id
        self.source = source
        self.fd = connected.fileno()
        self.ended = False
        self.fault = ""
        self.has_unread = False
        self._broken = False
        self._socket = connected
        self._reader = FrameReader()
        self._unsent = bytearray()

    @property
    def wants_turn(self) -> bool:
        """Whether flush() and receive() are to be called when the socket is writable. A broken socket is so at once."""
        return bool(self._unsent) or self._broken

    @property
    def is_within_frame(self) -> bool:
        """Whether a frame has begun to arrive, and its end has not."""
        return self._reader.is_within_frame

    def send(self, frame: bytes) -> bool:
        """Write a frame, or keep it until the socket takes more. False: the channel is broken."""
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
        """The socket takes more: write the bytes that were kept."""
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
            except OSError:
                data = b""
            except FrameTooLarge as error:
                self.fault = str(error)
                data = b""
            if not data:
                self._break()
                self.ended = True
                return frames
            if len(data) < READ_BYTES and not self._broken:
                return frames
        self.has_unread = True
        return frames
