"""The ZeroMQ sockets of a node: which there are, how they are set up, and where they are bound.

This module guarantees of every socket that it opens: its queues and its frames are bounded, it takes and makes only
connections that show who they are (CURVE with keys, PLAIN without), and a connection that is cut is noticed and
dropped. The transport decides what is sent on them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from collections.abc import Callable
from typing import Final

import zmq

from paceline.config import WILDCARD_HOSTS, format_address, parse_address
from paceline.errors import ConfigError, PortInUse
from paceline.runtime.interfaces import local_host
from paceline.runtime.limits import connections_waiting
from paceline.runtime.transport import zap
from paceline.security import Credentials, CurveKeys
from paceline.sockets import show

CLIENT_QUEUE_MESSAGES: Final = 256
PEER_QUEUE_MESSAGES: Final = 1000
"""High-water marks, per connection. Credits keep real traffic far below; at the mark a send is FULL."""
UNREAD_MESSAGES: Final = 8
"""What one connection may have brought and the node has not read yet. Beyond it TCP holds the sender back."""

RECONNECT_MS: Final = 50
RECONNECT_MAX_MS: Final = 1000
CONNECT_TIMEOUT_MS: Final = 1000
HANDSHAKE_TIMEOUT_MS: Final = 5000

UNACKNOWLEDGED_MS: Final = 3000
"""TCP_USER_TIMEOUT: a connection is dropped when what was sent stays unacknowledged for so long. This finds a cut link
under traffic and, unlike a heartbeat, is not set off by a large frame on a slow link (libzmq #2709)."""

KEEPALIVE_IDLE_S: Final = 10
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_PROBES: Final = 3
"""TCP keepalive finds a connection that is half open and idle. Liveness of nodes is the core's business, and much
faster. ZeroMQ's own heartbeats are off: libzmq aborts the process if one is due on a connection whose other end has
left while as much was unread as RCVHWM allows, which anybody could bring about."""


def open_router(
    context: zmq.Context[zmq.Socket[bytes]],
    bind_host: str,
    port: int,
    keys: CurveKeys | None,
    max_frame_bytes: int,
    before_bind: Callable[[zmq.Socket[bytes]], None] | None = None,
) -> zmq.Socket[bytes]:
    """The socket on which clients and peers come in. Raises PortInUse or ConfigError if it can't be bound.

    There must be an :func:`open_zap` already: without it, libzmq would let everybody in.
    """
    make_routing_ids_unknown()
    # Without ROUTER_HANDOVER: a connection can't take over the routing id, and so the replies, of another.
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.SNDHWM, CLIENT_QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, UNREAD_MESSAGES)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
    socket.setsockopt(zmq.BACKLOG, connections_waiting())
    _tune_tcp(socket)
    if keys:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt_string(zmq.CURVE_SECRETKEY, keys.secret)
    else:
        socket.setsockopt(zmq.PLAIN_SERVER, 1)
    if before_bind is not None:
        before_bind(socket)
    bind(socket, bind_host, port)
    return socket


def make_routing_ids_unknown() -> None:
    """Let libzmq begin to number connections at a number that nobody knows.

    A peer may choose its routing id, and libzmq ends the process if it gives out one itself that was chosen before. It
    takes the first from the C library's generator and never seeds it, so that it would be the same in every process.
    """
    ctypes.CDLL(None).srand(secrets.randbits(32))


def send_uncopied(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Send a first frame that is not copied, to nobody. pyzmq makes a context of its own for that and keeps it, and
    libzmq ends the process if there is no file for one: with a large frame that has to leave once there is none."""
    with context.socket(zmq.PAIR) as receiver, context.socket(zmq.PAIR) as sender:
        receiver.bind("inproc://first-frame")
        sender.connect("inproc://first-frame")
        sender.send(zmq.Frame(b"first", copy=False, copy_threshold=0), copy=False)
        receiver.recv()


def open_zap(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket on which libzmq asks whether a key may connect."""
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(zap.ENDPOINT)
    return socket


def open_refusals(context: zmq.Context[zmq.Socket[bytes]], router: zmq.Socket[bytes], number: int) -> zmq.Socket[bytes]:
    """The socket on which libzmq says where the ROUTER listens, and that it could not take a connection. ``number``: a
    new one for each."""
    endpoint = f"inproc://refusals-{number}"
    socket = context.socket(zmq.PAIR)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 0)  # at a mark libzmq's thread would wait here, and all connections with it
        # First, and closed after the monitor has ended: what has no other end is waited for in the same way.
        socket.connect(endpoint)
        router.monitor(endpoint, zmq.EVENT_LISTENING | zmq.EVENT_ACCEPT_FAILED)
    except BaseException:
        socket.close()
        raise
    return socket


def open_peer(
    context: zmq.Context[zmq.Socket[bytes]],
    address: str,
    credentials: Credentials,
    max_frame_bytes: int,
    server: str = "",
) -> zmq.Socket[bytes]:
    """A socket that sends to one peer, and connects by itself. ``server``: the key that is expected there, if it is not
    the first. Raises ConfigError if the address is none."""
    host, port = parse_address(address)
    socket = context.socket(zmq.DEALER)
    # IMMEDIATE: queue only for a connection that stands, so that a peer that returns is not fed with old frames.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDHWM, PEER_QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, 1)  # nobody sends on this way; what comes is left where it is
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
    socket.setsockopt(zmq.IPV6, ":" in host)
    _tune_tcp(socket)
    show(socket, credentials, host, port, server)
    socket.connect(f"tcp://{format_address(host, port)}")
    return socket


def bind(socket: zmq.Socket[bytes], host: str, port: int) -> None:
    """Raises PortInUse or ConfigError."""
    socket.setsockopt(zmq.IPV6, host == "*" or ":" in host)  # "*" is every interface, by IPv4 and IPv6
    shown = format_address(host, port)
    number = host if host in WILDCARD_HOSTS else local_host(host)
    endpoint = format_address(number, port) if port else f"{format_address(number, port)[:-1]}*"
    try:
        socket.bind(f"tcp://{endpoint}")
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(shown) from error
        raise ConfigError(
            f"can't listen on {shown}: {os.strerror(error.errno or 0)}; bind to an address of this machine"
        ) from error


def _tune_tcp(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_MAXRT, UNACKNOWLEDGED_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES)
