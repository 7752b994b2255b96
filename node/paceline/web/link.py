"""The web process's end of the socket pair that it shares with its node.

The rule: at most one MetricsRequest is under way. So a node whose loop stands still gets one request, however many
callers wait: its stream never fills up, and when it goes on it has one answer to give. All callers that wait when a
reply arrives get that reply, so more callers don't make the node answer more often. A caller gets only a reply that
arrived while it waited: a reply that came too late for an earlier caller is dropped.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Any

from paceline_protocol.codec import decode, encode
from paceline_protocol.messages.children import MetricsReply, MetricsRequest
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
    """Sends requests to the node. Several threads may call it; they take turns."""

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
        """The body of a reply, which the caller must not change. Raises NodeSilent after ``limit_s``."""
        began_s = time.monotonic()
        deadline_s = began_s + limit_s
        if not self._lock.acquire(timeout=limit_s):
            raise NodeSilent(limit_s)  # another caller has waited for as long without a reply
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
        """Read what has arrived, or arrives within ``wait_s``. The body of a reply, or None if none is whole yet."""
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
