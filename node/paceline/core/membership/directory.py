"""Which other nodes there are, and at which addresses.

Three things are kept apart, because mixing them up is how clusters split:

* **Addresses** come from discovery and from peers. They only say where to send a hello. The node does so often at
  first, ever more seldom while nobody answers, and often again once discovery or a person names the address anew. A
  peer that passes an address on is no reason to hurry: peers do so for as long as they hear the node there, even if
  this node can't reach it. A node that belongs to a cluster and knows of no leader never waits long between two hellos:
  at a silent address may be the voter whose vote is missing, and that voter can't answer before it knows where this
  node is.
* **Peers** are nodes that answered with an Envelope and a PeerHello. The directory maps a node id to its latest
  address.
* **Membership of the log** (voters, learners) is decided by the log alone (``raft/``, ``replicas.py``).

How the first cluster forms is in ``first_boot.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline.core.feature_levels import FIRST_LEVEL
from paceline.core.membership.main_connection import MainConnection
from paceline.core.settings import Settings
from paceline_protocol.messages.membership import Envelope, PeerHello

REACHED_MAX = 8
"""Addresses of one peer at which it has answered."""
REACHED_INTERVALS = 3
"""A peer that has not answered at an address for so many gossip intervals is not reached there."""


@dataclass(slots=True)
class Peer:
    """Another node that has answered."""

    node_id: str
    address: str
    incarnation: int
    cluster_id: str
    heard_at: float
    metrics_address: str = ""
    feature_level: int = 0  # the highest that it understands; 0 if this process of it has not said so yet
    cluster_level: int = 0  # of its cluster, as it said
    version: str = ""  # of its package
    announced: str = ""  # the address that it says it has
    others: tuple[str, ...] = ()  # where it says that it may be reached besides
    reached: dict[str, float] = field(default_factory=dict)  # by address: when it last answered what was sent there
    start: int = 0  # of its process
    knows_us: bool = False  # it has sent something to this very node, so that it knows more of it than an address
    main: MainConnection = field(default_factory=MainConnection)


@dataclass(slots=True)
class KnownAddress:
    """An address at which a node may be, and how long nobody has answered there."""

    wait_s: float = 0.0  # from one hello to the next while nobody answers: grows with each
    hello_at: float = float("-inf")  # when the last hello was sent
    silent_since: float = float("inf")  # when the first unanswered hello was sent; inf while a node answers


@dataclass(slots=True)
class Directory:
    """Addresses to send hellos to, and peers that answered. Each is bounded by ``peer_limit``; at the bound the one
    that has been silent for longest is dropped, of peers first one that has never sent anything to this very node."""

    settings: Settings
    own_id: str
    own_address: str
    own_metrics_address: str = ""
    own_others: tuple[str, ...] = ()  # where this node may be reached besides
    mirrors: set[str] = field(default_factory=set)  # addresses at which this node has met itself
    peers: dict[str, Peer] = field(default_factory=dict)
    addresses: dict[str, KnownAddress] = field(default_factory=dict)  # by address
    seeds: set[str] = field(default_factory=set)  # addresses that a person named: never dropped
    foreign: set[str] = field(default_factory=set)  # ids of other clusters of our name, already reported
    longest_silent: list[str] = field(default_factory=list)  # addresses, the longest silent last; filled by ``due``
    dropped: set[str] = field(default_factory=set)  # addresses dropped since the last forget_silent

    def add_address(self, address: str, *, seed: bool | None = None) -> None:
        """Add an address at which a node may be. ``seed``: True if a person named it, False if discovery found it, None
        if a peer passed it on."""
        if self.is_own(address):
            return
        if seed:
            self.seeds.add(address)
        known = self.addresses.get(address)
        if known is None:
            if len(self.addresses) < self.settings.peer_limit or self._make_room():
                self.addresses[address] = KnownAddress()
        elif seed is not None:
            known.wait_s = 0.0

    def is_own(self, address: str) -> bool:
        """Whether this node is what is reached at an address. Behind the NAT of virtual machines, and at a bridge of
        containers, every machine has the same one, and finds itself there."""
        return address == self.own_address or address in self.own_others or address in self.mirrors

    def met_itself(self, address: str) -> None:
        """A hello of this node, to this address, came to itself."""
        is_others = any(address in peer.reached for peer in self.peers.values())
        if address not in self.addresses or is_others or len(self.mirrors) >= self.settings.peer_limit:
            return
        self.mirrors.add(address)
        del self.addresses[address]
        self.dropped.add(address)
        for peer in self.peers.values():
            if peer.address == address:
                self._choose(peer, float("inf"))

    def moved(self, address: str, others: tuple[str, ...]) -> None:
        """This node has other addresses now: what reached it, and whom it reaches, is found out anew."""
        self.own_address, self.own_others = address, others
        self.mirrors.clear()
        for own in (address, *others):
            if own not in self.seeds and self.addresses.pop(own, None) is not None:
                self.dropped.add(own)
        for peer in self.peers.values():
            peer.reached.clear()
            self._choose(peer, float("inf"))
            self._try_all(peer, float("inf"))
        self.greet_all()

    def _make_room(self) -> bool:
        """Drop the address that has been silent for longest. False if all of them answer or were named by a person."""
        while self.longest_silent:
            address = self.longest_silent.pop()
            known = self.addresses.get(address)
            if known is not None and known.silent_since < float("inf") and address not in self.seeds:
                del self.addresses[address]
                self.dropped.add(address)
                return True
        return False

    def heard(self, envelope: Envelope, now: float) -> bool:
        """A batch arrived from a peer. False if it does not count: an earlier incarnation of that node sent it, or
        another process of the same one, or it came by the quick connection while the main one brings nothing. Whoever
        has brought no hello yet can't be answered either."""
        peer = self.peers.get(envelope.sender)
        if peer is None:
            return not envelope.is_quick
        if envelope.incarnation < peer.incarnation:
            return False
        if envelope.incarnation == peer.incarnation and envelope.start != peer.start:
            return False
        if envelope.incarnation > peer.incarnation and peer.feature_level:
            peer.feature_level = 0  # it was started anew, and may be of another version
            self._greet_soon(peer.address)
        if not self._hear_by_main(peer, envelope, now):
            return False
        peer.heard_at = now
        peer.cluster_id = envelope.cluster_id
        if envelope.recipient:
            peer.knows_us = True
        return True

    def _hear_by_main(self, peer: Peer, envelope: Envelope, now: float) -> bool:
        """Whether this batch counts, by what the main connection of its sender brings. What that has sent to whoever
        is at an address, or was there before, says nothing of it."""
        if envelope.start != peer.main.start:
            peer.main = MainConnection(envelope.start)
        counts = envelope.recipient != self.own_id or peer.main.hear(envelope, now, len(self.peers))
        if peer.main.is_to_ask(now):
            self._greet_soon(peer.address)
        return counts

    def add_peer(self, envelope: Envelope, hello: PeerHello, now: float) -> None:
        """A peer has said which node it is and where."""
        if envelope.sender == self.own_id:
            return
        peer = self.peers.get(envelope.sender)
        if peer is None:
            if len(self.peers) >= self.settings.peer_limit:
                del self.peers[min(self.peers.values(), key=lambda each: (each.knows_us, each.heard_at)).node_id]
            peer = self.peers[envelope.sender] = Peer(envelope.sender, hello.address, envelope.incarnation, "", now)
            self._hear_by_main(peer, envelope, now)
        peer.others = hello.others
        if hello.address != peer.announced:  # it has moved; that its others come and go is no reason to look anew
            peer.announced, peer.address = hello.address, ""
            peer.reached.clear()
        if hello.reply and hello.to in self.addresses:
            if hello.to not in peer.reached and len(peer.reached) >= REACHED_MAX:
                del peer.reached[min(peer.reached, key=lambda address: peer.reached[address])]
            peer.reached[hello.to] = now
        self._choose(peer, now)
        peer.metrics_address = hello.metrics_address
        peer.feature_level = hello.feature_level
        peer.cluster_level = hello.cluster_level
        peer.version = hello.version
        peer.start = envelope.start
        peer.incarnation = envelope.incarnation
        peer.cluster_id = envelope.cluster_id
        peer.heard_at = now
        self._try_all(peer, now)

    def _fresh(self, peer: Peer, now: float) -> list[str]:
        """The addresses at which a peer has answered lately."""
        since = now - REACHED_INTERVALS * self.settings.gossip_interval_s
        return [address for address, at in peer.reached.items() if at >= since]

    def _choose(self, peer: Peer, now: float) -> None:
        """Decide at which address a peer is sent to: the announced one, unless it answers at another and not there. One
        that answers nowhere stays where it was: it may be silent, and not elsewhere."""
        fresh = self._fresh(peer, now)
        if peer.announced in fresh:
            peer.address = peer.announced
        elif fresh:
            if peer.address not in fresh:
                peer.address = max(fresh, key=lambda address: peer.reached[address])
        elif not peer.address or self.is_own(peer.address):
            ways = (peer.announced, *peer.others)
            peer.address = next((way for way in ways if not self.is_own(way)), peer.announced)

    def _try_all(self, peer: Peer, now: float) -> None:
        """Look for a peer at all of its addresses, until it answers at one."""
        if not self._fresh(peer, now):
            for address in (peer.announced, *peer.others):
                self.add_address(address)

    def ways_to(self, node_id: str, now: float) -> list[str]:
        """The addresses besides :meth:`address_of` at which a peer may be, if it has answered at none lately."""
        peer = self.peers.get(node_id)
        if peer is None or self._fresh(peer, now):
            return []
        ways = dict.fromkeys((peer.announced, *peer.others))
        return [address for address in ways if address != peer.address and not self.is_own(address)]

    def address_of(self, node_id: str) -> str:
        """Where a node is, "" if unknown."""
        if node_id == self.own_id:
            return self.own_address
        peer = self.peers.get(node_id)
        return "" if peer is None else peer.address

    def live(self, now: float, cluster_id: str) -> list[Peer]:
        """The peers of this cluster ("": blank nodes) that were heard since :meth:`live_since`."""
        since = self.live_since(now)
        return [peer for peer in self.peers.values() if peer.cluster_id == cluster_id and peer.heard_at >= since]

    def level_of(self, node_id: str) -> int:
        """The highest feature level that a node said it understands; what nobody knows counts for the first."""
        peer = self.peers.get(node_id)
        own = node_id == self.own_id
        return self.settings.feature_level if own else max(FIRST_LEVEL, 0 if peer is None else peer.feature_level)

    def feature_levels(self, now: float, cluster_id: str) -> dict[str, int]:
        """What each live peer of this cluster, and each blank one, understands; 0 if it has not said so yet."""
        since = self.live_since(now)
        near = (peer for peer in self.peers.values() if peer.heard_at >= since)
        return {peer.node_id: peer.feature_level for peer in near if peer.cluster_id in ("", cluster_id)}

    def cluster_level(self, now: float, cluster_id: str) -> int:
        """The feature level of this cluster, as its live peers say. 0: none of them says."""
        return max((peer.cluster_level for peer in self.live(now, cluster_id)), default=0)

    def live_since(self, now: float) -> float:
        """A peer that was heard at this moment or later is live."""
        return now - max(self.settings.node_timeout_s, 2 * self.settings.gossip_interval_s)

    def other_clusters(self, cluster_id: str) -> list[str]:
        """The other clusters of our name of which this directory still has a peer."""
        return sorted({peer.cluster_id for peer in self.peers.values()} - {"", cluster_id})

    def due(self, now: float, *, leaderless: bool = False) -> list[str]:
        """The addresses to which a hello is due; the caller sends it. ``leaderless``: this node belongs to a cluster
        and knows of no leader."""
        longest_s = self.settings.hello_interval_leaderless_s if leaderless else self.settings.hello_interval_max_s
        since = now - 2 * self.settings.gossip_interval_s
        answering = set()
        for peer in self.peers.values():
            if peer.heard_at >= since and peer.feature_level:
                answering.add(peer.address)
                if len(peer.reached) > 1:
                    answering.update(self._fresh(peer, now))
        due = []
        for address, known in self.addresses.items():
            if address in answering:
                known.wait_s = 0.0
                known.silent_since = float("inf")
                if now - known.hello_at >= self.settings.gossip_interval_s:
                    due.append(address)
            elif now - known.hello_at >= min(known.wait_s, longest_s):
                due.append(address)
                known.silent_since = min(known.silent_since, now)
                longer_s = max(2 * known.wait_s, self.settings.hello_interval_s)
                known.wait_s = min(longer_s, self.settings.hello_interval_max_s)
        for address in due:
            self.addresses[address].hello_at = now
        # Sorted here and not in _make_room, which a single hello with thousands of addresses calls as often.
        silent = [address for address, known in self.addresses.items() if known.silent_since < float("inf")]
        self.longest_silent = sorted(silent, key=lambda address: self.addresses[address].silent_since, reverse=True)
        return due

    def _greet_soon(self, address: str) -> None:
        """Have ``due`` return an address the next time, and often again until the node there has said a hello."""
        known = self.addresses.get(address)
        if known is not None:
            known.wait_s, known.hello_at = 0.0, float("-inf")

    def greet_all(self) -> None:
        """Have ``due`` return every address the next time: this node has news for all of them."""
        for known in self.addresses.values():
            known.hello_at = float("-inf")

    def forget_silent(self, now: float) -> list[str]:
        """Drop the peers that have been silent for ``forget_peer_after_s``, and their addresses unless a person named
        them. Returns every address that was dropped since the last call and was not added again."""
        before = now - self.settings.forget_peer_after_s
        gone = [peer for peer in self.peers.values() if peer.heard_at < before]
        for peer in gone:
            del self.peers[peer.node_id]
            for address in (peer.address, peer.announced, *peer.others):
                if address not in self.seeds and self.addresses.pop(address, None) is not None:
                    self.dropped.add(address)
        for peer in self.peers.values():
            self._choose(peer, now)
            if self._fresh(peer, now):
                self._leave_others(peer)
        gone_addresses = [address for address in sorted(self.dropped) if address not in self.addresses]
        self.dropped.clear()
        return gone_addresses

    def _leave_others(self, peer: Peer) -> None:
        """A peer answers: the other addresses that it has, and where nobody answers, are not tried any more."""
        for address in (peer.announced, *peer.others):
            known = self.addresses.get(address)
            is_silent = known is not None and known.silent_since < float("inf")
            if is_silent and address not in peer.reached and address not in self.seeds:
                del self.addresses[address]
                self.dropped.add(address)
