"""The twin of the ZeroMQ transport: a network in one process and in virtual time, for simulation.

The rules of this module:

- No clock and no randomness. Time is ``MemoryNetwork.now``, which the simulator sets. The network's policy decides
  which frames are lost, late or doubled. The same calls give the same deliveries.
- A frame is under way until ``deliver_due`` is called at its time or later; only then can a poll or a receive see it.
  Between two ends, frames with equal delays keep their order; a policy that gives unequal delays reorders them.
- Frames are lost where a ZeroMQ connection loses them: a node that crashes loses its inboxes, its connections and all
  frames under way to it. A send to an address where no node runs is FULL, as on a connection that is not established.

Not modelled: the limit on a frame's size, keys, and the moment that a connection takes to come about.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

from paceline.runtime.transport.transport import BURST_MESSAGES, Received, Sent, Source, Unread
from paceline.security import ANYBODY, Standing
from paceline_protocol.limits import MAX_BATCH_FRAMES, MAX_FRAME_BYTES

QUEUE_MESSAGES: Final = 1000
"""How many messages may be under way or unread from one end to another; beyond it a send is FULL."""


class LinkKind(StrEnum):
    """Which two processes a link joins. Both directions of a link are of one kind. Two nodes have a second one, QUICK,
    for what is not to wait behind large frames."""

    CLIENT = "client"
    PEER = "peer"
    QUICK = "quick"
    WORKER = "worker"
    WEB = "web"


BETWEEN_NODES: Final = (LinkKind.PEER, LinkKind.QUICK)
_SOURCES: Final = {
    LinkKind.CLIENT: Source.CLIENT,
    LinkKind.PEER: Source.PEER,
    LinkKind.QUICK: Source.PEER,
    LinkKind.WORKER: Source.WORKER,
    LinkKind.WEB: Source.WEB,
}

Policy: TypeAlias = Callable[[LinkKind, str, str, int], Sequence[float]]
"""(kind, source, destination, bytes) -> the delays in seconds of the copies to deliver; empty: the message is lost.

A node's name is its address, that of a client or child is ``MemoryEndpoint.name``."""


def deliver_at_once(kind: LinkKind, source: str, destination: str, size_bytes: int) -> Sequence[float]:
    """The policy of a perfect network."""
    return (0.0,)


class _Inbox:
    """The messages that have arrived at one end, and how many of each link's are under way or unread."""

    def __init__(self) -> None:
        self.open = True
        self._arrived: deque[tuple[str, Received]] = deque()
        self._outstanding: Counter[str] = Counter()

    @property
    def waiting(self) -> bool:
        return bool(self._arrived)

    def full(self, link: str) -> bool:
        return self._outstanding[link] >= QUEUE_MESSAGES

    def announce(self, link: str) -> None:
        self._outstanding[link] += 1

    def arrive(self, link: str, received: Received) -> None:
        if self.open:
            self._arrived.append((link, received))

    def take(self, limit: int) -> list[Received]:
        taken = []
        for _ in range(min(limit, len(self._arrived))):
            link, received = self._arrived.popleft()
            self._outstanding[link] -= 1
            taken.append(received)
        return taken

    def shut(self) -> None:
        self.open = False
        self._arrived.clear()
        self._outstanding.clear()


class MemoryNetwork:
    """The wires between nodes, clients and workers. The simulator sets ``now`` and calls ``deliver_due``."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy: Policy = policy or deliver_at_once
        self.now = 0.0
        self._under_way: list[tuple[float, int, str, _Inbox, Received]] = []
        self._sends = 0  # breaks ties in the heap, in the order of sending
        self._nodes: dict[str, MemoryTransport] = {}

    def node(self, address: str) -> MemoryTransport:
        """A node that listens at ``address``; one at a time."""
        if address in self._nodes:
            raise ValueError(f"a node is at {address} already; crash or close it first")
        node = self._nodes[address] = MemoryTransport(self, address)
        return node

    def client(self, address: str, session: bytes) -> MemoryEndpoint:
        """A client's connection to the node at ``address``. The session ends with either side."""
        return self._nodes[address].attach(LinkKind.CLIENT, session)

    def worker(self, address: str, worker_id: bytes) -> MemoryEndpoint:
        """A worker of the node at ``address``."""
        return self._nodes[address].attach(LinkKind.WORKER, worker_id)

    def web(self, address: str, child_id: bytes) -> MemoryEndpoint:
        """The web process of the node at ``address``."""
        return self._nodes[address].attach(LinkKind.WEB, child_id)

    def crash(self, address: str) -> None:
        """The node vanishes with its inboxes and connections. Another may be made at the same address."""
        if node := self._nodes.get(address):
            node.close()

    def next_delivery(self) -> float | None:
        """When the next frame is due; None if nothing is under way."""
        return self._under_way[0][0] if self._under_way else None

    def deliver_due(self) -> int:
        """Move the frames that are due at ``now`` into the inboxes. Returns their number, lost ones included."""
        delivered = 0
        while self._under_way and self._under_way[0][0] <= self.now:
            _, _, link, inbox, received = heapq.heappop(self._under_way)
            inbox.arrive(link, received)
            delivered += 1
        return delivered

    def send(self, kind: LinkKind, source: str, destination: str, inbox: _Inbox, received: Received) -> Sent:
        """Send one message. Only the classes of this module call this."""
        link = f"{source}/{kind}"
        if inbox.full(link):
            return Sent.FULL
        for delay_s in self.policy(kind, source, destination, sum(map(len, received[2]))):
            self._sends += 1
            inbox.announce(link)
            heapq.heappush(self._under_way, (self.now + delay_s, self._sends, link, inbox, received))
        return Sent.OK

    def node_at(self, address: str) -> MemoryTransport | None:
        return self._nodes.get(address)

    def remove(self, node: MemoryTransport) -> None:
        if self._nodes.get(node.address) is node:
            del self._nodes[node.address]


class MemoryTransport:
    """A Transport on a MemoryNetwork. ``poll`` never waits: between two polls the simulator moves time."""

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self.address = address
        self.unread = Unread(MAX_FRAME_BYTES)
        self.faults: dict[bytes, str] = {}
        self.peer_inbox = _Inbox()  # of clients and peers, in the order of arrival
        self.child_inbox = _Inbox()
        self.standings: dict[bytes, Standing] = {}  # of those that may not say everything
        self._network = network
        self._ends: dict[tuple[LinkKind, bytes], MemoryEndpoint] = {}
        self._watched: dict[int, None] = {}  # a set that keeps its order
        self._readable: set[int] = set()
        self._woken = False

    @property
    def waiting(self) -> bool:
        """Whether a poll would find something."""
        return self.child_inbox.waiting or self.peer_inbox.waiting or self._woken or bool(self._readable)

    @property
    def has_more(self) -> bool:
        return self.peer_inbox.waiting

    def receive_more(self) -> Received | None:
        for source, key, frames in self.peer_inbox.take(1):
            if source is Source.CLIENT and (len(frames[0]) > self.unread.above_bytes or key in self.unread.sessions):
                return source, key, []
            if len(frames) > MAX_BATCH_FRAMES:
                return source, key, []
            return source, key, frames
        return None

    def poll(self, timeout_s: float) -> list[Received]:
        received = self.child_inbox.take(BURST_MESSAGES)
        if one := self.receive_more():
            received.append(one)
        received += [(Source.CHILD, fd, []) for fd in self._watched if fd in self._readable]
        if self._woken:
            self._woken = False
            received.append((Source.WAKE, 0, []))
        return received

    def standing(self, sender: bytes) -> Standing:
        return self.standings.get(sender, ANYBODY)

    def send_client(self, session: bytes, frame: bytes) -> Sent:
        return self._send_end(LinkKind.CLIENT, session, frame)

    def send_child(self, child_id: bytes, frame: bytes) -> Sent:
        return self._send_end(
            LinkKind.WEB if (LinkKind.WEB, child_id) in self._ends else LinkKind.WORKER, child_id, frame
        )

    def _send_end(self, kind: LinkKind, end_id: bytes, frame: bytes) -> Sent:
        end = self._ends.get((kind, end_id))
        if end is None:
            return Sent.GONE
        return self._network.send(kind, self.address, end.name, end.inbox, (_SOURCES[kind], end_id, [frame]))

    def send_peer(self, address: str, frames: Sequence[bytes], *, is_quick: bool = False) -> Sent:
        peer = self._network.node_at(address)
        if peer is None:
            return Sent.FULL
        kind, key = (LinkKind.QUICK, f"{self.address}/quick") if is_quick else (LinkKind.PEER, self.address)
        received: Received = (Source.PEER, key.encode(), list(frames))
        return self._network.send(kind, self.address, address, peer.peer_inbox, received)

    def forget_peer(self, address: str) -> None:
        """There are no connections to close: frames under way still arrive, as those in a kernel's buffers would."""

    def watch(self, fd: int) -> None:
        self._watched[fd] = None

    def unwatch(self, fd: int) -> None:
        self._watched.pop(fd, None)

    def make_readable(self, fd: int) -> None:
        """For the simulator: from now on ``fd`` is readable, as the pidfd of a child that has ended."""
        self._readable.add(fd)

    def wake(self) -> None:
        self._woken = True

    def close(self) -> None:
        self._network.remove(self)
        self.peer_inbox.shut()
        self.child_inbox.shut()
        for end in list(self._ends.values()):
            end.node_gone = True
        self._ends.clear()

    def attach(self, kind: LinkKind, end_id: bytes) -> MemoryEndpoint:
        end = self._ends[kind, end_id] = MemoryEndpoint(self._network, self, kind, end_id)
        return end

    def detach(self, kind: LinkKind, end_id: bytes) -> None:
        self._ends.pop((kind, end_id), None)


class MemoryEndpoint:
    """A client's or child's end of its connection to one node."""

    def __init__(self, network: MemoryNetwork, node: MemoryTransport, kind: LinkKind, end_id: bytes) -> None:
        self.name = f"{node.address}/{kind}/{end_id.hex()}"
        self.inbox = _Inbox()
        self.node_gone = False
        self._network = network
        self._node = node
        self._kind = kind
        self._id = end_id

    def send(self, frame: bytes) -> Sent:
        if self.node_gone:
            return Sent.GONE
        inbox = self._node.peer_inbox if self._kind is LinkKind.CLIENT else self._node.child_inbox
        received: Received = (_SOURCES[self._kind], self._id, [frame])
        return self._network.send(self._kind, self.name, self._node.address, inbox, received)

    @property
    def waiting(self) -> bool:
        """Whether receive() would return something."""
        return self.inbox.waiting

    def receive(self) -> list[bytes]:
        """Every frame that has arrived and was not returned before."""
        return [frames[0] for _, _, frames in self.inbox.take(QUEUE_MESSAGES)]

    def close(self) -> None:
        """Frames that this end sent still arrive; a send to it is GONE from now on."""
        if not self.node_gone:
            self._node.detach(self._kind, self._id)
            self.node_gone = True
        self.inbox.shut()
