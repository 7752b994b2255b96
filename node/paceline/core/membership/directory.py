"""Who is there, and at which address.

Three things are kept apart, because mixing them up is how clusters split:

* **Addresses** come from discovery and from peers. They only say where to knock: often at first, ever more seldom
  while nobody answers, often again once discovery or a person names the address anew. That a peer passes it on is no
  news: peers do so as long as they hear the node there, also if we can't reach it. A node of a cluster that knows of no
  leader does not wait long: behind a silent door may be the voter that is needed to elect one, with no way to answer it
  but to know where it is.
* **Peers** are nodes that answered with an Envelope and a PeerHello. The directory maps a node id to its latest
  address.
* **Membership of the log** (voters, learners) is decided by the log alone (``consensus.py``, ``replicas.py``).

How the first cluster forms is in ``first_boot.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline.core.feature_levels import FIRST_LEVEL
from paceline.core.settings import Settings
from paceline_protocol.messages import Envelope, PeerHello


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


@dataclass(slots=True)
class Door:
    """An address at which a node may be, and how long nobody has answered there."""

    wait_s: float = 0.0  # from one knock to the next while nobody answers: grows with each
    knocked_at: float = float("-inf")
    silent_since: float = float("inf")  # the first knock that nobody answered; inf while somebody does


@dataclass(slots=True)
class Directory:
    """Addresses to knock at, and peers that answered. Bounded by ``peer_limit``; the longest silent go first."""

    settings: Settings
    own_id: str
    own_address: str
    own_metrics_address: str = ""
    peers: dict[str, Peer] = field(default_factory=dict)
    doors: dict[str, Door] = field(default_factory=dict)  # by address
    seeds: set[str] = field(default_factory=set)  # addresses that were named by a person: never forgotten
    foreign: set[str] = field(default_factory=set)  # ids of other clusters of our name, already reported
    longest_silent: list[str] = field(default_factory=list)  # addresses, the longest silent last; made by ``due``
    gave_way: set[str] = field(default_factory=set)  # addresses dropped since the last forget_silent

    def add_address(self, address: str, *, seed: bool | None = None) -> None:
        """An address at which a node may be. ``seed``: True if a person named it, False if discovery did, None if a
        peer passed it on."""
        if address == self.own_address:
            return
        if seed:
            self.seeds.add(address)
        door = self.doors.get(address)
        if door is None:
            if len(self.doors) < self.settings.peer_limit or self._make_room():
                self.doors[address] = Door()
        elif seed is not None:
            door.wait_s = 0.0

    def _make_room(self) -> bool:
        """Drop the address that has been silent for longest. False if all of them answer or were named by a person."""
        while self.longest_silent:
            address = self.longest_silent.pop()
            door = self.doors.get(address)
            if door is not None and door.silent_since < float("inf") and address not in self.seeds:
                del self.doors[address]
                self.gave_way.add(address)
                return True
        return False

    def heard(self, envelope: Envelope, now: float) -> bool:
        """Any batch from a peer. False if it is stale: from an earlier incarnation of that node."""
        peer = self.peers.get(envelope.sender)
        if peer is None:
            return True
        if envelope.incarnation < peer.incarnation:
            return False
        if envelope.incarnation > peer.incarnation:
            peer.feature_level = 0  # it was started anew, and may be of another version
        peer.heard_at = now
        peer.cluster_id = envelope.cluster_id
        return True

    def add_peer(self, envelope: Envelope, hello: PeerHello, now: float) -> None:
        """A peer said who and where it is."""
        if envelope.sender == self.own_id:
            return
        peer = self.peers.get(envelope.sender)
        if peer is None:
            if len(self.peers) >= self.settings.peer_limit:
                del self.peers[min(self.peers, key=lambda node_id: self.peers[node_id].heard_at)]
            peer = self.peers[envelope.sender] = Peer(envelope.sender, hello.address, envelope.incarnation, "", now)
        peer.address = hello.address
        peer.metrics_address = hello.metrics_address
        peer.feature_level = hello.feature_level
        peer.cluster_level = hello.cluster_level
        peer.incarnation = envelope.incarnation
        peer.cluster_id = envelope.cluster_id
        peer.heard_at = now
        self.add_address(hello.address)

    def address_of(self, node_id: str) -> str:
        """Where a node is, "" if unknown."""
        if node_id == self.own_id:
            return self.own_address
        peer = self.peers.get(node_id)
        return "" if peer is None else peer.address

    def live(self, now: float, cluster_id: str) -> list[Peer]:
        """Peers of this cluster ("" = blank ones) that were heard within the node timeout."""
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
        """A peer that was heard then or later is live."""
        return now - max(self.settings.node_timeout_s, 2 * self.settings.gossip_interval_s)

    def other_clusters(self, cluster_id: str) -> list[str]:
        """The clusters of our name beside this one of which a node was heard until lately: it is not forgotten yet."""
        return sorted({peer.cluster_id for peer in self.peers.values()} - {"", cluster_id})

    def due(self, now: float, *, leaderless: bool = False) -> list[str]:
        """Addresses at which it is time to say hello; the caller does. ``leaderless``: this node's cluster has no
        leader, as far as it knows."""
        longest_s = self.settings.hello_interval_leaderless_s if leaderless else self.settings.hello_interval_max_s
        since = now - 2 * self.settings.gossip_interval_s
        answering = {peer.address for peer in self.peers.values() if peer.heard_at >= since}
        due = []
        for address, door in self.doors.items():
            if address in answering:
                door.wait_s = 0.0
                door.silent_since = float("inf")
                if now - door.knocked_at >= self.settings.gossip_interval_s:
                    due.append(address)
            elif now - door.knocked_at >= min(door.wait_s, longest_s):
                due.append(address)
                door.silent_since = min(door.silent_since, now)
                longer_s = max(2 * door.wait_s, self.settings.hello_interval_s)
                door.wait_s = min(longer_s, self.settings.hello_interval_max_s)
        for address in due:
            self.doors[address].knocked_at = now
        # Made here and not where room is needed: a single hello may bring thousands of addresses.
        silent = [address for address, door in self.doors.items() if door.silent_since < float("inf")]
        self.longest_silent = sorted(silent, key=lambda address: self.doors[address].silent_since, reverse=True)
        return due

    def knock_everywhere(self) -> None:
        """We have news: say hello to everyone at the next occasion."""
        for door in self.doors.values():
            door.knocked_at = float("-inf")

    def forget_silent(self, now: float) -> list[str]:
        """Drop peers that have been silent for long, and their addresses unless a person named them. Returns every
        address that was dropped since the last call and has not come back."""
        before = now - self.settings.forget_peer_after_s
        gone = [peer for peer in self.peers.values() if peer.heard_at < before]
        for peer in gone:
            del self.peers[peer.node_id]
            if peer.address not in self.seeds and self.doors.pop(peer.address, None) is not None:
                self.gave_way.add(peer.address)
        dropped = [address for address in sorted(self.gave_way) if address not in self.doors]
        self.gave_way.clear()
        return dropped
