"""Whether a node takes new connections.

There are two reasons not to. It moves to another address or pair of keys, and libzmq's thread has not let go of the
port yet. Or it can open no more files: then libzmq tries to take the next connection again and again without a pause,
which costs a core, and has the descriptor of whatever ends before anybody else. To unbind would end all connections
that came in there. So the kernel is told to hear nobody new, and for those that wait already there are files
(``limits.py``), until there has been room for a while, in which peers that this node has lost are connected to.
Connections that stand go on.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import socket as system_socket
import struct
import time
from functools import partial
from typing import Final

import zmq

from paceline.descriptors import NO_ROOM, check_room_for, is_room_for
from paceline.errors import ConfigError, OutOfResources, PortInUse
from paceline.runtime.limits import files_advice, files_of_waiting, reserved, take_those_that_wait, with_reserve
from paceline.runtime.transport.zmq_sockets import RECONNECT_MAX_MS, bind, open_refusals

RETRY_S: Final = 0.01
TRIES_BEFORE_SAID: Final = 200
ROOM_FILES: Final = 3
"""A node takes connections again once so many files can be opened, and could be for ROOM_FOR_S: one connection, and two
for the socket on which libzmq says that it could not take another."""
ROOM_FOR_S: Final = RECONNECT_MAX_MS / 1000
FILES_TO_LISTEN: Final = 4
"""What libzmq listens on, this end's copy of it, and two for the socket on which libzmq says that."""
ROOM_RETRY_S: Final = 0.1
SAY_EVERY_S: Final = 60.0

_EVENT: Final = struct.Struct("=HI")  # of libzmq's monitor: its number, and a descriptor or an errno
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_TAKE_NOTHING: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)  # in classic BPF: return 0, the bytes to keep of a packet
_logger = logging.getLogger("paceline.transport")


class Listening:
    """Of one ROUTER. ``events_fd``: readable when :meth:`look` is to be called; -1 while there is none."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], epoll: select.epoll) -> None:
        self.is_on = True
        self.events_fd = -1
        self._context = context
        self._epoll = epoll
        self._router: zmq.Socket[bytes]
        self._bound = "", 0
        self._events: zmq.Socket[bytes] | None = None
        self._monitors = 0  # that there were
        self._listener: system_socket.socket | None = None  # what libzmq listens on
        self._tries = 0  # to listen again
        self._is_full = False
        self._is_shut = False  # by the kernel, while it is full
        self._room_since = 0.0
        self._look_again_at = 0.0
        self._said_at = float("-inf")

    def watch(self, router: zmq.Socket[bytes]) -> None:
        """To be called before the ROUTER is bound. Raises ZMQError."""
        self._router = router
        self._watch()

    def bound(self, host: str, port: int) -> None:
        """The ROUTER is bound there."""
        self._bound = host, port
        self.look()

    def move(self, host: str) -> None:
        """Listen at another number from now on."""
        self.stop()
        self._bound = host, self._bound[1]
        self.start()

    def stop(self) -> None:
        """Until :meth:`start`. Every connection that came in ends."""
        if self.is_on or self._is_full:
            if self._is_full:
                take_those_that_wait(is_full=False)
            self.is_on = self._is_full = False
            self.close()
            self._router.unbind(self._router.getsockopt_string(zmq.LAST_ENDPOINT))

    def start(self) -> None:
        """Listen again, as soon as libzmq's own thread has let go of the port, and of as many files as this takes:
        :meth:`retry` tries until then."""
        self._tries += 1
        try:
            self._listen()
        except (PortInUse, ConfigError, OutOfResources, OSError, zmq.ZMQError) as error:
            if self._tries == TRIES_BEFORE_SAID:
                _logger.error("this node can't listen any more, and tries again: %s", error)
            return
        self._tries = 0

    def _listen(self) -> None:
        """Raises PortInUse, ConfigError, OutOfResources, OSError or ZMQError: then it does not listen."""
        with reserved():
            check_room_for(FILES_TO_LISTEN, "listening")  # libzmq ends the process if there is none for its listener
            self._watch()
            bind(self._router, *self._bound)
            self.is_on = True
            try:
                self.look()
            except OSError:  # where it listened before, libzmq's thread has taken one more connection meanwhile
                self.stop()
                raise

    def retry(self, now: float) -> float:
        """While it is not on. Returns in how many seconds to call this again."""
        if not self._is_full:
            self.start()
            return RETRY_S
        if not self._is_shut:
            self._turn_away()
        if now < self._look_again_at:
            return self._look_again_at - now
        self._look_again_at = now + ROOM_RETRY_S
        if not is_room_for(ROOM_FILES + files_of_waiting()):
            self._room_since = now
        if now >= self._room_since + ROOM_FOR_S:
            self._take_again()
        return ROOM_RETRY_S

    def look(self) -> None:
        """Hear what libzmq says of where it listens, and of connections that it could not take. The descriptor tells of
        what comes after this was called once."""
        while self._events is not None:
            try:
                event, number = _EVENT.unpack(self._events.recv_multipart(zmq.NOBLOCK)[0])
            except zmq.Again:
                return
            if event == zmq.EVENT_LISTENING:
                self.close()
                self._listener = system_socket.socket(fileno=with_reserve(partial(os.dup, number)))
                self._listener.setblocking(False)
            elif number in NO_ROOM and self._listener is not None:
                self._take_no_more(time.monotonic())

    def close(self) -> None:
        """Close this end of what libzmq listens on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._is_shut = False

    def end(self) -> None:
        """Before the sockets are closed. May be called again."""
        self._watch_no_more()
        self.close()

    # --- without room -------------------------------------------------------------------------------------------

    def _take_no_more(self, now: float) -> None:
        self.is_on = False
        self._is_full = True
        self._room_since = now
        if self._listener is not None:
            code = ctypes.create_string_buffer(_TAKE_NOTHING)
            program = struct.pack("@HP", 1, ctypes.addressof(code))
            try:
                self._listener.setsockopt(system_socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
                self._is_shut = True
            except OSError as error:  # a sandbox: who comes meanwhile is turned away, now and then
                _logger.debug("the kernel does not refuse connections (%s)", error)
        take_those_that_wait(is_full=True)
        self._watch_no_more()
        if now >= self._said_at + SAY_EVERY_S:
            self._said_at = now
            _logger.error(
                "this node can open no more files, and takes no new connection until some have ended; %s",
                files_advice(),
            )

    def _turn_away(self) -> None:
        """Close the connections that wait to be taken: libzmq tries as long as there are any."""
        if self._listener is None:
            return
        for _ in range(files_of_waiting()):
            try:
                with_reserve(self._listener.accept)[0].close()
            except OSError as error:
                if error.errno not in (errno.ECONNABORTED, errno.EINTR):
                    return  # there is none, or no room even for this: it is tried again

    def _take_again(self) -> None:
        try:
            self._watch()
        except zmq.ZMQError:
            return  # the room is gone again
        take_those_that_wait(is_full=False)
        self.is_on = True
        self._is_full = False
        if self._listener is not None and self._is_shut:
            self._listener.setsockopt(system_socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        self._is_shut = False
        self.look()

    # --- what libzmq says ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Raises ZMQError."""
        if self._events is None:
            self._monitors += 1
            self._events = open_refusals(self._context, self._router, self._monitors)
            self.events_fd = self._events.fileno()
            self._epoll.register(self.events_fd, select.EPOLLIN)

    def _watch_no_more(self) -> None:
        """There may be a hundred thousand events more."""
        events, self._events = self._events, None
        if events is not None:
            self._epoll.unregister(self.events_fd)
            self.events_fd = -1
            self._router.disable_monitor()
            events.close()
