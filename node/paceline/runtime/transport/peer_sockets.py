"""Connections to peers: a DEALER for each address, opened by the first send to it, and closed when it is stuck.

A transport has two of these, for its main and for its quick connections (``zmq_transport.py``), which know nothing of
each other. How such a socket is set up is in ``zmq_sockets.py``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from paceline.config import format_address, parse_address
from paceline.errors import ConfigError
from paceline.names import Names
from paceline.runtime.transport.stuck import StuckPeers
from paceline.runtime.transport.transport import Sent
from paceline.runtime.transport.zmq_sockets import open_peer
from paceline.security import Credentials
from paceline.sockets import send_frame

ZERO_COPY_MIN_BYTES: Final = 64 * 1024
"""Below this, copying a frame costs less than keeping track of a shared one."""

PEER_SOCKETS_MAX: Final = 256
"""Addresses that can be sent to at a time. Beyond it the one that was sent to longest ago makes room, and never a
voter's: for a voter at once, for others if that was UNUSED_S ago. Else a send is GONE."""

UNUSED_S: Final = 3.0
"""Whoever answers is sent a hello more often, and keeps its connection. If each hello of a round closed the connection
of another, no round would find one that stands."""

NUMBER_TRIED_S: Final = 2.0
"""How long a peer whose host is a name takes nothing before another address of that name is tried."""

_NOBLOCK: Final = int(zmq.NOBLOCK)
_NOBLOCK_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_logger = logging.getLogger("paceline.transport")


class PeerSockets:
    """``sockets``: those that are open, by address. Whoever destroys their context clears it afterwards.
    ``is_voters``: whether a voter is at an address."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        credentials: Credentials,
        names: Names,
        max_frame_bytes: int,
        is_voters: Callable[[str], bool],
    ) -> None:
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        self._used: dict[str, float] = {}  # when each of them was last sent to
        self._is_voters = is_voters
        self._context = context
        self._credentials = credentials
        self._names = names
        self._max_frame_bytes = max_frame_bytes
        self._numbers: dict[str, str] = {}  # of each peer's address, the number that its host has here
        self._failing: dict[str, float] = {}  # since when a peer that a name stands for takes nothing
        self._stuck = StuckPeers(credentials.servers)
        self._refused: set[str] = set()  # addresses that can't be sent to, so that each is logged once

    def send(self, address: str, frames: Sequence[bytes]) -> Sent:
        socket = self.sockets.get(address) or self._open(address)
        if socket is None:
            return Sent.GONE if address in self._refused else Sent.FULL
        self._used[address] = time.monotonic()
        last = len(frames) - 1
        try:
            for index, frame in enumerate(frames):
                send_frame(socket, frame, _NOBLOCK_MORE if index < last else _NOBLOCK, len(frame) < ZERO_COPY_MIN_BYTES)
        except zmq.Again:
            # At the first part: no connection, or a full queue. Later: the connection ended, and took the parts before.
            if self._stuck.is_over(address, time.monotonic()):
                self._close(address)
                self._stuck.expect_another(address)
            elif address in self._numbers:
                self._try_another_number(address)
            return Sent.FULL
        if self._failing:
            self._failing.pop(address, None)
        if self._stuck.since:
            self._stuck.since.pop(address, None)
        return Sent.OK

    def forget(self, address: str) -> None:
        """See ``Transport.forget_peer``."""
        self._refused.discard(address)
        self._failing.pop(address, None)
        self._numbers.pop(address, None)
        self._stuck.forget(address)
        self._close(address)

    def set_credentials(self, credentials: Credentials, *, reconnect: bool) -> None:
        """Show these from now on; ``reconnect``: in every connection."""
        self._credentials = credentials
        self._stuck.change(credentials.servers, list(self.sockets))
        if reconnect:
            for address in list(self.sockets):
                self._close(address)

    def _close(self, address: str) -> None:
        socket = self.sockets.pop(address, None)
        if socket is not None:
            self._used.pop(address, None)
            socket.close(linger=0)

    def _make_room(self, address: str) -> bool:
        """Close a connection for the one to this address. False: all others are in use, or voters'."""
        before = time.monotonic() - (0.0 if self._is_voters(address) else UNUSED_S)
        idle = [peer for peer, used in self._used.items() if used <= before and not self._is_voters(peer)]
        if not idle:
            return False
        longest = min(idle, key=lambda peer: self._used[peer])
        self._close(longest)
        self._stuck.since.pop(longest, None)  # or the next one to it would be taken for stuck at once
        return True

    def _open(self, address: str) -> zmq.Socket[bytes] | None:
        """None: there can't be one, or what the name in the address stands for is not known yet."""
        try:
            host, port = parse_address(address)
            numbers = self._names.hosts(host)
            if not numbers:
                if problem := self._names.problem(host):
                    self._log_refused(address, f"its name does not resolve ({problem})")
                return None
            if len(self.sockets) >= PEER_SOCKETS_MAX and not self._make_room(address):
                self._log_refused(address, f"{PEER_SOCKETS_MAX} addresses are in use already")
                return None
            at = format_address(numbers[0], port)
            expected = self._stuck.expected(address)
            socket = open_peer(self._context, at, self._credentials, self._max_frame_bytes, expected)
        except (ConfigError, zmq.ZMQError) as error:
            self._log_refused(address, str(error))
            return None
        if numbers[0] != host:
            self._numbers[address] = numbers[0]
        self.sockets[address] = socket
        return socket

    def _try_another_number(self, address: str) -> None:
        """A peer whose host is a name takes nothing. If that goes on, the name is looked up again; and if it stands for
        another number by now, or for several, the next one is connected to."""
        now = time.monotonic()
        if now < self._failing.setdefault(address, now) + NUMBER_TRIED_S:
            return
        self._failing[address] = now
        host, number = parse_address(address)[0], self._numbers[address]
        self._names.failed(host, number)
        if self._names.hosts(host)[:1] not in ((), (number,)):
            self._close(address)

    def _log_refused(self, address: str, reason: str) -> None:
        if address not in self._refused and len(self._refused) < PEER_SOCKETS_MAX:
            self._refused.add(address)
            _logger.error("can't send to the peer at %r: %s", address, reason)
