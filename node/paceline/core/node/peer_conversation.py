"""What peers say to a node, whose it is to hear, and how what is for them is wrapped up.

Hellos are heard from anyone of our name. All else counts only if it is for us, as another node may have listened at
this address before, and all but consents only within our cluster.

Whoever hears a message raises ProtocolError for one that no honest node sends, before anything of it counts. Then that
message is dropped, counted and said (``violations.py``), and the others of its batch are heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, get_args

from paceline.core.effects import PeerBatch
from paceline.core.membership.identity import Identity, check_address
from paceline.core.membership.levels import Levels
from paceline.core.membership.peering import Peering
from paceline.core.node.leader_role import LeaderRole
from paceline.core.node.pacing import ANSWER, AT_ONCE, NOTHING, TASK
from paceline.core.node.violations import Violations
from paceline.core.node.work import WorkExchange
from paceline.core.raft.consensus import Consensus
from paceline_protocol.errors import LimitExceeded, PeerViolation, RemoteProtocolError
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.consensus import ConsensusMessage
from paceline_protocol.messages.membership import Consent, ConsentReceived, Envelope, OtherStart, PeerHello
from paceline_protocol.messages.trace import Trace
from paceline_protocol.messages.work import Dispatch, NodeOutcomes

_CONSENSUS: Final[frozenset[type[Any]]] = frozenset(get_args(ConsensusMessage))
_TASKS: Final[frozenset[type[Any]]] = frozenset((Dispatch, NodeOutcomes, Trace))
"""What may linger."""


class PeerConversation:
    """Of one node with all its peers."""

    def __init__(
        self,
        identity: Identity,
        peering: Peering,
        consensus: Consensus,
        levels: Levels,
        work: WorkExchange,
        role: LeaderRole,
        violations: Violations,
    ) -> None:
        self._identity = identity
        self._peering = peering
        self._consensus = consensus
        self._levels = levels
        self._work = work
        self._role = role
        self._violations = violations
        self._of_membership: dict[type[Any], Callable[[Envelope, Any, float], None]] = {
            PeerHello: self._on_hello,
            Consent: self._on_consent,
            ConsentReceived: self._on_consent_received,
            OtherStart: self._on_other_start,
        }

    def hear(self, envelope: Envelope, messages: Sequence[PeerMessage], now: float) -> int:
        """A batch of one peer. Returns how urgent it is (``pacing.py``)."""
        identity = self._identity
        if not envelope.sender:  # which is how a leader is called that nobody knows
            self._violations.refuse("", "Envelope", PeerViolation("it names no sender"))
            return NOTHING
        if envelope.sender == identity.node_id and envelope.start == identity.start:
            for own in messages:
                if type(own) is PeerHello:
                    self._peering.on_own_hello(own)
            return NOTHING
        if envelope.sender == identity.node_id or not self._peering.heard(envelope, now):
            return self._hear_other_process(envelope, messages, now)
        ours = envelope.recipient == identity.node_id and envelope.cluster_id == identity.cluster_id != ""
        if ours and all(type(message) in _TASKS for message in messages):
            for message in messages:
                try:
                    self._work.hear(self._role.leader, envelope.sender, message, now)
                except (RemoteProtocolError, LimitExceeded) as error:
                    self._violations.refuse(envelope.sender, type(message).__name__, error)
            return TASK
        said: Any  # of the class that its handler is for
        for said in messages:
            try:
                self._take(envelope, said, ours, now)
            except (RemoteProtocolError, LimitExceeded) as error:
                self._violations.refuse(envelope.sender, type(said).__name__, error)
        return ANSWER if all(type(message) in _CONSENSUS for message in messages) else AT_ONCE

    def _hear_other_process(self, envelope: Envelope, messages: Sequence[PeerMessage], now: float) -> int:
        """A batch that does not count, or of a process that has this node's own identity."""
        fit = [message for message in messages if self._is_fit(envelope, message)]
        try:
            return AT_ONCE if self._peering.starts.hear(envelope, fit, now) else NOTHING
        except (RemoteProtocolError, LimitExceeded) as error:
            self._violations.refuse(envelope.sender, type(fit[0]).__name__, error)
            return NOTHING

    def _is_fit(self, envelope: Envelope, message: PeerMessage) -> bool:
        """Whether a node may say this, of a process that speaks as this node or as one that is heard elsewhere."""
        try:
            if type(message) is PeerHello:
                self._peering.check(envelope, message)
            elif type(message) is OtherStart:
                check_address(message.address)
        except PeerViolation as error:
            self._violations.refuse(envelope.sender, type(message).__name__, error)
            return False
        return True

    def _take(self, envelope: Envelope, said: Any, ours: bool, now: float) -> None:
        kind = type(said)
        if kind in self._of_membership:
            self._of_membership[kind](envelope, said, now)
        elif not ours:
            return
        elif kind in _CONSENSUS:
            self._consensus.step(envelope.sender, said, now)
        else:
            self._work.hear(self._role.leader, envelope.sender, said, now)

    def _on_hello(self, envelope: Envelope, hello: PeerHello, now: float) -> None:
        self._peering.on_hello(envelope, hello, now, self._role.leader_id(now), self._role.term(), self._levels.in_log)

    def _on_other_start(self, envelope: Envelope, told: OtherStart, now: float) -> None:
        if self._is_fit(envelope, told):
            self._peering.starts.on_other_start(envelope, told, now)

    def _on_consent(self, envelope: Envelope, consent: Consent, now: float) -> None:
        if envelope.recipient == self._identity.node_id and self._peering.on_consent(envelope.sender, consent):
            self._consensus.bootstrap(now, self._levels.to_begin_with(now))

    def _on_consent_received(self, envelope: Envelope, received: ConsentReceived, now: float) -> None:
        if envelope.recipient == self._identity.node_id:
            self._peering.on_consent_received(envelope.sender, received)

    def meet(self, now: float) -> None:
        """Say hello where it is due."""
        if self._peering.meet(now, self._role.leader_id(now), self._role.term(), self._levels.in_log):
            self._consensus.bootstrap(now, self._levels.to_begin_with(now))

    # --- what leaves ---

    def hellos(self, hellos: Iterable[tuple[str, PeerHello | OtherStart]]) -> list[PeerBatch]:
        """Hellos and the like by address, each as a batch for whoever is there."""
        return [(address, self._envelope(""), [hello], False) for address, hello in hellos]

    def batches(self, messages: dict[str, list[PeerMessage]], *, is_quick: bool = False) -> list[PeerBatch]:
        """Messages by node, with the address each node has now. One whose address is unknown is lost, as on any
        link."""
        batches: list[PeerBatch] = []
        for node_id, batch in messages.items():
            address = self._peering.directory.address_of(node_id)
            if address:
                batches.append((address, self._envelope(node_id), batch, is_quick))
        return batches

    def _envelope(self, recipient: str) -> Envelope:
        identity = self._identity
        return Envelope(identity.cluster_id, identity.node_id, identity.incarnation, recipient, identity.start)
