"""Which task goes to which node, and when.

The leader keeps a ledger for each node: what it was given and has not answered for. How much a node may hold at a time,
and which is given the next task, is in ``credits.py``. Everything else waits here, where it can still go to any node.

Every live task is in exactly one place: RECOVERED in a lane of ``recovered`` (an earlier leader accepted it), READY in
a lane of ``ready``, or in the ledger of one node, DISPATCHED or STARTING. What is recovered is not handed out before
the nodes have said what they hold, or had time to: ``settled``.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from paceline.core.measures.durations import UNKNOWN_US, Durations
from paceline.core.measures.tally import Tally
from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.lanes import Lane, Lanes
from paceline.core.state.task import Event, State, Task
from paceline_protocol.messages import PRIORITY_MAX, Assignment

TOGETHER_US = 500
"""Tasks that take no longer than this together go to one node: about what it takes to give one to another."""

SWEEP_TASKS = 1_024
"""Tasks that ended while they waited in a lane: beyond this number, and that of the waiting ones, they are removed."""


class Dispatcher:
    """The leader's live tasks. Built anew by each leader; nothing here is replicated. ``own_id``: the leader's node."""

    def __init__(self, own_id: str = "", live: dict[bytes, Task] | None = None) -> None:
        """``live``: the tasks that will be recovered. A dict that grows to their number would stand still to do so."""
        self.live: dict[bytes, Task] = live or {}
        self.live_bytes = 0
        self.recovered = Lanes(own_id, State.RECOVERED)
        self.recovered_tasks = 0  # in its lanes
        self.settled = False
        self.ready = Lanes(own_id)
        self.ready_tasks = 0  # that may be handed out: in the lanes of `ready`, and once settled, of `recovered`
        self.ledgers: dict[str, NodeLedger] = {}
        self.starting: list[Task] = []  # of the last dispatch(): those whose start must be logged first
        self.traced: list[bytes] = []  # of the last dispatch(): those that are sampled
        self.durations = Durations()
        self.now = 0.0  # of the event at hand; only what is counted depends on it
        self.tally = Tally()
        self.waiting: list[int] = [0] * (PRIORITY_MAX + 1)  # tasks in lanes, by priority
        self._next_age = 0
        self._gone_in_lanes = 0  # ended or adopted where they waited, since the last sweep

    # --- tasks come and end -------------------------------------------------------------------------------------

    def admit(self, task: Task) -> None:
        """Take a new task: ready at once."""
        self._keep(task)
        self.tally.submitted += 1
        self._make_ready(task, front=False)

    def recover(self, task: Task, lost_attempts: int = 0) -> None:
        """Take a task that an earlier leader had accepted. It waits for the nodes' accounts: adopt(), or settle()."""
        task.state = State.RECOVERED
        task.lost_attempts = lost_attempts
        task.attempt = lost_attempts + 1
        task.node = ""
        task.sent_seq = 0
        task.sent_at = 0.0
        task.session = None
        self._keep(task)
        self.recovered.push(task)
        self.recovered_tasks += 1
        self.waiting[task.priority] += 1

    def adopt(self, task: Task, node_id: str, attempt: int) -> None:
        """A node already holds this recovered task: leave it there."""
        self._leave_lane(task)
        self._gone_in_lanes += 1
        task.attempt = attempt
        task.move(Event.DISPATCH)
        ledger = self.ledgers[node_id]
        ledger.take(task, self._cost_us(task))
        ledger.moved()

    def settle(self) -> None:
        """Every node has given its account, or had time to: what is still recovered may be handed out."""
        self.settled = True
        self.ready_tasks += self.recovered_tasks

    def awaits_accounts(self, task: Task) -> bool:
        """Whether a node may have it, and has not said so yet."""
        return task.state is State.RECOVERED and not self.settled

    def finish(self, task_id: bytes, event: Event) -> Task | None:
        """The task ended. Returns None if it is not live: an outcome of something that is already over."""
        task = self.live.pop(task_id, None)
        if task is None:
            return None
        self.live_bytes -= task.size_bytes()
        if task.state is State.DISPATCHED or task.state is State.STARTING:
            self._leave_node(task)
        else:
            self._leave_lane(task)
            self._gone_in_lanes += 1
        task.move(event)
        if self._gone_in_lanes > max(SWEEP_TASKS, self.ready_tasks, self.recovered_tasks):
            self._gone_in_lanes = 0
            self.ready.sweep()
            self.recovered.sweep()
        return task

    # --- nodes come and go --------------------------------------------------------------------------------------

    def enrol(self, node_id: str, slots: int, names: Iterable[str]) -> NodeLedger:
        """A node offers slots, or offers them anew."""
        ledger = self.ledgers.get(node_id)
        known = frozenset(names)
        if ledger is None:
            ledger = self.ledgers[node_id] = NodeLedger(node_id, slots, known)
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
        serving = {node_id: ledger for node_id, ledger in self.ledgers.items() if ledger.slots}
        self.recovered.serve(serving)
        self.ready.serve(serving)

    # --- attempts -----------------------------------------------------------------------------------------------

    def give_back(self, task: Task) -> None:
        """The task never started where it was sent: ready again, the attempt is not used up."""
        self._leave_node(task)
        task.move(Event.GIVE_BACK)
        self._make_ready(task, front=True)

    def lost_attempt(self, task: Task, limit: int) -> bool:
        """The attempt ended with its worker or node. True: ready again. False: that was the last; finish it as LOST."""
        losses = max(task.attempt, task.lost_attempts)  # an adopted attempt may be one that was counted long ago
        if losses >= task.attempt_limit(limit):
            return False
        self._leave_node(task)
        task.attempt = losses + 1
        task.move(Event.ATTEMPT_LOST)
        self.tally.redelivered += 1
        self._make_ready(task, front=True)
        return True

    def _leave_node(self, task: Task) -> None:
        ledger = self.ledgers.get(task.node)
        if ledger is not None:
            ledger.drop(task.id)

    def _keep(self, task: Task) -> None:
        task.age = self._next_age
        task.arrived_at = self.now
        self._next_age += 1
        self.live[task.id] = task
        self.live_bytes += task.size_bytes()

    def _cost_us(self, task: Task) -> int:
        """What a node is charged. A task that lost an attempt may be what killed it: it travels and runs alone."""
        return UNKNOWN_US if task.attempt > 1 else self.durations.cost_us(task.name)

    def _leave_lane(self, task: Task) -> None:
        """The task waits no longer; it is skipped, or taken out, by whoever called this."""
        self.waiting[task.priority] -= 1
        if task.state is State.RECOVERED:
            self.recovered_tasks -= 1
            if not self.settled:
                return
        self.ready_tasks -= 1

    def _make_ready(self, task: Task, *, front: bool) -> None:
        self.ready_tasks += 1
        self.waiting[task.priority] += 1
        if front:
            if not task.sent_at:  # it was at its node when this leader came
                task.arrived_at = self.now
            self.ready.push_front(task)
        else:
            self.ready.push(task)

    # --- the decision -------------------------------------------------------------------------------------------

    def dispatch(self) -> dict[str, list[Assignment]]:
        """Hand out ready tasks while there is credit: higher priority first, then older. Returns the tasks by node, but
        for those that are now ``starting``."""
        given: dict[str, list[Assignment]] = {}
        lanes = self.ready.served
        if self.recovered_tasks and self.settled:
            lanes = self.recovered.served + lanes
        if len(lanes) == 1:
            waiting = self.ready_tasks
            while self.ready_tasks and self._give(lanes[0], given, waiting):
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
            head = lane.head() if self._give(lane, given, 1) else None
            if head is None:
                heappop(heads)
            else:
                heapreplace(heads, (-head.priority, head.age, heads[0][2]))

    def _give(self, lane: Lane, given: dict[str, list[Assignment]], waiting: int) -> bool:
        """Give the lane's next task to the node whose turn it is; False if there is no task, or no credit.

        The node gets several short ones at once: its share of the ``waiting`` ones, or as many as take no longer than
        TOGETHER_US. What travels together costs less than what is dealt out one by one.
        """
        task = lane.head()
        if task is None:
            return False
        cost_us = self._cost_us(task)
        row = lane.row
        ledger = row.next(cost_us)
        if ledger is None:
            return False
        share = waiting * ledger.slots // row.slots
        together_us = 0
        while True:
            lane.pop()
            self._leave_lane(task)
            ledger.take(task, cost_us)
            if not task.sent_at:
                self.tally.queue_wait.observe_s(self.now - task.arrived_at)
            task.sent_at = self.now
            if task.options is not None and task.must_log_start:
                task.move(Event.RESERVE)
                self.starting.append(task)
            else:
                if task.options is not None and task.is_traced:
                    self.traced.append(task.id)
                task.move(Event.DISPATCH)
                given.setdefault(ledger.node_id, []).append(task.assignment)
            share -= 1
            together_us += cost_us
            task = lane.head()
            if task is None:
                break
            cost_us = self._cost_us(task)
            if (share <= 0 and together_us + cost_us > TOGETHER_US) or not ledger.has_time(cost_us):
                break
        ledger.moved()
        return True
