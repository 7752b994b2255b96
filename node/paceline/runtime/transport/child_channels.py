"""A node's ends of the socket pairs that it shares with its children, in the poll loop of its transport.

The rules of a single one are in ``channel.py``. Here is which there are, that those which are to be read or written are
watched, and what a worker has sent that can't be read: more than a frame may have, or half of one and nothing behind.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Final

from paceline.runtime.transport.channel import Channel
from paceline.runtime.transport.transport import Received, Sent, Source

HALF_FRAME_S: Final = 10.0
"""How long a worker may be silent within a frame. A worker writes its frames whole."""


class ChildChannels:
    """``by_fd``: every channel. ``halves``: the workers that are within a frame, and when the last of it came.
    ``faults``: as of a Transport."""

    def __init__(self, epoll: select.epoll) -> None:
        self.by_fd: dict[int, Channel] = {}
        self.halves: dict[bytes, float] = {}
        self.faults: dict[bytes, str] = {}
        self._by_id: dict[bytes, Channel] = {}
        self._epoll = epoll

    def add(self, child_id: bytes, source: Source, connected: socket.socket) -> None:
        channel = Channel(child_id, connected, source)
        self.by_fd[channel.fd] = self._by_id[child_id] = channel
        self._epoll.register(channel.fd, select.EPOLLIN)

    def remove(self, child_id: bytes) -> None:
        """Unknown ids are ignored."""
        channel = self._by_id.pop(child_id, None)
        if channel is not None:
            del self.by_fd[channel.fd]
            self.halves.pop(child_id, None)
            unregister(self._epoll, channel.fd)

    def clear(self) -> None:
        self.by_fd.clear()
        self._by_id.clear()

    def send(self, child_id: bytes, frame: bytes) -> Sent:
        channel = self._by_id.get(child_id)
        if channel is None:
            return Sent.GONE
        sent = channel.send(frame)
        if channel.wants_turn:
            self._epoll.modify(channel.fd, select.EPOLLIN | select.EPOLLOUT)
        return Sent.OK if sent else Sent.GONE

    def ready(self, channel: Channel, events: int, received: list[Received]) -> bool:
        """Read and write what can be. Whether everything that the child has sent is received now."""
        if events & select.EPOLLOUT:
            channel.flush()
            if not channel.wants_turn:
                self._epoll.modify(channel.fd, select.EPOLLIN)
        received += [(channel.source, channel.child_id, [frame]) for frame in channel.receive()]
        is_worker = channel.source is Source.WORKER
        if is_worker and channel.is_within_frame:
            if events & select.EPOLLIN:
                self.halves[channel.child_id] = time.monotonic()
        elif self.halves:
            self.halves.pop(channel.child_id, None)
        if channel.ended:
            if is_worker and channel.fault:
                self.faults[channel.child_id] = f"it sent what is no frame: {channel.fault}"
            self.remove(channel.child_id)
            received.append((Source.CHILD, channel.fd, []))
        return not channel.has_unread

    def find_silent_halves(self) -> None:
        """Workers that have been silent within a frame for too long are at fault."""
        now = time.monotonic()
        for child_id, since in list(self.halves.items()):
            if now >= since + HALF_FRAME_S:
                del self.halves[child_id]
                self.faults[child_id] = f"it sent half a frame, and then nothing for {HALF_FRAME_S:.0f} s"


def unregister(epoll: select.epoll, fd: int) -> None:
    """Watch a descriptor no more. Its owner may have closed it first: the kernel forgot it then."""
    try:
        epoll.unregister(fd)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOENT):
            raise
