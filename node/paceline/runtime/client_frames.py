"""What clients send, on its way to the core: decoded and passed on if their key allows it, or refused.

A connection that sends what is no frame is told so a few times, and then it is heard no more: to read, to refuse and to
answer costs more than to send. ZeroMQ can't end a single connection, so its messages are still taken, and dropped
unread. What is known of such connections is bounded; past the bound the one that is known for longest is forgotten, and
begins anew.

One message of more frames than any batch has is enough for that: its frames have to be received one by one, while all
others wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from paceline.core.measures.repeats import is_power_of_ten
from paceline.core.node import NodeCore
from paceline.runtime.counters import Counters
from paceline.runtime.forbidden import MAY_SEND, Forbidden
from paceline.runtime.transport.transport import Transport
from paceline.security import KeyRole
from paceline_protocol.codec import decode_fields, encode
from paceline_protocol.errors import MalformedFrame, ProtocolError
from paceline_protocol.limits import MAX_BATCH_FRAMES, MAX_DETAIL_CHARS, MAX_FRAME_BYTES
from paceline_protocol.messages.client import Failure, Refusal, StatusRequest

FRAME_EXTRA_BYTES: Final = 1 << 20
"""What a frame of a client may have beside the arguments of one call. A larger one is refused unread."""
MALFORMED_LIMIT_FRAMES: Final = 16
"""After so many malformed frames a connection is heard no more."""
REMEMBERED_CONNECTIONS: Final = 1_024
"""Of those that have sent a malformed frame, and as many of those that are heard no more."""

_NODE: Final = KeyRole.NODE
_MAY_SEND: Final = MAY_SEND  # looked at for each frame: a Final of a compiled module is not looked up as a name is
_logger = logging.getLogger("paceline.node")


class ClientFrames:
    """``transport``: says what each connection may say, and is told what to leave unread. ``send``: sends a frame to a
    client, by its connection."""

    def __init__(
        self,
        core: NodeCore,
        transport: Transport,
        counters: Counters,
        forbidden: Forbidden,
        send: Callable[[bytes, bytes], None],
    ) -> None:
        self._core = core
        self._standing = transport.standing
        self._forbidden = forbidden
        self._counters = counters
        self._send = send
        self._limit_bytes = min(core.settings.payload_limit_bytes + FRAME_EXTRA_BYTES, MAX_FRAME_BYTES)
        self._malformed: dict[bytes, int] = {}  # by connection
        self._ignored: dict[bytes, int] = {}
        transport.unread.above_bytes = self._limit_bytes
        transport.unread.sessions = self._ignored

    def receive(self, key: bytes, frames: list[bytes], now: float) -> None:
        """A message from the client on the connection ``key``; without a frame if that was not read."""
        try:
            if not frames:
                self._unread(key)
                return
            standing = self._standing(key)
            may_send = _MAY_SEND[standing.role]
            if not may_send:
                self._send(key, self._forbidden.refuse(standing, None, ()))
                return
            kind, fields = decode_fields(frames[0])
            if kind in may_send:
                message: Any = kind(*fields)
                if kind is StatusRequest:
                    self._core.on_client_described(key, standing.who, message.about, now)
                self._core.on_client(key, message, now)
            elif standing.role is _NODE:
                self._counters.frames_unexpected += 1
            else:
                self._send(key, self._forbidden.refuse(standing, kind, fields))
        except ProtocolError as error:
            self._refuse(key, str(error))

    def is_ignored(self, key: bytes) -> bool:
        """Whether this connection is heard no more."""
        return key in self._ignored

    def batch_unread(self, key: bytes) -> None:
        """A message of more frames than a batch has, or any of a connection that is heard no more."""
        if key in self._ignored:
            self._counters.frames_ignored += 1
        else:
            self._refuse(key, f"a message has at most {MAX_BATCH_FRAMES} frames", MALFORMED_LIMIT_FRAMES)

    def _unread(self, key: bytes) -> None:
        if key not in self._ignored:
            raise MalformedFrame(f"a frame of a client has at most {self._limit_bytes} bytes here; send less at a time")
        self._counters.frames_ignored += 1

    def _refuse(self, key: bytes, why: str, weight: int = 1) -> None:
        """``weight``: for how many malformed frames it counts."""
        self._counters.frames_malformed += 1
        _logger.debug("malformed frame from a client: %s", why)
        count = self._malformed.pop(key, 0) + weight
        is_ignored = count >= MALFORMED_LIMIT_FRAMES
        _remember(self._ignored if is_ignored else self._malformed, key, count)
        if is_ignored:
            why = f"too many frames of this connection were malformed, so it is heard no more; the last: {why}"
            self._counters.clients_ignored += 1
            if is_power_of_ten(self._counters.clients_ignored):
                total = self._counters.clients_ignored
                _logger.warning("a client is heard no more (%d so far on this node): %s", total, why)
        self._send(key, encode(Failure(Refusal.BAD_REQUEST, why[:MAX_DETAIL_CHARS])))
        if is_ignored:
            self._core.on_client_gone(key)


def _remember(connections: dict[bytes, int], key: bytes, count: int) -> None:
    connections[key] = count
    if len(connections) > REMEMBERED_CONNECTIONS:
        del connections[next(iter(connections))]
