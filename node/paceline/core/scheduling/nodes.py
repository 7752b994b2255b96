"""The leader's conversation with the nodes that run tasks: their accounts, the tasks that they are sent, and the
outcomes that they report.

Links lose, repeat and reorder messages. Four numbers repair that, and each Beat repeats them: the version of the
account that the leader has, the last Dispatch that it sent, and the last batches of outcomes that have arrived and that
are recorded. ``work/leader_link.py`` is the other end. It sends so many bytes of outcomes, and then waits for a Beat
that says that they have arrived: so whenever an eighth of that has come, a Beat leaves with the turn. In the same way a
node is given no more than so many bytes of arguments before it says that they have arrived (``credits.py``), and is
asked by a Beat whenever an eighth has left.

A Beat stands behind the Dispatches that it counts, or the node would take those for lost. So it may be a while before
it arrives, and a node that is silent may only have much to read. It is asked past all of that, by the quick connection,
with a Beat that counts no Dispatch but those that the node has named itself.

The file is long, as it has each message of that conversation, in both directions: all of them move the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from math import inf
from typing import Final

from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.scheduling.cancelling import Cancelling
from paceline.core.scheduling.credits import ASYNC_SUFFIX, RIDES
from paceline.core.scheduling.defaults import Defaults
from paceline.core.scheduling.demand import more_wanted
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.placement import NO_PLACES, Key, key_of
from paceline.core.scheduling.recent_names import RecentNames
from paceline.core.scheduling.recording import Recording
from paceline.core.settings import Settings
from paceline.core.state.task import Task
from paceline_protocol.codec import decode_held
from paceline_protocol.errors import PeerViolation
from paceline_protocol.inputs import envelope
from paceline_protocol.limits import MAX_BATCH_ITEMS, MAX_TASK_NAMES
from paceline_protocol.messages.records import ASSIGNMENT_OPTIONS, Assignment, Outcome, TaskEnd
from paceline_protocol.messages.work import (
    MAX_DRAIN_MS,
    Availability,
    Beat,
    Begun,
    Demand,
    DemandQuery,
    Dispatch,
    Enrol,
    NodeBeat,
    Parked,
    Revoke,
    Revoked,
    SchedulesHeard,
    SetAvailability,
    Stopping,
    StopTasks,
    WorkMessage,
)
from paceline_protocol.options import alone

BEAT_UNCHANGED_S: Final = 0.2
"""Between Beats to an enrolled node to which there is no news. Several of them fit into the node's timeout."""
QUIET_S: Final = 0.5
"""A node that was not heard for so long is asked by the quick connection, with each heartbeat. It answers two Beats in
that time, and its timeout is three times as long."""
STRANGERS_AT_ONCE: Final = 64
"""So many nodes that have given no account are sent the same Beat again in each heartbeat, since it may be lost. The
others are told every ``STRANGERS_S``: nodes that nobody has heard of but by a hello need not exist."""
STRANGERS_S: Final = 2.0
GONE_LIMIT_NODES: Final = 4_096
"""So many nodes that gave an account and are gone are remembered, of some 300 bytes each. With `--journal memory` each
start of a machine is another node. None may be forgotten: if it returns, its numbers go on. But they are those of a
term, so that a leader which has more gives way, and the next one knows none of them."""
MAX_SLOTS: Final = 1 << 16
"""A machine has no more; a node may not be started with as many."""
MAX_ASYNC_SLOTS: Final = 1 << 24
"""Of one node, in all its workers."""
MAX_TASKS: Final = 1 << 32
MAX_PARKED: Final = 1 << 14
"""Of one node: each of them has a process."""
DEMAND_S: Final = 0.1
"""A node is told no sooner again for how many more workers there would be use: that costs what all names do."""
_LOST: Final = int(TaskEnd.LOST)
DISPATCH_TASKS: Final = 4_096
DISPATCH_BYTES: Final = 4 << 20


class NodeState:
    """The leader's end of its conversation with one node, for one term."""

    __slots__ = (
        "account",
        "arrived_seq",
        "availability",
        "beat",
        "demand_at",
        "dispatch_seq",
        "drains_until",
        "enrolled",
        "heard_at",
        "outcome_seen",
        "outcome_seq",
        "parked_number",
        "told",
        "told_at",
        "unasked_bytes",
        "untold_bytes",
    )

    def __init__(self, now: float) -> None:
        self.enrolled = False
        self.heard_at = now
        self.account = 0
        self.availability = Availability.SERVES  # as its account says
        self.drains_until = 0.0  # then it gives back what still runs; only while it drains
        self.dispatch_seq = 0  # kept across a loss and return of the node: the sequence is per term
        self.arrived_seq = 0  # of the Dispatches, as far as the node has said
        self.unasked_bytes = 0  # of arguments that were sent since its last Beat
        self.outcome_seen = 0  # received up to here
        self.outcome_seq = 0  # recorded up to here
        self.parked_number = 0  # of the last that it said of its parked tasks
        self.told = (-1, -1, -1, -1)  # the account and the other numbers that its last Beat had
        self.told_at = now
        self.untold_bytes = 0  # of outcomes that have arrived from another process since then
        self.beat: NodeBeat | None = None
        self.demand_at = -inf  # when it was last told of the demand

    @property
    def is_stranger(self) -> bool:
        """Whether the node has given no account in this term, so that there is nothing to remember of it. Of others the
        numbers go on when they return: what was sent there may still arrive, and what was seen is not reported again.
        """
        return not (self.enrolled or self.dispatch_seq or self.outcome_seen)


class Nodes:
    """Every node that was told of this leader, by id. ``outbox``: messages to nodes, by id; emptied by the caller, as
    ``quick`` is, which has those for the quick connection."""

    def __init__(
        self,
        settings: Settings,
        term: int,
        now: float,
        tasks: LiveTasks,
        dispatcher: Dispatcher,
        recording: Recording,
        cancelling: Cancelling,
        recent_names: RecentNames,
        defaults: Defaults,
        due: DueTasks,
    ) -> None:
        self.by_id: dict[str, NodeState] = {}
        self.outbox: list[tuple[str, WorkMessage]] = []
        self.quick: list[tuple[str, WorkMessage]] = []
        self._timeout_s = settings.node_timeout_s
        self._untold_limit_bytes = settings.outcome_window_bytes // 8
        self._window_bytes = settings.dispatch_window_bytes
        self._term = term
        self._tasks = tasks
        self._dispatcher = dispatcher
        self._recording = recording
        self._cancelling = cancelling
        self._recent_names = recent_names
        self._defaults = defaults
        self._due = due
        self._ticked_at = now

    @property
    def remembers_too_many(self) -> bool:
        """Whether more nodes have come and gone in this term than one leader remembers."""
        return len(self.by_id) - len(self._tasks.ledgers) > GONE_LIMIT_NODES

    # --- from nodes ---------------------------------------------------------------------------------------------

    def on_beat(self, node_id: str, beat: NodeBeat, now: float) -> None:
        """A node is alive."""
        state = self.by_id.get(node_id)
        if state is not None and beat.term == self._term:
            if beat.slots > MAX_SLOTS or beat.running > MAX_TASKS or beat.queued > MAX_TASKS:
                raise PeerViolation(f"{beat.slots} slots, {beat.running} tasks that run and {beat.queued} that wait")
            state.heard_at = now
            if state.enrolled:  # or it comes before the account that it stands beside
                state.beat = beat
            self._arrived(node_id, state, beat.dispatch_seq)

    def _arrived(self, node_id: str, state: NodeState, seq: int) -> None:
        """A node names the last Dispatch that it knows of. What of those before was lost, its next account tells."""
        if seq > state.dispatch_seq:
            return  # it was started anew, and its account is still to come
        state.arrived_seq = max(state.arrived_seq, seq)
        for ledger in self._tasks.ledgers_of(node_id):
            ledger.arrived(seq)

    def on_enrol(
        self,
        node_id: str,
        enrol: Enrol,
        now: float,
        defaults: bytes | None = None,
        availability: int = Availability.SERVES,
        left_ms: int = 0,
        async_slots: int = 0,
        async_names: tuple[str, ...] = (),
        queues: tuple[str, ...] = (),
        places: tuple[str, str] | None = NO_PLACES,
    ) -> None:
        """A node's account: its slots and names, and the tasks that it holds, which are compared with its ledger.
        ``defaults``: what it announces, packed; None if it does not know how to. ``availability``: whether it takes
        tasks, and ``left_ms`` for how long it drains, if it does. ``async_slots``: for those of its names that are
        ``async_names``. ``queues``: those whose tasks it takes alone; none: it takes all. ``places``: its tags and
        amounts; None: those that it had. Raises ProtocolError, with nothing changed, for an account that no honest node
        gives."""
        state = self.by_id.get(node_id)
        if state is None or enrol.term != self._term:
            return
        if left_ms > MAX_DRAIN_MS:
            raise PeerViolation(f"{left_ms} ms that are left of a drain")
        if enrol.slots > MAX_SLOTS or len(enrol.names) > MAX_TASK_NAMES:
            raise PeerViolation(f"{enrol.slots} slots, and {len(enrol.names)} names of tasks")
        if async_slots > MAX_ASYNC_SLOTS or not set(async_names) <= set(enrol.names):
            raise PeerViolation(f"{async_slots} async slots, or async tasks that it does not run")
        state.heard_at = now
        if state.enrolled and enrol.version <= state.account:
            return
        incarnation = enrol.version >> INCARNATION_SHIFT
        is_restarted = state.account >> INCARNATION_SHIFT < incarnation
        if is_restarted and not self._recording.is_logging:
            return  # attempts may be lost by that, and tasks with them; the node repeats its account
        held = dict(decode_held(enrol.held))
        if defaults is not None:
            self._defaults.announce(node_id, enrol.names, defaults)
        if is_restarted:
            self._node_restarted(node_id, held, now)
            state.dispatch_seq = max(state.dispatch_seq, incarnation << INCARNATION_SHIFT)
        state.account = enrol.version
        state.enrolled = True
        state.availability = Availability(availability)
        state.drains_until = now + left_ms / 1_000
        state.outcome_seen = max(state.outcome_seen, enrol.outcome_seq)
        state.outcome_seq = max(state.outcome_seq, enrol.outcome_seq)
        if enrol.slots or not enrol.runs_tasks:
            self._recent_names.told(node_id)
        elif enrol.names and state.availability in (Availability.QUIET, Availability.DRAINS):
            self._recent_names.is_quiet(node_id, enrol.names)
        else:
            self._names_left(node_id, now)
        self._tasks.enrol(
            node_id, enrol.slots, enrol.names, self._window_bytes, async_slots, async_names, queues, places
        )
        self._arrived(node_id, state, enrol.dispatch_seq)
        sent = (task for task in self._held_by(node_id) if task.is_dispatched)
        missing = [task for task in sent if held.get(task.id, 0) < task.attempt]
        missing = [task for task in missing if task.sent_seq <= enrol.dispatch_seq]
        had_no_room = any(task.options is not None and task.options.is_placed for task in missing)
        self._recording.give_back(missing, now)
        # What is not live here has ended, or was never accepted, and then its client submits it anew.
        self._revoke(node_id, [task_id for task_id in held if task_id not in self._tasks.live])
        taken = Counter[Key]()
        for task_id, attempt in held.items():
            task = self._tasks.live.get(task_id)
            if task is not None and self._tasks.can_be_adopted(task, attempt):
                self._tasks.adopt(task, node_id, attempt, self._cost_us(task, attempt, taken))
        has_others = had_no_room and not all(self._is_there(task_id, node_id) for task_id in held)
        self._tasks.ledgers[node_id].room.is_full = has_others

    def _cost_us(self, task: Task, attempt: int, taken: Counter[Key]) -> int:
        """What a task is charged for that its node has. ``taken``: how many it has of those that go together."""
        if task.options is not None and task.options.batch > 1 and not task.runs_alone:
            key = key_of(task.name, task.options)
            taken[key] += 1
            if taken[key] % task.options.batch != 1:
                return RIDES
        return self._dispatcher.cost_us(task.name, attempt)

    def _is_there(self, task_id: bytes, node_id: str) -> bool:
        """Whether this leader knows that the task is at this node."""
        task = self._tasks.live.get(task_id)
        return task is not None and task.is_dispatched_to(node_id)

    def on_outcomes(
        self, node_id: str, term: int, seq: int, outcomes: list[Outcome], now: float, size_bytes: int = 0
    ) -> None:
        """A node reports ends of attempts: a NodeOutcomes, unpacked. Raises ProtocolError for ends of both sorts.
        ``size_bytes``: packed, as they came; 0 from the node in this process, which waits for no Beat."""
        state = self.by_id.get(node_id)
        if state is None or not state.enrolled or term != self._term or not self._recording.is_logging:
            return
        state.heard_at = now
        if seq != state.outcome_seen + 1:
            return  # a copy, or a batch after a missing one: the node repeats what is not acknowledged
        self._recording.report(node_id, seq, outcomes, now)
        is_loss = bool(outcomes) and outcomes[0][2] == _LOST  # then all are
        for ledger in self._tasks.ledgers_of(node_id):
            ledger.task_ended(len(outcomes) if is_loss else 0)
            ledger.room.is_full = False
        state.outcome_seen = seq
        state.untold_bytes += size_bytes
        if state.untold_bytes > self._untold_limit_bytes:
            self._send_beat(node_id, state, now)

    def on_revoked(self, node_id: str, revoked: Revoked, now: float) -> None:
        """A node answers a Revoke. Tasks without a cancel request are left where they are: this may be a copy of an
        answer, and the task may have been dispatched there again. The account that follows says what the node has, and
        if this answer is news, a Beat has the node give that account at once."""
        if revoked.term != self._term:
            return
        live = self._tasks.live
        given_back = (live[task_id] for task_id in dict.fromkeys(revoked.given_back) if task_id in live)
        there = [task for task in given_back if task.is_dispatched_to(node_id)]
        wanted = self._cancelling.wanted(there)
        self._recording.give_back(wanted, now)
        if len(wanted) < len(there):
            state = self.by_id[node_id]
            self._send_beat(node_id, state, now)
        for task_id in revoked.kept:
            if task_id in live and not live[task_id].is_dispatched_to(node_id):
                continue  # it is another's to answer by now
            self._cancelling.runs(task_id)

    def on_stopping(self, node_id: str, stopping: Stopping) -> None:
        """A node has the workers of these tasks asked to stop them."""
        if stopping.term != self._term:
            return
        live = self._tasks.live
        for task_id in stopping.ids:
            if task_id in live and live[task_id].is_dispatched_to(node_id):
                self._cancelling.stops(task_id)

    def schedules_heard(self, node_id: str, version: int) -> None:
        """What a node has announced of the schedules of its modules has arrived."""
        self.outbox.append((node_id, SchedulesHeard(self._term, version)))

    def on_demand_query(self, node_id: str, query: DemandQuery, now: float) -> None:
        """A node asks for how many more workers there would be use."""
        state = self.by_id.get(node_id)
        if state is None or not state.enrolled or query.term != self._term or now < state.demand_at + DEMAND_S:
            return
        state.demand_at = now
        wanted = more_wanted(self._tasks, self._dispatcher.durations, node_id)
        self.outbox.append((node_id, Demand(self._term, wanted)))

    def on_begun(self, node_id: str, begun: Begun) -> None:
        """Tasks with rates have started at a node. Of one that was adopted it is not known which Dispatch brought it
        there."""
        if begun.term != self._term:
            return
        for task_id, dispatch_seq in begun.tasks:
            task = self._tasks.live.get(task_id)
            if task is not None and task.is_dispatched_to(node_id) and task.sent_seq in (0, dispatch_seq):
                self._tasks.gates.starts(task)

    def on_parked(self, node_id: str, parked: Parked) -> None:
        """A node says which of its tasks wait for others, and have given their slots back. What these wait for is the
        next of its priority."""
        state = self.by_id.get(node_id)
        if state is None or not state.enrolled or parked.term != self._term or parked.number <= state.parked_number:
            return
        if len(parked.tasks) > MAX_PARKED:
            raise PeerViolation(f"{len(parked.tasks)} tasks that wait for others")
        state.parked_number = parked.number
        self._tasks.park(node_id, dict(parked.tasks))

    def availability(self) -> dict[str, int]:
        """Of the nodes that have given their accounts, whether they take tasks."""
        return {node_id: int(state.availability) for node_id, state in self.by_id.items() if state.enrolled}

    def set_availability(self, node_id: str, availability: Availability, drain_ms: int) -> None:
        """Tell a node whether it is to take tasks. The caller repeats that until its account says so."""
        self.outbox.append((node_id, SetAvailability(self._term, availability, drain_ms)))

    # --- to nodes -----------------------------------------------------------------------------------------------

    def beat(self, node_ids: Collection[str], now: float) -> None:
        """Send Beats to the nodes that are heard: who leads, and the four numbers. Repeat the Revokes and the StopTasks
        that were not answered. A node to which there is no news gets a Beat less often: with hundreds of nodes, Beats
        are most of an idle leader's work. Strangers that are not heard any more are forgotten."""
        repeats = STRANGERS_AT_ONCE
        for node_id in node_ids:
            state = self.by_id.get(node_id)
            if state is None:
                state = self.by_id[node_id] = NodeState(now)
            news = _news(state)
            if news == state.told and not state.enrolled:
                if repeats <= 0 and now < state.told_at + STRANGERS_S:
                    continue
                repeats -= 1
                state.told_at = now
                self.outbox.append((node_id, Beat(self._term, *news)))
            elif news != state.told or now >= state.told_at + BEAT_UNCHANGED_S:
                self._send_beat(node_id, state, now)
            if state.enrolled and now >= state.heard_at + QUIET_S:
                self.quick.append((node_id, Beat(self._term, state.account, state.arrived_seq, *news[2:])))
        if len(self.by_id) > len(node_ids):
            heard = frozenset(node_ids)
            for node_id in [each for each, state in self.by_id.items() if state.is_stranger and each not in heard]:
                del self.by_id[node_id]
        live = self._tasks.live
        self.ask_back(live[task_id] for task_id in self._cancelling.asked if task_id in live)
        if self._recording.is_logging:
            self._ask_back_overdue(now)

    def _send_beat(self, node_id: str, state: NodeState, now: float) -> None:
        state.told, state.told_at = _news(state), now
        state.untold_bytes = state.unasked_bytes = 0
        self.outbox.append((node_id, Beat(self._term, *state.told)))

    def _ask_back_overdue(self, now: float) -> None:
        """Ask back what has waited too long at nodes, once they say that tasks wait there. They give back what no
        worker has, and it waits here again, in front of all younger tasks, for the first slot that is free anywhere."""
        for ledger in self._tasks.all_ledgers():
            overdue, node_id = ledger.overdue(now), ledger.node_id
            if overdue:
                state = self.by_id[node_id]
                self._send_beat(node_id, state, now)  # with each, it looks at what its workers have begun
                if state.beat is not None and state.beat.queued:
                    self.ask_back(overdue)

    def ask_back(self, tasks: Iterable[Task]) -> None:
        """Of those of the tasks that are dispatched: send StopTasks for what somebody wants cancelled, until its node
        has its worker asked, and Revokes for the others."""
        revoked: dict[str, list[bytes]] = {}
        stopped: dict[str, list[tuple[bytes, int]]] = {}
        for task in tasks:
            if not task.is_dispatched:
                continue
            if self._cancelling.is_to_stop(task):
                stopped.setdefault(task.node, []).append((task.id, task.attempt))
            elif not self._cancelling.is_stopping(task):
                revoked.setdefault(task.node, []).append(task.id)
        for node_id, ids in revoked.items():
            self._revoke(node_id, ids)
        for node_id, attempts in stopped.items():
            for first in range(0, len(attempts), MAX_BATCH_ITEMS):
                self.outbox.append((node_id, StopTasks(self._term, tuple(attempts[first : first + MAX_BATCH_ITEMS]))))

    def _revoke(self, node_id: str, ids: list[bytes]) -> None:
        """Ask a node for these tasks, in as many messages as it takes."""
        for first in range(0, len(ids), MAX_BATCH_ITEMS):
            self.outbox.append((node_id, Revoke(self._term, tuple(ids[first : first + MAX_BATCH_ITEMS]))))

    def send(self, by_ledger: dict[str, list[Task]], now: float) -> None:
        """Send tasks to the nodes where they have their places. ``by_ledger``: those of one ledger together."""
        for tasks in by_ledger.values():
            if not tasks:
                continue  # each start is to be logged first
            node_id, ledger = tasks[0].node, self._tasks.ledger_of(tasks[0])
            assert ledger is not None, "they have their places there"
            state = self.by_id[node_id]
            for frame in frames(tasks):
                state.dispatch_seq += 1
                assignments: list[Assignment] = []
                size_bytes = 0
                for task in frame:
                    task.sent_seq = state.dispatch_seq
                    assignment = task.assignment if task.options is None else self._assignment(task, now)
                    assignments.append(assignment if not task.runs_alone else self._alone(task, assignment))
                    size_bytes += task.sent_bytes
                self.outbox.append((node_id, Dispatch(self._term, state.dispatch_seq, tuple(assignments))))
                ledger.sent(state.dispatch_seq, size_bytes)
                state.unasked_bytes += size_bytes
                if state.unasked_bytes > self._window_bytes // 8:
                    self._send_beat(node_id, state, now)

    def _assignment(self, task: Task, now: float) -> Assignment:
        """Of one that asks for something, as it is sent now."""
        assignment = self._due.assignment(task, now)
        if task.options is None or not task.options.is_enveloped:
            return assignment
        task_id, attempt, name, args, options = assignment
        return task_id, attempt, name, envelope(args, self._tasks.inputs.results_of(task)), options

    def _alone(self, task: Task, assignment: Assignment) -> Assignment:
        """As it is sent to a node that would run it beside others, or call its function for others, too."""
        if task.options is not None and task.options.batch > 1:
            return *assignment[:ASSIGNMENT_OPTIONS], alone(assignment[ASSIGNMENT_OPTIONS])
        others = self._tasks.async_ledgers.get(task.node)
        if others is None or task.name not in others.names:
            return assignment
        return *assignment[:ASSIGNMENT_OPTIONS], alone(assignment[ASSIGNMENT_OPTIONS])

    def start(self, tasks: Iterable[Task], now: float) -> list[Task]:
        """The starts of these tasks are logged. Send those that still have their places at nodes, and return them."""
        started = [task for task in tasks if self._tasks.start(task)]
        by_ledger: dict[str, list[Task]] = {}
        for task in started:
            by_ledger.setdefault(task.node + ASYNC_SUFFIX if task.is_async else task.node, []).append(task)
        self.send(by_ledger, now)
        return started

    def recorded(self, batches: dict[str, int]) -> None:
        """The batches of outcomes up to these numbers are recorded. The next Beats tell the nodes so."""
        for node_id, seq in batches.items():
            self.by_id[node_id].outcome_seq = max(self.by_id[node_id].outcome_seq, seq)

    # --- nodes come and go --------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[str]:
        """Give up the nodes that have been silent for too long. Returns them. None is given up during a leadership
        transfer: the next leader would not know which attempts are lost, and what ended by that."""
        if now - self._ticked_at > self._timeout_s / 2:
            # This process stood still: what the nodes sent meanwhile has not been read yet.
            for state in self.by_id.values():
                state.heard_at = now
        self._ticked_at = now
        if not self._recording.is_logging:
            return []
        before = now - self._timeout_s
        gone = [node_id for node_id, state in self.by_id.items() if state.enrolled and state.heard_at < before]
        for node_id in gone:
            self._node_gone(node_id, now)
        return gone

    def enrolled(self) -> set[str]:
        """The nodes whose accounts this leader has, and that are heard."""
        return {node_id for node_id, state in self.by_id.items() if state.enrolled}

    def incarnations(self) -> dict[str, int]:
        """Of the nodes whose accounts this leader has, and that are heard."""
        return {node_id: each.account >> INCARNATION_SHIFT for node_id, each in self.by_id.items() if each.enrolled}

    def have_enrolled(self, node_ids: Iterable[str]) -> bool:
        """Whether each of them has given its account."""
        return all(node_id in self.by_id and self.by_id[node_id].enrolled for node_id in node_ids)

    def _node_restarted(self, node_id: str, held: dict[bytes, int], now: float) -> None:
        """A node came back as a new process. The attempts that the old process had are lost."""
        lost = [task for task in self._held_by(node_id) if held.get(task.id, 0) < task.attempt]
        if node_id in self._tasks.ledgers:
            self._lost_with_node(node_id, lost, "the node was restarted", now)

    def _node_gone(self, node_id: str, now: float) -> None:
        """A node has been silent for too long. The attempts that it had are lost."""
        state = self.by_id[node_id]
        silent_ms = round((now - state.heard_at) * 1000)
        state.enrolled = False
        state.account = 0
        state.beat = None
        held = self._held_by(node_id)
        self._lost_with_node(node_id, held, f"the node was silent for {silent_ms} ms", now)
        self._recording.give_back([task for task in held if task.is_starting], now)
        self._names_left(node_id, now)
        self._tasks.remove_node(node_id)

    def _held_by(self, node_id: str) -> list[Task]:
        """The tasks that have their places at a node."""
        return [task for ledger in self._tasks.ledgers_of(node_id) for task in ledger.held.values()]

    def _names_left(self, node_id: str, now: float) -> None:
        """Before the ledger says so: a node has no worker any more, or is gone."""
        self._recent_names.is_quiet_no_more(node_id, now)
        ledger = self._tasks.ledgers.get(node_id)
        if ledger is not None and ledger.slots:
            self._recent_names.left(node_id, ledger.announced, now)

    def _lost_with_node(self, node_id: str, tasks: list[Task], how: str, now: float) -> None:
        """The attempts of these tasks are lost, though the node has not reported that."""
        detail = how.encode()
        lost: list[Outcome] = [(task.id, task.attempt, int(TaskEnd.LOST), detail, 0) for task in tasks]
        self._recording.attempts_lost(lost, node_id, now)


def _news(state: NodeState) -> tuple[int, int, int, int]:
    """What a Beat says, behind its term."""
    return state.account, state.dispatch_seq, state.outcome_seq, state.outcome_seen


def frames(tasks: list[Task]) -> list[list[Task]]:
    """Cut a node's tasks into frames of bounded size; none if there is no task."""
    if len(tasks) == 1:
        return [tasks]
    cut: list[list[Task]] = []
    frame: list[Task] = []
    size = 0
    for task in tasks:
        if frame and (len(frame) >= DISPATCH_TASKS or size + task.sent_bytes > DISPATCH_BYTES):
            cut.append(frame)
            frame, size = [], 0
        frame.append(task)
        size += task.sent_bytes
    if frame:
        cut.append(frame)
    return cut
