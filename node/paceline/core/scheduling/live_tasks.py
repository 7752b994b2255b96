"""Every task that a leader has accepted and that has not ended, and where it is: this module is the only one that moves
a task from one state to another.

A live task is in exactly one place, that of its state (``places.py``):

===========  ==========================================================================================================
READY        a lane of its queue: it goes to the next node that has credit for it. Tasks that need no log have lanes of
             their own, as the others may have to wait for the log (``recording.py``)
RECOVERED    a lane of its queue, apart: an earlier leader accepted it, and a node may have it. It is not handed out
             before the nodes have said what they hold, or had time to (:meth:`LiveTasks.settle`)
STARTING     the ledger of a node, which is sent it once the log says that it started
DISPATCHED   the ledger of the node that was sent it
LIMITED      by id: as many of its name and key are at nodes as may be (``gates.py``)
DELAYED      by id: it may not start before a moment of the wall clock (``due_tasks.py``): its own, or that of its
             retry; or, in the place of a dead task, before the log has that (``recording.py``); or it is held, or waits
             for the log to have that it is altered (``alter_requests.py``)
WAITING      by id, beside them: the log does not have the ends of all tasks that it depends on (``inputs.py``)
===========  ==========================================================================================================

A new state is a row or more of ``TRANSITIONS``, and a place for it in :meth:`LiveTasks.__init__`. From then on such a
task can be counted, cancelled and ended, and :meth:`LiveTasks.check` covers it. A state that nothing leaves is an end,
and has no place. What others need to know of a state is a predicate of Task, so that nobody else compares states.

Tasks wait in lanes by ``age``, the order in which the leader took them in. A task that enters its lane later than
younger tasks needs a new age; otherwise its position is searched for among all of them.

``dispatch.py`` decides which task goes to which node, ``recording.py`` what the log and the submitter are told. Nothing
here is replicated: each leader builds it anew.

The file is long since it is all of that: who moves a task elsewhere breaks what :meth:`LiveTasks.check` looks for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from paceline.core.measures.tally import Tally
from paceline.core.scheduling.credits import LONG_US, RIDES, NodeLedger
from paceline.core.scheduling.gates import Gates, LimitGate
from paceline.core.scheduling.inputs import Inputs
from paceline.core.scheduling.lanes import Lane
from paceline.core.scheduling.live_graphs import LiveGraphs
from paceline.core.scheduling.owners import Owners
from paceline.core.scheduling.paces import Pace
from paceline.core.scheduling.placement import NO_PLACES, Room, key_of
from paceline.core.scheduling.places import AtNodes, ById, ByName, Place
from paceline.core.scheduling.queues import Queue, Queues
from paceline.core.scheduling.retrying import Retrying
from paceline.core.state.call_options import CallOptions
from paceline.core.state.retries import FailedAttempts
from paceline.core.state.task import END_EVENTS, STATE_NAMES, Event, State, Task, next_state
from paceline_protocol.limits import MAX_INT
from paceline_protocol.messages.records import PRIORITY_MAX

ALONE_AFTER_LOSSES: Final = 3
"""A task that has lost so many attempts runs alone: it may be what ends its workers. With fewer, it may have been
beside another that was, or on a node that died."""
NAMES_LOOKED_AT: Final = 10_000
"""At a time, of the names of tasks that wait."""
FIRST_AGE: Final = 1 << 48
"""Of the tasks that come. What another task waits for is as if it were older than all: its ages go down from here."""
EXPECTED_TASKS: Final = 4_096
"""So many are remembered that are waited for and unknown. They are about to come, or have ended."""
DELAYED_SKIPPED: Final = 100_000
"""Of one name: whoever wants the ids of more cancels these first."""


class Misplaced(Exception):
    """A live task is not in exactly one place, or something is counted wrongly. The message says which."""


class LiveTasks:
    """The leader's live tasks by id, with their places. ``ledgers``: of the nodes that enrolled, by id. ``owners``: who
    has those that end with their clients."""

    def __init__(
        self,
        own_id: str = "",
        live: dict[bytes, Task] | None = None,
        tally: Tally | None = None,
        retrying: Retrying | None = None,
        results: Mapping[bytes, tuple[int, bytes]] | None = None,
    ) -> None:
        """``own_id``: the leader's node. ``live``: the tasks that will be recovered; to grow a dict to that number
        would take too long. ``retrying``: which of them have failed. ``results``: how tasks ended."""
        self.live: dict[bytes, Task] = live or {}
        self.live_bytes = 0
        self.ledgers: dict[str, NodeLedger] = {}
        self.async_ledgers: dict[str, NodeLedger] = {}
        self.tally = tally if tally is not None else Tally()
        self.is_settled = False
        self.owners = Owners()
        self.inputs = Inputs(results)
        self.graphs = LiveGraphs()
        self.altering: set[bytes] = set()
        self._failed = (retrying if retrying is not None else Retrying()).by_id
        self._next_age = FIRST_AGE
        self._next_wanted_age = FIRST_AGE - 1
        self._waited_for: dict[bytes, tuple[str, bytes]] = {}  # live tasks that are waited for; where, and by whom
        self._expected: dict[bytes, tuple[str, bytes]] = {}  # what is waited for and has not come; where, and by whom
        self.queues = Queues(own_id)
        self._starting = AtNodes(State.STARTING, self.ledgers, self.async_ledgers)
        self._dispatched = AtNodes(State.DISPATCHED, self.ledgers, self.async_ledgers)
        self._apart = ByName()
        self._delayed = ById(State.DELAYED, self._apart)
        self._waiting = ById(State.WAITING, self._apart)
        self._limited_names = ByName()
        self._limited = ById(State.LIMITED, self._limited_names)
        self.gates = Gates()
        self._places: list[Place | None] = [None] * len(STATE_NAMES)  # by state; None: it has ended
        default = self.queues.default  # where a task waits that asks for nothing
        apart = (self._delayed, self._waiting, self._limited)
        for place in (default.ready, default.recovered, self._starting, self._dispatched, *apart):
            self._places[place.state] = place

    def _move(self, task: Task, event: int) -> None:
        """Take a task out of its place and put it into that of its next state. Raises KeyError, with nothing changed,
        if it has no such transition: the caller broke the table."""
        state = next_state(task.state, event)
        places = self._places
        if task.options is None and not task.runs_alone:
            left, entered = places[task.state], places[state]
        else:
            if task.options is not None:
                if task.options.is_in_graph:
                    self.graphs.moves(task.options.graph, task.state, state)
                if task.options.is_limited:
                    self._move_limited(task, state)
                    return
            left, entered = self._place(task, task.state), self._place(task, state)
        if left is not None:
            left.take(task)
        task.state = state
        if entered is not None:
            entered.put(task)

    # A task with a limit becomes ready by being offered, and in no other way.

    def _move_limited(self, task: Task, state: int) -> None:
        """Put a task with a limit into that state: if it would be ready, it is LIMITED until it is offered."""
        if state == State.READY:
            state = next_state(state, Event.HOLD)
        left = self._place(task, task.state)
        if left is not None:
            left.take(task)
        self._passes(task, state)
        entered = self._place(task, state)
        if entered is not None:
            entered.put(task)
        self._balance(self.gates.known(task))

    def _passes(self, task: Task, state: int) -> None:
        """A task with a limit has left its place for that of this state, and its gate counts it there."""
        options = task.options
        assert options is not None, "it has a limit"
        if task.is_ready or task.is_limited or task.has_place_at_node:
            was_offered, was_at_node = task.is_ready, task.has_place_at_node
            self.gates.leaves(task, options, was_offered=was_offered, was_at_node=was_at_node)
        task.state = state
        self.gates.enters(task, options)

    def _balance(self, gate: LimitGate | None) -> None:
        """Have a gate offer what it may, and no more. Cost: that of what moves by that, which is a task or two for each
        that comes or goes, and one for each line of the gate."""
        while gate is not None:
            task = gate.next_move()
            if task is None:
                self.gates.forget(gate)
                return
            if task.is_ready:
                self._hold(task)
            else:
                self._limited.take(task)
                self._passes(task, next_state(task.state, Event.OFFER))
                self.queue_of(task).lanes_for(task, State.READY).put(task)

    def _hold(self, task: Task) -> None:
        self.queue_of(task).lanes_for(task, State.READY).withdraw(task)
        self._passes(task, next_state(task.state, Event.HOLD))
        self._limited.put(task)

    def time_paces(self, now: float, known_since: float) -> list[Pace]:
        """What has started, or may have, counts from now on; turns that come back are offered. Returns the paces to
        which others come back."""
        found = self.gates.time(now, known_since)
        for _, gate in found:
            self._balance(gate)
        return [pace for pace, _ in found if pace.next_ms]

    def open_gates(self) -> None:
        """Every node has given its account, or had time to: gates of which an earlier leader had tasks offer them."""
        for gate in self.gates.open():
            self._balance(gate)

    def _place(self, task: Task, state: int) -> Place | None:
        if state == State.READY or state == State.RECOVERED:
            return self.queue_of(task).lanes_for(task, state)
        return self._places[state]

    def queue_of(self, task: Task) -> Queue:
        """The queue of a live task."""
        return self.queues.default if task.options is None else self.queues.of(task.options.queue)

    def lane_of(self, task: Task) -> Lane | None:
        """The lane of a task that waits in one."""
        return self.queue_of(task).lanes_for(task, task.state).lane_of(task.name)

    # --- tasks come and end -------------------------------------------------------------------------------------

    def admit(self, task: Task, now: float, *, delayed: bool = False) -> None:
        """Take a new task. ``delayed``: it waits for come_due(), for its moment or for the log."""
        self.tally.submitted += 1
        self._enter(task, State.DELAYED if delayed else State.READY, now)

    def recover(self, task: Task, lost_attempts: int, now: float, *, delayed: bool = False) -> None:
        """Take a task that an earlier leader had accepted. It waits for the nodes' accounts: adopt(), or settle().
        ``delayed``: for come_due() before."""
        failed = self.failures_of(task)
        task.lost_attempts = lost_attempts
        task.runs_alone = lost_attempts >= ALONE_AFTER_LOSSES
        task.attempt = lost_attempts + 1
        if failed is not None:
            task.attempt = max(task.attempt + failed.count, failed.last_attempt + 1)
        task.node = ""
        task.sent_seq = 0
        task.sent_at = 0.0
        task.session = None
        if task.options is not None and task.options.is_limited:
            self.gates.shut(task, task.options)
        self._enter(task, State.DELAYED if delayed else State.RECOVERED, now)

    def _enter(self, task: Task, state: int, now: float) -> None:
        if task.options is not None and task.options.has_inputs and self.inputs.add(task):
            state = State.WAITING
        task.state = state
        task.age = task.first_age = self._next_age
        task.arrived_at = now
        self._next_age += 1
        if self._expected and task.id in self._expected:
            self._be_next(task)
            node_id, parked_id = self._waited_for[task.id] = self._expected.pop(task.id)
            for ledger in self.ledgers_of(node_id):
                ledger.park_too(parked_id, task.id)
        self.live[task.id] = task
        self.live_bytes += task.size_bytes()
        if task.options is not None:
            self.queues.enters(task.name, task.options)
            if task.options.ends_with_client:
                self.owners.add(task)
            if task.options.is_in_graph:
                self.graphs.enters(task.options.graph, state)
            if task.options.is_limited and (state == State.READY or state == State.RECOVERED):
                task.state = state = State.LIMITED
                self._limited.put(task)
                self._balance(self.gates.enters(task, task.options))
                return
        place = self._place(task, state)
        if place is not None:
            place.put(task)

    def come_due(self, task: Task, now: float) -> None:
        """A delayed task may be handed out, behind all that wait by now."""
        task.arrived_at = now
        task.age = self._next_age
        self._next_age += 1
        self._move(task, Event.COME_DUE)

    def inputs_have_ended(self, task: Task, now: float, *, delayed: bool) -> None:
        """The log has the ends of all tasks that it depends on. ``delayed``: it waits for its moment now."""
        self.inputs.begins(task)
        task.arrived_at = now
        task.age = self._next_age
        self._next_age += 1
        self._move(task, Event.POSTPONE if delayed else Event.INPUTS_END)

    def park(self, node_id: str, tasks: dict[bytes, bytes]) -> None:
        """A node says which of its tasks wait for others, and have given their slots back: these, and no others. Each
        has the task that it waits for. If that is about to come, the slot is free from then on, or another task would
        take it. If it has ended, its parent goes on. A task of another cluster never comes, and who waits for that
        keeps its slot."""
        known: dict[bytes, bytes] = {}
        for task_id, waits_for in tasks.items():
            if waits_for in self.live:
                self._waited_for[waits_for] = (node_id, task_id)
                known[task_id] = waits_for
                self._is_waited_for(waits_for)
            else:
                self._expect(waits_for, node_id, task_id)
        for ledger in self.ledgers_of(node_id):
            ledger.park(known)

    def _expect(self, task_id: bytes, node_id: str, parked_id: bytes) -> None:
        self._expected[task_id] = (node_id, parked_id)
        if len(self._expected) > EXPECTED_TASKS:
            del self._expected[next(iter(self._expected))]

    def _is_waited_for(self, task_id: bytes) -> None:
        """A task runs that waits for this one, which is to be the next of its priority. So what has begun is ended
        before more is begun, and as few tasks as possible are parked at a time."""
        task = self.live[task_id]
        if not task.waits_at_leader or task.is_delayed or task.waits_for_tasks or task.age < FIRST_AGE:
            return
        if task.options is not None and task.options.is_limited:
            if task.is_ready:
                self._hold(task)
            self.gates.leaves(task, task.options, was_offered=False, was_at_node=False)
            self._be_next(task)
            self._balance(self.gates.enters(task, task.options))
        else:
            lane = self.queue_of(task).lanes_for(task, task.state).lane_of(task.name)
            assert lane is not None, "it waits there"
            lane.leave(task)
            self._be_next(task)
            lane.insert(task)

    def _waiter_goes_on(self, task_id: bytes) -> None:
        """This task has ended. Who waited for it goes on before its node can say so, and no other gets its slot."""
        node_id, parked_id = self._waited_for.pop(task_id, ("", b""))
        for ledger in self.ledgers_of(node_id):
            ledger.goes_on(parked_id)

    def _be_next(self, task: Task) -> None:
        task.age = self._next_wanted_age
        self._next_wanted_age -= 1

    def set_aside(self, task: Task) -> None:
        """A task that waits here is to be altered: nobody hands it out before replace()."""
        self.altering.add(task.id)
        if not task.is_delayed:
            self._move(task, Event.POSTPONE)

    def replace(self, old: Task, new: Task) -> None:
        """A task that was set aside is another object from now on, with another call. What its lane skips is the old
        one, which stays delayed for ever: a task may wait in a lane once."""
        self._delayed.take(old)
        self.live_bytes += new.size_bytes() - old.size_bytes()
        if old.options is not None:
            self.queues.leaves(old.name, old.options)
            if old.options.ends_with_client:
                self.owners.remove(old)
        new.state, new.session = old.state, old.session
        new.age, new.first_age, new.arrived_at = old.age, old.first_age, old.arrived_at
        new.attempt, new.lost_attempts, new.runs_alone = old.attempt, old.lost_attempts, old.runs_alone
        new.sent_at = old.sent_at
        self.live[new.id] = new
        if new.options is not None:
            self.queues.enters(new.name, new.options)
            if new.options.ends_with_client:
                self.owners.add(new)
        self._delayed.put(new)

    def settle(self) -> None:
        """Every node has given its account, or had time to: the tasks that are still recovered may be dispatched."""
        self.is_settled = True

    def finish(self, task_id: bytes, end: int) -> Task | None:
        """The task has ended (:class:`TaskEnd`). Returns None if it is not live: then it had ended before."""
        task = self.live.pop(task_id, None)
        if task is not None:
            self.live_bytes -= task.size_bytes()
            if self._waited_for:
                self._waiter_goes_on(task_id)
            if self._failed:
                self._failed.pop(task_id, None)
            if task.options is not None:
                self.queues.leaves(task.name, task.options)
                if task.options.ends_with_client:
                    self.owners.remove(task)
                if task.options.has_inputs:
                    self.inputs.remove(task)
            self._move(task, END_EVENTS[end])
        return task

    # --- attempts -----------------------------------------------------------------------------------------------

    def hand_out(self, task: Task, lane: Lane, ledger: NodeLedger, cost_us: int, now: float) -> bool:
        """Move the head of a lane to a node, which is charged for it. False: the start must be logged before the task
        is sent there. After the last of several, call ``ledger.moved()``."""
        lane.pop(task)
        task.found_worker = ledger.busy < ledger.slots
        ledger.give(task, cost_us)
        if task.state == State.RECOVERED:
            self.tally.recovered += 1
        if not task.sent_at:
            self.tally.queue_wait.observe_s(now - task.arrived_at)
        task.sent_at = now
        if task.options is not None:
            return self._hand_out_with_options(task)
        task.state = next_state(task.state, Event.DISPATCH)
        self._dispatched.count += 1
        return True

    def _hand_out_with_options(self, task: Task) -> bool:
        is_sent = not task.must_log_start
        state = next_state(task.state, Event.DISPATCH if is_sent else Event.RESERVE)
        if task.options is not None and task.options.is_in_graph:
            self.graphs.moves(task.options.graph, task.state, state)
        if task.options is not None and task.options.is_limited:
            self._passes(task, state)
            self._balance(self.gates.known(task))
        else:
            task.state = state
        if is_sent:
            self._dispatched.count += 1
        else:
            self._starting.count += 1
        return is_sent

    def start(self, task: Task) -> bool:
        """The start of the task is logged. True: it may be sent to the node where it has its place. False: it has left
        that place meanwhile, or ended. If it is handed out again, its start need not be logged again."""
        task.lost_attempts = 1
        if not task.is_starting:
            return False
        task.state = next_state(task.state, Event.DISPATCH)
        self._starting.count -= 1  # it stays in the ledger, and in its order there
        self._dispatched.count += 1
        return True

    def can_be_adopted(self, task: Task, attempt: int) -> bool:
        """Whether an earlier leader may have sent this attempt to a node, and no node has said so. One of which the log
        says that it has failed, or a later one, is over."""
        failed = self.failures_of(task)
        return self._is_unaccounted(task) and (failed is None or attempt > failed.last_attempt)

    def _is_unaccounted(self, task: Task) -> bool:
        if task.id in self.altering:
            return False
        # One with a limit that this leader has sent somewhere is none of an earlier one.
        return task.is_recovered or task.is_delayed or (task.is_limited and not task.sent_at)

    def adopt(self, task: Task, node_id: str, attempt: int, cost_us: int) -> None:
        """A node already holds this task: leave it there. Which Dispatch brought it is not known: not the last one that
        this leader sent, if it was one that had failed and waits for its retry."""
        task.node, task.attempt, task.cost_us, task.sent_seq = node_id, attempt, cost_us, 0
        async_ledger = self.async_ledgers.get(node_id)
        task.is_async = not task.runs_alone and async_ledger is not None and task.name in async_ledger.names
        self._move(task, Event.DISPATCH)

    def give_back(self, task: Task, now: float) -> None:
        """The task did not start at its node: it is ready again, and the attempt is not used up."""
        self._waits_again(task, now)
        self._move(task, Event.GIVE_BACK)

    def failures_of(self, task: Task) -> FailedAttempts | None:
        """Its attempts that failed; None if there are none."""
        return self._failed.get(task.id)

    def not_before_ms(self, task: Task) -> int:
        """The moment before which it may not start, 0 if it may at any time."""
        failures = self.failures_of(task)
        if failures is not None:
            return failures.not_before_ms
        return 0 if task.options is None else task.options.not_before_ms

    def losses_with(self, task: Task, attempt: int) -> int:
        """How many attempts of a task are lost if this one is; the others before it have failed."""
        failed = self.failures_of(task)
        return attempt if failed is None else max(1, attempt - failed.count)

    def fail_attempt(self, task: Task, failures: FailedAttempts) -> None:
        """The attempt has failed, and the next one waits for its moment: ``failures``, with this one, say for which."""
        self._failed[task.id] = failures
        task.attempt += 1
        self._move(task, Event.POSTPONE)

    def postpone(self, task: Task) -> None:
        """The task did not start at its node, and may not do so yet."""
        self._move(task, Event.POSTPONE)

    def lose_attempt(self, task: Task, limit: int, now: float) -> bool:
        """The attempt was lost with its worker or node. True: the task is ready again, where it was if that was its
        first, and behind all that wait by now if it was not. False: that was its last attempt, and the caller must end
        it as LOST."""
        # An adopted attempt may be one that was counted long ago.
        losses = max(self.losses_with(task, task.attempt), task.lost_attempts)
        if losses >= task.attempt_limit(limit):
            return False
        failed = self.failures_of(task)
        task.attempt = losses + 1 if failed is None else max(losses + failed.count, failed.last_attempt) + 1
        self.tally.redelivered += 1
        self._waits_again(task, now)
        if losses > 1:  # twice is no accident: the others do not wait until it has used up its attempts
            task.age = self._next_age
            self._next_age += 1
        if losses >= ALONE_AFTER_LOSSES:  # beside it others would lose attempts if it ends its workers, or it by them
            task.runs_alone = True
        self._move(task, Event.ATTEMPT_LOST)
        return True

    def _waits_again(self, task: Task, now: float) -> None:
        if not task.sent_at:  # it was at its node when this leader came
            task.arrived_at = now

    # --- nodes come and go --------------------------------------------------------------------------------------

    def enrol(
        self,
        node_id: str,
        slots: int,
        names: Iterable[str],
        window_bytes: int = MAX_INT,
        async_slots: int = 0,
        async_names: Iterable[str] = (),
        queues: Iterable[str] = (),
        places: tuple[str, str] | None = NO_PLACES,
    ) -> NodeLedger:
        """A node offers slots, or offers them anew. ``window_bytes``: see ``credits.py``. ``async_slots``: for
        ``async_names`` alone, which the others are not for. ``queues``: it takes their tasks alone; none: all tasks.
        ``places``: its tags and amounts; None: those that are known."""
        announced, known_async = frozenset(names), frozenset(async_names)
        ledger = self.ledgers.get(node_id)
        if ledger is None:
            ledger = self.ledgers[node_id] = NodeLedger(node_id, 0, frozenset(), window_bytes)
        ledger.announced = announced
        changed = _resize(ledger, slots, announced - known_async if known_async else announced)
        if known_async and node_id not in self.async_ledgers:
            self.async_ledgers[node_id] = NodeLedger(
                node_id, 0, frozenset(), window_bytes, is_async=True, room=ledger.room
            )
        async_ledger = self.async_ledgers.get(node_id)
        if async_ledger is not None and _resize(async_ledger, async_slots, known_async):
            changed = True
        if places is not None and ledger.room.declare(places):
            changed = True
        for each in self.ledgers_of(node_id):
            if each.queues != frozenset(queues):
                each.queues = frozenset(queues)
                changed = True
        if changed:
            self._serve()
        return ledger

    def all_ledgers(self) -> list[NodeLedger]:
        """Those of all nodes, of either kind."""
        return [*self.ledgers.values(), *self.async_ledgers.values()]

    def ledgers_of(self, node_id: str) -> list[NodeLedger]:
        """Those of one node: none, one, or one for either kind of tasks."""
        found = (self.ledgers.get(node_id), self.async_ledgers.get(node_id))
        return [ledger for ledger in found if ledger is not None]

    def ledger_of(self, task: Task) -> NodeLedger | None:
        """The one in which a task has its place; None if it has none at a node that is there."""
        return (self.async_ledgers if task.is_async else self.ledgers).get(task.node)

    def remove_node(self, node_id: str) -> None:
        """A node is gone. The caller has given back, lost or ended all tasks that it held."""
        del self.ledgers[node_id]
        self.async_ledgers.pop(node_id, None)
        self._serve()

    def _serve(self) -> None:
        plain = {node_id: ledger for node_id, ledger in self.ledgers.items() if ledger.slots}
        serving = dict(plain)
        for ledger in self.async_ledgers.values():
            if ledger.slots or ledger.node_id in serving:  # else the worker for them is only about to come
                serving[ledger.key] = ledger
        self.queues.serve(serving, plain)

    def queues_with_work(self) -> list[Queue]:
        """The queues of which a task may be handed out, if a node has credit for it."""
        return self.queues.with_work(is_settled=self.is_settled)

    def is_unknown(self, name: str) -> bool:
        """Whether no node can run tasks of this name. False while some nodes may still give their accounts."""
        return (
            self.is_settled
            and not self.queues.runners.nodes_of(name)
            and any(each.slots for each in self.ledgers.values())
        )

    def is_served(self, name: str) -> bool:
        """Whether some node can run tasks of this name."""
        return bool(self.queues.runners.nodes_of(name))

    def known_names(self) -> list[str]:
        """Every name that some node can run, in order. Not to be changed."""
        return self.queues.runners.known_names()

    # --- by name ------------------------------------------------------------------------------------------------

    # Clients name tasks, and may have invented any number of names while no node had said which it runs. So what goes
    # through names looks at NAMES_LOOKED_AT of them.

    @property
    def name_count(self) -> int:
        """At least how many names tasks have that wait here, or did until lately."""
        apart = max(len(self._apart.by_name), len(self._limited_names.by_name))
        return max(apart, *[lanes.name_count for lanes in self.queues.lanes])

    def waiting_of(self, name: str) -> int:
        """How many tasks of this name wait in lanes, or for their limits."""
        return sum([lanes.waiting_of(name) for lanes in self.queues.lanes]) + self._limited_names.count_of(name)

    def delayed_of(self, name: str) -> int:
        """How many tasks of this name wait for their moments."""
        return self._apart.count_of(name)

    def waiting_names(self) -> set[str]:
        """Names of tasks that wait, in lanes or for their moments."""
        found = set(islice(self._apart.by_name, NAMES_LOOKED_AT))
        found.update(islice(self._limited_names.by_name, NAMES_LOOKED_AT))
        for lanes in self.queues.lanes:
            found.update(lanes.waiting_by_name(NAMES_LOOKED_AT))
        return found

    def unserved_by_name(self) -> dict[str, int]:
        """How many wait in lanes of those names that no node can run. None do while that is not known: some nodes may
        still give their accounts, or no worker of any node is ready."""
        if not self._knows_who_serves:
            return {}
        found = _sums(lanes.waiting_unserved(NAMES_LOOKED_AT) for lanes in self.queues.lanes if not lanes.placement)
        for lanes in self.queues.lanes if self.queues.has_placed else ():
            placement = lanes.placement
            for name, count in lanes.waiting_unserved(NAMES_LOOKED_AT).items() if placement else ():
                if placement is not None and (not placement.asks or not self.is_served(name)):
                    found[name] = found.get(name, 0) + count
        return found

    def unplaced(self) -> dict[str, int]:
        """How many wait in lanes for tags or amounts that no node has that runs their names, by name and what they ask
        for, in words. None do while that is not known, likewise."""
        found: dict[str, int] = {}
        if not (self.queues.has_placed and self._knows_who_serves):
            return found
        for placed in self.queues.placed():
            for lanes in placed.lanes if placed.placement.asks else ():
                for name, count in lanes.waiting_unserved(NAMES_LOOKED_AT).items() if lanes.count else ():
                    if self.is_served(name):
                        what = f"{name} with {placed.placement.shown}"
                        found[what] = found.get(what, 0) + count
        return found

    @property
    def _knows_who_serves(self) -> bool:
        return self.is_settled and any(ledger.slots for ledger in self.ledgers.values())

    def waiting_for_slots(self) -> dict[str, int]:
        """How many wait in lanes, by name, for workers that run one task at a time; without those of
        :meth:`unserved_by_name`."""
        found = _sums(lanes.waiting_for_slots(NAMES_LOOKED_AT) for lanes in self.queues.lanes)
        for name in self.unserved_by_name():
            found.pop(name, None)
        return found

    def waiting_for_node(self, node_id: str) -> dict[str, int]:
        """How many wait in lanes, by name, for those workers of this node that run one task at a time. None do while
        that is not known: other nodes may have them, and still give their accounts."""
        if not self.is_settled:
            return {}
        room = self.ledgers[node_id].room if node_id in self.ledgers else Room()
        return _sums(
            lanes.waiting_for(node_id, NAMES_LOOKED_AT)
            for lanes in self.queues.lanes
            if lanes.placement is None or room.has(lanes.placement.amounts)
        )

    def nodes_that_take(self, queue: str) -> int:
        """How many nodes run tasks of this queue now."""
        return sum([each.takes(queue) for each in self.ledgers.values() if each.slots])

    def nodes_that_run(self, name: str) -> int:
        """How many nodes can run this name now."""
        return len(self.queues.runners.nodes_of(name))

    def find_waiting(self, name: str, skip: int, limit: int, ids_limit: int) -> tuple[list[bytes], int, bool]:
        """The ids of tasks of this name that no node has, ``ids_limit`` at most, among ``limit`` candidates behind the
        first ``skip``; how many candidates were looked at, and whether they were the last.

        Candidates are the tasks of the same lane, and those of this name that are delayed. Cost: that of ``limit``, and
        little for those that are skipped, in lanes; of delayed tasks no more than DELAYED_SKIPPED are. They move up as
        tasks leave, so that who goes on with a larger ``skip`` may miss some."""
        found: dict[bytes, None] = {}
        looked_at = 0
        for task in self._candidates(name, skip, limit + 1):
            if looked_at == limit or len(found) == ids_limit:
                return list(found), looked_at, False
            looked_at += 1
            if task.name == name and task.waits_at_leader:
                found[task.id] = None
        return list(found), looked_at, True

    def _candidates(self, name: str, skip: int, limit: int) -> list[Task]:
        """``limit`` candidates behind the first ``skip``."""
        some: list[Task] = []
        for lanes in self.queues.lanes:
            lane = lanes.lane_of(name)
            if lane is not None:
                some += lane.look(skip, limit - len(some))
                skip = max(0, skip - lane.length())
        for names in (self._limited_names, self._apart):
            if skip <= DELAYED_SKIPPED:
                some += names.look(name, skip, limit - len(some))
                skip = max(0, skip - names.count_of(name))
        return some

    # --- for whoever looks for tasks (finding.py) ---------------------------------------------------------------

    @property
    def next_age(self) -> int:
        """The ``first_age`` of the next task that is taken in is no less."""
        return self._next_age

    def delayed_names(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Names of tasks that wait for their moments, each with its number, from this one on; see ``places.py``."""
        return self._apart.names_from(number, limit)

    def delayed_tasks(self, number: int, name: str, skip: int) -> Iterator[Task]:
        """The tasks of the name of this number that wait for their moments, behind the first ``skip``."""
        return self._apart.tasks_of(number, name, skip)

    def lines(self) -> list[deque[Task]]:
        """Every line of tasks that wait: of a lane, a priority and a fair key. Some of them are empty."""
        return [
            queue
            for lanes in self.queues.lanes
            for lane in lanes.lanes
            for priority in range(PRIORITY_MAX + 1)
            for queue in lane.queues(priority)
        ]

    def lanes_of(self, name: str) -> list[Lane]:
        """The lanes in which tasks of this name wait, among others; all lanes for ""."""
        if not name:
            return [lane for lanes in self.queues.lanes for lane in lanes.lanes]
        return [lane for lanes in self.queues.lanes if (lane := lanes.lane_of(name)) is not None]

    def limited_names(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Names of tasks that wait for their limits, as :meth:`delayed_names`."""
        return self._limited_names.names_from(number, limit)

    def limited_tasks(self, number: int, name: str, skip: int) -> Iterator[Task]:
        """The tasks of the name of this number that wait for their limits, behind the first ``skip``."""
        return self._limited_names.tasks_of(number, name, skip)

    def all_delayed(self) -> list[Task]:
        """Every task that waits for its moment. Cost: that of all of them."""
        return self._apart.tasks()

    # --- how many, and where ------------------------------------------------------------------------------------

    def may_be_at_a_node(self, task: Task) -> bool:
        """Whether a node may have the task: this leader or an earlier one may have sent it there."""
        return task.is_dispatched or (not self.is_settled and self._is_unaccounted(task))

    def count(self, state: int) -> int:
        """How many live tasks have this state."""
        if state == State.READY or state == State.RECOVERED:
            return sum([lanes.count for lanes in self.queues.lanes if lanes.state == state])
        place = self._places[state]
        return 0 if place is None else place.count

    @property
    def dispatchable(self) -> int:
        """How many tasks may be dispatched, were no queue paused."""
        return self.queues.waiting(is_settled=self.is_settled)

    @property
    def waiting(self) -> int:
        """How many tasks wait in lanes, whether they may be dispatched yet or not."""
        return sum([lanes.count for lanes in self.queues.lanes])

    @property
    def at_nodes(self) -> int:
        """How many tasks have their place at a node."""
        return self._starting.count + self._dispatched.count

    @property
    def delayed(self) -> int:
        """How many wait for their moments, or for tasks."""
        return self._delayed.count + self._waiting.count

    @property
    def waits_for_tasks(self) -> int:
        """How many of them wait for tasks."""
        return self._waiting.count

    @property
    def limited(self) -> int:
        """How many wait for their limits."""
        return self._limited.count

    def waiting_by_priority(self) -> list[int]:
        """How many tasks wait in lanes, by priority."""
        return [sum(counts) for counts in zip(*[lanes.by_priority for lanes in self.queues.lanes], strict=True)]

    def oldest_arrived_at(self) -> float:
        """When the oldest task that waits in a lane came; inf if none does."""
        return min([lanes.oldest_arrived_at() for lanes in self.queues.lanes])

    def check(self) -> None:
        """Raise Misplaced unless each live task is in the place of its state and in no other, and every count is right.
        Cost: that of all tasks."""
        found: Counter[bytes] = Counter()
        apart = (self._delayed, self._waiting, self._limited)
        for place in (self._starting, self._dispatched, *apart, *self.queues.lanes):
            tasks = place.tasks()
            found.update(task.id for task in tasks)
            if place.count != len(tasks):
                raise Misplaced(f"{len(tasks)} tasks are {STATE_NAMES[place.state]}, and {place.count} are counted")
        for ledger in self.all_ledgers():
            self._check_ledger(ledger)
        for node_id, ledger in self.ledgers.items():
            self._check_room(node_id, ledger.room)
        asked = Counter((options.queue, key_of(name, options)) for name, options in self._placed_options())
        for queue in self.queues.by_name.values():
            for key, placed in queue.placed.items():
                if placed.placement.live != asked.pop((queue.name, key), 0):
                    raise Misplaced(f"{placed.placement.live} live tasks with {placed.placement.shown} are counted")
        if asked:
            raise Misplaced(f"tasks ask for {asked}, which nobody knows")
        named = Counter(self.queue_of(task).name for task in self.live.values() if task.options is not None)
        for queue in self.queues.by_name.values():
            if queue.live != named[queue.name]:
                raise Misplaced(f"{queue.live} live tasks of queue {queue.name} are counted, not {named[queue.name]}")
            lines = [line for lanes in queue.all_lanes for lane in lanes.lanes for line in lane.fair_lines()]
            if wrong := queue.fair.miscounted(lines):
                raise Misplaced(f"of queue {queue.name} {wrong}")
        for lanes in self.queues.lanes:
            if sum(lanes.by_priority) != lanes.count or min(lanes.by_priority) < 0:
                raise Misplaced(f"{lanes.count} tasks are {STATE_NAMES[lanes.state]}, by priority {lanes.by_priority}")
            _check_names(lanes.tasks(), lanes.waiting_by_name(lanes.name_count))
        for names in (self._apart, self._limited_names):
            _check_names(names.tasks(), {name: len(tasks) for name, tasks in names.by_name.items()})
        if wrong := self.gates.miscounted(self.live.values()):
            raise Misplaced(wrong)
        for task_id in found.keys() | self.live.keys():
            if found[task_id] != (task_id in self.live):
                raise Misplaced(f"task {task_id.hex()} is in {found[task_id]} places")
        for wrong in self.inputs.wrong(self.live, lambda task: task.waits_for_tasks):
            raise Misplaced(wrong)
        if wrong := self.graphs.miscounted(self.live.values()):
            raise Misplaced(wrong)
        if self.live_bytes != sum(task.size_bytes() for task in self.live.values()):
            raise Misplaced(f"{self.live_bytes} bytes are counted")

    def _placed_options(self) -> list[tuple[str, CallOptions]]:
        asked = [(task.name, task.options) for task in self.live.values() if task.options is not None]
        return [(name, options) for name, options in asked if options.is_placed]

    def _check_room(self, node_id: str, room: Room) -> None:
        taken = Counter[str]()
        for ledger in self.ledgers_of(node_id):
            if ledger.room is not room:
                raise Misplaced(f"{ledger.key} has a room of its own")
            for task in ledger.held.values():
                taken.update(dict(task.options.amounts if task.options is not None else ()))
        if taken != room.taken:
            raise Misplaced(f"{room.taken} is taken at {node_id}, and its tasks take {dict(taken)}")

    def _check_ledger(self, ledger: NodeLedger) -> None:
        for task in ledger.held.values():
            place = self._places[task.state]
            if not isinstance(place, AtNodes) or self.ledger_of(task) is not ledger:
                raise Misplaced(f"{ledger.node_id} has a {STATE_NAMES[task.state]} task of node {task.node!r}")
            if task.is_starting and not task.must_log_start:
                raise Misplaced(f"task {task.id.hex()} waits for a start that need not be logged")
        parked = [ledger.held[task_id].cost_us for task_id in ledger.parked if task_id in ledger.held]
        if sum(parked) != ledger.parked_cost_us or sum(cost >= LONG_US for cost in parked) != ledger.parked_long:
            raise Misplaced(f"{ledger.node_id} is charged {ledger.parked_cost_us} us of parked tasks, of {parked}")
        if not ledger.parked.keys() <= ledger.held.keys():
            raise Misplaced(f"{ledger.node_id} has {len(ledger.parked)} parked tasks, and not all of them are there")
        if ledger.riding != sum(task.cost_us == RIDES for task in ledger.held.values()):
            raise Misplaced(f"{ledger.riding} tasks that go with others are counted at {ledger.node_id}")
        if ledger.cost_us != sum(task.cost_us for task in ledger.held.values()):
            raise Misplaced(f"{ledger.node_id} is charged {ledger.cost_us} us, which is not what its tasks cost")
        unsent = sum(task.sent_bytes for task in ledger.held.values() if task.is_starting)
        if ledger.on_way_bytes != unsent + ledger.sent_bytes():
            raise Misplaced(f"{ledger.on_way_bytes} bytes are counted as on their way to {ledger.node_id}")


def _resize(ledger: NodeLedger, slots: int, names: frozenset[str]) -> bool:
    """A node offers this. True if others serve the lanes by that."""
    changed = names != ledger.names or (slots > 0) != (ledger.slots > 0)
    ledger.resize(slots, names)
    return changed


def _check_names(tasks: list[Task], counted: dict[str, int]) -> None:
    if counted != Counter(task.name for task in tasks):
        raise Misplaced(f"{len(tasks)} tasks wait, by name {counted}")


def _sums(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """By name, over all of these."""
    found: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            found[name] = found.get(name, 0) + count
    return found
