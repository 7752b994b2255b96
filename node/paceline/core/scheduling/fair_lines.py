"""Fairness within a queue: tasks that name a fair key wait in a line of that key, and keys take turns.

Of tasks of one priority each key is given one, whether a million of its tasks wait or one, and then waits behind all
others; so does a key that comes. Those without a key are one key of their own, "". So between two tasks of one key each
other one that waits all the time is given one, and a key saves nothing up. Nothing has to be remembered of one of which
no task waits.

The turns of keys are of a whole queue (:class:`FairTurns`), the lines of each of its lanes (:class:`FairLine`). While
no task of a queue names a key neither is asked for anything: ``FairTurns.keys`` is 0.

Anybody who may submit can name a key, so their number is bounded: tasks of further ones wait with those without a key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from heapq import heapify, heappop, heappush, heapreplace
from operator import attrgetter
from typing import Final

from paceline.core.state.task import Task
from paceline_protocol.limits import MAX_FAIR_KEYS

_age: Final = attrgetter("age")


def insert(queue: deque[Task], task: Task) -> None:
    """Put a task in front of all that are younger. Cost: little at the ends; in between, a few looks and a nanosecond
    or two for each task up to there."""
    if not queue or task.age < queue[0].age:
        queue.appendleft(task)
    elif task.age > queue[-1].age:
        queue.append(task)
    else:
        queue.insert(bisect_left(queue, task.age, key=_age), task)


class KeyTurn:
    """Of one key, priority and queue. ``turn``: the key with the least is next; ``lines``: how many lanes have tasks of
    it."""

    __slots__ = ("key", "lines", "turn")

    def __init__(self, key: str) -> None:
        self.key = key
        self.turn = 0
        self.lines = 0


class FairTurns:
    """The turns of the keys of one queue. ``keys``: how many are known, of each priority, without "". ``epoch``: what
    was said of keys before it changed is void, as none was known any more."""

    __slots__ = ("_by_key", "_last", "epoch", "keys")

    def __init__(self) -> None:
        self.keys = 0
        self.epoch = 0
        self._last = 0
        self._by_key: dict[tuple[int, str], KeyTurn] = {}

    def join(self, priority: int, key: str) -> KeyTurn:
        """A lane has tasks of this key from now on. It is "" if there are too many keys."""
        found = self._by_key.get((priority, key))
        if found is None:
            if key and self.keys >= MAX_FAIR_KEYS:
                return self.join(priority, "")
            found = self._by_key[priority, key] = KeyTurn(key)
            self.wait(found)
            if key:
                self.keys += 1
        found.lines += 1
        return found

    def wait(self, turn: KeyTurn) -> None:
        """It is behind all other keys, as it is new, or was given a task."""
        self._last += 1
        turn.turn = self._last

    def leave(self, priority: int, turn: KeyTurn) -> None:
        """A lane has no tasks of this key any more."""
        turn.lines -= 1
        if turn.lines or self._by_key.get((priority, turn.key)) is not turn:  # none was known any more
            return
        del self._by_key[priority, turn.key]
        if turn.key:
            self.keys -= 1
            if not self.keys:
                self.epoch += 1
                self._by_key.clear()

    def miscounted(self, lines: list[tuple[int, str]]) -> str:
        """What is counted wrongly, "" if nothing is. ``lines``: the priority and key of each line of any lane."""
        if not self.keys:
            return ""
        counted = {key: turn.lines for key, turn in self._by_key.items()}
        if counted != Counter(lines):
            return f"lines of fair keys are counted as {counted}, and there are {Counter(lines)}"
        if self.keys != len([key for _, key in counted if key]):
            return f"{self.keys} fair keys are counted, and there are {counted}"
        return ""


class FairLine:
    """The waiting tasks of one priority in one lane, by their keys."""

    __slots__ = ("_by_key", "_heap", "_plain", "_priority", "_state", "_turns", "_turns_of")

    def __init__(self, turns: FairTurns, priority: int, state: int, plain: deque[Task]) -> None:
        """``plain``: the tasks without a key, which stay there."""
        self._turns = turns
        self._priority = priority
        self._state = state
        self._plain = plain
        self._by_key: dict[str, deque[Task]] = {}
        self._turns_of: dict[str, KeyTurn] = {}
        self._heap: list[tuple[int, int, str]] = []  # (turn, age of the first task, key): one for each of by_key
        if plain:
            self._begin("", plain[0])

    def push(self, task: Task) -> None:
        """Add a task that is younger than all here."""
        self._queue_for(task).append(task)

    def insert(self, task: Task) -> None:
        """Put back a task that was dispatched before, in front of all younger ones of its key."""
        insert(self._queue_for(task), task)

    def _queue_for(self, task: Task) -> deque[Task]:
        key = "" if task.options is None else task.options.fair_key
        found = self._by_key.get(key)
        return found if found is not None else self._begin(key, task)

    def _begin(self, key: str, first: Task) -> deque[Task]:
        """The line of a key that has none here."""
        turn = self._turns.join(self._priority, key)
        if turn.key != key and turn.key in self._by_key:
            turn.lines -= 1  # there are too many keys: it shares a line that is here
            return self._by_key[turn.key]
        queue = deque() if turn.key else self._plain
        self._by_key[turn.key] = queue
        self._turns_of[turn.key] = turn
        heappush(self._heap, (turn.turn, first.age, turn.key))
        return queue

    def head(self) -> Task | None:
        """The next task, left in place: the oldest of the key whose turn it is."""
        heap = self._heap
        while heap:
            turn, _age, key = heap[0]
            queue = self._by_key[key]
            while queue and queue[0].state != self._state:
                queue.popleft()
            if not queue:
                heappop(heap)
                self._end(key)
                continue
            now = self._turns_of[key].turn
            if now == turn:
                return queue[0]
            heapreplace(heap, (now, queue[0].age, key))  # another lane was given a task of it
        return None

    def turn(self) -> int:
        """Of the task that head() returned."""
        return self._heap[0][0]

    def pop(self) -> None:
        """Take the task that head() returned."""
        key = self._heap[0][2]
        queue = self._by_key[key]
        queue.popleft()
        turn = self._turns_of[key]
        self._turns.wait(turn)
        if queue:
            heapreplace(self._heap, (turn.turn, queue[0].age, key))
        else:
            heappop(self._heap)
            self._end(key)

    def _end(self, key: str) -> None:
        del self._by_key[key]
        self._turns.leave(self._priority, self._turns_of.pop(key))

    def queues(self) -> list[deque[Task]]:
        """The tasks of each key, in order of age."""
        return list(self._by_key.values())

    def names(self) -> list[str]:
        """The keys."""
        return list(self._by_key)

    def sweep(self) -> None:
        """Let go of keys of which no task is left."""
        for key in [key for key, queue in self._by_key.items() if not queue]:
            self._end(key)
        self._heap = [entry for entry in self._heap if entry[2] in self._by_key]
        heapify(self._heap)
