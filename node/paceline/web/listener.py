"""The socket on which metrics are served. Apart from ``http.py``, as a node opens it and serves nothing itself."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any

from paceline.config import format_address
from paceline.errors import ConfigError, PortInUse
from paceline.names import Names

BACKLOG = 64
RESOLVE_S = 5.0
"""How long a name may take to resolve."""
RETRY_S = 0.5
"""How long to retry while an address is in use: the process that had it before may live a moment longer."""


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens there. Raises PortInUse, or ConfigError for an address that is none of this machine."""
    shown = format_address(host, port)
    try:
        number = None if host == "*" else Names().resolve(host, RESOLVE_S)[0]
        family, kind, protocol, _, address = socket.getaddrinfo(
            number, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"--metrics: can't listen on {shown}: {error.strerror or error}; name an address of this machine"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(listener, address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(shown, option="--metrics") from error
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"--metrics: can't listen on {shown}: {reason}; name an address of this machine") from error
    return listener


def _bind(listener: socket.socket, address: Any) -> None:
    end = time.monotonic() + RETRY_S
    while True:
        try:
            listener.bind(address)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= end:
                raise
        time.sleep(0.02)
