"""What the tasks at the workers of this node take of the amounts that it declares.

The leader gives a node no more than that (``placement.py``), as far as it knows what is there. A task of which it does
not know, as an earlier leader had sent it, runs on all the same. So the node looks, too, each time that a worker is to
begin a task: whoever leads or has led, what runs here never takes more than the node declares.

Nothing is counted that could be forgotten: what is taken is found anew from what the workers have.
"""

from __future__ import annotations

from collections.abc import Mapping

from paceline.core.work.worker_slot import WorkerSlot
from paceline_protocol.messages.records import ASSIGNMENT_ATTEMPT, ASSIGNMENT_ID, Assignment
from paceline_protocol.places import Amounts, amounts_of


class TakenAmounts:
    """By the tasks that workers have. ``is_known``: what is free was found since the caller last set it to False, as it
    does before it gives tasks to workers."""

    def __init__(self, declared: str, workers: Mapping[bytes, WorkerSlot]) -> None:
        """``declared``: as ``places.py`` writes it. ``workers``: those of the node, by id. The caller keeps them."""
        self.is_known = False
        self._workers = workers
        self._declared: dict[str, int] = dict(amounts_of(declared))
        self._free: dict[str, int] = {}
        self._is_closed = False
        self._taken: dict[tuple[bytes, bytes], tuple[int, Amounts]] = {}  # by worker and task: attempt, and what
        self._refused: tuple[bytes, float] | None = None  # the oldest task that found no room, and since when

    def refused_since(self, moment: float) -> bytes:
        """The oldest task here that has found no room since this moment, or longer; b"" if there is none. It is not
        named again."""
        if self._refused is None or self._refused[1] > moment:
            return b""
        refused, self._refused = self._refused[0], None
        return refused

    def _look(self) -> None:
        """Find what is free."""
        self.is_known = True
        self._is_closed = False
        self._taken = {key: taken for key, taken in self._taken.items() if self._has(key, taken[0])}
        free = dict(self._declared)
        for _, amounts in self._taken.values():
            for name, amount in amounts:
                free[name] -= amount
        self._free = free

    def can_ever(self, needs: str) -> bool:
        """Whether the node has so much."""
        return all(self._declared.get(name, 0) >= amount for name, amount in amounts_of(needs))

    def begins(self, worker_id: bytes, assignment: Assignment, needs: str, now: float) -> bool:
        """Whether this worker may begin a task that takes so much. If not, no younger one that takes anything may until
        the next look, so that the oldest is not passed for ever. One that the node can never run is not asked for."""
        if not self.is_known:
            self._look()
        amounts, free, task_id = amounts_of(needs), self._free, assignment[ASSIGNMENT_ID]
        if self._is_closed:
            return False
        if not all(free[name] >= amount for name, amount in amounts):
            self._is_closed = True
            if self._refused is None or self._refused[0] != task_id:
                self._refused = (task_id, now)
            return False
        if self._refused is not None and self._refused[0] == task_id:
            self._refused = None
        for name, amount in amounts:
            free[name] -= amount
        self._taken[worker_id, task_id] = (assignment[ASSIGNMENT_ATTEMPT], amounts)
        return True

    def _has(self, key: tuple[bytes, bytes], attempt: int) -> bool:
        """Whether that worker still has that attempt."""
        slot = self._workers.get(key[0])
        running = None if slot is None else slot.running.get(key[1])
        return running is not None and running[0] == attempt
