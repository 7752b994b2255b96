"""Tasks that are ready to run, in the order in which they should.

Higher priority first, then age. Tasks whose names the same nodes can run share a lane; a cluster of identical nodes has
one lane, and one more for names that no node knows (yet). The dispatcher asks lanes, not tasks, whether a node is free.

When nodes come and go, a lane only gets other nodes: its tasks stay where they are, be they a million. They are sorted
anew only if its names part: when a node comes that runs some of them and not others.

A task that leaves while it waits here (it ended, or a node has it already) is not searched for: it is skipped when its
turn comes, because it is no longer in the state in which tasks wait here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from paceline.core.scheduling.credits import NodeLedger, Row
from paceline.core.scheduling.places import Place
from paceline.core.state.task import State, Task
from paceline_protocol.messages import PRIORITY_MAX

STALE_SKIPPED: Final = 1_000
"""Of the tasks that ended while they waited, so many are skipped at a time by one who only looks."""
SWEEP_TASKS: Final = 1_024
"""Tasks that left while they waited: beyond this number, and that of the waiting ones, they are removed."""


class Lane:
    """The waiting tasks that one set of nodes can run."""

    __slots__ = ("_queues", "_state", "_top", "lanes", "names", "nodes", "row")

    def __init__(self, lanes: Lanes) -> None:
        """``lanes``: all of them, which count what is here."""
        self.names: set[str] = set()
        self.nodes: frozenset[str] = frozenset()
        self.row = Row(())
        self.lanes = lanes
        self._state = lanes.state
        self._queues: tuple[deque[Task], ...] = tuple(deque() for _ in range(PRIORITY_MAX + 1))
        self._top = 0  # no task has a higher priority than this

    def push(self, task: Task) -> None:
        """Add a task that is younger than all here, behind those of its priority."""
        self._queues[task.priority].append(task)
        self._top = max(self._top, task.priority)

    def insert(self, task: Task) -> None:
        """Put back a task that was dispatched before: in front of all but the older ones that came back before it."""
        queue, place = self._queues[task.priority], 0
        for other in queue:
            if other.age >= task.age:
                break
            place += 1
        queue.insert(place, task)
        self._top = max(self._top, task.priority)

    def head(self) -> Task | None:
        """The next task, left in place: the oldest of the highest priority."""
        while True:
            queue = self._queues[self._top]
            while queue:
                if queue[0].state == self._state:
                    return queue[0]
                queue.popleft()
            if not self._top:
                return None
            self._top -= 1

    def oldest_arrived_at(self) -> float:
        """When the oldest task came, of those in front of each priority; inf if none waits."""
        oldest = float("inf")
        for queue in self._queues:
            for _ in range(STALE_SKIPPED):
                if not queue or queue[0].state == self._state:
                    break
                queue.popleft()
            if queue:
                oldest = min(oldest, queue[0].arrived_at)
        return oldest

    def pop(self, task: Task) -> None:
        """Take the task that head() returned."""
        self._queues[self._top].popleft()
        self.lanes.uncount(task)

    def tasks(self) -> list[Task]:
        """Every waiting task, in order."""
        return [task for queue in reversed(self._queues) for task in queue if task.state == self._state]

    def drain(self) -> list[Task]:
        """Take every waiting task, in order, to be pushed again."""
        tasks = self.tasks()
        for queue in self._queues:
            queue.clear()
        return tasks


class Lanes(Place):
    """All lanes of tasks in one state. ``serve`` says which nodes can run a name. ``by_priority``: how many wait."""

    def __init__(self, own_id: str = "", state: int = State.READY) -> None:
        """``own_id``: the node that others being equal is preferred, because it is no hop away."""
        super().__init__(state)
        self.by_priority: list[int] = [0] * (PRIORITY_MAX + 1)
        self._youngest = -1  # the highest age of a task that was put here
        self._left = 0  # tasks that were taken, and are still in a lane, since the last sweep
        self._own_id = own_id
        self._lanes: list[Lane] = []
        self._lane_of_name: dict[str, Lane] = {}
        self._nodes_of_name: dict[str, frozenset[str]] = {}
        self._ledgers: dict[str, NodeLedger] = {}
        self.served: list[Lane] = []
        """Lanes that some node serves."""

    def put(self, task: Task) -> None:
        """Have a task wait, in the order of age: a new one behind all others, one that was dispatched where it was."""
        self.count += 1
        self.by_priority[task.priority] += 1
        lane = self._lane(task.name)
        if task.age > self._youngest:
            self._youngest = task.age
            lane.push(task)
        else:
            lane.insert(task)

    def take(self, task: Task) -> None:
        """A task leaves out of turn. Its lane skips it later, by its state: it does not come back to this one."""
        if self._left > max(SWEEP_TASKS, self.count):
            self._sweep()
        self._left += 1
        self.uncount(task)

    def uncount(self, task: Task) -> None:
        """A task waits here no longer."""
        self.count -= 1
        self.by_priority[task.priority] -= 1

    def tasks(self) -> list[Task]:
        return [task for lane in self._lanes for task in lane.tasks()]

    def oldest_arrived_at(self) -> float:
        """When the oldest waiting task came; inf if none waits. Cost: that of lanes and priorities."""
        return min([lane.oldest_arrived_at() for lane in self._lanes], default=float("inf"))

    def serve(self, ledgers: dict[str, NodeLedger]) -> None:
        """The nodes, or what they can run, changed. Cost: that of the names, and of the tasks in lanes that part."""
        nodes_of_name: dict[str, set[str]] = {}
        for node_id, ledger in ledgers.items():
            for name in ledger.names:
                nodes_of_name.setdefault(name, set()).add(node_id)
        self._nodes_of_name = {name: frozenset(nodes) for name, nodes in nodes_of_name.items()}
        self._ledgers = ledgers
        lanes, self._lanes, self.served = self._lanes, [], []
        self._lane_of_name = {}
        for lane in lanes:
            lane.row.leave()
            self._serve_lane(lane)

    def _sweep(self) -> None:
        """Let go of the tasks that left while they waited. Cost: that of all tasks here."""
        self._left = 0
        for lane in self._lanes:
            for task in lane.drain():
                lane.push(task)

    def served_by(self, name: str) -> frozenset[str]:
        """The nodes that can run this name; empty if none does."""
        return self._nodes_of_name.get(name, frozenset())

    def known_names(self) -> list[str]:
        """Every name that some node can run."""
        return sorted(self._nodes_of_name)

    def _serve_lane(self, lane: Lane) -> None:
        """Give a lane its nodes. An empty one is forgotten; one whose names part becomes several."""
        if lane.head() is None:
            return
        names, lane.names = lane.names, set()
        parts: dict[frozenset[str], Lane] = {}
        for name in sorted(names):
            nodes = self.served_by(name)
            part = parts.get(nodes)
            if part is None:
                part = parts[nodes] = self._add_lane(Lane(self) if parts else lane, nodes)
            part.names.add(name)
            self._lane_of_name[name] = part
        if len(parts) > 1:
            for task in lane.drain():
                self._lane_of_name[task.name].push(task)

    def _lane(self, name: str) -> Lane:
        lane = self._lane_of_name.get(name)
        if lane is None:
            nodes = self.served_by(name)
            same = (lane for lane in self._lanes if lane.nodes == nodes)
            lane = next(same, None) or self._add_lane(Lane(self), nodes)
            lane.names.add(name)
            self._lane_of_name[name] = lane
        return lane

    def _add_lane(self, lane: Lane, nodes: frozenset[str]) -> Lane:
        lane.nodes = nodes
        lane.row = Row(self._in_order(nodes))
        self._lanes.append(lane)
        if nodes:
            self.served.append(lane)
        return lane

    def _in_order(self, nodes: Iterable[str]) -> list[NodeLedger]:
        return [self._ledgers[node_id] for node_id in sorted(nodes, key=lambda it: (it != self._own_id, it))]
