"""What the tasks at the workers of this node take of the amounts that it declares.

The leader gives a node no more than that (``placement.py``), as far as it knows what is there. A task of which it does
not know, as an earlier leader had sent it, runs on all the same. So the node looks, too, each time that a worker is to
begin a task: whoever leads or has led, what runs here never takes more than the node declares.

Nothing is counted that could be forgotten: what is taken is found anew from what the workers have.

The units of some resources have numbers: then a task is given the lowest that are free. CUDA looks at which GPUs a
process sees when that uses them first, and never again. So a worker that has run a task with some GPUs is given tasks
with the same ones alone, of those that need any, and is replaced if none of the free workers has those that are free.
"""

from __future__ import annotations

from collections.abc import Mapping

from paceline.core.work.worker_slot import WorkerSlot
from paceline_protocol.messages.records import ASSIGNMENT_ATTEMPT, ASSIGNMENT_ID, ASSIGNMENT_NAME, Assignment
from paceline_protocol.places import GPU, Amounts, Units, amounts_of, units_text


class TakenAmounts:
    """By the tasks that workers have. ``is_known``: what is free was found since the caller last set it to False, as it
    does before it gives tasks to workers. ``unfit``: the task, and the free worker, where the one was not given to the
    other since that may have opened other GPUs; emptied by the caller."""

    def __init__(self, declared: str, workers: Mapping[bytes, WorkerSlot], units: Units = ()) -> None:
        """``declared``: as ``places.py`` writes it. ``workers``: those of the node, by id. The caller keeps them.
        ``units``: the numbers of the units of those resources that have some."""
        self.is_known = False
        self._workers = workers
        self._declared: dict[str, int] = dict(amounts_of(declared))
        self._free: dict[str, int] = {}
        self._is_closed = False
        self._taken: dict[tuple[bytes, bytes], tuple[int, Amounts, Units]] = {}  # by worker and task: attempt, and what
        self._units = units
        self._free_units: dict[str, set[int]] = {}
        self._opened: dict[bytes, tuple[int, ...]] = {}  # by worker: the GPUs of the first task that had any
        self.unfit: tuple[bytes, bytes] | None = None
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
        free_units = {name: set(numbers) for name, numbers in self._units}
        for _, amounts, units in self._taken.values():
            for name, amount in amounts:
                free[name] -= amount
            for name, numbers in units:
                free_units[name].difference_update(numbers)
        self._free, self._free_units = free, free_units
        if self._opened:
            self._opened = {worker_id: gpus for worker_id, gpus in self._opened.items() if worker_id in self._workers}

    def can_ever(self, needs: str) -> bool:
        """Whether the node has so much."""
        return all(self._declared.get(name, 0) >= amount for name, amount in amounts_of(needs))

    def begins(self, worker_id: bytes, assignment: Assignment, needs: str, now: float) -> bool:
        """Whether this worker may begin a task that takes so much. If there is not so much, no younger one that takes
        anything may until the next look, so that the oldest is not passed for ever. One that the node can never run is
        not asked for."""
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
        units = self._chosen(worker_id, assignment, amounts) if self._units else ()
        if units is None:
            return False
        if self.unfit is not None and self.unfit[0] == task_id:
            self.unfit = None
        for name, amount in amounts:
            free[name] -= amount
        for name, numbers in units:
            self._free_units[name].difference_update(numbers)
        self._taken[worker_id, task_id] = (assignment[ASSIGNMENT_ATTEMPT], amounts, units)
        return True

    def units_of(self, worker_id: bytes, task_id: bytes) -> str:
        """Those of a task that this worker has just begun, as text; "" for none."""
        return units_text(self._taken[worker_id, task_id][2])

    def _chosen(self, worker_id: bytes, assignment: Assignment, amounts: Amounts) -> Units | None:
        """The units for a task on this worker, which are free; None if it would have other GPUs than the worker had, or
        another free worker has had those."""
        found: list[tuple[str, tuple[int, ...]]] = []
        for name, amount in amounts:
            free = self._free_units.get(name)
            if free is None:
                continue
            numbers = sorted(free)
            if name == GPU and not self._workers[worker_id].is_async:
                opened = self._opened.get(worker_id)
                if opened is not None:
                    if len(opened) != amount or not free.issuperset(opened):
                        self.unfit = (assignment[ASSIGNMENT_ID], worker_id)
                        return None
                    numbers = list(opened)
                elif self._has_had(assignment[ASSIGNMENT_NAME], amount, free):
                    return None
                else:  # first those that no other worker may have opened, so that those go on with theirs
                    others = {number for gpus in self._opened.values() for number in gpus}
                    numbers.sort(key=lambda number: (number in others, number))
                    self._opened[worker_id] = tuple(sorted(numbers[:amount]))
            found.append((name, tuple(sorted(numbers[:amount]))))
        return tuple(found)

    def _has_had(self, name: str, amount: int, free: set[int]) -> bool:
        """Whether a worker that has nothing to do has had so many GPUs, which are free, and can run this name."""
        same = [each for each, opened in self._opened.items() if len(opened) == amount and free.issuperset(opened)]
        slots = [self._workers[each] for each in same if each in self._workers]
        return any(slot.is_free and not slot.running and name in slot.names for slot in slots)

    def _has(self, key: tuple[bytes, bytes], attempt: int) -> bool:
        """Whether that worker still has that attempt."""
        slot = self._workers.get(key[0])
        running = None if slot is None else slot.running.get(key[1])
        return running is not None and running[0] == attempt
