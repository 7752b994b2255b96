"""Frames for clients whose connections take none at the moment: kept in their order, and tried again.

What is kept is bounded, for each client and for all of them together. A client past its bound is given up, and past the
bound for all the one for which most is kept. Nothing is lost by that: a client that was given up finds out when it
next asks for something, and asks for what it misses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from paceline.runtime.transport.transport import Sent

CLIENT_LIMIT_BYTES: Final = 32 << 20
"""More than the window of results that a client is sent before it acknowledges. One frame may be larger."""
LIMIT_BYTES: Final = 256 << 20

_FULL: Final = Sent.FULL
_GONE: Final = Sent.GONE


class UnsentFrames:
    """By connection. Empty while every client takes what it is sent."""

    def __init__(self, client_limit_bytes: int = CLIENT_LIMIT_BYTES, limit_bytes: int = LIMIT_BYTES) -> None:
        self._client_limit_bytes = client_limit_bytes
        self._limit_bytes = limit_bytes
        self._frames: dict[bytes, deque[bytes]] = {}
        self._bytes: dict[bytes, int] = {}
        self._all_bytes = 0

    def __len__(self) -> int:
        """For how many clients frames are kept."""
        return len(self._frames)

    def __contains__(self, key: bytes) -> bool:
        return key in self._frames

    def keep(self, key: bytes, frame: bytes) -> list[bytes]:
        """Keep a frame behind those that are kept for this client. Returns the clients that are given up for it."""
        self._frames.setdefault(key, deque()).append(frame)
        self._bytes[key] = self._bytes.get(key, 0) + len(frame)
        self._all_bytes += len(frame)
        given_up = []
        if self._bytes[key] > self._client_limit_bytes and len(self._frames[key]) > 1:
            given_up.append(key)
            self.drop(key)
        while self._all_bytes > self._limit_bytes:
            largest = max(self._bytes, key=lambda each: self._bytes[each])
            given_up.append(largest)
            self.drop(largest)
        return given_up

    def retry(self, send: Callable[[bytes, bytes], Sent]) -> list[bytes]:
        """Send what is taken by now. Returns the clients whose connections are gone."""
        gone = []
        for key, frames in list(self._frames.items()):
            while frames:
                sent = send(key, frames[0])
                if sent is _FULL:
                    break
                if sent is _GONE:
                    gone.append(key)
                    self.drop(key)
                    break
                size = len(frames.popleft())
                self._bytes[key] -= size
                self._all_bytes -= size
            if not frames:
                self.drop(key)
        return gone

    def drop(self, key: bytes) -> None:
        """Keep nothing for this client."""
        self._frames.pop(key, None)
        self._all_bytes -= self._bytes.pop(key, 0)
