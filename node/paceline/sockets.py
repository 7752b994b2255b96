"""What the node and the client share of pyzmq sockets: a quick send, and what is shown where a socket connects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import zmq

from paceline.config import is_loopback
from paceline.local_token import USER_NAME, password
from paceline.security import Credentials

send_frame: Final = cast("Callable[[zmq.Socket[bytes], bytes, int, bool], object]", zmq.backend.Socket.send)
"""(socket, frame, flags, copy). zmq.Socket.send is a wrapper around this for options that are not used here, and costs
three times as much."""


def show(socket: zmq.Socket[bytes], credentials: Credentials, host: str, port: int, server: str = "") -> None:
    """What a socket shows to the node at an address, before it connects. ``server``: the key that is expected there, if
    it is not the first of those that nodes may have. The token is shown to this machine alone."""
    own = credentials.own
    if own is not None:
        socket.setsockopt_string(zmq.CURVE_SERVERKEY, server or credentials.servers[0])
        socket.setsockopt_string(zmq.CURVE_PUBLICKEY, own.public)
        socket.setsockopt_string(zmq.CURVE_SECRETKEY, own.secret)
    else:
        socket.setsockopt_string(zmq.PLAIN_USERNAME, USER_NAME)
        socket.setsockopt_string(zmq.PLAIN_PASSWORD, password(credentials.token if is_loopback(host) else b"", port))
