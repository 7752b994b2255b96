"""Which task goes to which node, and when.

The leader keeps a ledger for each node: what it was given and has not answered for. How much a node may hold at a time,
and which is given the next task, is in ``credits.py``; in which order tasks wait, in ``lanes.py``. This module only
decides; ``LiveTasks`` moves the task. A task for which no node has credit stays at the leader, from where it can go to
any node.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import Final

from paceline.core.measures.durations import UNKNOWN_US, Durations
from paceline.core.scheduling.lanes import Lane
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.task import Task

TOGETHER_US: Final = 500
"""Tasks that take no longer than this together go to one node: about what it takes to give one to another."""


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
    """Hands out the leader's tasks. ``durations``: how long tasks run, as far as is known."""

    def __init__(self, tasks: LiveTasks) -> None:
        self.durations = Durations()
        self._tasks = tasks
        self._only_unlogged = False

    def cost_us(self, name: str, attempt: int) -> int:
        """The expected time that a node is charged for a task. A task that has lost an attempt may have killed its
        worker, so it counts as long: it travels and runs alone."""
        return UNKNOWN_US if attempt > 1 else self.durations.cost_us(name)

    def dispatch(self, now: float, *, only_unlogged: bool = False) -> Given:
        """Hand out tasks while there is credit: higher priority first, then older. ``only_unlogged``: of the tasks
        that need no log alone."""
        self._only_unlogged = only_unlogged
        tasks, given = self._tasks, Given()
        lanes = tasks.served_lanes()
        if len(lanes) == 1:
            waiting = tasks.dispatchable
            while tasks.dispatchable and self._give(lanes[0], given, waiting, now):
                pass
        else:
            self._give_from_many(lanes, given, now)
        return given

    def _give_from_many(self, lanes: list[Lane], given: Given, now: float) -> None:
        """Give again and again the first task of all lanes whose nodes have credit."""
        heads = [(-head.priority, head.age, index) for index, lane in enumerate(lanes) if (head := lane.head())]
        heapify(heads)
        while heads:
            lane = lanes[heads[0][2]]
            head = lane.head() if self._give(lane, given, 1, now) else None
            if head is None:
                heappop(heads)
            else:
                heapreplace(heads, (-head.priority, head.age, heads[0][2]))

    def _give(self, lane: Lane, given: Given, waiting: int, now: float) -> bool:
        """Give the lane's next task to the node whose turn it is; False if there is no task, or no credit.

        The node gets several short ones at once: its share of the ``waiting`` ones, or as many as take no longer than
        TOGETHER_US. Tasks that travel together cost less than tasks that are given one by one.
        """
        task = lane.head()
        if task is None or (self._only_unlogged and task.is_logged):
            return False
        cost_us = self.cost_us(task.name, task.attempt)
        row = lane.row
        ledger = row.next(cost_us)
        if ledger is None:
            return False
        sent = given.by_ledger.get(ledger.key)
        if sent is None:
            sent = given.by_ledger[ledger.key] = []
        share = waiting * ledger.slots // row.slots
        together_us = 0
        while True:
            if not self._tasks.hand_out(task, lane, ledger, cost_us, now):
                given.starting.append(task)
            else:
                if task.options is not None and task.is_traced:
                    given.traced.append(task.id)
                sent.append(task)
            share -= 1
            together_us += cost_us
            task = lane.head()
            if task is None or (self._only_unlogged and task.is_logged):
                break
            cost_us = self.cost_us(task.name, task.attempt)
            if (share <= 0 and together_us + cost_us > TOGETHER_US) or not ledger.has_time(cost_us):
                break
        ledger.moved()
        return True
