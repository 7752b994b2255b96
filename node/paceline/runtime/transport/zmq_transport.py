"""How frames reach a node and leave it: the only sockets of the node process.

The rules of this module:

- One thread. Only ``wake`` may be called from another one, or from a signal handler.
- Nothing blocks but ``poll``, and that at most as long as it is told. Every send is tried once: Sent says what became
  of it. OK means that the frame was queued here, not that it arrived.
- A bounded burst per ``poll`` from each child, and one message from clients and peers. libzmq takes messages from
  their connections in turn, so that whoever reads one at a time, and stops when it has worked for long enough, delays
  no connection by more than one message of each other.
- Frames are opaque. What the transport knows of them is their number: one frame after the routing id comes from a
  client, two or more from a peer (an envelope and messages). Of several frames none is kept if no node sent them.
- libzmq has all parts of a message in memory before it gives out the first, and gives out no other message before the
  last. So what nobody wants of a message has to be received, too: in the cheapest way, and some at a time.
- Peers are sent to through DEALERs and received from through the ROUTER, as in ZRE (RFC 36): a DEALER drops nothing
  before its connection stands. Clients are answered through the ROUTER, which is safe because they spoke first. Workers
  are no ZeroMQ peers: each has a socket pair (``channel.py``).
- What follows a large frame on a connection waits until all of that has left. So an address has a second DEALER for
  quick batches (``peer_sockets.py``). The first of these opens it, if the main one is there; what it does not take goes
  by the main one.

How the sockets are set up, and why so, is in ``zmq_sockets.py``. The twin for simulated networks is in
``memory_transport.py``; one suite of tests runs against both.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import zmq

from paceline.config import format_address, parse_address
from paceline.hosts import canonical_host
from paceline.names import Names
from paceline.runtime.interfaces import local_host, reachable_hosts
from paceline.runtime.transport import zap
from paceline.runtime.transport.child_channels import ChildChannels, unregister
from paceline.runtime.transport.gate import Gate
from paceline.runtime.transport.listening import Listening
from paceline.runtime.transport.peer_sockets import ZERO_COPY_MIN_BYTES, PeerSockets
from paceline.runtime.transport.transport import BURST_MESSAGES, Received, Sent, Source, Unread
from paceline.runtime.transport.zmq_sockets import open_router, open_zap, send_uncopied
from paceline.security import Credentials, KeyRole, NodeKeys, Standing
from paceline.sockets import send_frame
from paceline_protocol.limits import MAX_BATCH_FRAMES

if TYPE_CHECKING:
    import socket as system_socket

CLOSE_LINGER_MS: Final = 200
"""How long close() lets the last frames leave."""

_NOTHING: Final[Received] = (Source.WAKE, 0, [])
_NODE: Final = KeyRole.NODE
_OK: Final = Sent.OK
# As plain numbers: each operation on a flag of zmq's is a call of Python code, several times as long as what it is for.
_EVENTS: Final = int(zmq.EVENTS)
_READABLE: Final = int(zmq.POLLIN)
_RCVMORE: Final = int(zmq.RCVMORE)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_NOBLOCK_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


class ZmqTransport:
    """A Transport over ZeroMQ. Raises PortInUse or ConfigError when its address can't be bound."""

    def __init__(
        self,
        bind_host: str,
        port: int,
        *,
        advertise_host: str | None = None,
        keys: NodeKeys | None = None,
        token: bytes = b"",
        max_frame_bytes: int,
        names: Names | None = None,
    ) -> None:
        """``keys``: of the cluster. Without: the ``token`` of this user, or b"" to let everybody in."""
        self._keys = keys
        self.unread = Unread(max_frame_bytes)
        self.has_more = False
        self._gate = Gate(keys, token)
        self._watched: set[int] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self.is_voters: Callable[[str], bool] = _is_nobodys  # whether a voter is at an address; as the owner likes
        credentials = Credentials(keys.own, keys.servers) if keys else Credentials(token=token)
        names = names or Names()
        self._peers = PeerSockets(self._context, credentials, names, max_frame_bytes, self._is_voters)
        self._quick = PeerSockets(self._context, credentials, names, max_frame_bytes, self._is_voters)
        self._is_passing = False  # over the rest of a message of too many parts
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._children = ChildChannels(self._epoll)
        self.faults = self._children.faults
        self._listening = Listening(self._context, self._epoll)
        try:
            send_uncopied(self._context)
            self._zap = open_zap(self._context)  # before the ROUTER, or it would let everybody in
            self._router = open_router(
                self._context, bind_host, port, keys.own if keys else None, max_frame_bytes, self._listening.watch
            )
        except BaseException:
            self._destroy()
            raise
        bound_port = parse_address(self._router.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://"))[1]
        self.port = bound_port
        self._gate.port = bound_port
        self._listening.bound(bind_host, bound_port)
        host = canonical_host(advertise_host) if advertise_host else reachable_hosts(bind_host)[0]
        self.address = format_address(host, bound_port)
        self.local_address = format_address(local_host(bind_host), bound_port)  # for processes of this machine
        # Not zmq.Poller: it hands every socket to the kernel anew at each call, which costs up to a tenth of a hop.
        self._router_used = self._zap_used = True  # since EVENTS was last asked
        self._router_fd = self._router.fileno()
        for fd in (self._wake_fd, self._router_fd, self._zap.fileno()):
            self._epoll.register(fd, select.EPOLLIN)

    # --- receiving ----------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[Received]:
        if not self._listening.is_on:
            timeout_s = min(timeout_s, self._listening.retry(time.monotonic()))
            self._router_used = True
        # The file descriptor of a ZeroMQ socket is edge-triggered: it tells of commands that came since the socket was
        # last used, and any use (a send, too) takes them. So EVENTS is asked of every socket that was used since it
        # was last asked, right before sleeping; whatever comes after that makes the descriptor readable.
        router_ready = self._router_used and self._readable(self._router)
        zap_ready = self._zap_used and self._readable(self._zap)
        has_more = router_ready
        # epoll rounds up to whole milliseconds; a negative timeout would be for ever.
        ready = self._epoll.poll(0 if router_ready or zap_ready else max(0.0, timeout_s))
        received: list[Received] = []
        others: list[Received] = []
        children = self._children
        channels = children.by_fd
        all_read = True
        for fd, events in ready:
            if fd == self._router_fd:
                router_ready = True
            elif fd in channels:
                all_read &= children.ready(channels[fd], events, received)
            elif fd in self._watched:
                others.append((Source.CHILD, fd, []))
            elif fd == self._wake_fd:
                os.eventfd_read(fd)
                others.append((Source.WAKE, 0, []))
            elif fd == self._listening.events_fd:
                self._listening.look()
                router_ready = True  # it may have been used
            else:
                zap_ready = True
        if children.halves:
            children.find_silent_halves()
        if not all_read:  # a child's end is reported after all of its frames, which may be more than a burst
            others = [item for item in others if item[0] is not Source.CHILD]
        # Most wake-ups bring one message, and somebody waits for it. So one is returned without looking for more, which
        # would cost as much again. If there are more, the next poll finds that before it sleeps.
        self._router_used, self._zap_used = router_ready, zap_ready
        self.has_more = has_more
        if router_ready:
            if self._gate.fresh is not None:
                self._gate.wake(time.monotonic())
            one = self.receive_more()
            if one is not None:
                received.append(one)
        if zap_ready:
            self._answer_zap(self._zap)
        return received + others if others else received

    @staticmethod
    def _readable(socket: zmq.Socket[bytes]) -> bool:
        events: int = socket.getsockopt(_EVENTS)  # type: ignore[assignment]
        return events & _READABLE != 0

    def receive_more(self) -> Received | None:
        router, fresh = self._router, self._gate.fresh
        if self._is_passing:
            self._is_passing = all(router.recv(_NOBLOCK, copy=False).more for _ in range(MAX_BATCH_FRAMES))
            return _NOTHING
        try:
            sender = router.recv(_NOBLOCK)
        except zmq.Again:
            self.has_more = False
            return None
        first = router.recv(_NOBLOCK, copy=False)  # to copy a frame of 64 MiB takes as long as a thousand messages
        if fresh is not None and sender not in fresh:
            self._gate.learn(sender, first)
        if not first.more:
            if len(first) > self.unread.above_bytes or sender in self.unread.sessions:
                return Source.CLIENT, sender, []
            return Source.CLIENT, sender, [first.bytes]
        is_read = sender not in self.unread.sessions and self._gate.standing(sender).role is _NODE
        frames = [first.bytes if is_read else b""]
        recv = router.recv
        while len(frames) < MAX_BATCH_FRAMES:
            part = recv(_NOBLOCK, copy=False)  # the cheapest way to a part, and to whether another follows
            frames.append(part.bytes if is_read else b"")
            if not part.more:
                return Source.PEER, sender, frames
        self._is_passing = True
        return Source.PEER, sender, []

    def standing(self, sender: bytes) -> Standing:
        return self._gate.standing(sender)

    def _answer_zap(self, socket: zmq.Socket[bytes]) -> None:
        for _ in range(BURST_MESSAGES):
            try:
                sender = socket.recv(_NOBLOCK)
            except zmq.Again:
                return
            reply = zap.answer(_rest(socket)[1:], self._gate.user_of)  # after the delimiter
            if reply:
                socket.send_multipart([sender, b"", *reply], _NOBLOCK)

    # --- sending ------------------------------------------------------------------------------------------------

    def send_client(self, session: bytes, frame: bytes) -> Sent:
        self._router_used = True
        sent = _send_routed(self._router, session, frame)
        if sent is Sent.GONE:
            self._gate.forget(session)
        return sent

    def send_child(self, child_id: bytes, frame: bytes) -> Sent:
        return self._children.send(child_id, frame)

    def send_peer(self, address: str, frames: Sequence[bytes], *, is_quick: bool = False) -> Sent:
        if is_quick and address in self._peers.sockets and self._quick.send(address, frames) is _OK:
            return _OK
        return self._peers.send(address, frames)

    def forget_peer(self, address: str) -> None:
        self._peers.forget(address)
        self._quick.forget(address)

    def _is_voters(self, address: str) -> bool:
        return self.is_voters(address)

    # --- keys ---------------------------------------------------------------------------------------------------

    def set_keys(self, keys: NodeKeys) -> list[bytes]:
        """From now on these keys count. If the pair that nodes serve with is another, every connection is made anew, as
        it is after a short loss. Returns the connections that may say nothing any more. Only for a transport that was
        made with keys."""
        before, self._keys = self._keys, keys
        assert before is not None
        lost = self._gate.change(keys)
        credentials = Credentials(keys.own, keys.servers)
        for sockets in (self._peers, self._quick):
            sockets.set_credentials(credentials, reconnect=keys.own != before.own)
        if keys.own != before.own:
            self._listening.stop()
            self._router.setsockopt_string(zmq.CURVE_SECRETKEY, keys.own.secret)
            self._listening.start()
            self._router_used = True
        return lost

    def set_bind_host(self, host: str) -> None:
        """Listen at another number, on the same port."""
        self.local_address = format_address(local_host(host), self.port)
        self._listening.move(host)
        self._router_used = True

    # --- children -----------------------------------------------------------------------------------------------

    def add_child(self, child_id: bytes, source: Source, connected: system_socket.socket) -> None:
        """Talk to a child through this end of a socket pair, which stays its owner's to close. Its frames are reported
        as of ``source``: it is its owner who knows what the child is.

        A CHILD event with its descriptor says, once, that no frame will come from it any more; the process may live.
        """
        self._children.add(child_id, source, connected)

    def remove_child(self, child_id: bytes) -> None:
        """Stop watching a child; to be called before its socket is closed. When the child closes its end the transport
        does this by itself. Unknown ids are ignored."""
        self._children.remove(child_id)

    # --- children and waking ------------------------------------------------------------------------------------

    def watch(self, fd: int) -> None:
        if fd not in self._watched:
            self._epoll.register(fd, select.EPOLLIN)
            self._watched.add(fd)

    def unwatch(self, fd: int) -> None:
        if fd not in self._watched:
            return
        self._watched.discard(fd)
        unregister(self._epoll, fd)

    def wake(self) -> None:
        fd = self._wake_fd
        if fd < 0:  # closed: there is nobody left to wake
            return
        try:
            os.eventfd_write(fd, 1)
        except OSError as error:
            if error.errno != errno.EBADF:  # closed between the two lines above
                raise

    # --- closing ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the last frames CLOSE_LINGER_MS to leave, then let go of everything. May be called again."""
        self._destroy()

    def _destroy(self) -> None:
        # destroy() closes every socket of the context. The dicts are cleared after it: if an open socket were garbage
        # collected before, destroy() would wait for ever.
        self._listening.end()
        self._context.destroy(linger=CLOSE_LINGER_MS)
        self._peers.sockets.clear()
        self._quick.sockets.clear()
        self._children.clear()
        self._epoll.close()
        wake_fd, self._wake_fd = self._wake_fd, -1
        if wake_fd >= 0:
            os.close(wake_fd)


def _is_nobodys(address: str) -> bool:
    return False


def _rest(socket: zmq.Socket[bytes]) -> list[bytes]:
    """What is left of a message of which a part was received."""
    frames = []
    while socket.getsockopt(_RCVMORE):
        frames.append(socket.recv(_NOBLOCK))
    return frames


def _send_routed(socket: zmq.Socket[bytes], to: bytes, frame: bytes) -> Sent:
    try:
        # ROUTER_MANDATORY reports at the routing id; the frame after it is then taken, or dropped with its connection.
        send_frame(socket, to, _NOBLOCK_MORE, True)
    except zmq.Again:
        return Sent.FULL
    except zmq.ZMQError as error:
        if error.errno == zmq.EHOSTUNREACH:
            return Sent.GONE
        raise
    send_frame(socket, frame, _NOBLOCK, len(frame) < ZERO_COPY_MIN_BYTES)
    return Sent.OK
