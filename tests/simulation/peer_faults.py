"""Ways to break a node or a client: each takes what it replaces, and returns what is to stand in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from math import inf
from typing import Any

from paceline.client.session.epoch import Epoch
from paceline.client.session.ledger import CallLedger
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.membership.directory import Directory, Peer
from paceline.core.membership.first_boot import FirstBoot
from paceline.core.membership.starts import Starts
from paceline.core.node import NodeCore
from paceline.core.raft.confirmations import Confirmations
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.election import ElectionTimer
from paceline.core.raft.writes import Writes
from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.draft import Draft, Proposals
from paceline.core.scheduling.leader import Leader
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.nodes import Nodes
from paceline.core.scheduling.recording import Recording
from paceline.core.state import snapshots
from paceline.core.state.results import Results
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline.core.state.tasks import Tasks
from paceline.core.work.held import HeldTasks
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.slots import Slots
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline.core.work.worker_slot import WorkerSlot
from paceline.runtime.journal import writer as journal_writer
from paceline.runtime.reactor import Reactor
from paceline_protocol.codec import decode_calls
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.membership import Consent, ConsentReceived, Envelope, OtherStart
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.work import Beat
from simulation.machines import SimulatedNode

Method = Callable[..., Any]


def always(answer: Any) -> Callable[[Method], Method]:
    return lambda true: lambda self, *args, **kwargs: answer


def skip(true: Method) -> Method:
    return lambda self, *args, **kwargs: None


def property_always(answer: Any) -> Callable[[Any], Any]:
    return lambda true: property(lambda self: answer)


def choose_what_is_announced(true: Method) -> Method:
    def choose(self: Directory, peer: Peer, now: float) -> None:
        peer.address = peer.announced

    return choose


# --- the table ------------------------------------------------------------------------------------------------------


def record_every_outcome(true: Method) -> Method:
    def record(self: Results, table: TaskTable, outcomes: Any) -> None:
        outcomes = list(outcomes)
        again = sum(outcome[0] not in table.tasks for outcome in outcomes)
        true(self, table, outcomes)
        table.totals.ended[TaskEnd.SUCCEEDED] += again

    return record


def drop_by_own_limit(true: Method) -> Method:
    limits_tasks = cycle((3, 30, 300))

    def record(self: Results, table: TaskTable, outcomes: Any) -> None:
        true(self, table, outcomes)
        limit_tasks = vars(self).setdefault("limit_tasks", next(limits_tasks))
        self._release(table, list(self.by_id)[:-limit_tasks])

    return record


def accept_what_is_known(true: Method) -> Method:
    def accept(self: Tasks, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        for task in decoded if decoded is not None else map(Task, decode_calls(data)):
            self.by_id[task.id] = task
            table.totals.accepted += 1

    return accept


def snapshot_without(name: str) -> Callable[[Method], Method]:
    def broken(true: Method) -> Method:
        def init(self: snapshots.Capture, table: TaskTable) -> None:
            true(self, table)
            self._sections = [row for row in self._sections if row[0].name != name]

        return init

    return broken


def raise_alone(true: Any) -> Any:
    return lambda node_ids, levels: max(levels.values())


# --- the leader -----------------------------------------------------------------------------------------------------


def acknowledge_at_once(true: Method) -> Method:
    def on_outcomes(self: Nodes, node_id: str, *args: Any) -> None:
        true(self, node_id, *args)
        if node_id in self.by_id:
            self.by_id[node_id].outcome_seq = self.by_id[node_id].outcome_seen

    return on_outcomes


def end_before_acceptance(true: Method) -> Method:
    return lambda self: true(self)[::-1]


def propose_at_once(true: Method) -> Method:
    def make_room(self: Proposals, size_bytes: int) -> None:
        true(self, size_bytes)
        self._propose_full()

    return make_room


def keep_no_account(true: Method) -> Method:
    def end(self: Proposals, *args: Any, **kwargs: Any) -> None:
        true(self, *args, **kwargs)
        self.kept_bytes = 0

    return end


def count_what_is_on_its_way(true: Method) -> Method:
    def beat(self: Nodes, node_ids: Iterable[str], now: float) -> None:
        true(self, node_ids, now)
        for place, (node_id, each) in enumerate(self.quick):
            assert isinstance(each, Beat)
            self.quick[place] = (node_id, each._replace(dispatch_seq=self.by_id[node_id].dispatch_seq))

    return beat


def have_no_window(true: Method) -> Method:
    def init(
        self: NodeLedger, node_id: str, slots: int, names: frozenset[str], window_bytes: int = 0, **kind: bool
    ) -> None:
        true(self, node_id, slots, names, **kind)

    return init


def start_with_acceptance(true: Method) -> Method:
    def dispatch(self: Leader, now: float) -> None:
        true(self, now)
        self.nodes.start(self.recording._proposals.draft.starting, now)

    return dispatch


def do_not_log_starts(true: Method) -> Method:
    def entries(self: Draft) -> list[tuple[int, bytes, Any]]:
        starting, self.starting = self.starting, []
        found: list[tuple[int, bytes, Any]] = true(self)
        self.starting = starting
        return found or [(EntryKind.ATTEMPT, b"", None)]

    return entries


def take_old_accounts(true: Method) -> Method:
    def on_enrol(self: Nodes, node_id: str, enrol: Any, now: float, *args: Any, **more: Any) -> None:
        state = self.by_id.get(node_id)
        if state is not None and state.account >> INCARNATION_SHIFT == enrol.version >> INCARNATION_SHIFT:
            state.account = min(state.account, enrol.version - 1)
        true(self, node_id, enrol, now, *args, **more)

    return on_enrol


def give_back_whatever_is_missing(true: Method) -> Method:
    def on_enrol(self: Nodes, node_id: str, enrol: Any, *args: Any, **more: Any) -> None:
        true(self, node_id, enrol._replace(dispatch_seq=2**62), *args, **more)

    return on_enrol


def take_any_batch(true: Method) -> Method:
    def on_outcomes(self: Nodes, node_id: str, term: int, seq: int, *args: Any) -> None:
        if node_id in self.by_id:
            self.by_id[node_id].outcome_seen = seq - 1
        true(self, node_id, term, seq, *args)

    return on_outcomes


def release_early(true: Method) -> Method:
    return lambda self, ack, now: true(self, 2**62, now)


def keep_credit(true: Method) -> Method:
    def take(self: NodeLedger, task: Task) -> None:
        self.held[b"leak" + task.id] = self.held.pop(task.id)

    return take


def lose_any_attempt(true: Method) -> Method:
    def attempts_lost(self: Recording, outcomes: Any, node_id: str, now: float) -> None:
        live = self._tasks.live
        true(self, [(o[0], live[o[0]].attempt if o[0] in live else o[1], *o[2:]) for o in outcomes], node_id, now)

    return attempts_lost


def attempts_more(count: int) -> Callable[[Method], Method]:
    """The limit of lost attempts that somebody asked for is another."""

    def broken(true: Method) -> Method:
        def attempt_limit(self: Task, default: int) -> int:
            asked = self.options is not None and "max_attempts" in self.options.wire
            return int(true(self, default)) + (count if asked else 0)

        return attempt_limit

    return broken


def count_again(true: Method) -> Method:
    """An attempt that an earlier leader has logged as lost is counted once more."""

    def lose_attempt(self: LiveTasks, task: Task, limit: int, now: float) -> bool:
        task.attempt = max(task.attempt, task.lost_attempts + 1)
        return bool(true(self, task, limit, now))

    return lose_attempt


def acknowledge_only(true: Method) -> Method:
    """Whoever acknowledges is not looked at again."""
    return lambda self, session, ack, now: session.acknowledge(ack, now)


def overlook_recovered(true: Method) -> Method:
    """Of the tasks of earlier leaders, until they are handed out."""

    def whereabouts(leader: Leader, task_id: bytes, now: float) -> Any:
        task = leader.tasks.live.get(task_id)
        return true(leader, b"?" * 16 if task is not None and task.is_recovered else task_id, now)

    return whereabouts


def say_unknown(true: Method) -> Method:
    """A task that runs is called unknown."""
    return lambda self, task_id: None


def never_end_the_lease(true: Method) -> Method:
    """Whoever was elected counts as heard by a majority for good."""
    return lambda self, now: inf


def count_answers_as_of_now(true: Method) -> Method:
    """Whatever arrives says that its sender follows now."""

    def answered(self: Confirmations, peer: str, number: int) -> float | None:
        true(self, peer, number)
        return max(self._asked_at.values(), default=None)

    return answered


# --- the nodes ------------------------------------------------------------------------------------------------------


def follow_anyone(true: Method) -> Method:
    def follow(self: LeaderLink, sender: str, term: int, now: float) -> bool:
        if term < self.term:
            self.heard_at = now
            return True
        return bool(true(self, sender, term, now))

    return follow


def take_twice(true: Method) -> Method:
    def on_dispatch(self: LeaderLink, sender: str, dispatch: Any, now: float) -> None:
        self._dispatch_seq = min(self._dispatch_seq, dispatch.seq - 1)
        self._held.attempts = {}
        true(self, sender, dispatch, now)

    return on_dispatch


def number_from_zero(true: Method) -> Method:
    def init(self: LeaderLink, settings: Any, incarnation: int) -> None:
        true(self, settings, incarnation)
        self._first_seq = self._dispatch_seq = 0

    return init


def forget_outcomes(true: Method) -> Method:
    def report(self: HeldTasks, items: Any) -> Any:
        batch = true(self, items)
        self.unrecorded.clear()
        for item in items:
            self.attempts.pop(item[0], None)
        return batch

    return report


def take_seen_for_recorded(true: Method) -> Method:
    def on_beat(self: LeaderLink, sender: str, beat: Any, now: float) -> None:
        true(self, sender, beat._replace(outcome_seq=max(beat.outcome_seq, beat.outcome_seen)), now)

    return on_beat


def tell_nobody_again(true: Method) -> Method:
    """A new leader is not told what the one before had seen."""

    def enter(self: LeaderLink, sender: str, term: int, now: float) -> None:
        seen = self._seen
        true(self, sender, term, now)
        self.outbox = [each for each in self.outbox if not isinstance(each, UnrecordedBatch) or each.seq > seen]
        self._leader_saw(seen, now)

    return enter


def leave_where_it_was(true: Method) -> Method:
    def withdraw(self: UnrecordedBatch, copies: dict[bytes, int]) -> Any:
        return [outcome for outcome in self.items if copies.get(outcome[0]) == outcome[1]]

    return withdraw


def renew_account_once(true: Method) -> Method:
    def renew(self: LeaderLink) -> None:
        self._account += 1

    return renew


def call_failures_successes(true: Method) -> Method:
    def report(self: HeldTasks, items: Any) -> Any:
        succeeded = int(TaskEnd.SUCCEEDED)
        return true(self, [(*item[:2], succeeded, *item[3:]) for item in items])

    return report


def begin_nothing(true: Method) -> Method:
    def worker_lost(self: Slots, worker_id: bytes, begun: int | None = None, *more: Any) -> Any:
        return true(self, worker_id, 0, *more)

    return worker_lost


def take_back_what_has_begun(true: Method) -> Method:
    return lambda self, worker_id, begun, now: true(self, worker_id, self.workers[worker_id].answered + 1, now)


def take_back_at_once(true: Method) -> Method:
    def take_back(self: Slots, worker_id: bytes, begun: int, now: float) -> int:
        through = int(true(self, worker_id, begun, now))
        true(self, worker_id, begun, now + 1.0)
        return through

    return take_back


def take_cleaning_up_for_done(true: Method) -> Method:
    return lambda self, worker_id, outcomes, now: self.done(worker_id, outcomes, now)


def count_all_workers(true: Any) -> Any:
    return property(lambda self: len(self.workers))


def never_stuck(true: Method) -> Method:
    def overdue(self: NodeLedger, now: float) -> Any:
        found = true(self, now)
        self.task_ended()
        return found

    return overdue


def give_up_in_a_transfer(true: Method) -> Method:
    def tick(self: Nodes, now: float) -> list[str]:
        recording = self._recording
        is_logging, recording.is_logging = recording.is_logging, True
        gone: list[str] = true(self, now)
        recording.is_logging = is_logging
        return gone

    return tick


def keep_whatever_is_not_given_back(true: Method) -> Method:
    def revoke(self: Slots, ids: Any) -> Any:
        given_back, _ = true(self, ids)
        return given_back, tuple(sorted(set(ids).difference(given_back)))

    return revoke


def forget_what_was_asked_back(true: Method) -> Method:
    def wait_again(self: Slots, slot: WorkerSlot, given: Any) -> None:
        slot.asked_back.clear()
        true(self, slot, given)

    return wait_again


def give_back_what_runs(true: Method) -> Method:
    def revoke(self: Slots, ids: Any) -> Any:
        given_back, kept = true(self, ids)
        return (*given_back, *kept), ()

    return revoke


def sync_nothing(true: Method) -> Method:
    def init(self: journal_writer.Writer, *args: Any, **kwargs: Any) -> None:
        true(self, *args, **kwargs)
        self._sync = False

    return init


def mark_before_syncing(true: Method) -> Method:
    def sync_group(self: journal_writer.Writer) -> None:
        self._set_mark()
        true(self)

    return sync_group


def save_at_once(true: Method) -> Method:
    """A snapshot in one piece, and whatever is promised waits for it."""

    def save_slice(self: journal_writer.Writer) -> None:
        while self.is_saving:
            true(self)

    return save_slice


def write_no_hard_state(true: Method) -> Method:
    def take_persist(self: Writes) -> Any:
        persist = true(self)
        if persist is not None:
            persist.hard_state = None
        return persist

    return take_persist


def promise_at_once(true: Method) -> Method:
    def take_ready(self: Consensus) -> Any:
        ready = true(self)
        ready.send_now, ready.send_after = ready.send_now + ready.send_after, []
        return ready

    return take_ready


def keep_the_name(true: Method) -> Method:
    """A disk that was replaced, and a node that still goes by the name of the one before."""

    def insert_disk(self: SimulatedNode) -> None:
        identity = getattr(self, "saved_identity", None)
        true(self)
        if identity is not None:
            self.identity = identity
            self.saved_identity = identity

    return insert_disk


def consent_again(true: Method) -> Method:
    """The consent goes to whoever is the lowest now, whomever it went to before."""

    def step(self: FirstBoot, blank_peers: list[str]) -> Any:
        if not self._identity.cluster_id:
            self._identity.handed_to = ""
            self._identity.consents |= {self._identity.node_id}
        return true(self, blank_peers)

    return step


def form_by_counting(true: Method) -> Method:
    """As many blank nodes are seen as are expected: so the cluster is formed."""

    def step(self: FirstBoot, blank_peers: list[str]) -> Any:
        if not self._identity.cluster_id and 1 + len(blank_peers) >= self._settings.expect:
            if self._identity.node_id < min(blank_peers, default="~"):
                self._identity.consents |= {self._identity.node_id, *blank_peers}
            return None
        return true(self, blank_peers)

    return step


def take_any_consent(true: Method) -> Method:
    """Whoever is sent a consent takes it, whomever it is meant for."""

    def on_peer(self: NodeCore, envelope: Envelope, messages: Sequence[PeerMessage], now: float) -> None:
        if any(isinstance(message, Consent | ConsentReceived) for message in messages):
            envelope = envelope._replace(recipient=self.node_id)
        true(self, envelope, messages, now)

    return on_peer


def save_nobody(true: Method) -> Method:
    """Nothing of what a node is and consented to is written down."""

    def init(self: Reactor, *args: Any, **kwargs: Any) -> None:
        true(self, *args, **kwargs)
        self._save_identity = None

    return init


def tell_before_saving(true: Method) -> Method:
    """What a node has consented to is written down behind the message that tells so."""

    def init(self: Reactor, *args: Any, **kwargs: Any) -> None:
        true(self, *args, **kwargs)
        save, send = self._save_identity, self._send
        due: list[Any] = []

        def send_and_save(effects: Any) -> None:
            send(effects)
            while due:
                due.pop()()

        self._save_identity = lambda: due.append(save)
        self._send = send_and_save  # type: ignore[method-assign]

    return init


def take_for_its_own(true: Method) -> Method:
    """Whatever is told of another process, it is meant for this one."""

    def on_other_start(self: Starts, envelope: Envelope, told: OtherStart, now: float) -> None:
        true(self, envelope, told._replace(start=self._identity.start), now)

    return on_other_start


def stand_late(true: Method) -> Method:
    """Nobody stands before two seconds of silence."""

    def reset(self: ElectionTimer, now: float) -> None:
        true(self, now)
        self._timeout_s += 2.0
        self.deadline += 2.0

    return reset


# --- the client -----------------------------------------------------------------------------------------------------


def forget_sent(true: Method) -> Method:
    def requeue_sent(self: CallLedger) -> None:
        self.sent.clear()
        true(self)

    return requeue_sent


def forget_taken(true: Method) -> Method:
    def requeue_sent(self: CallLedger) -> None:
        self.taken.clear()
        true(self)

    return requeue_sent


def miss_an_update(true: Method) -> Method:
    """Whatever number an Update has, it counts as the next."""

    def on_update(self: Epoch, now: float, seq: int, *fields: Any) -> bool:
        self.receipts.seen = seq - 1
        return bool(true(self, now, seq, *fields))

    return on_update


def never_formed(true: Any) -> property:
    return property(lambda self: False, lambda self, value: None)
