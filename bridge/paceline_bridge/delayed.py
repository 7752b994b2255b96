"""The tasks that the cluster has accepted and that may not start yet, or not again, until their moments.

Nothing is done for them before: their callers are not told STARTED, and the cluster is not asked about them again. So
any number of them costs memory alone, a few KB each, up to what the client may have outstanding.

If a caller waits for such a task, its delivery takes a place in the prefetch of its queue, and RabbitMQ gives up a
consumer that keeps it for too long. So the delivery is **retained**, that is, left unacknowledged, only if the task may
start within ``RETAIN_S`` of its arrival, and of each queue only ``retained_limit`` are, which take ``retained_bytes``
at most: both are half of what the queue may have, so that there is always room for its other messages. The others are
the **surplus**: they are acknowledged at once, and then only this process knows that a reply is owed, as for a task
that runs for long.

Pure: no socket, no clock.
"""

from __future__ import annotations

import heapq
from collections import Counter

from paceline_bridge.owed import Delivery, OwedTask

RETAIN_S = 10 * 60.0
"""Together with ``LONG_S`` of deliveries.py, less than the 30 minutes for which RabbitMQ lets a delivery be kept."""
STALE_LIMIT = 1_000
"""How many moments of tasks that ended before them are kept, beside one for each task."""


class Delayed:
    """Those of one ledger."""

    def __init__(self, retained_limit: int, retained_bytes: int, retain_s: float = RETAIN_S) -> None:
        self._retain_s = retain_s
        self._tasks: dict[bytes, OwedTask] = {}
        self._moments: list[tuple[float, bytes]] = []  # a heap
        self._retained: Counter[str] = Counter()  # by queue
        self._retained_weights: Counter[str] = Counter()  # the same, in bytes
        self._retained_limit = retained_limit
        self._retained_bytes = retained_bytes
        self._surplus: list[tuple[OwedTask, Delivery]] = []

    def __contains__(self, task_id: bytes) -> bool:
        return task_id in self._tasks

    def add(self, entry: OwedTask) -> None:
        """The cluster has accepted this task, whose moment is ahead."""
        task_id = entry.call.task_id
        self._tasks[task_id] = entry
        heapq.heappush(self._moments, (entry.due_s, task_id))
        for delivery in entry.deliveries:
            self.retain(entry, delivery)

    def retain(self, entry: OwedTask, delivery: Delivery) -> None:
        """A delivery of such a task: retain it, or add it to the surplus."""
        if delivery.reply is None or delivery.acked:
            return
        queue = delivery.message.queue
        has_room = (
            self._retained[queue] < self._retained_limit
            and self._retained_weights[queue] + delivery.weight_bytes <= self._retained_bytes
        )
        if entry.due_s - delivery.came_s <= self._retain_s and has_room:
            delivery.retained = True
            self._retained[queue] += 1
            self._retained_weights[queue] += delivery.weight_bytes
        else:
            self._surplus.append((entry, delivery))

    def let_go(self, delivery: Delivery) -> None:
        """A delivery is acknowledged, or its task is not delayed any more."""
        if delivery.retained:
            delivery.retained = False
            self._retained[delivery.message.queue] -= 1
            self._retained_weights[delivery.message.queue] -= delivery.weight_bytes

    def take_surplus(self) -> list[tuple[OwedTask, Delivery]]:
        """The deliveries to acknowledge though replies are owed for them."""
        found, self._surplus = self._surplus, []
        return found

    def take_due(self, now: float) -> list[OwedTask]:
        """The tasks that may start by now, the earliest first. They are forgotten here."""
        found: list[OwedTask] = []
        moments = self._moments
        while moments and moments[0][0] <= now:
            due_s, task_id = heapq.heappop(moments)
            entry = self._tasks.get(task_id)
            if entry is not None and entry.due_s == due_s:
                self.forget(entry)
                found.append(entry)
        if len(moments) > 2 * len(self._tasks) + STALE_LIMIT:
            self._moments = sorted((entry.due_s, task_id) for task_id, entry in self._tasks.items())
        return found

    def forget(self, entry: OwedTask) -> None:
        """The task has ended, or is due. Nothing happens if it is not here."""
        if self._tasks.pop(entry.call.task_id, None) is not None:
            for delivery in entry.deliveries:
                self.let_go(delivery)
