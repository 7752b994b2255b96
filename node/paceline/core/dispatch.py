"""Which task goes to which node, and when.

The leader keeps a ledger for each node: what it was given and has not answered for. Credit follows from the ledger
and is never guessed from socket buffers. A node may hold its slots plus a few spare tasks, which hide one round trip;
and it may hold more than that as long as everything it holds is expected to take less than ``SPARE_TIME_US`` a slot,
so that short tasks travel in batches (see ``durations.py``). Everything else waits here, where it can still go to any
node.

Every live task is in exactly one place: ``recovering`` (an earlier leader accepted it, and the nodes have not yet said
whether they hold it), READY in a lane of ``ready``, or in the ledger of one node, DISPATCHED or STARTING.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from paceline.core.durations import UNKNOWN_US, Durations
from paceline.core.queues import Lane, ReadyQueues
from paceline.core.task import Event, State, Task
from paceline_protocol.messages import Assignment

SPARE_TIME_US = 2_000

SWEEP_TASKS = 1_024
"""Tasks that ended while they waited in a lane: beyond this number, and that of the waiting ones, they are removed."""


class Ledger:
    """What one node was given and has not answered for."""

    __slots__ = ("cost_limit_us", "cost_us", "count_limit", "held", "names", "node_id", "slots")

    def __init__(self, node_id: str, slots: int, names: frozenset[str]) -> None:
        self.node_id = node_id
        self.held: dict[bytes, Task] = {}
        self.cost_us = 0
        self.resize(slots, names)

    def resize(self, slots: int, names: frozenset[str]) -> None:
        """The node has this many workers now, which can run these tasks. Without workers it gets nothing."""
        self.slots = slots
        self.names = names
        self.count_limit = slots + (slots + 1) // 2
        self.cost_limit_us = slots * SPARE_TIME_US

    def take(self, task: Task, cost_us: int) -> None:
        task.node = self.node_id
        task.cost_us = cost_us
        self.held[task.id] = task
        self.cost_us += cost_us

    def drop(self, task_id: bytes) -> Task | None:
        task = self.held.pop(task_id, None)
        if task is not None:
            self.cost_us -= task.cost_us
        return task


class Dispatcher:
    """The leader's live tasks. Built anew by each leader; nothing here is replicated. ``own_id``: the leader's node."""

    def __init__(self, own_id: str = "") -> None:
        self.live: dict[bytes, Task] = {}
        self.live_bytes = 0
        self.recovering: dict[bytes, Task] = {}
        self.ready = ReadyQueues(own_id)
        self.ready_tasks = 0
        self.ledgers: dict[str, Ledger] = {}
        self.starting: list[Task] = []  # of the last dispatch(): those whose start must be logged first
        self.durations = Durations()
        self._next_age = 0
        self._ended_in_lanes = 0  # since the lanes were sorted last

    # --- tasks come and end -------------------------------------------------------------------------------------

    def admit(self, task: Task) -> None:
        """Take a new task: ready at once."""
        self._keep(task)
        self._make_ready(task, front=False)

    def recover(self, task: Task, lost_attempts: int = 0) -> None:
        """Take a task that an earlier leader had accepted. It waits for the nodes' accounts: adopt(), or settle()."""
        task.state = State.READY
        task.lost_attempts = lost_attempts
        task.attempt = lost_attempts + 1
        task.node = ""
        task.sent_seq = 0
        task.session = None
        self._keep(task)
        self.recovering[task.id] = task

    def adopt(self, task: Task, node_id: str, attempt: int) -> None:
        """A node already holds this recovered task: leave it there."""
        del self.recovering[task.id]
        task.attempt = attempt
        task.move(Event.DISPATCH)
        self.ledgers[node_id].take(task, self._cost_us(task))

    def settle(self) -> int:
        """Every node has given its account, or had time to: what is still recovering is ready. Returns how many."""
        recovered = list(self.recovering.values())
        self.recovering.clear()
        for task in recovered:
            self._make_ready(task, front=False)
        if recovered:
            self._serve()  # they are older than what was admitted meanwhile
        return len(recovered)

    def finish(self, task_id: bytes, event: Event) -> Task | None:
        """The task ended. Returns None if it is not live: an outcome of something that is already over."""
        task = self.live.pop(task_id, None)
        if task is None:
            return None
        self.live_bytes -= task.size_bytes()
        if task.state is State.DISPATCHED or task.state is State.STARTING:
            self._leave_node(task)
        elif self.recovering.pop(task_id, None) is None:
            self.ready_tasks -= 1
            self._ended_in_lanes += 1
        task.move(event)
        if self._ended_in_lanes > max(SWEEP_TASKS, self.ready_tasks):
            self._serve()
        return task

    # --- nodes come and go --------------------------------------------------------------------------------------

    def enrol(self, node_id: str, slots: int, names: Iterable[str]) -> Ledger:
        """A node offers slots, or offers them anew."""
        ledger = self.ledgers.get(node_id)
        known = frozenset(names)
        if ledger is None:
            ledger = self.ledgers[node_id] = Ledger(node_id, slots, known)
            self._serve()
        else:
            changed = known != ledger.names or (slots > 0) != (ledger.slots > 0)
            ledger.resize(slots, known)
            if changed:
                self._serve()
        return ledger

    def remove_node(self, node_id: str) -> list[Task]:
        """A node is gone. Returns what it held; the caller decides what becomes of each (lost_attempt)."""
        ledger = self.ledgers.pop(node_id, None)
        if ledger is None:
            return []
        self._serve()
        return list(ledger.held.values())

    def _serve(self) -> None:
        self._ended_in_lanes = 0
        self.ready.serve({ledger.node_id: ledger.names for ledger in self.ledgers.values() if ledger.slots})

    # --- attempts -----------------------------------------------------------------------------------------------

    def give_back(self, task: Task) -> None:
        """The task never started where it was sent: ready again, the attempt is not used up."""
        self._leave_node(task)
        task.move(Event.GIVE_BACK)
        self._make_ready(task, front=True)

    def lost_attempt(self, task: Task, limit: int) -> bool:
        """The attempt ended with its worker or node. True: ready again. False: that was the last; finish it as LOST."""
        losses = max(task.attempt, task.lost_attempts + 1)  # an adopted attempt may be one of long ago
        if losses >= task.attempt_limit(limit):
            return False
        self._leave_node(task)
        task.attempt = losses + 1
        task.move(Event.ATTEMPT_LOST)
        self._make_ready(task, front=True)
        return True

    def _leave_node(self, task: Task) -> None:
        ledger = self.ledgers.get(task.node)
        if ledger is not None:
            ledger.drop(task.id)

    def _keep(self, task: Task) -> None:
        task.age = self._next_age
        self._next_age += 1
        self.live[task.id] = task
        self.live_bytes += task.size_bytes()

    def _cost_us(self, task: Task) -> int:
        """What a node is charged. A task that lost an attempt may be what killed it: it travels and runs alone."""
        return UNKNOWN_US if task.attempt > 1 else self.durations.cost_us(task.name)

    def _make_ready(self, task: Task, *, front: bool) -> None:
        self.ready_tasks += 1
        if front:
            self.ready.push_front(task)
        else:
            self.ready.push(task)

    # --- the decision -------------------------------------------------------------------------------------------

    def dispatch(self) -> dict[str, list[Assignment]]:
        """Hand out ready tasks while there is credit: higher priority first, then older. Returns the tasks by node, but
        for those that are now ``starting``."""
        given: dict[str, list[Assignment]] = {}
        lanes = self.ready.served
        if len(lanes) == 1:
            while self.ready_tasks and self._give_head(lanes[0], given):
                pass
        else:
            self._give_from_many(lanes, given)
        return given

    def _give_from_many(self, lanes: list[Lane], given: dict[str, list[Assignment]]) -> None:
        """Always the first of all heads, of the lanes whose nodes have credit."""
        heads = [(-head.priority, head.age, index) for index, lane in enumerate(lanes) if (head := lane.head())]
        heapify(heads)
        while heads:
            lane = lanes[heads[0][2]]
            head = lane.head() if self._give_head(lane, given) else None
            if head is None:
                heappop(heads)
            else:
                heapreplace(heads, (-head.priority, head.age, heads[0][2]))

    def _give_head(self, lane: Lane, given: dict[str, list[Assignment]]) -> bool:
        """Give the lane's next task to the least loaded of its nodes that has credit; False if there is none."""
        task = lane.head()
        if task is None:
            return False
        cost_us = self._cost_us(task)
        best: Ledger | None = None
        best_load = 0.0
        for node_id in lane.order:  # of equally loaded ones the first
            ledger = self.ledgers[node_id]
            held = len(ledger.held)
            if held >= ledger.count_limit and ledger.cost_us + cost_us > ledger.cost_limit_us:
                continue
            load = held / ledger.slots
            if best is None or load < best_load:
                best, best_load = ledger, load
        if best is None:
            return False
        lane.pop()
        self.ready_tasks -= 1
        best.take(task, cost_us)
        if task.options is not None and task.must_log_start:
            task.move(Event.RESERVE)
            self.starting.append(task)
        else:
            task.move(Event.DISPATCH)
            given.setdefault(best.node_id, []).append(task.assignment)
        return True
