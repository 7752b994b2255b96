"""Tasks that are ready to run, in the order in which they should.

Higher priority first, then age; now and then the oldest of any priority (``ageing.py``). If any of them names a fair
key, keys take turns before age counts (``fair_lines.py``).

Tasks whose names the same nodes can run share a lane; a cluster of identical nodes has one lane, and one more for names
that no node knows (yet). The dispatcher asks lanes, not tasks, whether a node is free.

When nodes come and go, a lane only gets other nodes: its tasks stay where they are, be they a million. They are sorted
anew only if the lane is split: when a node comes that runs some of its names and not others.

A task that leaves while it waits here (it ended, or a node has it already) is not searched for: it is skipped when its
turn comes, because it is no longer in the state in which tasks wait here.

Clients may invent any number of names. A name that no node runs is forgotten with the last of its tasks that waits, and
what nodes come to run or cease to run costs nothing for other names. Names that nodes run are bounded. Which nodes can
run which names is the same for the lanes of all queues, which share it (``runners.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Set
from heapq import merge
from itertools import chain, islice
from math import inf
from operator import attrgetter
from typing import Final

from paceline.core.scheduling.ageing import Ageing
from paceline.core.scheduling.credits import NodeLedger, Row
from paceline.core.scheduling.fair_lines import FairLine, FairTurns, insert
from paceline.core.scheduling.placement import Requirements
from paceline.core.scheduling.places import Place
from paceline.core.scheduling.runners import Runners
from paceline.core.state.task import State, Task
from paceline_protocol.messages.records import PRIORITY_MAX

STALE_SKIPPED: Final = 1_000
"""How many tasks that have left are skipped at a time by a call that only looks."""
SWEEP_TASKS: Final = 1_024
"""How many tasks that have left may stay in the queues: beyond this number, and that of the waiting tasks, they are
removed."""
_age: Final = attrgetter("age")


class Lane:
    """The waiting tasks that one set of nodes can run. Of those that ask something of these nodes (``placement.py``):
    ``ledgers``, in place of a row, the first first; ``preferred``: that of them whose node is best for all of these
    tasks, None if all are as good; ``lacking_since``: since when the first task finds no room."""

    __slots__ = (
        "_ageing",
        "_bottom",
        "_epoch",
        "_fair",
        "_lines",
        "_queues",
        "_state",
        "_top",
        "lacking_since",
        "lanes",
        "ledgers",
        "names",
        "nodes",
        "preferred",
        "row",
    )

    def __init__(self, lanes: Lanes) -> None:
        """``lanes``: all of them, which count what is here."""
        self.names: set[str] = set()
        self.nodes: frozenset[str] = frozenset()
        self.row = Row(())
        self.ledgers: list[NodeLedger] = []
        self.preferred: NodeLedger | None = None
        self.lacking_since = inf
        self.lanes = lanes
        self._state = lanes.state
        self._queues: tuple[deque[Task], ...] = tuple(deque() for _ in range(PRIORITY_MAX + 1))
        self._top = 0  # no task has a higher priority than this
        self._bottom = PRIORITY_MAX  # nor a lower one than this
        self._ageing = lanes.ageing
        self._fair = lanes.fair
        self._epoch = -1  # of these turns, in which these lines were made
        self._lines: list[FairLine | None] = []  # by priority; while no key is known, all tasks are in the queues

    def push(self, task: Task) -> None:
        """Add a task that is younger than all here, behind those of its priority."""
        if self._fair.keys or (task.options is not None and task.options.fair_key):
            self._line(task.priority).push(task)
        else:
            self._queues[task.priority].append(task)
        self._top = max(self._top, task.priority)
        self._bottom = min(self._bottom, task.priority)

    def insert(self, task: Task) -> None:
        """Put back a task that was dispatched before, in front of all younger tasks of its priority. That may be
        anywhere, as tasks of other names wait in this lane, too. Cost: little at the ends; in between, a few looks and
        a nanosecond or two for each task up to there, as for those that look() skips."""
        if self._fair.keys or (task.options is not None and task.options.fair_key):
            self._line(task.priority).insert(task)
        else:
            insert(self._queues[task.priority], task)
        self._top = max(self._top, task.priority)
        self._bottom = min(self._bottom, task.priority)

    def leave(self, task: Task) -> None:
        """Take a task that waits here out of its line: it may be inserted anew. Cost: as that of insert(), for each
        fair key."""
        for queue in self.queues(task.priority):
            index = bisect_left(queue, task.age, key=_age)
            if index < len(queue) and queue[index] is task:
                del queue[index]
                return

    def head(self) -> Task | None:
        """The next task, left in place: that of top(), or the oldest, if that is due."""
        head = self.top()
        return head if head is None or not self._ageing.is_due else self._oldest(head)

    def top(self) -> Task | None:
        """The oldest of the highest priority, and of the key whose turn it is."""
        while True:
            found = self._first_of(self._top)
            if found is not None:
                return found
            if self._top <= self._bottom:
                self._top, self._bottom = 0, PRIORITY_MAX
                return None
            self._top -= 1

    @property
    def is_mixed(self) -> bool:
        """Whether tasks of several priorities wait here; perhaps, if the lower ones have left."""
        return self._bottom < self._top

    def _first_of(self, priority: int) -> Task | None:
        queue = self._queues[priority]
        if self._fair.keys:
            return self._line(priority).head() if queue or self._known_line(priority) is not None else None
        while queue:
            if queue[0].state == self._state:
                return queue[0]
            queue.popleft()
        return None

    def firsts(self) -> list[Task]:
        """The first of each priority, the highest in front."""
        found: list[Task] = []
        for priority in range(self._top, self._bottom - 1, -1):
            first = self._first_of(priority)
            if first is not None:
                found.append(first)
        if found:
            self._bottom = found[-1].priority
        return found

    def _oldest(self, top: Task) -> Task:
        """The oldest of those that are first of their priorities; or the first of that which is the oldest by all
        lanes. ``top``: the first of the highest."""
        if self._ageing.priority >= 0:
            return self._first_of(self._ageing.priority) or top
        oldest = top
        for first in self.firsts():
            if first.age < oldest.age:
                oldest = first
        return oldest

    def turn(self, first: Task) -> int:
        """When it is the turn of the first task of its priority; 0 while no key is known."""
        return self._line(first.priority).turn() if self._fair.keys else 0

    def _known_line(self, priority: int) -> FairLine | None:
        return self._lines[priority] if self._epoch == self._fair.epoch else None

    def _line(self, priority: int) -> FairLine:
        if self._epoch != self._fair.epoch:
            self._epoch = self._fair.epoch
            self._lines = [None] * len(self._queues)
        line = self._lines[priority]
        if line is None:
            line = self._lines[priority] = FairLine(self._fair, priority, self._state, self._queues[priority])
        return line

    def queues(self, priority: int) -> list[deque[Task]]:
        """The tasks of this priority: of each fair key, in order of age; and some that have left. Not to be changed."""
        line = self._known_line(priority)
        return [self._queues[priority]] if line is None else line.queues()

    def _all_queues(self) -> list[deque[Task]]:
        """Those of all priorities, the highest first."""
        if self._epoch != self._fair.epoch:
            return list(reversed(self._queues))
        return [queue for priority in range(len(self._queues) - 1, -1, -1) for queue in self.queues(priority)]

    def fair_lines(self) -> list[tuple[int, str]]:
        """The priority and key of each line."""
        lines = self._lines if self._epoch == self._fair.epoch else []
        return [(priority, key) for priority, line in enumerate(lines) if line is not None for key in line.names()]

    def oldest_arrived_at(self) -> float:
        """When the oldest of the first tasks of each priority and key arrived; inf if none waits."""
        oldest = float("inf")
        for queue in self._all_queues():
            for _ in range(STALE_SKIPPED):
                if not queue or queue[0].state == self._state:
                    break
                queue.popleft()
            if queue:
                oldest = min(oldest, queue[0].arrived_at)
        return oldest

    def pop(self, task: Task) -> None:
        """Take the task that head() returned."""
        if self._fair.keys:
            self._line(task.priority).pop()
        else:
            self._queues[task.priority].popleft()
        if self._bottom < self._top or self._ageing.is_mixed:
            self._ageing.given()
        self.lanes.uncount(task)

    def tasks(self) -> list[Task]:
        """Every waiting task, by priority and in the order in which they came."""
        found: list[Task] = []
        for priority in range(len(self._queues) - 1, -1, -1):
            found += [task for task in merge(*self.queues(priority), key=_age) if task.state == self._state]
        return found

    def length(self) -> int:
        """How many tasks are in the queues, those that have left among them."""
        return sum(map(len, self._all_queues()))

    def look(self, skip: int, limit: int) -> list[Task]:
        """``limit`` tasks behind the first ``skip``, in order, and those that have left among them. Cost: that of
        ``limit``, and a nanosecond or two for each that is skipped: a queue is rotated, as only its ends are near."""
        found: list[Task] = []
        for queue in self._all_queues():
            if skip >= len(queue):
                skip -= len(queue)
                continue
            if len(found) >= limit:
                break
            queue.rotate(-skip)
            found += islice(queue, min(len(queue) - skip, limit - len(found)))
            queue.rotate(skip)
            skip = 0
        return found

    def look_from(self, priority: int, age: int, limit: int) -> list[Task]:
        """``limit`` tasks of this priority from this age on, in order, and those that have left among them. Cost: a few
        looks for each fair key, and as that of look()."""
        queues = self.queues(priority)
        if len(queues) > 1:
            parts = [islice(queue, bisect_left(queue, age, key=_age), None) for queue in queues]
            return list(islice(merge(*parts, key=_age), limit))
        queue = self._queues[priority] if not queues else queues[0]
        begin = bisect_left(queue, age, key=_age) if age else 0
        queue.rotate(-begin)
        found = list(islice(queue, min(len(queue) - begin, limit)))
        queue.rotate(begin)
        return found

    def sweep(self) -> None:
        """Let go of the tasks that have left."""
        for queue in self._all_queues():
            kept = [task for task in queue if task.state == self._state]
            queue.clear()
            queue.extend(kept)
        self._sweep_lines()

    def _sweep_lines(self) -> None:
        for line in self._lines:
            if line is not None and self._epoch == self._fair.epoch:
                line.sweep()

    def drain(self) -> list[Task]:
        """Take every waiting task, in order, to be pushed again."""
        tasks = self.tasks()
        for queue in self._all_queues():
            queue.clear()
        self._sweep_lines()
        return tasks


def look_back(queue: deque[Task], end: int, limit: int) -> tuple[list[Task], int]:
    """Of the first ``end`` of these tasks the last ``limit``, in order, and those that have left among them; and how
    many there are before these. Cost: as that of Lane.look()."""
    end = min(end, len(queue))
    begin = max(0, end - limit)
    queue.rotate(-begin)
    found = list(islice(queue, end - begin))
    queue.rotate(begin)
    return found, begin


class WaitingName:
    """The waiting tasks of one name: how many there are, and their lane."""

    __slots__ = ("count", "lane")

    def __init__(self, lane: Lane, count: int = 0) -> None:
        self.lane = lane
        self.count = count


class Lanes(Place):
    """All lanes of the tasks of one queue in one state. ``runners`` say which nodes can run a name. ``by_priority``:
    how many wait. ``fair``: the turns of fair keys in this queue; ``ageing``: when the oldest of them is next.
    ``placement``: what all of them ask of the nodes that run them; None if they ask nothing."""

    def __init__(
        self,
        runners: Runners | None = None,
        state: int = State.READY,
        fair: FairTurns | None = None,
        placement: Requirements | None = None,
        ageing: Ageing | None = None,
    ) -> None:
        super().__init__(state)
        self.fair = fair if fair is not None else FairTurns()
        self.ageing = ageing if ageing is not None else Ageing()
        self.placement = placement
        self.by_priority: list[int] = [0] * (PRIORITY_MAX + 1)
        self._youngest = -1  # the highest age of a task that was put here
        self._left = 0  # tasks that were taken, and are still in a lane, since the last sweep
        self.runners = runners if runners is not None else Runners()
        self._nodes: frozenset[str] | None = None  # those that take tasks of this queue; None: all do
        self._lanes: list[Lane] = []
        self._names: dict[str, WaitingName] = {}
        self.served: list[Lane] = []
        """Lanes that some node serves."""

    def put(self, task: Task) -> None:
        """Add a waiting task, in the order of age: a new task last, one that was dispatched before where it was."""
        self.count += 1
        self.by_priority[task.priority] += 1
        name = self._name(task.name)
        name.count += 1
        lane = name.lane
        if task.age > self._youngest:
            self._youngest = task.age
            lane.push(task)
        else:
            lane.insert(task)

    def take(self, task: Task) -> None:
        """Remove a task that is not at the head. Its lane skips it later, by its state, which it does not have
        again."""
        if self._left > max(SWEEP_TASKS, self.count):
            self._sweep()
        self._left += 1
        self.uncount(task)
        if self.fair.keys and not self.count:  # nobody looks at an empty lane, and its keys are to be forgotten
            self._sweep()

    def withdraw(self, task: Task) -> None:
        """Remove a task that may come back."""
        self._names[task.name].lane.leave(task)
        self.uncount(task)

    def uncount(self, task: Task) -> None:
        """A task waits here no longer."""
        self.count -= 1
        self.by_priority[task.priority] -= 1
        name = self._names[task.name]
        name.count -= 1
        if not name.count and not name.lane.nodes:
            name.lane.names.remove(task.name)
            del self._names[task.name]

    def tasks(self) -> list[Task]:
        return [task for lane in self._lanes for task in lane.tasks()]

    def oldest_arrived_at(self) -> float:
        """When the oldest waiting task came; inf if none waits. Cost: that of lanes and priorities."""
        return min([lane.oldest_arrived_at() for lane in self._lanes], default=float("inf"))

    def serve(self, changed: Set[str], nodes: frozenset[str] | None = None) -> None:
        """The nodes, or what they can run, changed. ``changed``: the names that other nodes run than before.
        ``nodes``: the keys of the ledgers that take tasks of this queue; None: all do. Cost: that of these names, and
        of the tasks in lanes that part."""
        if nodes != self._nodes:
            self._nodes = nodes
            changed = self._names.keys()
        lanes, self._lanes, self.served = self._lanes, [], []
        for lane in lanes:
            self._serve_lane(lane, changed)

    def _sweep(self) -> None:
        """Let go of the tasks that left while they waited. Cost: that of a look at all tasks here."""
        self._left = 0
        for lane in self._lanes:
            lane.sweep()

    def served_by(self, name: str) -> frozenset[str]:
        """The nodes that can run this name and take tasks of this queue; empty if none does."""
        nodes = self.runners.nodes_of(name)
        return nodes if self._nodes is None else nodes & self._nodes

    @property
    def lanes(self) -> list[Lane]:
        """All of them. Not to be changed."""
        return self._lanes

    @property
    def name_count(self) -> int:
        """How many names are known of tasks that wait here, or did until lately."""
        return len(self._names)

    def waiting_of(self, name: str) -> int:
        """How many tasks of this name wait."""
        waiting = self._names.get(name)
        return waiting.count if waiting is not None else 0

    def waiting_by_name(self, limit: int) -> dict[str, int]:
        """How many wait, by name, of the names of which any does, among the first ``limit`` of all. Cost: that of
        these."""
        return {name: waiting.count for name, waiting in islice(self._names.items(), limit) if waiting.count}

    def waiting_unserved(self, limit: int) -> dict[str, int]:
        """The same, of the names that no node can run."""
        return self._waiting_in([lane for lane in self._lanes if not lane.nodes], limit)

    def waiting_for_slots(self, limit: int) -> dict[str, int]:
        """The same, without the names that nodes run many at once."""
        ledgers = self.runners.ledgers
        lanes = [lane for lane in self.served if not all(ledgers[key].is_async for key in lane.nodes)]
        if self.placement is None:  # else there is no node that has what they ask for
            lanes += [lane for lane in self._lanes if not lane.nodes]  # last: anyone may have invented their names
        return self._waiting_in(lanes, limit)

    def waiting_for(self, key: str, limit: int) -> dict[str, int]:
        """The same, of the names that the node of this ledger can run."""
        return self._waiting_in([lane for lane in self.served if key in lane.nodes], limit)

    def _waiting_in(self, lanes: Iterable[Lane], limit: int) -> dict[str, int]:
        names = chain.from_iterable([lane.names for lane in lanes])
        return {name: count for name in islice(names, limit) if (count := self._names[name].count)}

    def lane_of(self, name: str) -> Lane | None:
        """The lane in which tasks of this name wait, among others; None if none waits."""
        waiting = self._names.get(name)
        return waiting.lane if waiting is not None and waiting.count else None

    def _serve_lane(self, lane: Lane, changed: Set[str]) -> None:
        """Give a lane its nodes. An empty one is forgotten, and so are names of which no task waits; one whose names
        part becomes several. ``changed``: the names that other nodes run than before."""
        if lane.nodes:
            for name in [name for name in lane.names if not self._names[name].count]:
                lane.names.remove(name)
                del self._names[name]
        if not lane.names:
            lane.drain()
            return
        moved = sorted(lane.names & changed)
        parts: dict[frozenset[str], Lane] = {}
        if len(moved) < len(lane.names):
            parts[lane.nodes] = self._add_lane(lane, lane.nodes)
        for name in moved:
            nodes = self.served_by(name)
            part = parts.get(nodes)
            if part is None:
                part = parts[nodes] = self._add_lane(Lane(self) if parts else lane, nodes)
            if part is not lane:
                lane.names.remove(name)
                part.names.add(name)
                self._names[name].lane = part
        if len(parts) > 1:
            for task in lane.drain():
                self._names[task.name].lane.push(task)

    def _name(self, name: str) -> WaitingName:
        found = self._names.get(name)
        if found is None:
            nodes = self.served_by(name)
            same = (lane for lane in self._lanes if lane.nodes == nodes)
            lane = next(same, None) or self._add_lane(Lane(self), nodes)
            lane.names.add(name)
            found = self._names[name] = WaitingName(lane)
        return found

    def _add_lane(self, lane: Lane, nodes: frozenset[str]) -> Lane:
        lane.nodes = nodes
        if self.placement is None:
            lane.row = self.runners.row(nodes)
        else:
            lane.ledgers = self.runners.in_order(nodes)
            preferred = self.placement.preferred([ledger.node_id for ledger in lane.ledgers])
            lane.preferred = next((ledger for ledger in lane.ledgers if ledger.node_id == preferred), None)
        self._lanes.append(lane)
        if nodes:
            self.served.append(lane)
        return lane
