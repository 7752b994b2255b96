"""How nodes get to know each other, and which cluster a node belongs to.

A node sends hellos to every address at which a node may be, and takes them from every node whose cluster has its name.
A blank node joins the cluster of such a peer, or takes part in forming the first one (``first_boot.py``). A node that
was started with addresses and without a cluster name (``Settings.pointed``) joins only the cluster of a node that
answered one of its own hellos, and not that of a node which sent it one first. Two clusters of one name never mix, and
each reports the other.
"""

from __future__ import annotations

from paceline.core.feature_levels import FEATURE_LEVEL, too_old
from paceline.core.incarnation import INCARNATIONS
from paceline.core.membership.directory import Directory
from paceline.core.membership.first_boot import FirstBoot
from paceline.core.membership.identity import Identity, check_address, check_node_id, check_word
from paceline.core.membership.starts import Starts
from paceline.core.outbox import Outbox
from paceline.core.settings import Settings
from paceline_protocol.errors import PeerViolation
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages.membership import Consent, ConsentReceived, Envelope, PeerHello

FOREIGN_LIMIT = 100
"""Other clusters of our name that are remembered, and reported once each."""
HELLO_PEERS = 64
"""A hello tells of so many peers at most, and the next one of the next: with a thousand peers, a thousand hellos that
tell of all of them would be most of what a node does."""
OTHER_ADDRESSES = 8
"""Of one node, besides the one that it announces."""
VERSION_CHARS = 64
LEVELS_AHEAD = 1_000
"""No version is so much newer: each brings a level or two."""


class Peering:
    """One node's conversations with nodes that it may not know yet. All that it has to say goes into the outbox."""

    def __init__(
        self, settings: Settings, identity: Identity, outbox: Outbox, *, address: str, spare_cluster_id: str
    ) -> None:
        self.directory = Directory(settings, identity.node_id, address)
        self.first_boot = FirstBoot(settings, identity)
        self.starts = Starts(settings, identity, self.directory, outbox)
        self._settings = settings
        self._identity = identity
        self._outbox = outbox
        self._spare_cluster_id = spare_cluster_id
        self._next_known = 0  # which of the known peers the next hello begins with, if it can't have all
        self._reported_level = 0  # the cluster's, for which this node is too old

    def live_peers(self, now: float) -> list[str]:
        """The other nodes of this cluster that were heard lately."""
        return [peer.node_id for peer in self.directory.live(now, self._identity.cluster_id)]

    def known_peers(self) -> list[str]:
        """The other nodes of this cluster that were heard in the last minute (``forget_peer_after_s``)."""
        cluster_id = self._identity.cluster_id
        return [peer.node_id for peer in self.directory.peers.values() if peer.cluster_id == cluster_id]

    def heard(self, envelope: Envelope, now: float) -> bool:
        """See Directory.heard. Reports a peer that only its quick connection brings here."""
        if self.directory.heard(envelope, now):
            return True
        peer = self.directory.peers.get(envelope.sender)
        if peer is not None and peer.main.is_news(now):
            self._outbox.notice(
                "warning",
                f"node {peer.node_id} at {peer.address} reaches this node by its quick connection alone, and counts as "
                "silent: nothing that it sends by its main one arrives. Look whether that node can open connections to "
                f"{self.directory.own_address} (firewalls, and here too few open files), and whether large packets get "
                "through (the MTU)",
            )
        return False

    def on_hello(
        self, envelope: Envelope, hello: PeerHello, now: float, leader_id: str, term: int, level: int = 0
    ) -> None:
        """A peer says which node it is. ``leader_id``, ``term`` and ``level``, the cluster's feature level, go into
        this node's answer."""
        if hello.cluster_name != self._settings.cluster_name or self._is_stranger(envelope, hello):
            return
        self.check(envelope, hello)
        self.starts.follows(envelope, hello)
        self.directory.add_peer(envelope, hello, now)
        for node_id, address in hello.known:
            if node_id != self._identity.node_id:
                self.directory.add_address(address)
        if envelope.cluster_id and not self._identity.cluster_id:
            self._belong_to(envelope.cluster_id)
            self._outbox.notice("info", f"joined cluster {envelope.cluster_id} through node {envelope.sender}")
        elif envelope.cluster_id and envelope.cluster_id != self._identity.cluster_id:
            self._report_foreign(envelope, hello)
        if envelope.cluster_id and envelope.cluster_id == self._identity.cluster_id:
            self._report_own_level(hello.cluster_level)
        if not hello.reply:
            answer = self._hello(now, leader_id, term, level, reply=True, to=hello.to)
            self._outbox.send(envelope.sender, answer)
            for address in self.directory.ways_to(envelope.sender, now):
                self._outbox.say_hello(address, answer)

    def on_own_hello(self, hello: PeerHello) -> None:
        """A hello of this node came to itself."""
        if not hello.reply:
            self.directory.met_itself(hello.to)

    def check(self, envelope: Envelope, hello: PeerHello) -> None:
        """Raises PeerViolation for what no node says of itself. The level in a node's log is one that it understands,
        or it would have stopped."""
        check_node_id(envelope.sender)
        check_word("the id of a cluster", envelope.cluster_id, MAX_NAME_CHARS)
        check_word("the id of a leader", hello.leader_id, MAX_NAME_CHARS)
        check_word("a version", hello.version, VERSION_CHARS)
        if len(hello.others) > OTHER_ADDRESSES:
            raise PeerViolation(f"{len(hello.others)} other addresses, and at most {OTHER_ADDRESSES} are allowed")
        if len(hello.known) > HELLO_PEERS:
            raise PeerViolation(f"{len(hello.known)} peers in one hello, and at most {HELLO_PEERS} are allowed")
        for node_id, _ in hello.known:
            check_node_id(node_id)
        known = [address for _, address in hello.known]
        for address in (hello.address, *hello.others, *known, *filter(None, (hello.metrics_address, hello.to))):
            check_address(address)
        if envelope.incarnation >= INCARNATIONS:
            raise PeerViolation(f"incarnation {envelope.incarnation}")
        if hello.feature_level > self._settings.feature_level + LEVELS_AHEAD:
            raise PeerViolation(f"feature level {hello.feature_level}, and this version has {FEATURE_LEVEL}")
        if hello.cluster_level > hello.feature_level:
            raise PeerViolation(
                f"a cluster of level {hello.cluster_level}, of which it understands {hello.feature_level}"
            )

    def on_consent(self, sender: str, consent: Consent) -> bool:
        """A peer gives its consents to this node. True if this node has formed the cluster by that: the caller must
        bootstrap the log."""
        if self.first_boot.receive(consent):
            self._outbox.save_identity()
        self._outbox.send(sender, ConsentReceived(consent.holders))
        return self._form_if_possible()

    def on_consent_received(self, sender: str, message: ConsentReceived) -> None:
        """The recipient has the consents that this node gave it."""
        if sender == self._identity.handed_to:
            self.first_boot.confirmed(message.holders)

    def meet(self, now: float, leader_id: str, term: int, level: int = 0) -> bool:
        """Prepare the hellos that are due, and take the next step of a first boot. Returns as :meth:`on_consent`
        does."""
        leaderless = bool(self._identity.cluster_id) and not leader_id
        if due := self.directory.due(now, leaderless=leaderless):
            hello = self._hello(now, leader_id, term, level, reply=False)
            for address in due:
                self._outbox.say_hello(address, hello._replace(to=address))
        if self._identity.cluster_id:
            return False
        handed_to = self._identity.handed_to
        step = self.first_boot.step([peer.node_id for peer in self.directory.live(now, "")])
        if step is not None:
            if handed_to != self._identity.handed_to:
                self._outbox.save_identity()
            self._outbox.send(*step)
        return self._form_if_possible()

    def _form_if_possible(self) -> bool:
        if not self.first_boot.may_form():
            return False
        self._belong_to(self._spare_cluster_id)
        self._identity.formed = True
        self._outbox.notice("info", f"formed cluster {self._identity.cluster_id} as its first voter")
        return True

    def _belong_to(self, cluster_id: str) -> None:
        self._identity.cluster_id = cluster_id
        self._outbox.save_identity()
        self.directory.greet_all()

    def _report_foreign(self, envelope: Envelope, hello: PeerHello) -> None:
        """Report another cluster of our name, once. The status shows it for as long as one of its nodes is heard."""
        foreign = self.directory.foreign
        if envelope.cluster_id in foreign or len(foreign) >= FOREIGN_LIMIT:
            return
        foreign.add(envelope.cluster_id)
        self._outbox.notice(
            "warning",
            f"node {envelope.sender} at {hello.address} belongs to another cluster named {hello.cluster_name!r} "
            f"({envelope.cluster_id}, ours is {self._identity.cluster_id}); they never mix. "
            f"To have its nodes in this cluster, stop them and start them again without their data and with "
            f"--expect 0 --join {self.directory.own_address}",
        )

    def _report_own_level(self, cluster_level: int) -> None:
        """Report that this node is too old for its cluster, once for each level. The status always shows it."""
        if cluster_level > max(self._settings.feature_level, self._reported_level):
            self._reported_level = cluster_level
            self._outbox.notice("error", too_old(self._settings.feature_level, cluster_level))

    def _is_stranger(self, envelope: Envelope, hello: PeerHello) -> bool:
        """Whether the sender belongs to a cluster that nobody named to this node. The sender may know this address from
        a node that was here before. A node that was started with addresses must not join such a cluster."""
        return (
            self._settings.pointed
            and not self._identity.cluster_id
            and envelope.cluster_id != ""
            and not hello.reply
            and envelope.sender not in self.directory.peers
        )

    def _hello(self, now: float, leader_id: str, term: int, level: int, *, reply: bool, to: str = "") -> PeerHello:
        known = [(peer.node_id, peer.address) for peer in self.directory.live(now, self._identity.cluster_id)]
        if len(known) > HELLO_PEERS:
            begin = self._next_known % len(known)
            self._next_known = begin + HELLO_PEERS
            known = (known + known)[begin : begin + HELLO_PEERS]
        return PeerHello(
            self.directory.own_address,
            self._settings.cluster_name,
            self._settings.expect,
            leader_id,
            term,
            tuple(known),
            reply,
            self.directory.own_metrics_address,
            self._settings.feature_level,
            level,
            self._settings.version,
            self.directory.own_others,
            to,
        )
