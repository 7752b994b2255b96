"""A node's end of its conversation with the leader. It takes dispatched tasks, gives accounts of the node, and reports
outcomes until the leader has recorded them.

The node trusts the leader of the highest term that it has heard of, and ignores everything from an earlier term. So a
deposed leader can't start a task here. A term may be claimed by a node that nobody elected: it is given up once that
node is silent and the leader of the same or an earlier term proves that it leads now (:meth:`LeaderLink._is_refuted`),
or at once if the log knows who leads in that term (:meth:`LeaderLink.elected`).

Links lose, repeat and reorder messages. Four numbers repair that, and each Beat repeats them until both sides agree:
the account version (has the leader the node's latest Enrol?), the dispatch sequence (has the node received every
Dispatch?) and two of the outcome sequence (which reported outcomes has the leader seen, and which has it recorded?).

What is seen is not reported to the same leader again, however long its log stands still, and kept until it is recorded:
the next leader is told all of it. What is on its way and not seen is bounded (``Settings.outcome_window_bytes``), so
that results which are large for the link wait here, and not in front of all else that the link carries. If nothing
arrives for as long as that should take, all of it is reported again from the first that was not seen, since a leader
takes nothing behind a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from paceline.core.feature_levels import FIRST_LEVEL
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.measures.traces import Traces
from paceline.core.raft.terms import TERM_STEP
from paceline.core.settings import Settings
from paceline.core.work.slots import Slots
from paceline.core.work.unrecorded import UnrecordedBatch, batches_of
from paceline_protocol.codec import encode_held
from paceline_protocol.errors import PeerViolation
from paceline_protocol.limits import LINK_BYTES_PER_S, MAX_BATCH_ITEMS
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd
from paceline_protocol.messages.work import (
    DEMAND_LEVEL,
    MAX_DRAIN_MS,
    PARKED_LEVEL,
    QUIET_LEVEL,
    Availability,
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
    OwnSchedules,
    Parked,
    Revoke,
    Revoked,
    SchedulesHeard,
    SetAvailability,
    Stopping,
    StopTasks,
    WorkMessage,
)
from paceline_protocol.options import (
    ASYNC_LEVEL,
    DEFAULTS_LEVEL,
    LIMITS_LEVEL,
    MODULE_SCHEDULES_LEVEL,
    PLACES_LEVEL,
    QUEUES_LEVEL,
)

ANNOUNCE_S = 1.0
"""Schedules of modules are announced again so often, until the leader has them."""


def _unknown_level(node_id: str) -> int:
    return FIRST_LEVEL


def _nobody(ends_at: float) -> None:
    """Whoever has a link alone looks at its clock itself."""


class LeaderLink:
    """One node's link to whichever node leads. The caller empties ``outbox`` and sends it to ``leader``, in ``term``;
    batches of outcomes leave as NodeOutcomes. ``level_of``: the feature level that a node understands; the caller sets
    it, and ``on_drain``."""

    def __init__(self, settings: Settings, incarnation: int, traces: Traces | None = None, own_id: str = "") -> None:
        """``incarnation``: grows with each start of this node id. The link's numbers begin above it, so they grow
        across restarts, too. ``own_id``: of the node that has this link, which needs no window if it leads itself."""
        first = incarnation << INCARNATION_SHIFT
        self._settings = settings
        self.slots = Slots(
            first + 1,
            traces,
            settings.payload_limit_bytes,
            settings.worker_max_tasks,
            settings.async_slots,
            settings.amounts,
            settings.units,
            settings.max_parked,
        )
        self._held = self.slots.held
        self.term = 0
        self._min_term = 0
        self.leader = ""
        self.heard_at = float("-inf")
        self.outbox: list[WorkMessage | UnrecordedBatch] = []
        self.aside: list[tuple[str, WorkMessage]] = []  # for other nodes than the leader; emptied as well
        self.level_of: Callable[[str], int] = _unknown_level
        self.on_drain: Callable[[float], None] = _nobody  # when Slots.give_up is to be called, inf: it is not
        self._leader_level = FIRST_LEVEL  # for which the last account was made
        self._account = first
        self._account_heard = 0  # by the leader that is followed, as far as it has said
        self._is_heard = False  # by that leader, as its last Beat says
        self._serving = 0  # workers that the account offers
        self._async_serving = 0  # places at async workers, likewise
        self._first_seq = first
        self._schedules = self._schedules_heard = first  # the version of what is announced, and what the leader has
        self._announce_at = 0.0
        self._end_seq = first + (1 << INCARNATION_SHIFT)  # the numbers of the next incarnation begin there
        self._proof: tuple[str, int, int] | None = None  # of whom, in which term, which account has to be named
        self._dispatch_seq = first
        self._own_id = own_id
        self._is_local = False  # the leader is in this process: what is reported has arrived
        self._outcome_seq = first  # recorded, as far as any leader has said
        self._seen = first  # by the leader that is followed, as far as it has said
        self._seen_bytes = 0  # of all batches up to there
        self._reported = first  # to the leader that is followed
        self._progress_at = 0.0  # since then it has seen nothing new, or all that was reported
        self.more_wanted = 0  # workers, as a leader has said; emptied by the caller
        self._parked_number = first  # of what the leader was told last of parked tasks
        self._told_parked: tuple[tuple[bytes, bytes], ...] = ()
        self._recheck_seq = 0  # the leader gets a new account once outcomes up to this seq are recorded; 0: none

    # --- from the leader ----------------------------------------------------------------------------------------

    def on_beat(self, sender: str, beat: Beat, now: float) -> None:
        """A Beat of the leader: find out what either side has missed."""
        seen = max(beat.outcome_seen, beat.outcome_seq)
        if seen >= self._held.next_seq or beat.dispatch_seq >= self._end_seq:
            raise PeerViolation(f"dispatch {beat.dispatch_seq} and outcomes {seen}, which there are not")
        is_other = beat.term < self.term or (beat.term == self.term and sender != self.leader)
        if is_other and self._is_refuted(sender, beat, now):
            self._enter(sender, beat.term, now)
        if not self._follow(sender, beat.term, now):
            return
        self._account_heard = max(self._account_heard, beat.account)
        self._is_heard = beat.account > self._first_seq
        if beat.dispatch_seq > self._dispatch_seq:
            self._dispatch_seq = beat.dispatch_seq
            self._renew_account()
        self.slots.review(now)
        self._give_back()
        is_other = self.slots.serving != self._serving or self.slots.async_serving != self._async_serving
        if is_other or self.level_of(self.leader) != self._leader_level:
            self._renew_account()
        self._leader_saw(seen, now)
        self._outcome_seq = max(self._outcome_seq, beat.outcome_seq)
        lost = self._held.recorded(beat.outcome_seq)
        if lost or 0 < self._recheck_seq <= beat.outcome_seq:
            self._recheck_seq = 0
            self._account += 1
        slots = self.slots
        self.outbox.append(NodeBeat(self.term, self._dispatch_seq, slots.slots, slots.running_tasks, slots.waiting))
        if self._parked_number > self._first_seq:
            self._tell_parked()
        if slots.starts:
            slots.starts.forget_all_but(self._held.attempts)
            self._tell_begun(list(slots.starts.started.items()))
        if beat.account < self._account:
            self._enrol()  # which may wait behind outcomes: the NodeBeat does not
        if self.slots.has_other_schedules:
            self.slots.has_other_schedules = False
            self._schedules += 1
            self._announce_at = now
        if self._schedules_heard < self._schedules:
            self._announce_schedules(now)
        self._report_more(now)

    def on_dispatch(self, sender: str, dispatch: Dispatch, now: float) -> None:
        """Tasks to run. If a Dispatch before this one is missing, or no worker is left, the node answers with an
        account, so that the leader dispatches those tasks again."""
        if dispatch.seq >= self._end_seq:
            raise PeerViolation(f"dispatch {dispatch.seq}, and this incarnation's end at {self._end_seq}")
        if not self._follow(sender, dispatch.term, now) or dispatch.seq <= self._dispatch_seq:
            return
        gap = dispatch.seq > self._dispatch_seq + 1
        self._dispatch_seq = dispatch.seq
        for outcome in self.slots.take(dispatch.tasks, now, dispatch.seq):
            self._report([outcome], now)
        if gap or self.slots.has_dropped:
            self.slots.has_dropped = False
            self.account_changed()

    def on_revoke(self, sender: str, revoke: Revoke, now: float) -> None:
        """Give back the tasks that no worker has, and name those that have begun. What stands behind another task at a
        worker is given back as soon as nobody can begin it. If an answer is lost, the next account tells the leader the
        same."""
        if self._follow(sender, revoke.term, now):
            self.slots.review(now)
            given_back, kept = self.slots.revoke(revoke.ids)
            self._answer_revoke(given_back, kept)

    def on_stop_tasks(self, sender: str, stop: StopTasks, now: float) -> None:
        """As :meth:`on_revoke`; and what has begun is asked to stop."""
        if self._follow(sender, stop.term, now):
            self.slots.review(now)
            given_back, stopping = self.slots.stop(stop.tasks, now)
            self._answer_revoke(given_back)
            if stopping:
                self.outbox.append(Stopping(self.term, stopping))

    def _answer_revoke(self, given_back: tuple[bytes, ...], kept: tuple[bytes, ...] = ()) -> None:
        if given_back or kept:
            self.outbox.append(Revoked(self.term, given_back, kept))
        if given_back:
            self._renew_account()

    def _give_back(self) -> None:
        """Answer for the tasks that the leader had asked for, and that have come back from their workers, and for those
        that can't start any more."""
        if self.slots.given_back:
            given_back, self.slots.given_back = self.slots.given_back, []
            self._answer_revoke(tuple(given_back))

    def _follow(self, sender: str, term: int, now: float) -> bool:
        """Whether the sender leads, as far as this node knows. A new leader gets an account and all unrecorded
        outcomes. Raises PeerViolation for a second leader of one term, and for a term that no election has made."""
        if term < self.term or term < self._min_term:
            return False
        if term > self.term:
            if term > max(self.term, self._min_term) + TERM_STEP:
                raise PeerViolation(f"term {term}, and this node knows of {max(self.term, self._min_term)}")
            self._enter(sender, term, now)
        elif sender != self.leader:
            raise PeerViolation(f"it leads in term {term}, and {self.leader} does")
        self.heard_at = now
        return True

    def _enter(self, sender: str, term: int, now: float) -> None:
        self.term = term
        self.leader = sender
        self._dispatch_seq = self._first_seq
        self._proof = None
        self._account_heard = 0
        self._is_heard = False
        self._schedules_heard, self._announce_at = self._first_seq, 0.0
        self._is_local = sender == self._own_id
        self._seen = self._reported = self._outcome_seq
        self._seen_bytes = self._held.bytes_through(self._outcome_seq)
        self.account_changed()
        self._report_more(now)

    def _is_refuted(self, sender: str, beat: Beat, now: float) -> bool:
        """Whether this Beat of another node, in the term that is followed here or an earlier one, shows that who is
        followed does not lead.

        While somebody does, no leader of an earlier term beats for longer than its lease, which is shorter than the
        node timeout. So once the leader of the later term has been silent for that long, whoever beats and was never
        elected out of office is asked for a proof that its Beat is of now, and no late copy: it is sent an account
        under a new version, and has to name that.
        """
        if beat.term < self._min_term or now < self.heard_at + self._settings.node_timeout_s:
            return False
        if self._proof is None or self._proof[:2] != (sender, beat.term):
            self._account += 1
            self._proof = (sender, beat.term, self._account)
        elif beat.account >= self._proof[2]:
            return True
        self.aside.append((sender, self._account_for(sender, beat.term, self._first_seq)))
        return False

    def elected(self, leader: str, now: float) -> None:
        """The log knows who was elected in the term that this node follows: it is not the one that claimed it first."""
        self._enter(leader, self.term, now)

    def reject_before(self, term: int) -> None:
        """Consensus has seen ``term``: from now on no leader of an earlier term may dispatch to this node."""
        self._min_term = max(self._min_term, term)

    # --- from the workers ---------------------------------------------------------------------------------------

    def worker_ready(self, worker_id: bytes, names: tuple[str, ...]) -> None:
        """A worker is ready for tasks."""
        self.slots.worker_ready(worker_id, names)
        self.account_changed()

    def worker_done(self, worker_id: bytes, outcomes: tuple[Outcome, ...], now: float) -> None:
        """A worker answered."""
        known = self.slots.done(worker_id, outcomes, now)
        if known:
            self._report(known, now)
        self._give_back()

    def take_back(self, worker_id: bytes, begun: int, now: float) -> int:
        """See :meth:`Slots.take_back`."""
        through = self.slots.take_back(worker_id, begun, now)
        self._give_back()
        return through

    def worker_cleans_up(self, worker_id: bytes, outcomes: tuple[Outcome, ...], now: float) -> None:
        """A worker answered, and ends what the last of these tasks has left."""
        known = self.slots.cleans_up(worker_id, outcomes, now)
        if known:
            self._report(known, now)
        self._give_back()

    def worker_waits(self, worker_id: bytes, task_id: bytes, waits_for: bytes, now: float) -> None:
        """A task waits for another one."""
        if self.slots.waits(worker_id, task_id, waits_for, now):
            self._parked_changed()

    def worker_goes_on(self, worker_id: bytes, task_id: bytes) -> None:
        """A task goes on which waited."""
        if self.slots.goes_on(worker_id, task_id):
            self._parked_changed()

    def _parked_changed(self) -> None:
        """Tell the leader which tasks are parked, if that is news."""
        if self.slots.parking.tasks != self._told_parked:
            self._tell_parked()

    def _tell_parked(self) -> None:
        if not self.leader or self.level_of(self.leader) < PARKED_LEVEL:
            return
        self._parked_number += 1
        self._told_parked = self.slots.parking.tasks
        if self.outbox and isinstance(self.outbox[-1], Parked):
            self.outbox.pop()
        self.outbox.append(Parked(self.term, self._parked_number, self._told_parked))

    def worker_lost(
        self,
        worker_id: bytes,
        how: str,
        now: float,
        successor: tuple[bytes, tuple[str, ...]] | None = None,
        begun: int | None = None,
        blamed: int = 0,
    ) -> None:
        """A worker died. The attempts that it had begun are reported as lost, but for those that ended by it.
        ``successor``: the worker that is ready in its place, and the names of the tasks that it can run. ``begun``: how
        many tasks it has begun; None: not known."""
        if successor is not None:  # before the loss: with its last worker a node drops its queue
            self.slots.worker_ready(*successor, in_place_of=worker_id)
        over = self.slots.limits.worker_lost(worker_id)
        lost = self.slots.worker_lost(worker_id, begun, None if over is None else over.outcome(now), now, blamed)
        if self.slots.ended:
            ended, self.slots.ended = self.slots.ended, []
            self._report(ended, now)
        if lost:
            detail = how.encode()
            self._report([(task_id, attempt, TaskEnd.LOST, detail, 0) for task_id, attempt in lost], now)
        self._give_back()
        self.account_changed()

    def assign(self, now: float) -> list[tuple[bytes, tuple[Assignment, ...]]]:
        """Bind queued tasks to free workers; or, of a node that takes none, give back what has come back from them."""
        if not self.slots.draining.takes_tasks:
            if self.slots.let_queue_go():
                self.account_changed()
            return []
        given = self.slots.assign(now)
        self._give_back()
        starts = self.slots.starts
        if starts.news:
            news, starts.news = starts.news, []
            self._tell_begun(news)
        return given

    def _tell_begun(self, tasks: list[tuple[bytes, int]]) -> None:
        """Tell the leader that these tasks with rates have started here."""
        if self.leader and self.level_of(self.leader) >= LIMITS_LEVEL:
            for first in range(0, len(tasks), MAX_BATCH_ITEMS):
                self.outbox.append(Begun(self.term, tuple(tasks[first : first + MAX_BATCH_ITEMS])))

    # --- quiet, and drained -------------------------------------------------------------------------------------

    def set_availability(self, availability: int, now: float, drain_s: float = 0.0) -> None:
        """See :meth:`Draining.change`. What no worker has is given back at once."""
        draining = self.slots.draining
        if draining.change(availability, now, drain_s):
            self.on_drain(draining.ends_at if draining.drains else inf)
            self.slots.let_queue_go()
            self.account_changed()

    def on_set_availability(self, sender: str, wanted: SetAvailability, now: float) -> None:
        """An operator has asked the leader for it, who can end no process."""
        if wanted.drain_ms > MAX_DRAIN_MS or wanted.availability == Availability.ENDS:
            raise PeerViolation(f"availability {wanted.availability}, and a drain of {wanted.drain_ms} ms")
        if self._follow(sender, wanted.term, now):
            self.set_availability(wanted.availability, now, wanted.drain_ms / 1_000)

    @property
    def has_drained(self) -> bool:
        """Whether the node has nothing that the leader waits for, and the leader knows that it takes nothing."""
        held = self._held
        return not (held.attempts or held.unrecorded or not self.has_told)

    @property
    def has_told(self) -> bool:
        """Whether the leader has this node's account, so that each of the two hears the other."""
        return self._account_heard >= self._account

    def is_heard_by(self, leader: str) -> bool:
        """Whether this leader has an account of this process, perhaps not the latest, as its last Beat says. One that
        has given the node up, or that no Beat has come from yet, counts it for nothing."""
        return self._is_heard and leader == self.leader

    # --- schedules of modules -----------------------------------------------------------------------------------

    def _announce_schedules(self, now: float) -> None:
        """Tell the leader which schedules come with the modules of this node, if it understands that."""
        level = self.level_of(self.leader)
        if level < MODULE_SCHEDULES_LEVEL or now < self._announce_at:
            return
        self._announce_at = now + ANNOUNCE_S
        self.outbox.append(OwnSchedules(self.term, self._schedules, self.slots.schedules(level)))

    def on_schedules_heard(self, sender: str, heard: SchedulesHeard, now: float) -> None:
        """The leader has them."""
        if heard.version > self._schedules:
            raise PeerViolation(f"version {heard.version} of schedules, and there is {self._schedules}")
        if self._follow(sender, heard.term, now):
            self._schedules_heard = max(self._schedules_heard, heard.version)

    # --- more workers -------------------------------------------------------------------------------------------

    def ask_for_demand(self) -> None:
        """Ask the leader for how many more workers there would be use, if it understands that."""
        if self.leader and self.level_of(self.leader) >= DEMAND_LEVEL:
            self.outbox.append(DemandQuery(self.term))

    def on_demand(self, sender: str, demand: Demand, now: float) -> None:
        """The leader's answer."""
        if self._follow(sender, demand.term, now):
            self.more_wanted = demand.workers

    # --- to the leader ------------------------------------------------------------------------------------------

    def account_changed(self) -> None:
        """Make a new account, and give it to the leader if there is one."""
        self._renew_account()
        if self.leader:
            self._enrol()

    def _renew_account(self) -> None:
        """The next account is another one. If it names tasks as held only since their outcomes are not recorded, one
        more follows when they are: the leader may have dispatched such a task here once more, and that was lost on its
        way, dropped as a copy, or given up. Then nothing else tells the leader that the node does not have it.
        """
        self._account += 1
        self._serving = self.slots.serving
        self._async_serving = self.slots.async_serving
        self._leader_level = self.level_of(self.leader)
        if self._held.unrecorded:
            self._recheck_seq = self._held.unrecorded[-1].seq

    def _enrol(self) -> None:
        self.outbox.append(self._account_for(self.leader, self.term, self._dispatch_seq))

    def _account_for(
        self, leader: str, term: int, dispatch_seq: int
    ) -> Enrol | EnrolWithDefaults | EnrolWithAsync | EnrolWithQueues | EnrolWithPlaces | EnrolQuiet:
        slots = self.slots
        held = encode_held(self._held.account())
        names, runs_tasks = slots.names(), self._settings.runs_tasks
        enrol = Enrol(term, self._account, dispatch_seq, self._outcome_seq, slots.serving, names, held, runs_tasks)
        level = self.level_of(leader)
        if level < DEFAULTS_LEVEL:
            return enrol
        defaults, draining = slots.defaults(level), slots.draining
        if not draining.takes_tasks and level >= QUIET_LEVEL:
            return EnrolQuiet(*enrol, defaults, draining.availability, draining.left_ms(self.heard_at))
        settings = self._settings
        tags, amounts = (settings.tags, settings.amounts) if level >= PLACES_LEVEL else ("", "")
        queues = settings.queues if level >= QUEUES_LEVEL else ()
        if tags or amounts or queues:
            async_names = slots.async_names() if slots.has_async_tasks else ()
            said = EnrolWithQueues(*enrol, defaults, slots.async_serving, async_names, queues)
            return EnrolWithPlaces(*said, tags, amounts) if tags or amounts else said
        if level < ASYNC_LEVEL or not (slots.has_async_tasks and draining.takes_tasks):
            return EnrolWithDefaults(*enrol, defaults)
        return EnrolWithAsync(*enrol, defaults, slots.async_serving, slots.async_names())

    def _report(self, items: list[Outcome], now: float) -> None:
        for outcomes in batches_of(items):
            batch = self._held.report(outcomes)
            if self.leader and batch.seq == self._reported + 1 and self._has_room(batch):
                self._send(batch, now)

    def _has_room(self, batch: UnrecordedBatch) -> bool:
        """Whether the batch may follow those that are reported and not seen."""
        if self._is_local or batch.seq == self._seen + 1:
            return True
        return batch.begins_at + batch.size_bytes - self._seen_bytes <= self._settings.outcome_window_bytes

    def _send(self, batch: UnrecordedBatch, now: float) -> None:
        if self._reported == self._seen:
            self._progress_at = now
        self._reported = batch.seq
        self.outbox.append(batch)

    def _leader_saw(self, seq: int, now: float) -> None:
        """The batches up to ``seq`` have arrived. To a leader that is followed again that may be more than it was
        reported this time."""
        if seq > self._seen:
            self._seen_bytes = self._held.bytes_through(seq)
            self._seen = seq
            self._reported = max(self._reported, seq)
            self._progress_at = now

    def _is_overdue(self, now: float) -> bool:
        """Whether what is reported and not seen should have arrived by now."""
        if self._reported == self._seen:
            return False
        after_s = self._settings.outcome_resend_s
        if not self._is_local:
            after_s += (self._held.bytes_through(self._reported) - self._seen_bytes) / LINK_BYTES_PER_S
        return now >= self._progress_at + after_s

    def _report_more(self, now: float) -> None:
        """Report what has waited for its turn, and again what is overdue."""
        if self._is_overdue(now):
            self._reported = self._seen
        if self._reported + 1 < self._held.next_seq:
            for batch in self._held.reported_after(self._reported):
                if not self._has_room(batch):
                    break
                self._send(batch, now)
