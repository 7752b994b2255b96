"""Which task goes to which node, and when.

The leader keeps a ledger for each node: what it was given and has not answered for. How much a node may hold at a time,
and which is given the next task, is in ``credits.py``; in which order tasks wait, in ``lanes.py``. This module only
decides; ``LiveTasks`` moves the task. A task for which no node has credit stays at the leader, from where it can go to
any node.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from math import inf
from typing import Final

from paceline.core.measures.durations import UNKNOWN_US, Durations
from paceline.core.scheduling.credits import RIDES
from paceline.core.scheduling.lanes import Lane
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.placed_lanes import keep_nodes, opens_at, waits_for_preferred, with_room
from paceline.core.scheduling.placement import Requirements, Room
from paceline.core.scheduling.queue_turns import QueueTurns
from paceline.core.scheduling.queues import Queue
from paceline.core.state.task import Task
from paceline_protocol.limits import BATCHED_BYTES
from paceline_protocol.messages.records import PRIORITY_MAX

TOGETHER_US: Final = 500
"""Tasks that take no longer than this together go to one node: about what it takes to give one to another."""

FIRST: Final = -PRIORITY_MAX - 1
"""Before all that have a priority."""


class Given:
    """What one round of dispatch handed out. ``by_ledger``: the tasks to send now, by the key of the ledger where
    they are. ``starting``: those whose start must be logged first. ``traced``: ids of those that are sampled and sent
    now."""

    __slots__ = ("by_ledger", "starting", "traced")

    def __init__(self) -> None:
        self.by_ledger: dict[str, list[Task]] = {}
        self.starting: list[Task] = []
        self.traced: list[bytes] = []


class Dispatcher:
    """Hands out the leader's tasks. ``durations``: how long tasks run, as far as is known. ``opens_at``: when the first
    of those that wait for others to go with them waits no longer; inf if none does."""

    def __init__(self, tasks: LiveTasks) -> None:
        self.durations = Durations()
        self._tasks = tasks
        self.opens_at = inf
        self._only_unlogged = False
        self._kept: list[Room] = []  # of nodes that are kept for one lane each (placement.py)

    def cost_us(self, name: str, attempt: int) -> int:
        """The expected time that a node is charged for a task. A task that has lost an attempt may have killed its
        worker, so it counts as long: it travels and runs alone."""
        return UNKNOWN_US if attempt > 1 else self.durations.cost_us(name)

    def dispatch(self, now: float, *, only_unlogged: bool = False) -> Given:
        """Hand out tasks while there is credit: of several queues in turn, of one by priority, then by age.
        ``only_unlogged``: of the tasks that need no log alone."""
        self._only_unlogged = only_unlogged
        self.opens_at = inf
        given = Given()
        queues = self._tasks.queues_with_work()
        if self._tasks.queues.has_placed:
            self._keep_nodes(now)
        if len(queues) == 1:
            self._give_from(queues[0], given, now)
        elif queues:
            self._give_in_turns(queues, given, now)
        return given

    def _keep_nodes(self, now: float) -> None:
        for room in self._kept:
            room.kept_for = None
        self._kept = keep_nodes(self._tasks.queues.placed_lanes(is_settled=self._tasks.is_settled), now)

    def _give_from(self, queue: Queue, given: Given, now: float) -> None:
        """Give tasks of one queue, as no other has any."""
        is_settled = self._tasks.is_settled
        lanes = queue.served_lanes(is_settled)
        if len(lanes) == 1:
            queue.ageing.is_mixed = False
            waiting = left = queue.waiting(is_settled)
            while left > 0 and (count := self._give(lanes[0], given, waiting, now)):
                left -= count
        else:
            heads = Heads(lanes, queue)
            while heads.are_left:
                self._give_next(heads, given, now)

    def _give_in_turns(self, queues: list[Queue], given: Given, now: float) -> None:
        """Give tasks of those queues in turn that have some for which nodes have credit (``queues.py``)."""
        is_settled = self._tasks.is_settled
        served = [
            (queue, heads) for queue in queues if (heads := Heads(queue.served_lanes(is_settled), queue)).are_left
        ]
        turns = QueueTurns(self._tasks.queues, [queue for queue, _ in served])
        while (index := turns.next()) >= 0:
            heads = served[index][1]
            turns.given(index, self._give_next(heads, given, now), is_over=not heads.are_left)

    def _give_next(self, heads: Heads, given: Given, now: float) -> int:
        """Give the first task of these lanes, and those that travel with it. Returns how many; 0, if no node has credit
        for it: then its lane is not looked at again."""
        lane = heads.first
        count = self._give(lane, given, 1, now)
        heads.moved(lane.top() if count else None)
        return count

    def _give(self, lane: Lane, given: Given, waiting: int, now: float) -> int:
        """Give the lane's next task to the node whose turn it is. Returns how many are given; 0 if there is no task, or
        no credit.

        The node gets several short ones at once: its share of the ``waiting`` ones, or as many as take no longer than
        TOGETHER_US. Tasks that travel together cost less than tasks that are given one by one.
        """
        task = lane.head()
        if task is None or (self._only_unlogged and task.is_logged):
            return 0
        cost_us = self.cost_us(task.name, task.attempt)
        placement = lane.lanes.placement
        if placement is not None:
            return self._give_placed(task, lane, placement, cost_us, given, now)
        row = lane.row
        ledger = row.next(cost_us)
        if ledger is None:
            return 0
        sent = given.by_ledger.get(ledger.key)
        if sent is None:
            sent = given.by_ledger[ledger.key] = []
        share = waiting * ledger.slots // row.slots
        together_us = count = 0
        while True:
            if not self._tasks.hand_out(task, lane, ledger, cost_us, now):
                given.starting.append(task)
            else:
                if task.options is not None and task.is_traced:
                    given.traced.append(task.id)
                sent.append(task)
            share -= 1
            count += 1
            together_us += cost_us
            task = lane.head()
            if task is None or (self._only_unlogged and task.is_logged):
                break
            cost_us = self.cost_us(task.name, task.attempt)
            if (share <= 0 and together_us + cost_us > TOGETHER_US) or not ledger.has_time(cost_us):
                break
        ledger.moved()
        return count

    def _give_placed(
        self, task: Task, lane: Lane, placement: Requirements, cost_us: int, given: Given, now: float
    ) -> int:
        """Give a lane's next task to the least loaded node that has room for it (``placement.py``), and with it those
        that are handed to their function with it. Returns how many; 0 if there is none, or they wait for others."""
        if placement.window_s and not task.runs_alone and (at := opens_at(lane, placement)) > now:
            self.opens_at = min(self.opens_at, at)
            return 0
        ledger = with_room(lane, placement, task, cost_us, now)
        if ledger is None:
            if not waits_for_preferred(lane, task, now):
                lane.lacking_since = min(lane.lacking_since, now)
            return 0
        lane.lacking_since = inf
        limit = 1 if task.runs_alone else placement.batch
        count = sent_bytes = 0
        while True:
            if not self._tasks.hand_out(task, lane, ledger, cost_us, now):
                given.starting.append(task)
            else:
                if task.options is not None and task.options.is_traced:
                    given.traced.append(task.id)
                given.by_ledger.setdefault(ledger.key, []).append(task)
            count += 1
            sent_bytes += task.sent_bytes
            if count == limit:
                break
            next_task = lane.head()
            if next_task is None or (self._only_unlogged and next_task.is_logged):
                break
            if sent_bytes + next_task.sent_bytes > BATCHED_BYTES:
                break
            task, cost_us = next_task, RIDES
        ledger.moved()
        return count


class Heads:
    """The first tasks of several lanes of a queue, the first of them in front: of the highest priority, then of the
    fair key whose turn it is, then the oldest; or the oldest at once, if that is due."""

    __slots__ = ("_ageing", "_fair", "_heap", "_lanes")

    def __init__(self, lanes: list[Lane], queue: Queue) -> None:
        self._lanes = lanes
        self._fair = queue.fair
        self._ageing = queue.ageing
        self._heap = [
            (-top.priority, lane.turn(top), top.age, index)
            for index, lane in enumerate(lanes)
            if (top := lane.top()) is not None
        ]
        heapify(self._heap)
        tops = {entry[0] for entry in self._heap}
        queue.ageing.is_mixed = len(tops) > 1 or any(lane.is_mixed for lane in lanes)

    @property
    def are_left(self) -> bool:
        return bool(self._heap)

    @property
    def first(self) -> Lane:
        """The lane whose turn it is."""
        if self._ageing.is_due and self._ageing.is_mixed and self._put_oldest_first():
            return self._lanes[self._heap[0][3]]
        while self._fair.keys:  # a key may have been given a task of another lane since
            index = self._heap[0][3]
            lane = self._lanes[index]
            top = lane.top()
            if top is None or (rank := (-top.priority, lane.turn(top), top.age, index)) == self._heap[0]:
                return lane
            heapreplace(self._heap, rank)
        return self._lanes[self._heap[0][3]]

    def _put_oldest_first(self) -> bool:
        """The oldest of those that are first of their priorities. False, if those that are left are of one priority.
        Cost: that of the lanes that are left, once in AGED_EVERY tasks."""
        firsts: dict[int, tuple[int, int, int]] = {}  # by priority: (turn, age, index)
        for entry in self._heap:
            lane = self._lanes[entry[3]]
            for first in lane.firsts():
                found = (lane.turn(first), first.age, entry[3])
                firsts[first.priority] = min(found, firsts.get(first.priority, found))
        if len(firsts) < 2:
            return False
        age, priority = min([(age, priority) for priority, (_, age, _) in firsts.items()])
        self._ageing.priority = priority
        oldest = firsts[priority][2]
        self._heap = [(FIRST, 0, age, oldest), *[entry for entry in self._heap if entry[3] != oldest]]
        heapify(self._heap)
        return True

    def moved(self, top: Task | None) -> None:
        """This is the first task of that lane now. None: it is not looked at again."""
        self._ageing.priority = -1
        if top is None:
            heappop(self._heap)
        else:
            index = self._heap[0][3]
            heapreplace(self._heap, (-top.priority, self._lanes[index].turn(top), top.age, index))
