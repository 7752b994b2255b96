"""Who is there, and how the first cluster forms.

Three things are kept apart, because mixing them up is how clusters split:

* **Addresses** come from discovery and from peers. They only say where to knock.
* **Peers** are nodes that answered with an Envelope and a PeerHello. The directory maps a node id to its latest
  address.
* **Membership of the log** (voters, learners) is decided by the log alone (``consensus.py``, ``replicas.py``).

First boot. Every blank node has exactly one consent, its own. When it sees ``expect`` blank nodes (itself included)
it hands what it holds to the lowest id among them, once; consents that it receives later go the same way, always
towards a lower id. A consent is thus in one place at any time, and is never given twice. The node that holds
``expect`` consents forms the cluster, as its single voter. Two clusters would need 2 x ``expect`` consents: so the
cluster is unique if ``expect`` is more than half of the machines. If the node that holds the consents is gone for
good, the others wait, and say so: only a person can know that it will not come back.

A consent that is on its way is resent until it is confirmed; a set of names can be received twice without harm. What
was handed on must survive a restart under the same id: it is part of :class:`Identity`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline.core.settings import Settings
from paceline_protocol.messages import Consent, ConsentReceived, Envelope, PeerHello


@dataclass(slots=True)
class Identity:
    """What a node must remember about itself. With the memory journal it lives as long as the process."""

    node_id: str
    incarnation: int
    cluster_id: str = ""  # "" while blank
    consents: frozenset[str] = frozenset()  # held here; starts as {node_id}
    handed_to: str = ""  # the node to which ours went; from then on all others go there too


@dataclass(slots=True)
class Peer:
    """Another node that has answered."""

    node_id: str
    address: str
    incarnation: int
    cluster_id: str
    heard_at: float
    helloed_at: float = 0.0


@dataclass(slots=True)
class Directory:
    """Addresses to knock at, and peers that answered. Bounded by ``peer_limit``; the longest silent go first."""

    settings: Settings
    own_id: str
    own_address: str
    peers: dict[str, Peer] = field(default_factory=dict)
    knocked: dict[str, float] = field(default_factory=dict)  # address -> when we last said hello there
    seeds: set[str] = field(default_factory=set)  # addresses that were named by a person: never forgotten
    foreign: set[str] = field(default_factory=set)  # ids of other clusters of our name, already reported

    def add_address(self, address: str, *, seed: bool = False) -> None:
        """An address at which a node may be."""
        if address == self.own_address:
            return
        if seed:
            self.seeds.add(address)
        if address not in self.knocked and len(self.knocked) < self.settings.peer_limit:
            self.knocked[address] = float("-inf")

    def heard(self, envelope: Envelope, now: float) -> bool:
        """Any batch from a peer. False if it is stale: from an earlier incarnation of that node."""
        peer = self.peers.get(envelope.sender)
        if peer is None:
            return True
        if envelope.incarnation < peer.incarnation:
            return False
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
        since = now - max(self.settings.node_timeout_s, 2 * self.settings.gossip_interval_s)
        return [peer for peer in self.peers.values() if peer.cluster_id == cluster_id and peer.heard_at >= since]

    def due(self, now: float) -> list[str]:
        """Addresses at which it is time to say hello."""
        answered = {peer.address: peer for peer in self.peers.values()}
        due = []
        for address, knocked_at in self.knocked.items():
            peer = answered.get(address)
            silent = peer is None or now - peer.heard_at > 2 * self.settings.gossip_interval_s
            interval = self.settings.hello_interval_s if silent else self.settings.gossip_interval_s
            if now - knocked_at >= interval:
                due.append(address)
        for address in due:
            self.knocked[address] = now
        return due

    def knock_everywhere(self) -> None:
        """We have news: say hello to everyone at the next occasion."""
        for address in self.knocked:
            self.knocked[address] = float("-inf")

    def forget_silent(self, now: float) -> list[str]:
        """Drop peers that have been silent for long, and their addresses unless a person named them."""
        before = now - self.settings.forget_peer_after_s
        gone = [peer for peer in self.peers.values() if peer.heard_at < before]
        dropped = []
        for peer in gone:
            del self.peers[peer.node_id]
            if peer.address not in self.seeds and self.knocked.pop(peer.address, None) is not None:
                dropped.append(peer.address)
        return dropped


class FirstBoot:
    """One node's part in forming the first cluster; idle once the node belongs to one."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity

    def step(self, blank_peers: list[str]) -> tuple[str, Consent] | None:
        """Decide, given the blank peers that are live now. Returns a consent to send, with its recipient.

        Called again and again: a consent that is handed on stays in the identity, and is returned each time, until it
        is confirmed.
        """
        identity = self._identity
        if identity.cluster_id or not self._settings.expect:
            return None
        if not identity.handed_to and 1 + len(blank_peers) >= self._settings.expect:
            lowest = min([identity.node_id, *blank_peers])
            if lowest != identity.node_id:
                identity.handed_to = lowest
        if identity.handed_to and identity.consents:
            return identity.handed_to, Consent(tuple(sorted(identity.consents)))
        return None

    def receive(self, consent: Consent) -> ConsentReceived:
        """Somebody handed consents to us."""
        self._identity.consents |= frozenset(consent.holders)
        return ConsentReceived(consent.holders)

    def confirmed(self, message: ConsentReceived) -> None:
        """Consents that we handed on have arrived."""
        if self._identity.handed_to:
            self._identity.consents -= frozenset(message.holders)

    def may_form(self) -> bool:
        """Whether this node holds enough consents to form the cluster."""
        identity = self._identity
        return (
            not identity.cluster_id and not identity.handed_to and 0 < self._settings.expect <= len(identity.consents)
        )

    def waiting_for(self, blank_peers: int) -> str:
        """What a blank node is waiting for, in words for a person; "" if it belongs to a cluster."""
        identity, expect = self._identity, self._settings.expect
        if identity.cluster_id:
            return ""
        if not expect:
            return "waiting for a node of the cluster to answer"
        if identity.handed_to:
            return f"consent given to node {identity.handed_to}, which has not formed the cluster yet"
        if 1 + blank_peers < expect:
            return f"{1 + blank_peers} of {expect} nodes are here"
        return f"{len(identity.consents)} of {expect} consents are in"
