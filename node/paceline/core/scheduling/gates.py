"""Gates: how many tasks of one name, or of one name and key, may be at nodes at a time (``max_running``), and how many
may start in a period (``rate``).

A gate stands in front of the lanes. It counts its tasks that are at nodes, which hold its *places*: from when they are
handed out until they end, fail, are lost or are given back. Of those that wait it *offers* to the lanes as many as it
has free places, the first by priority, then by age; the others are LIMITED. So nobody waits in a lane behind a task
that may not start; and what waits in a lane holds no place, be its queue paused, or its nodes busy.

Tasks of one gate that wait may be in several queues, or say different limits. Each such set is a *line* of its own, and
is offered as many as its limit leaves free: who is given the place is decided by the lanes. Then the other lines are
offered one less. What is offered in one line never waits behind what is offered in another that stands still.

What is at nodes is known exactly, as a task with a limit is handed out only once the log has it (``recording.py``): of
a task that the log has lost no new leader would know that it runs. A new leader offers nothing of a gate of which it
has recovered tasks before the nodes have said what they hold, or had time to (:meth:`Gates.open`).

With a rate a task also needs a turn of the *pace* of its line (``paces.py``), and as many are offered as there are
turns, too. Calls of one key that say different rates have paces of their own.

A place is found, given and given back at the cost of the logarithm of how many tasks wait at the gate. Clients invent
keys, so the number of gates is bounded, and that of lines of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final, TypeAlias

from paceline.core.scheduling.paces import Pace
from paceline.core.scheduling.placement import Key, key_of
from paceline.core.state.call_options import CallOptions
from paceline.core.state.task import Task
from paceline_protocol.limits import MAX_INT
from paceline_protocol.rates import shown_rate

MAX_GATES: Final = 100_000
"""Names and keys with limits of which there are live tasks."""
MAX_LINES: Final = 64
"""Of one gate: different limits, queues, and what tasks that wait ask of their nodes."""
STALE: Final = 64
"""Entries of a heap whose tasks have left it: beyond so many, and as many as there are others, they are removed."""

LineKey: TypeAlias = tuple[str, int, int, Key, bool]
"""What tells apart tasks of one gate: those that other nodes may be given, that go with others, or with another
limit. (queue, limit, rate, placement, whether they run alone)"""
_Entry: TypeAlias = tuple[int, int, Task]


def line_key(options: CallOptions, *, runs_alone: bool) -> LineKey:
    """The line of a task. Whatever else comes to say which nodes may be given a task belongs here."""
    return options.queue, options.max_running, options.rate, key_of("", options), runs_alone


class Ordered:
    """Tasks of one line in one state, of which the first is asked for. ``count``: how many there are.

    A task that leaves is skipped when its turn comes, by what it is then. It may come back: then it is here twice, and
    either entry is as good."""

    __slots__ = ("_heap", "_is_here", "_sign", "count")

    def __init__(self, is_here: Callable[[Task], bool], sign: int) -> None:
        """``sign``: 1, if the first is the one that is to start first; -1, if it is the one that is to start last."""
        self.count = 0
        self._heap: list[_Entry] = []
        self._is_here = is_here
        self._sign = sign

    def add(self, task: Task) -> None:
        self.count += 1
        heappush(self._heap, (-task.priority * self._sign, task.age * self._sign, task))

    def remove(self) -> None:
        """One of the tasks is here no longer."""
        self.count -= 1
        if len(self._heap) > 2 * self.count + STALE:
            self._heap = list({entry[2].id: entry for entry in self._heap if self._is_valid(entry)}.values())
            heapify(self._heap)

    def _is_valid(self, entry: _Entry) -> bool:
        return self._is_here(entry[2]) and entry[1] == entry[2].age * self._sign

    def first(self) -> Task | None:
        """It stays here."""
        while self._heap:
            if self._is_valid(self._heap[0]):
                return self._heap[0][2]
            heappop(self._heap)
        return None


def _is_limited(task: Task) -> bool:
    return task.is_limited


def _is_ready(task: Task) -> bool:
    return task.is_ready


class Line:
    """Tasks of one gate that wait. ``offered``: those in lanes, the last of them first; ``held``: the others, which are
    LIMITED."""

    __slots__ = ("held", "limit", "offered", "pace")

    def __init__(self, limit: int, pace: Pace | None) -> None:
        self.limit = limit or MAX_INT
        self.pace = pace
        self.held = Ordered(_is_limited, 1)
        self.offered = Ordered(_is_ready, -1)


class LimitGate:
    """One name and key. ``running``: how many of its tasks are at nodes. ``is_shut``: it offers nothing, as the nodes
    have not said yet what they hold of it. ``paces``: by rate."""

    __slots__ = ("is_shut", "key", "lines", "paces", "running")

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key
        self.running = 0
        self.is_shut = False
        self.lines: dict[LineKey, Line] = {}
        self.paces: dict[int, Pace] = {}

    def free(self, line: Line) -> int:
        """How many more tasks of this line may be at nodes."""
        if self.is_shut:
            return 0
        places = line.limit - self.running
        return max(0, places if line.pace is None else min(places, line.pace.free))

    def held(self) -> int:
        """How many tasks it holds back."""
        return sum([line.held.count for line in self.lines.values()])

    def next_move(self) -> Task | None:
        """The next task that is to be offered, if it is held, or to be held, if it is offered. None: each line offers
        what it may, and no other."""
        for line in self.lines.values():
            free = self.free(line)
            if line.offered.count > free:
                return line.offered.first()
            first = line.held.first() if free else None
            if first is None:
                continue
            if line.offered.count < free:
                return first
            last = line.offered.first()
            if last is not None and (-first.priority, first.age) < (-last.priority, last.age):
                return last  # and then there is room for the other one
        return None


class Gates:
    """Of one leader, by name and key. ``held``: how many tasks wait for their limits, by queue. ``has_none_before``: no
    earlier leader has had any task. ``untimed``: paces to which turns are to come back, with their gates; the caller
    says when (:meth:`time`)."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, str], LimitGate] = {}
        self.held: dict[str, int] = {}
        self.has_none_before = False
        self.untimed: dict[bytes, tuple[Pace, LimitGate]] = {}
        self._timed: dict[bytes, tuple[Pace, LimitGate]] = {}
        self._paces = 0

    def of(self, task: Task, options: CallOptions) -> LimitGate:
        """The gate of a task; a new one, if there is none."""
        key = task.name, options.limit_key
        gate = self.by_key.get(key)
        if gate is None:
            gate = self.by_key[key] = LimitGate(key)
        return gate

    def known(self, task: Task) -> LimitGate | None:
        """The gate of a task with a limit, if there is one by now."""
        return None if task.options is None else self.by_key.get((task.name, task.options.limit_key))

    def refusal(self, name: str, options: CallOptions) -> str:
        """Why there is no room for a task of this name; "" if there is."""
        gate = self.by_key.get((name, options.limit_key))
        if gate is None:
            if len(self.by_key) < MAX_GATES:
                return ""
            return f"the cluster has tasks of {MAX_GATES} names and keys with limits, which is the most"
        if options.rate and options.rate not in gate.paces and len(gate.paces) >= MAX_LINES:
            return f"tasks of {name!r} with one limit_key have {MAX_LINES} different rates, which is the most"
        if len(gate.lines) < MAX_LINES or line_key(options, runs_alone=False) in gate.lines:
            return ""
        return (
            f"tasks of {name!r} with one limit_key wait with {MAX_LINES} different max_running, rates, queues, "
            "tags, needs or affinities, which is the most; give them the same"
        )

    def enters(self, task: Task, options: CallOptions) -> LimitGate:
        """A task has come to the state that it has now."""
        gate = self.of(task, options)
        if task.has_place_at_node:
            gate.running += 1
            if (pace := self._pace_of(gate, options)) is not None:
                pace.takes(task.id)
        elif task.is_limited or task.is_ready:
            key = line_key(options, runs_alone=task.runs_alone)
            line = gate.lines.get(key)
            if line is None:
                line = gate.lines[key] = Line(options.max_running, self._pace_of(gate, options))
            if task.is_limited:
                line.held.add(task)
                self.held[key[0]] = self.held.get(key[0], 0) + 1
            else:
                line.offered.add(task)
        return gate

    def leaves(self, task: Task, options: CallOptions, *, was_offered: bool, was_at_node: bool) -> LimitGate:
        """A task has left this state: it was offered, at a node, or else LIMITED."""
        gate = self.of(task, options)
        if was_at_node:
            gate.running -= 1
            self.starts(task)
            return gate
        key = line_key(options, runs_alone=task.runs_alone)
        line = gate.lines[key]
        if was_offered:
            line.offered.remove()
        else:
            line.held.remove()
            self.held[key[0]] -= 1
            if not self.held[key[0]]:
                del self.held[key[0]]
        if not line.offered.count and not line.held.count:
            del gate.lines[key]
        return gate

    def _pace_of(self, gate: LimitGate, options: CallOptions) -> Pace | None:
        """The pace of such tasks; a new one, if there is none."""
        if not options.rate:
            return None
        pace = gate.paces.get(options.rate)
        if pace is None:
            self._paces += 1
            pace = gate.paces[options.rate] = Pace(self._paces, options.rate, is_known=self.has_none_before)
            if not self.has_none_before:
                self.untimed[pace.key] = pace, gate
        return pace

    def starts(self, task: Task) -> None:
        """A task that is at a node has started there, or leaves it."""
        gate, options = self.known(task), task.options
        if gate is None or options is None or not options.rate:
            return
        pace = gate.paces.get(options.rate)  # None: all its turns have come back
        if pace is not None and pace.starts(task.id):
            self.untimed[pace.key] = pace, gate

    def reached(self, key: bytes) -> bool:
        """A turn of this pace comes back. False if there is no such pace."""
        known = self._timed.pop(key, None)
        if known is None:
            return False
        self.untimed[key] = known
        return True

    def time(self, now: float, known_since: float) -> list[tuple[Pace, LimitGate]]:
        """See :meth:`Pace.time`. Returns the paces with the gates that may offer more now; each is to be looked at
        again when its next turn comes back (:meth:`reached`)."""
        found = list(self.untimed.values())
        self.untimed.clear()
        for pace, gate in found:
            pace.time(now, known_since)
            if pace.next_ms:
                self._timed[pace.key] = pace, gate
            else:
                self._timed.pop(pace.key, None)
        return found

    def shut(self, task: Task, options: CallOptions) -> None:
        """An earlier leader may have given this task to a node: its gate offers nothing before they have been heard."""
        self.of(task, options).is_shut = True

    def open(self) -> list[LimitGate]:
        """The nodes have said what they hold, or had time to. Returns the gates that may offer something now."""
        found = [gate for gate in self.by_key.values() if gate.is_shut]
        for gate in found:
            gate.is_shut = False
            self.forget(gate)
        return found

    def forget(self, gate: LimitGate) -> None:
        """Let go of a gate, if it has no task, and nothing has started that counts."""
        for rate in [rate for rate, pace in gate.paces.items() if pace.is_idle]:
            if not any(key[2] == rate for key in gate.lines):
                del gate.paces[rate]
        has_tasks = gate.running or gate.lines or gate.paces
        if not has_tasks and not gate.is_shut and self.by_key.get(gate.key) is gate:
            del self.by_key[gate.key]

    def miscounted(self, live: Iterable[Task]) -> str:
        """What is counted wrongly, or is offered or held and should not be; "" if nothing is. ``live``: all tasks that
        live. Cost: that of all of them."""
        at_nodes: Counter[tuple[str, str]] = Counter()
        paced: dict[tuple[tuple[str, str], int], set[bytes]] = {}
        waiting: dict[tuple[tuple[str, str], LineKey], list[Task]] = {}
        for task in live:
            options = task.options
            if options is None or not options.is_limited:
                continue
            key = task.name, options.limit_key
            if task.has_place_at_node:
                at_nodes[key] += 1
                paced.setdefault((key, options.rate), set()).add(task.id)
            elif task.is_ready or task.is_limited:
                waiting.setdefault((key, line_key(options, runs_alone=task.runs_alone)), []).append(task)
        if at_nodes != Counter({key: gate.running for key, gate in self.by_key.items() if gate.running}):
            return f"of tasks with limits {dict(at_nodes)} are at nodes, and others are counted"
        for key, gate in self.by_key.items():
            for rate, pace in gate.paces.items():
                if wrong := pace.wrong(paced.get((key, rate), set())):
                    return f"of tasks of {key} with rate {shown_rate(rate)} {wrong}"
        lines = {(key, each): line for key, gate in self.by_key.items() for each, line in gate.lines.items()}
        if waiting.keys() != lines.keys():
            return f"tasks wait for {len(waiting)} limits, and for {len(lines)} by the gates"
        held = Counter(key[1][0] for key, tasks in waiting.items() for task in tasks if task.is_limited)
        if held != Counter(self.held):
            return f"{dict(held)} tasks are held in queues, and {self.held} are counted"
        for of_line, tasks in waiting.items():
            line = lines[of_line]
            tasks.sort(key=lambda task: (-task.priority, task.age))
            free = self.by_key[of_line[0]].free(line)
            if [task.is_ready for task in tasks] != [place < free for place in range(len(tasks))]:
                return f"of {len(tasks)} tasks of {of_line} the first {free} are to be offered, and others are"
            if (line.offered.count, line.held.count) != (min(free, len(tasks)), max(0, len(tasks) - free)):
                return f"{line.offered.count} tasks of {of_line} are counted as offered, {line.held.count} as held"
        return ""
