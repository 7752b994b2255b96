"""The whole brain of a node: events and ``now`` in, effects out.

It joins parts that know nothing of each other: consensus (the replicated log), the task table (what the log says), the
leader link (this node's workers), the leader (only while this node leads), and the membership of peers. The files
beside this one have the node's conversations. This one has their order: which part is told of an event first, and which
messages leave before others.

What must not be here: a clock, a socket, a file, a thread, a random number that was not passed in. The reactor is the
shell that has them. Events only change state, so that a burst of frames costs one dispatch, one log append per follower
and one Update per client. What leaves is collected in two parts. :meth:`NodeCore.take_urgent`, in every turn: tasks on
their way to a worker, results on their way to a client; nobody's progress waits for anything else.
:meth:`NodeCore.take_effects`, when :meth:`NodeCore.effects_due` says so: the log, its replication and what follows from
them, at once after most events, and once for all the tasks of a moment (``Settings.log_linger_s``) if nothing else
happened. Each handler of an event returns how urgent it is (``pacing.py``).

The shell calls ``on_wall_clock(offset_s)`` first in each turn, then ``tick(now)`` if ``now`` is past
``next_deadline()``: a leader that was asleep must find out that it leads no longer before it looks at what piled up
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from paceline.core.clients.client_info import About
from paceline.core.deadlines import CONSENSUS, DRAIN, HELLO, REVIEW, Deadlines
from paceline.core.effects import Effects, PeerBatch, Urgent
from paceline.core.measures.traces import Traces
from paceline.core.membership.identity import Identity
from paceline.core.membership.levels import Levels
from paceline.core.membership.peering import Peering
from paceline.core.node.client_conversation import ClientConversation
from paceline.core.node.leader_role import LeaderRole
from paceline.core.node.pacing import ANSWER, AT_ONCE, TASK, Pacing
from paceline.core.node.peer_conversation import PeerConversation
from paceline.core.node.questions import Question
from paceline.core.node.violations import Violations
from paceline.core.node.work import WorkExchange
from paceline.core.outbox import Outbox
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.ready import Ready
from paceline.core.raft.timing import RandomSource
from paceline.core.scheduling.leader import Leader
from paceline.core.settings import Settings
from paceline.core.state.applied import Applied
from paceline.core.state.table import TaskTable
from paceline.core.wall_clock import WallClock
from paceline.core.work.kept_remarks import KeptRemarks, Said
from paceline.core.work.leader_link import LeaderLink
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.client import ClientMessage
from paceline_protocol.messages.membership import Envelope
from paceline_protocol.messages.records import Assignment, Outcome
from paceline_protocol.messages.trace import Trace
from paceline_protocol.messages.work import Availability
from paceline_protocol.moments import MOMENT_MAX_MS


class NodeCore:
    """One node. See the module's docstring for the order in which the shell calls it."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        *,
        address: str,
        other_addresses: tuple[str, ...] = (),
        spare_cluster_id: str,
        random: RandomSource,
        now: float,
        consensus: Consensus | None = None,
        durable_at_once: bool = False,
        metrics_address: str = "",
        questions: Iterable[Question],
    ) -> None:
        """``spare_cluster_id``: a fresh random id, used if this node forms the cluster. ``consensus``: what a restarted
        node had persisted; None for a blank log. ``durable_at_once``: of a blank log, see Consensus.
        ``metrics_address``: where this node's metrics are served, "" for nowhere. ``questions``: what operators can ask
        this node."""
        self.found: tuple[str, ...] = ()
        self.settings = settings
        self.identity = identity
        self.consensus = consensus or _blank_log(settings, identity, random, now, durable_at_once)
        self.applied = Applied(settings, self.consensus, TaskTable(), journaled=not durable_at_once)
        self.traces = Traces()
        self.leader_link = LeaderLink(settings, identity.incarnation, self.traces, identity.node_id)
        self.remarks = KeptRemarks()
        self._outbox = Outbox()
        self._pacing = Pacing(settings.log_linger_s, now)
        self._clock = WallClock()
        self._deadlines = Deadlines(self._clock)
        self._durable_at_once = durable_at_once
        self.peering = Peering(settings, identity, self._outbox, address=address, spare_cluster_id=spare_cluster_id)
        self.leader_link.level_of = self.peering.directory.level_of
        self.leader_link.on_drain = lambda ends_at: self._deadlines.set(DRAIN, ends_at)
        self.peering.directory.own_metrics_address = metrics_address
        self.peering.directory.own_others = other_addresses
        self.levels = Levels(settings, identity, self.consensus, self.peering.directory)
        self.role = LeaderRole(
            settings,
            self.consensus,
            self.applied,
            self.peering,
            self.levels,
            self.leader_link,
            self.traces,
            self._outbox,
            self._deadlines,
            self._clock,
            random,
            now,
        )
        self.violations = Violations(self._outbox)
        self._work = WorkExchange(
            identity.node_id,
            self.consensus,
            self.levels,
            self.leader_link,
            self.remarks,
            self.traces,
            self._outbox,
            self.violations,
        )
        self._peers = PeerConversation(
            identity, self.peering, self.consensus, self.levels, self._work, self.role, self.violations
        )
        self.clients = ClientConversation(
            settings,
            identity,
            self.peering.directory,
            self.role,
            self.leader_link.slots.tally,
            self.traces,
            self._outbox,
            questions,
            lambda question, key, request, now: question.answer(self, key, request, now),
        )
        self._begin(now)

    def _begin(self, now: float) -> None:
        """Everything that is done regularly is due at once."""
        for deadline in (CONSENSUS, HELLO, REVIEW):
            self._deadlines.set(deadline, now)
        if self.identity.formed and not self.consensus.log.last_index:
            # A crash came before the first entry was durable, and after others had joined.
            self.consensus.bootstrap(now)

    @property
    def node_id(self) -> str:
        return self.identity.node_id

    @property
    def leader(self) -> Leader | None:
        """This node's leading half, None unless it leads."""
        return self.role.leader

    @property
    def table(self) -> TaskTable:
        return self.applied.table

    def leader_id(self, now: float) -> str:
        """The leader that this node would send a client to; "" if it knows of none."""
        return self.role.leader_id(now)

    # --- events -------------------------------------------------------------------------------------------------

    def on_client(self, key: bytes, message: ClientMessage, now: float) -> None:
        """A client's message, on the connection ``key``. Raises ProtocolError for calls that are malformed."""
        self._pacing.after(self.clients.hear(key, message, now), now)

    def on_client_described(self, key: bytes, holder: str, about: About, now: float) -> None:
        """A client says what it is, beside what it asks. ``holder``: whose key its connection showed."""
        self.clients.known.told(key, holder, about, now)

    def on_client_gone(self, key: bytes) -> None:
        """The connection can't be reached any more."""
        self._pacing.after(self.clients.gone(key), -inf)

    def on_address(self, address: str, *, seed: bool = False) -> None:
        """Discovery, or a person, named an address."""
        self.peering.directory.add_address(address, seed=seed)
        self._pacing.after(AT_ONCE, -inf)

    def on_own_addresses(self, address: str, others: tuple[str, ...], metrics_address: str) -> None:
        """Others reach this node elsewhere from now on: at ``address``, and perhaps at ``others``."""
        self.peering.directory.moved(address, others)
        self.peering.directory.own_metrics_address = metrics_address
        self._pacing.after(AT_ONCE, -inf)

    def is_voters(self, address: str) -> bool:
        """Whether a voter is sent to at this address."""
        address_of = self.peering.directory.address_of
        return any(address_of(voter) == address for voter in self.consensus.config.voters)

    def on_search(self, lines: tuple[str, ...]) -> None:
        """What the search for other nodes has found, for people. Empty once a leader is known."""
        self.found = lines

    def on_peer(self, envelope: Envelope, messages: Sequence[PeerMessage], now: float) -> None:
        """A batch from a peer."""
        urgency = AT_ONCE
        try:
            urgency = self._peers.hear(envelope, messages, now)
        finally:  # what the messages before a malformed one have led to must leave all the same
            self._pacing.after(urgency, now)
            if urgency >= ANSWER:
                self._deadlines.set(CONSENSUS, self.consensus.next_deadline())

    def on_worker_ready(self, worker_id: bytes, names: tuple[str, ...]) -> None:
        """A worker can run tasks."""
        self.leader_link.worker_ready(worker_id, names)
        self._pacing.after(AT_ONCE, -inf)

    def on_worker_done(self, worker_id: bytes, outcomes: tuple[Outcome, ...], now: float) -> None:
        """A worker answered."""
        self.leader_link.worker_done(worker_id, outcomes, now)
        self._pacing.after(TASK, now)

    def on_worker_cleans_up(self, worker_id: bytes, outcomes: tuple[Outcome, ...], now: float) -> None:
        """A worker answered, and ends what the last of these tasks has left."""
        self.leader_link.worker_cleans_up(worker_id, outcomes, now)
        self._pacing.after(TASK, now)

    def on_worker_waits(self, worker_id: bytes, task_id: bytes, waits_for: bytes, now: float) -> None:
        """A worker's task does nothing before another one has ended."""
        self.leader_link.worker_waits(worker_id, task_id, waits_for, now)
        self._pacing.after(ANSWER, -inf)

    def on_worker_goes_on(self, worker_id: bytes, task_id: bytes) -> None:
        """A worker's task goes on which waited."""
        self.leader_link.worker_goes_on(worker_id, task_id)
        self._pacing.after(ANSWER, -inf)

    def on_names_changed(self) -> None:
        """The last worker that could run some name leaves, or one serves that can run another."""
        self.leader_link.account_changed()
        self._pacing.after(AT_ONCE, -inf)

    def on_all_busy(self) -> None:
        """All workers are busy, and this node may have more: ask for how many there would be use."""
        self.leader_link.ask_for_demand()
        self._pacing.after(AT_ONCE, -inf)

    def on_worker_trace(self, trace: Trace) -> None:
        """A worker has sent the stamps of a sampled task. The outcome follows, and nothing is done before that."""
        self.traces.add(trace)

    def on_worker_remarks(self, worker_id: bytes, said: Sequence[Said], now: float) -> None:
        """Tasks of this worker say something of themselves. What is of no attempt that it has, or had, counts for
        nothing; and nothing is done for the rest before somebody asks for it."""
        remarks, slots = self.remarks, self.leader_link.slots
        now_ms = min(max(0, self._clock.ms(now)), MOMENT_MAX_MS)
        for each in said:
            if slots.has(worker_id, each[0], each[1]) or remarks.is_of(worker_id, each[0], each[1]):
                remarks.add(worker_id, each, now, now_ms)
        if remarks.is_full:
            remarks.make_room(slots.running_ids())

    def on_worker_lost(
        self,
        worker_id: bytes,
        how: str,
        now: float,
        successor: tuple[bytes, tuple[str, ...]] | None = None,
        begun: int | None = None,
        blamed: int = 0,
    ) -> None:
        """A worker died. ``successor``: a worker that is ready in its place, and the names of its tasks. ``begun``: how
        many tasks the one that died had begun; None: not known. ``blamed``: see :meth:`Slots.worker_lost`."""
        self.leader_link.worker_lost(worker_id, how, now, successor, begun, blamed)
        self._pacing.after(AT_ONCE, now)

    def persisted(self, seq: int) -> None:
        """The Persist of this number, and all before it, are durable."""
        self.consensus.persisted(seq)
        self._deadlines.set(CONSENSUS, self.consensus.next_deadline())
        self._pacing.after(ANSWER, -inf)

    def transfer_leadership(self, now: float, to: str = "") -> str:
        """See LeaderRole.transfer."""
        is_under_way = self.consensus.transfer_target(now) != ""
        voter = self.role.transfer(now, to)
        if voter and not is_under_way:
            self._pacing.after(ANSWER, now)
        return voter

    def drain(self, now: float, lasts_s: float) -> None:
        """The process of this node is to end: from now on it takes no tasks, and another leads if one can. What it runs
        may end until ``lasts_s`` have passed; then that is given back, and its workers are to be killed."""
        self.leader_link.set_availability(Availability.ENDS, now, lasts_s)
        self.role.give_way(now)
        self._pacing.after(AT_ONCE, now)

    def has_drained(self, now: float) -> bool:
        """Whether nothing is left to do here before this process ends: whoever leads waits for nothing that is here,
        and knows that this node takes nothing; and it does not lead itself, or nobody else can."""
        link, leader_id = self.leader_link, self.leader_id(now)
        if not self.identity.cluster_id:
            return True
        # A node that replicates nothing hears of later leaders by their Beats alone.
        is_latest = link.leader == leader_id or link.term > self.consensus.term
        is_told = link.leader != "" and is_latest and link.term >= self.role.term()
        return is_told and link.has_drained and not self.role.is_to_give_way(now)

    # --- time ---------------------------------------------------------------------------------------------------

    def on_wall_clock(self, offset_s: float) -> None:
        """The wall clock is ``offset_s`` seconds ahead of the clock of ``now``. The shell calls this in each turn. Its
        only effect is that other moments may be due."""
        self._clock.offset_s = offset_s

    def wall_clock_ms(self, now: float) -> int:
        """What the wall clock shows, in milliseconds since 1970."""
        return self._clock.ms(now)

    def next_deadline(self) -> float:
        """When tick or take_effects has something to do, if the wall clock is not set before. It may come early and
        find nothing due; it never comes late."""
        if self.applied.is_busy or self.role.takeover is not None:
            return -inf
        leader, due = self.role.leader, min(self._deadlines.next(), self.leader_link.slots.limits.next_at)
        if leader is not None:
            if leader.sessions.is_behind:
                return -inf
            if leader.due < due:
                due = leader.due
            if leader.dispatcher.opens_at < due:
                due = leader.dispatcher.opens_at
        return due if due < self._pacing.effects_at else self._pacing.effects_at

    def is_moment_due(self, now: float) -> bool:
        """Whether tick has something to do though no deadline has passed: the wall clock was set forward."""
        return self._deadlines.is_moment_due(now)

    def effects_due(self, now: float) -> bool:
        """Whether it is time for take_effects. To call it earlier is allowed, and costs more."""
        return now >= self._pacing.effects_at

    def tick(self, now: float) -> None:
        """Do what is due."""
        role = self.role
        if self.applied.is_busy and self.applied.step():
            self._pacing.after(ANSWER, now)
        if role.takeover is not None:
            role.review(now)
            if role.leader is not None:
                self._pacing.after(AT_ONCE, now)
        if role.leader is not None and now >= role.leader.due:
            self._pacing.after(AT_ONCE, now)
        if role.leader is not None and now >= role.leader.dispatcher.opens_at:
            role.leader.dispatcher.opens_at = inf  # until it hands out again, which may have to wait for the log
            self._pacing.after(ANSWER, now)
        if self._deadlines.is_moment_due(now) and role.leader is not None:
            role.leader.meet_moments(now)
            self._pacing.after(AT_ONCE, now)
        if self._deadlines.is_any_due(now):
            self._meet_deadlines(now)
            self._pacing.after(AT_ONCE, now)

    def _meet_deadlines(self, now: float) -> None:
        role, deadlines, settings = self.role, self._deadlines, self.settings
        heartbeat = self.consensus.tick(now)
        role.review(now)
        if deadlines.is_due(HELLO, now):
            deadlines.set(HELLO, now + settings.hello_interval_s)
            self._peers.meet(now)
        role.tick(now, heartbeat=heartbeat)
        if deadlines.is_due(DRAIN, now):
            deadlines.set(DRAIN, inf)
            self.leader_link.slots.give_up()
        if deadlines.is_due(REVIEW, now):
            deadlines.set(REVIEW, now + settings.gossip_interval_s)
            self._outbox.forget_addresses(self.peering.directory.forget_silent(now))
            if role.leader is not None:
                role.leader.expire_sessions(now)
            if self.remarks:
                self.remarks.forget(self.leader_link.slots.running_ids(), now)
        deadlines.set(CONSENSUS, self.consensus.next_deadline())

    # --- what leaves --------------------------------------------------------------------------------------------

    def take_urgent(self, now: float) -> Urgent:
        """Take the effects that wait for nothing, not even for the log. Taking them before take_effects makes a round
        trip shorter: a client or worker goes on while the rest of the turn is done."""
        leader = self.role.leader
        self._work.pass_on(leader, now)
        if leader is not None and leader.recording.is_awaited:
            self._pacing.after(AT_ONCE, now)
        to_workers = self._assigned(now) if self.leader_link.slots.has_waiting else []
        to_peers: list[PeerBatch] = []
        if self._outbox.messages and not self.effects_due(now):  # otherwise they leave in one batch with the rest
            to_peers = self._peers.batches(self._outbox.take_messages())
        return to_workers, to_peers, self.clients.take_replies(now)

    def _assigned(self, now: float) -> list[tuple[bytes, tuple[Assignment, ...]]]:
        given = self.leader_link.assign(now)
        if self.leader_link.outbox:  # what has started, or comes back: the leader waits for that
            self._pacing.after(ANSWER, now)
        return given

    def take_effects(self, now: float) -> Effects:
        """Take all effects of the events so far. The caller carries them out in the order of :class:`Effects`."""
        role = self.role
        # The voter that is to lead needs all of the log, so that the log stands still for once.
        is_transferring = role.leader is not None and self.consensus.transfer_target(now) != ""
        if role.leader is not None:
            role.leader.set_logging(not is_transferring, now)
        is_log_due = self._pacing.take(now, log_stands_still=is_transferring)
        role.review_if_changed(now)
        self._work.pass_on(role.leader, now)
        if is_log_due and role.leader is not None:
            role.leader.log(now)
        ready = self.consensus.take_ready()
        self._outbox.send_all(ready.send_now)
        if self._durable_at_once:  # then there is nothing to wait for, and what goes to one peer goes together
            self._outbox.send_all(ready.send_after)
            ready.send_after = []
        self._apply(ready, now)
        if role.leader is not None:
            role.leader.durable(self.consensus.durable_index)
            if role.leader.nodes.outbox or role.leader.goes_on():
                self._work.pass_on(role.leader, now)  # what waited for its start to be logged, or for the log to move
            if role.leader.recording.is_awaited and not is_transferring:
                self._pacing.after(AT_ONCE, now)
        role.review_if_changed(now)
        if ready.snapshots_wanted:
            self.applied.want(ready.snapshots_wanted)
        return self._effects(ready, now)

    def _apply(self, ready: Ready, now: float) -> None:
        if ready.committed or ready.snapshot is not None:
            self.applied.apply(ready.snapshot, ready.committed)
            if ready.committed and self.role.leader is not None:
                self.role.leader.applied(ready.committed[-1].index, now)

    def _effects(self, ready: Ready, now: float) -> Effects:
        outbox, peers = self._outbox, self._peers
        effects = outbox.take_effects()
        effects.persist = ready.persist
        effects.save_snapshot, self.applied.to_save = self.applied.to_save, None
        if self.leader_link.slots.has_waiting:
            effects.to_workers = self._assigned(now)
        effects.to_clients = self.clients.take_replies(now)
        if outbox.hellos:
            effects.to_peers = peers.hellos(outbox.take_hellos())
        effects.to_peers += self._batches()
        if ready.send_after:
            outbox.send_all(ready.send_after)
            effects.after_persist = self._batches()
        return effects

    def _batches(self) -> list[PeerBatch]:
        """What there is to send to peers."""
        outbox, peers = self._outbox, self._peers
        batches = peers.batches(outbox.take_quick(), is_quick=True) if outbox.quick else []
        if outbox.messages:
            batches += peers.batches(outbox.take_messages())
        return batches


def _blank_log(
    settings: Settings, identity: Identity, random: RandomSource, now: float, durable_at_once: bool
) -> Consensus:
    """Of a node that has persisted nothing."""
    return Consensus(
        identity.node_id,
        timing=settings.timing,
        random=random,
        now=now,
        durable_at_once=durable_at_once,
        feature_level=settings.feature_level,
    )
