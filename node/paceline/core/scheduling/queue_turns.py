"""Which queue is given a task next: at every moment each has had its share, to within one task.

Time is virtual: it passes by STRIDE / (the sum of the weights) with each task that is given. A queue is *due* a task
while it has not had more than its share, and of those that are due the one is next whose deadline is the first, which
is STRIDE / weight after it was due. That is earliest eligible virtual deadline first, of requests of one task (Stoica
and Abdel-Wahab 1995; WF2Q of Bennett and Zhang 1996).

A queue of whose tasks no node has a slot free lets the others go on, and saves up no more than a task; nor does one
that was empty.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from paceline.core.scheduling.queues import Queue, Queues

STRIDE: Final = 1 << 44
"""Divided by any weight it leaves no remainder that counts."""
_FAR: Final = 1 << 60
"""Before this, numbers are small ones for a computer, and virtual time begins anew."""


class QueueTurns:
    """One round of dispatch in turns, of queues that have tasks which may be given."""

    __slots__ = ("_due", "_later", "_of", "_queues", "_weights")

    def __init__(self, of: Queues, queues: list[Queue]) -> None:
        """``of``: all queues, of which virtual time is."""
        if of.virtual_time > _FAR:
            for queue in of.by_name.values():
                queue.turn -= of.virtual_time
            of.virtual_time = 0
        self._of = of
        self._queues = queues
        self._weights = sum([queue.weight for queue in queues])
        self._due: list[tuple[int, int]] = []  # (deadline, index)
        self._later: list[tuple[int, int]] = []  # (when it is due, index)
        for index, queue in enumerate(queues):
            queue.turn = max(queue.turn, of.virtual_time - STRIDE // queue.weight)
            self._later.append((queue.turn, index))
        heapify(self._later)

    def next(self) -> int:
        """The index of the queue whose turn it is; -1 if none has a task that may be given."""
        later, now = self._later, self._of.virtual_time
        while later and (later[0][0] <= now or not self._due):
            turn, index = heappop(later)
            heappush(self._due, (turn + STRIDE // self._queues[index].weight, index))
        return self._due[0][1] if self._due else -1

    def given(self, index: int, count: int, *, is_over: bool) -> None:
        """The queue whose turn it was has been given so many tasks. ``is_over``: it has none left that may be given."""
        if not count and not is_over:
            return
        queue = self._queues[index]
        heappop(self._due)
        if count:  # one that was not due yet was alone: time goes on to where it was
            self._of.virtual_time = max(self._of.virtual_time, queue.turn) + count * STRIDE // self._weights
        queue.turn += count * STRIDE // queue.weight
        if is_over:
            self._weights -= queue.weight
        else:
            heappush(self._later, (queue.turn, index))
