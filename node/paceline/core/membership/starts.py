"""Which process speaks for a node, if several run or ran with its identity.

The intuition. A data directory can be copied, and each copy started: then several processes are one node, and each vote
of that node may be given twice. The directory counts its starts (the incarnation), and each process has a *start*, a
number that nobody else has and that is higher the later the process began. So two processes of one node can be told
apart, whatever they were copied from.

What this module guarantees, as long as wall clocks say which of two processes began first:

- Of two processes of one node that run at the same time, the one that began first goes on, and the other one ends.
- A later incarnation is heard at once, as after a restart. If it is at another address, the process before it is asked
  there whether it still lives. If it does it has been overtaken by a copy of its own directory: it takes an incarnation
  above that (:class:`Overtaken`), is heard again, and then the copy is asked and ends.
- An incarnation that is not later than the known one is not heard. If the process began later all the same, it runs on
  an older copy, and is told to end. One that began first is asked: it may be late, or the one that was overtaken.
- An incarnation that is more than INCARNATION_STEP above what is known is nobody's: it is not heard, and no node takes
  one above it.
- What is told names the start that it is for. So it harms nobody who has taken that one's place, however late it comes.

A node of no cluster, which has given away no consent, has promised nothing: :class:`IdentityTaken` says so, and the
shell gives it another identity.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline.core.incarnation import INCARNATION_STEP, INCARNATIONS
from paceline.core.membership.directory import Directory, Peer
from paceline.core.membership.identity import ADDRESS_CHARS, Identity, IdentityTaken, Overtaken
from paceline.core.outbox import Outbox
from paceline.core.settings import Settings
from paceline_protocol.errors import PeerViolation
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.membership import Envelope, OtherStart, PeerHello

SAID_LIMIT: Final = 16
"""Processes that ran beside another of their node, and are said and remembered."""


class Starts:
    """What one node knows of processes that have another's identity, or its own."""

    def __init__(self, settings: Settings, identity: Identity, directory: Directory, outbox: Outbox) -> None:
        self.said: dict[int, str] = {}  # start -> what was said of it; for the status
        self._settings = settings
        self._identity = identity
        self._directory = directory
        self._outbox = outbox

    def hear(self, envelope: Envelope, messages: Iterable[PeerMessage], now: float) -> bool:
        """A batch of a process that is not heard otherwise: of this node's own identity, or of one that has another's
        and does not count. False if nothing in it is about that. Raises IdentityTaken and Overtaken."""
        found = False
        for message in messages:
            if isinstance(message, OtherStart):
                found = True
                self.on_other_start(envelope, message, now)
            elif isinstance(message, PeerHello) and message.cluster_name == self._settings.cluster_name:
                found = True
                self._on_hello(envelope, message)
        return found

    def _on_hello(self, envelope: Envelope, hello: PeerHello) -> None:
        if len(hello.address) > ADDRESS_CHARS:
            return
        if envelope.sender == self._identity.node_id:
            self._on_own_identity(envelope, hello)
        else:
            self._on_refused(envelope, hello)

    def _on_own_identity(self, envelope: Envelope, hello: PeerHello) -> None:
        """Another process says that it is this very node; or it is this one, by another of its addresses."""
        own, address = self._identity, self._directory.own_address
        if envelope.start == own.start or (hello.address == address and envelope.incarnation < own.incarnation):
            return  # itself, or what is late of an earlier process of it
        if envelope.cluster_id and own.cluster_id and envelope.cluster_id != own.cluster_id:
            self._say(
                envelope.start,
                f"the node at {hello.address}, of another cluster ({envelope.cluster_id[:MAX_NAME_CHARS]}), has this "
                f"node's id, {own.node_id}: one of the two data directories was copied from the other. They never mix",
            )
        elif own.start < envelope.start:
            _check_step(envelope.incarnation, own.incarnation)
            said = self._say_twice(own.node_id, envelope.start, address, hello.address)
            if envelope.incarnation > own.incarnation:
                raise Overtaken(own, envelope.incarnation, address, hello.address, said)
            self._tell(hello.address, OtherStart(envelope.start, own.start, address, own.incarnation, True))
        elif envelope.incarnation >= own.incarnation:
            raise IdentityTaken(own, address, hello.address)
        else:  # an earlier process of this node, if it still lives: this one was started on a copy of its data
            self._tell(hello.address, OtherStart(envelope.start, own.start, address, own.incarnation, False))

    def _on_refused(self, envelope: Envelope, hello: PeerHello) -> None:
        peer = self._directory.peers.get(envelope.sender)
        if peer is None or peer.start == envelope.start:
            return
        ends = _began_later(envelope, peer)
        if ends:
            self._say(
                envelope.start,
                f"node {envelope.sender} at {hello.address} is not heard: it is start {envelope.incarnation} of that "
                f"node, and start {peer.incarnation} is known, at {peer.address}. It runs on a copy of that node's "
                "data directory, or on an older state of it, and is told to end",
            )
        self._tell(hello.address, OtherStart(envelope.start, peer.start, peer.address, peer.incarnation, ends))

    def follows(self, envelope: Envelope, hello: PeerHello) -> None:
        """A peer that is heard says where it is. If it was elsewhere until now, and another process, that one is asked
        whether it still lives. Raises PeerViolation for an incarnation that no node has."""
        peer = self._directory.peers.get(envelope.sender)
        if peer is None:
            return
        _check_step(envelope.incarnation, peer.incarnation)
        if peer.start == envelope.start:
            return
        if peer.address != hello.address:
            if not _began_later(envelope, peer):  # it had been overtaken by a copy
                self._say_twice(peer.node_id, peer.start, hello.address, peer.address)
            self._tell(peer.address, OtherStart(peer.start, envelope.start, hello.address, envelope.incarnation, False))

    def on_other_start(self, envelope: Envelope, told: OtherStart, now: float) -> None:
        """Somebody has heard another process of this node. Raises IdentityTaken if this one is to end, and Overtaken if
        it is to go on under a later incarnation."""
        own = self._identity
        if told.start != own.start or told.other == own.start:
            return
        if own.cluster_id and envelope.cluster_id != own.cluster_id:
            return
        if len(told.address) > ADDRESS_CHARS or told.incarnation >= INCARNATIONS - 1:
            raise PeerViolation(f"incarnation {told.incarnation}, and an address of {len(told.address)} characters")
        _check_step(told.incarnation, own.incarnation)
        if told.ends or told.other < own.start:
            raise IdentityTaken(own, self._directory.own_address, told.address)
        said = self._say_twice(own.node_id, told.other, self._directory.own_address, told.address)
        if told.incarnation >= own.incarnation:
            raise Overtaken(own, told.incarnation, self._directory.own_address, told.address, said)

    def _say_twice(self, node_id: str, later: int, address: str, later_address: str) -> str:
        text = (
            f"node {node_id} runs twice: at {address}, and, begun later, at {later_address}. The latter runs on a copy "
            "of the former's data directory, and is told to end"
        )
        self._say(later, text)
        return text

    def _tell(self, address: str, told: OtherStart) -> None:
        if address != self._directory.own_address:
            self._outbox.say_at(address, told)

    def _say(self, start: int, text: str) -> None:
        """Once for each process."""
        if start not in self.said and len(self.said) < SAID_LIMIT:
            self.said[start] = text
            self._outbox.notice("error", text)


def _check_step(claimed: int, known: int) -> None:
    """Raises PeerViolation for an incarnation that no start of a node with the known one can have."""
    if claimed - known > INCARNATION_STEP:
        raise PeerViolation(f"incarnation {claimed} of a node of which {known} is known")


def _began_later(envelope: Envelope, peer: Peer) -> bool:
    """Whether the sender is a process that began after the one that is known."""
    return envelope.start > peer.start
