"""The whole brain of a node: events and ``now`` in, effects out.

It joins five parts that know nothing of each other: consensus (the replicated log), the task table (what the log says),
the leader_link (this node's workers), the leader (only while this node leads), and the membership of peers.

What must not be here: a clock, a socket, a file, a thread, a random number that was not passed in. The reactor is the
shell that has them. Events only change state, so that a burst of frames costs one dispatch, one log append per follower
and one Update per client. What leaves is collected in two parts. :meth:`NodeCore.take_urgent`, in every turn: tasks on
their way to a worker, results on their way to a client; nobody's progress waits for anything else.
:meth:`NodeCore.take_effects`, when :meth:`NodeCore.effects_due` says so: the log, its replication and what follows from
them, at once after most events, and once for all the tasks of a moment (``Settings.log_linger_s``) if nothing else
happened.

The shell calls ``tick(now)`` first in each turn whose ``now`` is past ``next_deadline()``: a leader that was asleep
must find out that it leads no longer before it looks at what piled up meanwhile.

The module is long because the order of things is what it has to say: which part hears of an event first, and what
leaves before what. A second file would hide half of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from paceline.core.clients.client_info import Clients
from paceline.core.effects import Effects, Notice, PeerBatch, Urgent
from paceline.core.feature_levels import level_of_kind
from paceline.core.measures.traces import Traces
from paceline.core.membership.identity import Identity
from paceline.core.membership.levels import Levels
from paceline.core.membership.peering import Peering
from paceline.core.membership.replica_keeper import ReplicaKeeper
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import ConsensusViolation
from paceline.core.raft.timing import RandomSource
from paceline.core.scheduling.leader import Leader
from paceline.core.scheduling.takeover import Takeover
from paceline.core.settings import Settings
from paceline.core.state.applied import Applied
from paceline.core.state.table import TaskTable
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.slots import UnrecordedBatch
from paceline_protocol.codec import decode_outcomes
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages import (
    Admin,
    Append,
    AppendResponse,
    Beat,
    Cancel,
    ClientMessage,
    ClientReply,
    Confirm,
    Confirmed,
    ConsensusMessage,
    Consent,
    ConsentReceived,
    Dispatch,
    Enrol,
    Envelope,
    Failure,
    Hello,
    NodeBeat,
    NodeOutcomes,
    Outcome,
    PeerHello,
    PeerMessage,
    Ping,
    Pong,
    Redirect,
    Refusal,
    Removed,
    Revoke,
    Revoked,
    SnapshotChunk,
    SnapshotResponse,
    StatusReply,
    StatusRequest,
    Submit,
    TimeoutNow,
    Trace,
    VoteRequest,
    VoteResponse,
    Wait,
    Welcome,
    WorkMessage,
)
from paceline_protocol.payload import pack_value

_CONSENSUS = (
    *(Append, AppendResponse, VoteRequest, VoteResponse, SnapshotChunk, SnapshotResponse),
    *(TimeoutNow, Removed, Confirm, Confirmed),
)
_TASKS = (Dispatch, NodeOutcomes, Trace)

LINGERING_EVENTS = 32
"""Frames of tasks and outcomes that wait for the log together, at most."""


class NodeCore:
    """One node. See the module's docstring for the order in which the shell calls it."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        *,
        address: str,
        spare_cluster_id: str,
        random: RandomSource,
        now: float,
        consensus: Consensus | None = None,
        durable_at_once: bool = False,
        metrics_address: str = "",
        status: Callable[[NodeCore, float], dict[str, Any]],
    ) -> None:
        """``spare_cluster_id``: a fresh random id, used if this node forms the cluster. ``consensus``: what a restarted
        node had persisted; None for a blank log. ``durable_at_once``: of a blank log, see Consensus.
        ``metrics_address``: where this node's metrics are served, "" for nowhere. ``status``: (this node, now) -> what
        it knows of its cluster, for whoever asks."""
        self.settings = settings
        self._status = status
        self.identity = identity
        if not identity.consents and not identity.handed_to:
            identity.consents = frozenset({identity.node_id})
        self.consensus = consensus or Consensus(
            identity.node_id,
            timing=settings.timing,
            random=random,
            now=now,
            durable_at_once=durable_at_once,
            feature_level=settings.feature_level,
        )
        self.table = TaskTable(settings)
        self.applied = Applied(settings, self.consensus, self.table, journaled=not durable_at_once)
        self.traces = Traces()
        self.leader_link = LeaderLink(settings, identity.incarnation, self.traces)
        self.peering = Peering(settings, identity, address=address, spare_cluster_id=spare_cluster_id)
        self.directory = self.peering.directory
        self.directory.own_metrics_address = metrics_address
        self.levels = Levels(settings, identity, self.consensus, self.directory)
        self.tally = self.leader_link.slots.tally
        self.leader: Leader | None = None
        self._takeover: Takeover | None = None  # of the tasks there are, before it leads
        self.elections_won = 0
        self._durable_at_once = durable_at_once
        self._effects = Effects()
        self._replies: list[tuple[bytes, ClientReply]] = []
        self._out: dict[str, list[PeerMessage]] = {}  # node id -> messages of this turn
        self._next_beat = inf
        self._next_hello = now
        self._next_review = now
        self._tick_at = now
        self._effects_at = now  # when take_effects is due
        self._log_at = inf  # when it is to log what came: not with every answer of a peer, or each task would be alone
        self._lingering_events = 0  # since then
        self._known_leader = ""
        self.clients = Clients()
        self.keeper = ReplicaKeeper(settings, self.consensus, self.transfer_leadership)
        if identity.formed and not self.consensus.log.last_index:
            self.consensus.bootstrap(
                now
            )  # a crash came before the first entry was durable, and after others had joined

    # --- who leads ----------------------------------------------------------------------------------------------

    @property
    def node_id(self) -> str:
        return self.identity.node_id

    def leader_id(self, now: float) -> str:
        """The leader that this node would send a client to; "" if it knows of none."""
        if self.leader is not None:
            return self.node_id
        if self.consensus.leader_id:
            return "" if self.consensus.leader_id == self.node_id else self.consensus.leader_id
        recent = now - 2 * self.settings.timing.election_timeout_max_s
        if self.leader_link.heard_at >= recent and self.leader_link.term >= self.consensus.term:
            return "" if self.leader_link.leader == self.node_id else self.leader_link.leader
        return ""

    def missing_voters(self) -> int:
        """How many voters are still to come before the cluster accepts its first task, as far as this node knows."""
        config = self.consensus.config
        if self.node_id not in config.voters and self.node_id not in config.learners:
            return 0  # a node that does not replicate is not told
        if self.table.totals.accepted or config.excluded:
            return 0  # they stood once; a cluster that lost some since, or whose operator wants fewer, goes on
        wanted = min(self.settings.min_voters, config.limit or self.settings.min_voters)
        return max(0, wanted - len(config.voters))

    def term(self) -> int:
        """The term that goes with :meth:`leader_id`: that in which this node leads, or the highest that it knows."""
        if self.leader is not None:
            return self.leader.term
        return max(self.consensus.term, self.leader_link.term)

    # --- events: clients ----------------------------------------------------------------------------------------

    def on_client(self, key: bytes, message: ClientMessage, now: float) -> None:
        """A client's message, on the connection ``key``."""
        leader = self.leader
        session = leader.sessions.get(key) if leader is not None else None
        if isinstance(message, Submit) and leader is not None and session is not None:
            try:
                leader.admission.submit(session, message, now)
            except ProtocolError as error:
                self.tally.refuse(Refusal.BAD_REQUEST)
                self._reply(key, Failure(Refusal.BAD_REQUEST, str(error)))
            if message.prompt:
                self._effects_at = self._log_at = -inf
            else:
                self._linger(now)
            return
        self._effects_at = self._log_at = -inf
        if isinstance(message, Hello):
            if leader is not None:
                leader.sessions.open(key, now)
            self._reply(key, self._welcome(now))
        elif isinstance(message, StatusRequest):
            self.clients.told(key, message.about, now)
            if session is not None:
                session.heard_at = now  # so that it is told when another leads
            self._reply(key, StatusReply(message.request, pack_value(self._status(self, now))))
        elif leader is None or session is None:
            self._reply(key, self._redirect(now))
        elif isinstance(message, Ping):
            leader.admission.acknowledge(session, message.ack, now)
            self._reply(key, Pong(leader.term))
        elif isinstance(message, Wait):
            leader.admission.wait(session, message, now)
        elif isinstance(message, Cancel):
            leader.cancel(session, message, now)
        elif isinstance(message, Admin) and self.keeper.ask(key, message, now):
            self._review_replicas(leader, now)

    def on_client_gone(self, key: bytes) -> None:
        """The connection can't be reached any more."""
        self._effects_at = self._log_at = -inf
        self.clients.gone(key)
        if self.leader is not None:
            self.leader.sessions.close(key)

    def _welcome(self, now: float) -> Welcome:
        leader_id = self.leader_id(now)
        addresses = [self.directory.own_address]
        addresses += [peer.address for peer in self.directory.live(now, self.identity.cluster_id)]
        return Welcome(
            self.node_id,
            self.identity.cluster_id,
            self.settings.cluster_name,
            self.term(),
            leader_id,
            self.directory.address_of(leader_id),
            tuple(addresses),
            self.settings.payload_limit_bytes,
        )

    def _redirect(self, now: float) -> Redirect:
        leader_id = self.leader_id(now)
        return Redirect(self.term(), leader_id, self.directory.address_of(leader_id))

    def _reply(self, key: bytes, reply: ClientReply) -> None:
        self._replies.append((key, reply))

    # --- events: peers ------------------------------------------------------------------------------------------

    def on_address(self, address: str, *, seed: bool = False) -> None:
        """Discovery, or a person, named an address."""
        self._effects_at = self._log_at = -inf
        self.directory.add_address(address, seed=seed)

    def on_peer(self, envelope: Envelope, messages: Sequence[PeerMessage], now: float) -> None:
        """A batch from a peer. Hellos are heard from anyone of our name. All else counts only if it is for us, as
        another node may have listened at this address before, and all but consents only within our cluster."""
        if not self.directory.heard(envelope, now) or envelope.sender == self.node_id:
            return
        for_us = envelope.recipient == self.node_id
        ours = for_us and envelope.cluster_id == self.identity.cluster_id != ""
        if ours and all(isinstance(message, _TASKS) for message in messages):
            for message in messages:
                self._on_work(envelope.sender, message, now)
            self._linger(now)
            return
        self._effects_at = -inf
        if not all(isinstance(message, _CONSENSUS) for message in messages):
            self._log_at = -inf
        for message in messages:
            if isinstance(message, PeerHello):
                self.peering.on_hello(envelope, message, now, self.leader_id(now), self.term(), self.levels.in_log)
            elif isinstance(message, Consent):
                if for_us and self.peering.on_consent(envelope.sender, message):
                    self.consensus.bootstrap(now, self.levels.to_begin_with(now))
            elif isinstance(message, ConsentReceived):
                if for_us:
                    self.peering.on_consent_received(message)
            elif ours:
                if isinstance(message, _CONSENSUS):
                    self.consensus.step(envelope.sender, message, now)
                else:
                    self._on_work(envelope.sender, message, now)
        self._pass_on_peering()
        self._schedule()

    def _on_work(self, sender: str, message: PeerMessage, now: float) -> None:
        """Tasks between a leader and a node. Raises nothing: what is malformed was refused by the codec."""
        if isinstance(message, Beat):
            self.leader_link.on_beat(sender, message, now)
        elif isinstance(message, Dispatch):
            self.leader_link.on_dispatch(sender, message, now)
        elif isinstance(message, Revoke):
            self.leader_link.on_revoke(sender, message, now)
        elif self.leader is None:
            return
        elif isinstance(message, NodeOutcomes):
            try:
                self.leader.nodes.on_outcomes(sender, message.term, message.seq, decode_outcomes(message.outcomes), now)
            except ProtocolError as error:
                self._notice("error", f"node {sender} sent malformed outcomes: {error}")
        elif isinstance(message, NodeBeat):
            self.leader.nodes.on_beat(sender, message, now)
        elif isinstance(message, Enrol):
            if self.levels.may_take_part(sender):
                self.leader.nodes.on_enrol(sender, message, now)
        elif isinstance(message, Revoked):
            self.leader.nodes.on_revoked(sender, message, now)
        elif isinstance(message, Trace):
            self.traces.add(message)

    # --- events: workers ----------------------------------------------------------------------------------------

    def on_worker_ready(self, worker_id: bytes, names: tuple[str, ...]) -> None:
        """A worker can run tasks."""
        self._effects_at = self._log_at = -inf
        self.leader_link.worker_ready(worker_id, names)

    def on_worker_done(self, worker_id: bytes, outcomes: tuple[Outcome, ...], now: float) -> None:
        """A worker answered."""
        self.leader_link.worker_done(worker_id, outcomes, now)
        self._linger(now)

    def on_worker_trace(self, trace: Trace) -> None:
        """A worker says when it ran a sampled task. Its outcome follows."""
        self.traces.add(trace)

    def on_worker_lost(self, worker_id: bytes, how: str, now: float) -> None:
        """A worker died."""
        self._effects_at = self._log_at = -inf
        self.leader_link.worker_lost(worker_id, how, now)

    # --- events: time and durability ----------------------------------------------------------------------------

    def persisted(self, seq: int) -> None:
        """The Persist of this number, and all before it, are durable."""
        self._effects_at = -inf
        self.consensus.persisted(seq)
        self._schedule()

    def next_deadline(self) -> float:
        """When tick or take_effects has something to do. It may come early and find nothing due; it never comes
        late."""
        if self.applied.is_busy or self._takeover is not None:
            return -inf
        leader = self.leader
        due = self._tick_at if leader is None or self._tick_at < leader.due else leader.due
        return due if due < self._effects_at else self._effects_at

    def effects_due(self, now: float) -> bool:
        """Whether it is time for take_effects. To call it earlier is allowed, and costs more."""
        return now >= self._effects_at

    def _linger(self, now: float) -> None:
        """A task came or ended: it is logged soon, with the others of this moment, unless they are many."""
        self._lingering_events += 1
        if self._lingering_events >= LINGERING_EVENTS:
            self._effects_at = self._log_at = -inf
        elif self._log_at == inf:
            self._log_at = now + self.settings.log_linger_s
            if self._log_at < self._effects_at:
                self._effects_at = self._log_at

    def _schedule(self) -> None:
        """Find the next deadline anew: after a tick, and after what may bring one forward."""
        self._tick_at = min(self._next_hello, self._next_review, self.consensus.next_deadline())
        if self.leader is not None:
            self._tick_at = min(self._tick_at, self._next_beat)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.applied.is_busy and self.applied.step():
            self._effects_at = -inf
        if self._takeover is not None:
            self._review_leadership(now)
            if self.leader is not None:
                self._effects_at = self._log_at = -inf
        if self.leader is not None and now >= self.leader.due:
            self._effects_at = self._log_at = -inf
        if now >= self._tick_at:
            self._effects_at = self._log_at = -inf
            self._regular_tick(now)
            self._schedule()

    def _regular_tick(self, now: float) -> None:
        heartbeat = self.consensus.tick(now)
        self._review_leadership(now)
        if now >= self._next_hello:
            self._next_hello = now + self.settings.hello_interval_s
            if self.peering.meet(now, self.leader_id(now), self.term(), self.levels.in_log):
                self.consensus.bootstrap(now, self.levels.to_begin_with(now))
            self._pass_on_peering()
        leader = self.leader
        if leader is not None:
            if heartbeat or now >= self._next_beat:
                self._next_beat = inf
                leader.nodes.beat(self._live_nodes(now), now)
            for node_id in leader.tick(now, self._live_nodes(now) if not leader.tasks.is_settled else ()):
                self._notice("warning", f"node {node_id} is silent; its tasks are given to others")
            if heartbeat:
                self._review_replicas(leader, now)
        if now >= self._next_review:
            self._next_review = now + self.settings.gossip_interval_s
            self._effects.forget_addresses += self.directory.forget_silent(now)
            if leader is not None:
                leader.expire_sessions(now)

    def _pass_on_peering(self) -> None:
        """What getting to know others has led to."""
        peering, effects = self.peering, self._effects
        effects.to_peers += [(address, self._envelope(""), [hello]) for address, hello in peering.knocks]
        for node_id, message in peering.messages:
            self._send(node_id, message)
        effects.notices += peering.notices
        effects.identity_changed |= peering.identity_changed
        peering.knocks, peering.messages, peering.notices, peering.identity_changed = [], [], [], False

    def _live_nodes(self, now: float) -> list[str]:
        """The nodes of this cluster that were heard lately, this one first."""
        return [self.node_id, *self.peering.live_peers(now)]

    def _review_replicas(self, leader: Leader, now: float) -> None:
        keeper = self.keeper
        keeper.review(leader, self.levels.of_nodes(now), now)
        leader.admission.missing_voters = self.missing_voters()
        leader.admission.cluster_level = self.levels.in_force(now)
        for config in keeper.changed:
            learners = ", ".join(config.learners) or "none"
            self._notice("info", f"replicas: voters {', '.join(config.voters)}; learners {learners}")
        self._effects.notices += keeper.notices
        keeper.changed, keeper.notices = [], []

    def transfer_leadership(self, now: float, to: str = "") -> str:
        """Leader: make way for the voter ``to``, or for the one that has most of the log. Returns the voter that is to
        take over, also if it was asked before, and "" if nobody can.

        Until then, or until an election timeout has passed without success, nothing is started, ended or logged.
        """
        under_way = self.consensus.transfer_target(now)
        if under_way or self.leader is None:
            return under_way
        if not to:
            progress = self.consensus.progress(now)
            heard = [voter for voter in self.consensus.config.voters if voter in progress]
            heard = [voter for voter in heard if progress[voter].recently_active]
            to = max(heard, key=lambda voter: progress[voter].match, default="")
        self.leader.log(now)  # what came in the last milliseconds is for the other to know, too
        if not self.consensus.transfer_leadership(to, now):
            return ""
        self.leader.set_logging(False, now)
        self._effects_at = -inf
        self._notice("info", f"handing over to node {to}")
        return to

    def _review_if_changed(self, now: float) -> None:
        """While this node goes on leading in the same term there is nothing to review."""
        leader, consensus = self.leader, self.consensus
        if leader is None or not consensus.is_leader or leader.term != consensus.term:
            self._review_leadership(now)

    def _review_leadership(self, now: float) -> None:
        """Start or end leading, as consensus says, and say so."""
        consensus, leader = self.consensus, self.leader
        if leader is not None and (not consensus.is_leader or consensus.term != leader.term):
            self.leader = None
            self.keeper.end()
            redirect = self._redirect(now)
            for key in leader.sessions.by_key:
                self._reply(key, redirect)
            self._notice("warning", f"no longer leading (term {leader.term})")
            leader = None
        if self._may_lead():
            self._take_over(now)
        else:
            self._takeover = None
        self.leader_link.reject_before(consensus.term)
        known = self.leader_id(now)
        if known != self._known_leader:
            self._known_leader = known
            self.tally.leader_known(known, now)
            if known and known != self.node_id:
                self._notice("info", f"node {known} leads (term {self.term()})")

    def _take_over(self, now: float) -> None:
        """Lead, once the tasks that were accepted before are taken over: at once, or a slice of them in each turn."""
        consensus = self.consensus
        takeover = self._takeover
        if takeover is None or (takeover.term, takeover.applied_index) != (consensus.term, consensus.applied_index):
            takeover = Takeover(self.table, consensus.term, consensus.applied_index, self.node_id, self.tally)
        self._takeover = takeover
        if takeover.step(now):
            self._takeover = None
            self.leader = Leader(
                self.settings, consensus.term, self.table, self._propose, now, takeover.tasks, self.traces
            )
            self.leader.applied(consensus.applied_index, now)
            self.leader.admission.missing_voters = self.missing_voters()
            self.leader.admission.cluster_level = self.levels.in_force(now)
            self.elections_won += 1
            self._next_beat = now  # at once, and from then on with the heartbeats of consensus
            self._schedule()
            self.keeper.begin(now)
            self._notice("info", f"leading in term {consensus.term}")

    def _may_lead(self) -> bool:
        """Whether this node leads the log, and its table has all that was accepted by then."""
        consensus = self.consensus
        return (
            self.leader is None
            and consensus.has_committed_in_term
            and consensus.applied_index == consensus.commit_index
            and self.applied.is_current
        )

    def _propose(self, kind: int, data: bytes, decoded: Any) -> int:
        level = self.consensus.config.level
        if level_of_kind(kind) > level:  # whoever wants it must ask ClusterLevel first, and refuse
            raise ConsensusViolation(f"an entry of kind {kind} was to be proposed at feature level {level}")
        index = self.consensus.propose(kind, data, decoded)
        if index is None:  # deposed within this very turn: the leader half is about to be dropped with its promises
            return self.consensus.log.last_index + 1
        return index

    # --- what leaves --------------------------------------------------------------------------------------------

    def take_urgent(self, now: float) -> Urgent:
        """The part of the effects that waits for nothing, not even for the log. Before take_effects it makes a round
        trip shorter: whoever waits can go on while the rest of the turn is done."""
        self._pass_work(now)
        if self.leader is not None and self.leader.recording.is_awaited:
            self._effects_at = self._log_at = -inf
        to_workers = self.leader_link.assign() if self.leader_link.slots.queue else []
        to_peers: list[PeerBatch] = []
        if self._out and now < self._effects_at:  # otherwise it leaves in one batch with the rest
            to_peers, self._out = self._batches(self._out), {}
        return to_workers, to_peers, self._take_replies(now)

    def take_effects(self, now: float) -> Effects:
        """Everything that the events so far lead to. The caller performs it in the order of :class:`Effects`."""
        is_log_due = now >= self._log_at
        is_handing_over = self.leader is not None and self.consensus.transfer_target(now) != ""
        if self.leader is not None:
            self.leader.set_logging(not is_handing_over, now)
        if is_log_due and is_handing_over:  # whoever takes over needs all of the log, so that it stands still for once
            is_log_due = False
            self._effects_at = inf  # the next heartbeat looks again
        else:
            if is_log_due:
                self._log_at = inf
                self._lingering_events = 0
            self._effects_at = self._log_at
        self._review_if_changed(now)
        self._pass_work(now)
        if is_log_due and self.leader is not None:
            self.leader.log(now)
        ready = self.consensus.take_ready()
        for node_id, message in ready.send_now:
            self._send(node_id, message)
        if self._durable_at_once:  # then there is nothing to wait for, and what goes to one peer goes in one batch
            for node_id, message in ready.send_after:
                self._send(node_id, message)
            ready.send_after = []
        if ready.committed or ready.snapshot is not None:
            is_current = self.applied.apply(ready.snapshot, ready.committed)
            if is_current and self.leader is not None:
                self.leader.applied(ready.committed[-1].index, now)
        if self.leader is not None:
            if self.leader.nodes.outbox:
                self._pass_work(now)  # what waited for its start to be logged
            if self.leader.recording.is_awaited and not is_handing_over:
                self._effects_at = self._log_at = -inf
        self._review_if_changed(now)
        if ready.snapshots_wanted:
            self.applied.want(ready.snapshots_wanted)
        effects, self._effects = self._effects, Effects()
        effects.persist = ready.persist
        effects.save_snapshot, self.applied.to_save = self.applied.to_save, None
        if self.leader_link.slots.queue:
            effects.to_workers = self.leader_link.assign()
        effects.to_clients = self._take_replies(now)
        if self._out:
            effects.to_peers += self._batches(self._out)
            self._out = {}
        if ready.send_after:
            promises: dict[str, list[PeerMessage]] = {}
            for node_id, message in ready.send_after:
                promises.setdefault(node_id, []).append(message)
            effects.after_persist += self._batches(promises)
        return effects

    def _take_replies(self, now: float) -> list[tuple[bytes, ClientReply]]:
        replies, self._replies = self._replies, []
        if self.keeper.replies:
            replies += self.keeper.replies
            self.keeper.replies = []
        leader = self.leader
        if leader is not None:
            if leader.cancelling.replies:
                replies += leader.cancelling.replies
                leader.cancelling.replies = []
            if leader.sessions.owes:
                replies += leader.take_updates(now)
        if self.traces.came:
            replies += self.traces.take(now)
        return replies

    def _pass_work(self, now: float) -> None:
        """Dispatch, and carry messages between the leader and the executors until this node's own have nothing to
        say."""
        leader, leader_link, own_id = self.leader, self.leader_link, self.identity.node_id
        while True:
            if leader is not None:
                is_logging = leader.recording.is_logging
                if leader.tasks.dispatchable and is_logging and self.consensus.has_quorum_lease(now):
                    leader.dispatch(now)
                if leader.nodes.outbox:
                    to_nodes, leader.nodes.outbox = leader.nodes.outbox, []
                    for node_id, message in to_nodes:
                        if node_id == own_id:
                            self._on_work(own_id, message, now)
                        else:
                            self._send(node_id, message)
            if not leader_link.outbox:
                return
            outbox, leader_link.outbox = leader_link.outbox, []
            for report in outbox:
                if not isinstance(report, UnrecordedBatch):
                    if leader_link.leader == own_id:
                        self._on_work(own_id, report, now)
                    else:
                        self._send(leader_link.leader, report)
                elif leader_link.leader != own_id:
                    self._send(leader_link.leader, report.message(leader_link.term))
                    if len(self.traces):
                        for trace in self.traces.take_reported(report.items):
                            self._send(leader_link.leader, trace)
                elif leader is not None:
                    leader.nodes.on_outcomes(own_id, leader_link.term, report.seq, report.items, now)

    def _envelope(self, recipient: str) -> Envelope:
        return Envelope(self.identity.cluster_id, self.node_id, self.identity.incarnation, recipient)

    def _send(self, node_id: str, message: PeerMessage | WorkMessage | ConsensusMessage) -> None:
        self._out.setdefault(node_id, []).append(message)

    def _batches(self, messages: dict[str, list[PeerMessage]]) -> list[PeerBatch]:
        """Messages by node, with the address each node has now. One whose address is unknown is lost, as on any
        link."""
        batches: list[PeerBatch] = []
        for node_id, batch in messages.items():
            address = self.directory.address_of(node_id)
            if address:
                batches.append((address, self._envelope(node_id), batch))
        return batches

    def _notice(self, level: str, text: str) -> None:
        self._effects.notices.append(Notice(level, text))
