"""The zmq sockets of one client, of which none is forgotten: ending a context waits for every socket that is open.

pyzmq's own context knows its sockets by weak references, and of one only once it is made. A signal handler that raises
in between, or the garbage collector, which clears weak references first, would have it wait for ever. So each socket
is known here before it is open, and until it is closed. Everything may be interrupted, and done again.

This module stays interpreted: its classes are made of pyzmq's.
"""

from __future__ import annotations

import sys
from typing import Any

import zmq


class _Socket(zmq.Socket[bytes]):
    def __init__(self, context: Sockets, socket_type: int, **options: Any) -> None:
        context.opened.add(self)
        try:
            super().__init__(context, socket_type, **options)
        except zmq.ZMQError:  # there is no room for it
            context.opened.discard(self)
            raise

    def __del__(self) -> None:
        """Its context closes it."""

    def close(self, linger: int | None = None) -> None:
        super().close(linger)
        if isinstance(self.context, Sockets):  # not so in one that was interrupted before it was open
            self.context.opened.discard(self)


class Sockets(zmq.Context[zmq.Socket[bytes]]):
    """A context. ``opened``: its sockets that are not closed."""

    opened: set[zmq.Socket[bytes]]
    _socket_class = _Socket

    def __init__(self) -> None:
        self.opened = set()
        super().__init__()

    def __del__(self) -> None:
        """The garbage collector has a client that nobody closed to the end. At the exit the system does all of this."""
        if not sys.is_finalizing():
            self.end()

    def close_all(self, but: frozenset[zmq.Socket[bytes]] = frozenset()) -> None:
        for socket in frozenset(getattr(self, "opened", ())) - but:
            socket.close(linger=0)
            self.opened.discard(socket)

    def end(self) -> None:
        """Close every socket, and the context, which waits for nobody then. Done twice it does nothing."""
        self.close_all()
        self.term()
