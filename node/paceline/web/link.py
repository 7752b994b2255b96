"""The web process's end of the socket pair that it shares with its node.

The rule: one question at a time is on its way. A node that stands still is asked once, and not once more by everybody
who wants to know: its stream never fills up, and when it goes on it has one answer to give. Everybody who waits when an
answer comes gets that one, so that the node answers no more often for more who ask. What is returned came while the
caller waited, never before: an answer that came too late for an earlier caller is thrown away.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Any

from paceline_protocol.codec import decode, encode
from paceline_protocol.messages import MetricsReply, MetricsRequest
from paceline_protocol.payload import unpack_value
from paceline_protocol.stream import FrameReader, pack_frame

ANSWER_LIMIT_S = 1.0
READ_BYTES = 65_536


class NodeSilent(Exception):
    """The node's loop did not answer in time."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"the node's loop did not turn within {limit_s:g} s: it is stopped, or its machine is overloaded; "
            "look at the process, and restart it if it does not go on"
        )


class NodeLink:
    """Asks the node. For several threads, which take turns."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._reader = FrameReader()
        self._is_asked = False
        self._answer: dict[str, Any] = {}  # the last one
        self._answered_at_s = 0.0  # when it came
        self._lock = threading.Lock()
        self._poller = select.poll()
        self._poller.register(connected, select.POLLIN)

    def ask(self, limit_s: float = ANSWER_LIMIT_S) -> dict[str, Any]:
        """How the node is now, to be read only. Raises NodeSilent."""
        began_s = time.monotonic()
        deadline_s = began_s + limit_s
        if not self._lock.acquire(timeout=limit_s):
            raise NodeSilent(limit_s)  # somebody else has been waiting for as long
        try:
            if self._answered_at_s > began_s:
                return self._answer
            self._read(0.0)
            if not self._is_asked:
                self._socket.sendall(pack_frame(encode(MetricsRequest())))
                self._is_asked = True
            while True:
                rest_s = deadline_s - time.monotonic()
                if rest_s <= 0:
                    raise NodeSilent(limit_s)
                body = self._read(rest_s)
                if body is not None:
                    self._answer = unpack_value(body)
                    self._answered_at_s = time.monotonic()
                    return self._answer
        finally:
            self._lock.release()

    def _read(self, wait_s: float) -> bytes | None:
        """What is there, or comes in time; None if that is no whole answer."""
        body = None
        while self._poller.poll(wait_s * 1000):
            data = self._socket.recv(READ_BYTES)
            if not data:
                break  # the node is gone, and this process about to
            for frame in self._reader.feed(data):
                message = decode(frame)
                if isinstance(message, MetricsReply):
                    self._is_asked = False
                    body = message.body
            wait_s = 0.0
        return body
