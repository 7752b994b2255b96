"""The sockets of a client: one DEALER per node it talks to, and the pipe that interrupts a sleeping thread.

Nobody else reads or writes them. What the session decides is done here: frames go out, connections open and close.

- Everything but :meth:`sleep` and :meth:`interrupt` is called under the driver's lock: zmq sockets are not thread-safe.
- ``IMMEDIATE``: without a connection a socket takes no frames, so that nothing waits in line for a node that is gone,
  and writability tells whether the connection stands. No socket monitor and no second thread are needed for that, and
  the end of a node is seen as soon as the kernel sees it.
- The send side has no high-water mark, or a full one would look like a lost connection. Its bound is the session's: the
  tasks and bytes that may be unaccepted.
- A zmq file descriptor is edge-triggered, and both sends and receives consume its edge. So nobody sleeps on it before
  :meth:`deliver` has found every socket quiet, with nothing sent since.
- Asking a socket for its events costs several system calls, as much as a receive. A sleeper that a descriptor woke
  leaves a note, and that socket is read without asking.
- A node that refuses what this client shows says so as the connection is made, which only a socket monitor tells. It
  lives until the connection stands, and is read in the turns of the search. libzmq gives up a connection that was
  refused, so that it is made anew after a pause: the key may be known there by then. While the nodes replace their own
  key, the next try expects the other one.
- A client message is one frame. Parts of a multipart message are taken as a frame each, for the codec to judge.
"""

from __future__ import annotations

import errno
import logging
import os
import select
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from paceline.client.driver.sockets import Sockets
from paceline.client.session.session import Session
from paceline.client_keys import ClientKeys
from paceline.config import format_address, parse_address
from paceline.descriptors import NO_ROOM, is_room_for
from paceline.errors import ConfigError, OutOfResources
from paceline.names import Names
from paceline.sockets import send_frame, show
from paceline_protocol.codec import MAX_FRAME_BYTES

RECONNECT_INTERVAL_MS = 20
RECONNECT_INTERVAL_MAX_MS = 500
CONNECT_TIMEOUT_MS = 2000
UNACKNOWLEDGED_MS = 3000
"""TCP_USER_TIMEOUT. An unanswered Ping finds a link that is cut sooner, unless there is much in front of it."""
NUMBER_TRIED_S = 0.5
"""How long one address of a name that stands for several is tried before the next."""
RETRY_REFUSED_S = 0.25
TOLD_LIMIT_PROBLEMS = 512
"""Several for each address that a search goes to; the oldest may be told again."""
CONNECTION_FILES: Final = 8
"""What the first connection of a client opens: the threads of its context two each, the socket and its link one each,
and the monitor two. Later ones do without the threads."""
COPY_LIMIT_BYTES = 64 * 1024
"""A frame up to this size is copied, which costs less than the bookkeeping of a shared one."""

_logger = logging.getLogger("paceline.client")

_EVENTS = int(zmq.EVENTS)
_READABLE = int(zmq.POLLIN)
_WRITABLE = int(zmq.POLLOUT)
_NOBLOCK = int(zmq.NOBLOCK)
_REFUSED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_FAILED = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)


class _Connection:
    __slots__ = (
        "address", "descriptor", "get", "has_woken", "host", "is_open", "is_up", "monitor", "number", "opened_at",
        "receive", "socket",
    )  # fmt: skip

    def __init__(
        self,
        address: str,
        host: str,
        number: str,
        socket: zmq.Socket[bytes],
        now: float,
        monitor: zmq.Socket[bytes] | None = None,
    ) -> None:
        self.address = address
        self.host = host
        self.number = number  # the address of the host that the socket connects to
        self.opened_at = now
        self.socket = socket
        self.get, self.receive = socket.get, socket.recv
        self.descriptor = int(socket.get(zmq.FD))
        self.monitor = monitor
        self.is_open = True
        self.is_up = False
        self.has_woken = False  # its descriptor ended the last sleep, so that there is likely a frame

    def failed(self) -> int:
        """Whether the other side was reached and no connection was made: which event, 0 for none."""
        if self.monitor is None or not int(self.monitor.get(_EVENTS)) & _READABLE:
            return 0
        event: int = recv_monitor_message(self.monitor)["event"]
        self.end_monitor()
        return event

    def end_monitor(self) -> None:
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close(linger=0)
            self.monitor = None

    def close(self) -> None:
        self.is_open = False
        self.end_monitor()
        self.socket.close(linger=0)


class Connections:
    """Every connection of one client."""

    def __init__(self, session: Session, keys: ClientKeys) -> None:
        self.names = Names()
        self._session = session
        self._keys = keys
        self._refused: dict[str, float] = {}  # addresses that let nobody in: when to try again
        self._expected: dict[str, int] = {}  # which of the keys that nodes may have is expected there
        self._seeking: dict[str, _Connection] = {}  # those that have not stood yet
        self._open: dict[str, _Connection] = {}
        self._all: tuple[_Connection, ...] = ()  # the same; a walk over it may open and close connections
        self._poll = select.poll()
        try:
            self._sockets = Sockets()  # without a socket yet
            self._wake_read, self._wake_write = os.pipe()
        except (OSError, zmq.ZMQError) as error:
            raise OutOfResources(f"a client of a cluster needs descriptors ({error.strerror})") from None
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._pipe_closed = False
        self._told: dict[str, None] = {}  # problems, each with the address that it concerns
        self._poll.register(self._wake_read, select.POLLIN)
        self._unseen = False  # something was sent or opened since the events of all sockets were last looked at
        self.changed = False  # connections were opened or closed since a sleeper last took the set of descriptors

    # --- under the lock ------------------------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Do what the session's outbox says. A frame that can't leave is lost, and its connection with it."""
        session, outbox = self._session, self._session.output.outbox
        while outbox:
            frames = outbox[:]
            outbox.clear()
            for address, frame in frames:
                if frame is None:
                    self._close(address)
                elif not self._send(address, frame, now):
                    session.lost(address, now)

    def deliver(self, now: float) -> bool:
        """Hand over what changed, and at most one frame per connection. True if there may be more."""
        session, outbox = self._session, self._session.output.outbox
        self._unseen = False
        more = False
        for connection in self._all:
            if not connection.is_open:
                continue  # closed by the flush for an earlier one
            frame = self._next_frame(connection, now)
            if frame is not None:
                more = True
                session.received(connection.address, frame, now)
            if outbox:
                self.flush(now)
        if self._seeking or self._refused:
            self._look_for_refusals(now)
        return more or self._unseen

    def _look_for_refusals(self, now: float) -> None:
        for address, connection in list(self._seeking.items()):
            event = connection.failed()
            if event:
                is_said = event == _REFUSED
                self._session.refused(address, self._keys.why_refused(is_said), is_said=is_said)
                self._refused[address] = now + RETRY_REFUSED_S
                if not is_said:
                    self._expected[address] = self._expected.get(address, 0) + 1
        for address in [address for address, at in self._refused.items() if now >= at]:
            del self._refused[address]
            if address in self._open:
                self._close(address)
                self._try_to_connect(address, now)

    def reset(self) -> None:
        """Whoever changed these was interrupted: close every connection, and begin anew. A thread that sleeps is to be
        woken then."""
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)
        self._forget_all()
        self._sockets.close_all()
        self._seeking = {}
        self._refused = {}
        self.changed = True

    def close(self) -> None:
        """Close everything but the pipe. Done again if it is interrupted."""
        self._forget_all()
        self._sockets.end()

    def _forget_all(self) -> None:
        for connection in self._all:  # over which a walk may be under way
            connection.is_open = False
        self._all = ()
        self._open = {}

    def close_pipe(self) -> None:
        """Apart from :meth:`close`: a thread may sleep on the pipe until it has seen that all is closed."""
        if not self._pipe_closed:
            self._pipe_closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _send(self, address: str, frame: bytes, now: float) -> bool:
        connection = self._open.get(address) or self._try_to_connect(address, now)
        if connection is None:
            return False
        self._unseen = True
        try:
            send_frame(connection.socket, frame, _NOBLOCK, len(frame) <= COPY_LIMIT_BYTES)
        except zmq.Again:
            if now >= connection.opened_at + NUMBER_TRIED_S and not connection.is_up:
                self._try_another_number(connection, now)
            return False
        except zmq.ZMQError as error:  # as without memory: that connection ends, and what it carried is sent again
            self._tell(f"can't send to {address}: {error}")
            return False
        return True

    def _next_frame(self, connection: _Connection, now: float) -> bytes | None:
        if connection.has_woken:
            connection.has_woken = False
            try:
                return connection.receive(_NOBLOCK)
            except zmq.Again:
                pass  # it was woken by a connection that came up or broke: the events tell
        events = int(connection.get(_EVENTS))
        if events & _READABLE:
            return connection.receive(_NOBLOCK)
        if bool(events & _WRITABLE) is not connection.is_up:
            # Frames that came before the end were read before the end is reported.
            connection.is_up = not connection.is_up
            if connection.is_up:
                self._seeking.pop(connection.address, None)
                connection.end_monitor()
                self._session.opened(connection.address, now)
            else:
                self._session.lost(connection.address, now)
        return None

    def _try_another_number(self, connection: _Connection, now: float) -> None:
        """Nobody has answered at one address of a host: the next frame goes to the next, if there is one."""
        connection.opened_at = now
        self.names.failed(connection.host, connection.number)
        if self.names.hosts(connection.host)[:1] not in ((), (connection.number,)):
            self._close(connection.address)

    def _try_to_connect(self, address: str, now: float) -> _Connection | None:
        try:
            return self._connect(address, now)
        except ConfigError as error:  # what a node named is no address
            self._tell(f"can't connect to {address}: {error}")
        except (OSError, zmq.ZMQError) as error:
            self._tell(f"can't connect to {address}: {error}")
            if error.errno in NO_ROOM:
                self._session.starved(f"this process can't connect to a node ({error})")
        return None

    def _connect(self, address: str, now: float) -> _Connection | None:
        """None: what the host's name stands for is not known. The session is told if that is a problem."""
        host, port = parse_address(address)
        numbers = self.names.hosts(host)
        self._session.unresolved(address, "" if numbers else self.names.problem(host))
        if not numbers:
            return None
        number = numbers[0]
        credentials = self._keys.credentials()
        servers = credentials.servers
        expected = servers[self._expected.get(address, 0) % len(servers)] if servers else ""
        if not is_room_for(CONNECTION_FILES):
            raise zmq.ZMQError(errno.EMFILE)
        others = frozenset(self._sockets.opened)
        socket = self._sockets.socket(zmq.DEALER)
        try:
            for option, value in (
                (zmq.LINGER, 0),
                (zmq.IMMEDIATE, 1),
                (zmq.SNDHWM, 0),
                (zmq.MAXMSGSIZE, MAX_FRAME_BYTES),
                (zmq.RECONNECT_IVL, RECONNECT_INTERVAL_MS),
                (zmq.RECONNECT_IVL_MAX, RECONNECT_INTERVAL_MAX_MS),
                (zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS),
                (zmq.TCP_MAXRT, UNACKNOWLEDGED_MS),
                (zmq.TCP_KEEPALIVE, 1),
                (zmq.IPV6, int(":" in number)),
            ):
                socket.set(option, value)
            show(socket, credentials, number, port, expected)
            monitor = socket.get_monitor_socket(_REFUSED | _FAILED)
            connection = _Connection(address, host, number, socket, now, monitor)
            socket.connect(f"tcp://{format_address(number, port)}")  # a number: no name is ever given to ZeroMQ
        except BaseException:
            self._sockets.close_all(but=others)
            raise
        self._session.starved("")
        self._open[address] = self._seeking[address] = connection
        self._all = tuple(self._open.values())
        self._poll.register(connection.descriptor, select.POLLIN)
        self.changed = True
        return connection

    def _tell(self, problem: str) -> None:
        """Once, though the search for a leader meets it many times a second, and others between."""
        if problem not in self._told:
            while len(self._told) >= TOLD_LIMIT_PROBLEMS:
                del self._told[next(iter(self._told))]
            self._told[problem] = None
            _logger.warning("%s", problem)

    def _close(self, address: str) -> None:
        connection = self._open.pop(address, None)
        if connection is not None:
            self._seeking.pop(address, None)
            self._refused.pop(address, None)
            self._all = tuple(self._open.values())
            self._poll.unregister(connection.descriptor)
            connection.close()
            self.changed = True

    # --- outside the lock ----------------------------------------------------------------------------------------

    def sleep(self, timeout_s: float) -> None:
        """Sleep until a socket has news, :meth:`interrupt` is called, or the time is over. One thread at a time, and
        what interrupts it."""
        timeout_ms = int(timeout_s * 1000) + 1  # rounded up: a timeout rounded down to 0 ms would spin
        try:
            found = self._poll.poll(timeout_ms)
        except RuntimeError:  # a signal handler waits, within the sleep of this very thread
            found = self._another_poll().poll(timeout_ms)
        for descriptor, _ in found:
            if descriptor == self._wake_read:
                self._drain_pipe()
                continue
            # Another thread may close and open connections meanwhile. A note left on the wrong one does no harm: it is
            # read in vain, and then asked.
            for connection in self._all:
                if connection.descriptor == descriptor:
                    connection.has_woken = True

    def _another_poll(self) -> select.poll:
        """One object can't be used twice at a time."""
        poll = select.poll()
        for descriptor in (self._wake_read, *(connection.descriptor for connection in self._all)):
            poll.register(descriptor, select.POLLIN)
        return poll

    def interrupt(self) -> None:
        """End the sleep of another thread."""
        if self._pipe_closed:
            return
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # the pipe is full, so the sleeper wakes anyway

    def _drain_pipe(self) -> None:
        if self._pipe_closed:  # by a signal handler that closed the client in the midst of this sleep
            return
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass  # another thread has read it
