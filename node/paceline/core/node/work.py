"""Tasks between a leader and the nodes that run them: who hears of what, on this node and on others.

A node that leads also runs tasks. What its leader half and its executing half say to each other takes the same way as
what they say to peers, but for the wire: it is carried over within the turn, until neither has anything left to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paceline.core.measures.traces import Traces
from paceline.core.membership.levels import Levels
from paceline.core.node.violations import Violations
from paceline.core.outbox import Outbox
from paceline.core.raft.consensus import Consensus
from paceline.core.scheduling.leader import Leader
from paceline.core.scheduling.placement import NO_PLACES
from paceline.core.work.kept_remarks import KeptRemarks
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.codec import decode_outcomes
from paceline_protocol.errors import LimitExceeded, PeerViolation, RemoteProtocolError
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.trace import Trace
from paceline_protocol.messages.work import (
    Beat,
    Begun,
    Demand,
    DemandQuery,
    Dispatch,
    Enrol,
    EnrolQuiet,
    EnrolWithAsync,
    EnrolWithDefaults,
    EnrolWithPlaces,
    EnrolWithQueues,
    NodeBeat,
    NodeOutcomes,
    OwnSchedules,
    Parked,
    RemarkAnswer,
    RemarkQuery,
    Revoke,
    Revoked,
    SchedulesHeard,
    SetAvailability,
    Stopping,
    StopTasks,
    WorkMessage,
)


class WorkExchange:
    """Both halves of one node, as far as tasks are concerned. ``leader``: None unless this node leads."""

    __slots__ = (
        "_at_leader",
        "_at_node",
        "_consensus",
        "_leader_link",
        "_levels",
        "_outbox",
        "_own_id",
        "_remarks",
        "_traces",
        "_violations",
    )

    def __init__(
        self,
        own_id: str,
        consensus: Consensus,
        levels: Levels,
        leader_link: LeaderLink,
        remarks: KeptRemarks,
        traces: Traces,
        outbox: Outbox,
        violations: Violations,
    ) -> None:
        self._own_id = own_id
        self._remarks = remarks
        self._consensus = consensus
        self._levels = levels
        self._leader_link = leader_link
        self._traces = traces
        self._outbox = outbox
        self._violations = violations
        self._at_node: dict[type[Any], Callable[[str, Any, float], None]] = {
            Beat: leader_link.on_beat,
            Dispatch: leader_link.on_dispatch,
            Revoke: leader_link.on_revoke,
            StopTasks: leader_link.on_stop_tasks,
            RemarkQuery: self._on_remark_query,
            SetAvailability: leader_link.on_set_availability,
            Demand: leader_link.on_demand,
            SchedulesHeard: leader_link.on_schedules_heard,
        }
        self._at_leader: dict[type[Any], Callable[[Leader, str, Any, float], None]] = {
            NodeOutcomes: self._on_outcomes,
            NodeBeat: self._on_node_beat,
            Enrol: self._on_enrol,
            EnrolWithDefaults: self._on_enrol_with_defaults,
            EnrolQuiet: self._on_enrol_quiet,
            EnrolWithAsync: self._on_enrol_with_async,
            EnrolWithQueues: self._on_enrol_with_async,
            EnrolWithPlaces: self._on_enrol_with_async,
            Revoked: self._on_revoked,
            Stopping: self._on_stopping,
            RemarkAnswer: self._on_remark_answer,
            DemandQuery: self._on_demand_query,
            OwnSchedules: self._on_own_schedules,
            Parked: self._on_parked,
            Begun: self._on_begun,
            Trace: self._on_trace,
        }

    def hear(self, leader: Leader | None, sender: str, message: PeerMessage, now: float) -> None:
        """A message about tasks, of a node to its leader or the other way. Raises ProtocolError, with nothing changed,
        for outcomes that are malformed, which the leader alone decodes, and for what no honest node says."""
        at_node = self._at_node.get(type(message))
        if at_node is not None:
            consensus, link = self._consensus, self._leader_link
            if link.leader != sender and sender == consensus.leader_id and link.term == consensus.term:
                link.elected(sender, now)
            at_node(sender, message, now)
        elif leader is not None:
            self._at_leader[type(message)](leader, sender, message, now)

    def _on_outcomes(self, leader: Leader, sender: str, message: NodeOutcomes, now: float) -> None:
        outcomes = decode_outcomes(message.outcomes)
        leader.nodes.on_outcomes(sender, message.term, message.seq, outcomes, now, len(message.outcomes))

    def _on_node_beat(self, leader: Leader, sender: str, beat: NodeBeat, now: float) -> None:
        leader.nodes.on_beat(sender, beat, now)

    def _on_enrol(self, leader: Leader, sender: str, enrol: Enrol, now: float) -> None:
        if self._levels.may_take_part(sender):
            leader.nodes.on_enrol(sender, enrol, now)

    def _on_enrol_with_defaults(self, leader: Leader, sender: str, said: EnrolWithDefaults, now: float) -> None:
        if self._levels.may_take_part(sender):
            leader.nodes.on_enrol(sender, said.enrol, now, said.defaults)

    def _on_enrol_quiet(self, leader: Leader, sender: str, said: EnrolQuiet, now: float) -> None:
        if self._levels.may_take_part(sender):
            leader.nodes.on_enrol(sender, said.enrol, now, said.defaults, said.availability, said.left_ms, places=None)

    def _on_enrol_with_async(
        self, leader: Leader, sender: str, said: EnrolWithAsync | EnrolWithQueues | EnrolWithPlaces, now: float
    ) -> None:
        if self._levels.may_take_part(sender):
            leader.nodes.on_enrol(
                sender,
                said.enrol,
                now,
                said.defaults,
                async_slots=said.async_slots,
                async_names=said.async_names,
                queues=() if isinstance(said, EnrolWithAsync) else said.queues,
                places=(said.tags, said.amounts) if isinstance(said, EnrolWithPlaces) else NO_PLACES,
            )

    def _on_revoked(self, leader: Leader, sender: str, revoked: Revoked, now: float) -> None:
        leader.nodes.on_revoked(sender, revoked, now)

    def _on_stopping(self, leader: Leader, sender: str, stopping: Stopping, now: float) -> None:
        leader.nodes.on_stopping(sender, stopping)

    def _on_demand_query(self, leader: Leader, sender: str, query: DemandQuery, now: float) -> None:
        leader.nodes.on_demand_query(sender, query, now)

    def _on_own_schedules(self, leader: Leader, sender: str, said: OwnSchedules, now: float) -> None:
        if said.term == leader.term and sender in leader.nodes.by_id and self._levels.may_take_part(sender):
            leader.schedules.modules.hear(sender, said.version, said.schedules)
            leader.nodes.schedules_heard(sender, said.version)

    def _on_begun(self, leader: Leader, sender: str, begun: Begun, now: float) -> None:
        leader.nodes.on_begun(sender, begun)

    def _on_parked(self, leader: Leader, sender: str, parked: Parked, now: float) -> None:
        leader.nodes.on_parked(sender, parked)

    def _on_remark_query(self, sender: str, query: RemarkQuery, now: float) -> None:
        """Whoever asks is told, in whatever term: it is a question, and another leader's answers count for nothing."""
        kept = self._remarks.of(query.id)
        answer = RemarkAnswer(query.term, query.number, query.id, 0, 0, 0, b"", b"", 0)
        if kept is not None:
            output = kept.output if query.output else b""
            said = kept.attempt, kept.heard_ms, kept.progress_ms, kept.progress, output, kept.skipped
            answer = RemarkAnswer(query.term, query.number, query.id, *said)
        self._leader_link.aside.append((sender, answer))

    def _on_remark_answer(self, leader: Leader, sender: str, answer: RemarkAnswer, now: float) -> None:
        leader.remarks.answered(sender, answer)

    def _on_trace(self, leader: Leader, sender: str, trace: Trace, now: float) -> None:
        self._traces.add(trace)

    def pass_on(self, leader: Leader | None, now: float) -> None:
        """Dispatch, and carry messages between the leader and the nodes until this node's own halves have nothing left
        to say to each other."""
        leader_link = self._leader_link
        while True:
            if leader is not None:
                if leader.tasks.gates.untimed:
                    leader.time_paces(now)
                is_logging = leader.recording.is_logging
                if leader.tasks.dispatchable and is_logging and self._consensus.has_quorum_lease(now):
                    leader.dispatch(now)
                if leader.nodes.outbox:
                    self._from_leader(leader, now)
                if leader.nodes.quick:
                    quick, leader.nodes.quick = leader.nodes.quick, []
                    for node_id, message in quick:
                        if node_id != self._own_id:
                            self._outbox.send_quick(node_id, message)
            if not leader_link.outbox and not leader_link.aside:
                return
            self._to_leader(leader, now)

    def _from_leader(self, leader: Leader, now: float) -> None:
        to_nodes, leader.nodes.outbox = leader.nodes.outbox, []
        for node_id, message in to_nodes:
            if node_id != self._own_id:
                self._outbox.send(node_id, message)
                continue
            try:
                self.hear(leader, node_id, message, now)
            except PeerViolation:
                pass  # another node has claimed this term, and the log names nobody now: the next Beat says it again

    def _to_leader(self, leader: Leader | None, now: float) -> None:
        link, own_id, outbox = self._leader_link, self._own_id, self._outbox
        reports, link.outbox = link.outbox, []
        if link.aside:
            aside, link.aside = link.aside, []
            for node_id, account in aside:
                if node_id == own_id:
                    self._hear_own(leader, account, now)
                else:
                    outbox.send(node_id, account)
        for report in reports:
            if not isinstance(report, UnrecordedBatch):
                if link.leader == own_id:
                    self._hear_own(leader, report, now)
                else:
                    outbox.send(link.leader, report)
            elif link.leader != own_id:
                outbox.send(link.leader, report.message(link.term))
                if len(self._traces):
                    for trace in self._traces.take_reported(report.items):
                        outbox.send(link.leader, trace)
            elif leader is not None:
                try:
                    leader.nodes.on_outcomes(own_id, link.term, report.seq, report.items, now)
                except (RemoteProtocolError, LimitExceeded) as error:
                    self._violations.refuse(own_id, NodeOutcomes.__name__, error)

    def _hear_own(self, leader: Leader | None, message: WorkMessage, now: float) -> None:
        """What this node says of itself to itself ends it no more than what it says to another."""
        try:
            self.hear(leader, self._own_id, message, now)
        except (RemoteProtocolError, LimitExceeded) as error:
            self._violations.refuse(self._own_id, type(message).__name__, error)
