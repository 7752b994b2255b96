"""Tasks that are ready to run, in the order in which they should.

Higher priority first, then age. Tasks whose names the same nodes can run share a lane; a cluster of identical nodes has
one lane, and one more for names that no node knows (yet). The dispatcher asks lanes, not tasks, whether a node is free.

A task that ends while it waits here (cancelled, or a late outcome) is not searched for: it is skipped when its turn
comes, because its state is no longer READY.
"""

from __future__ import annotations

from collections import deque

from paceline.core.task import State, Task
from paceline_protocol.messages import PRIORITY_MAX


class Lane:
    """The ready tasks that one set of nodes can run. ``order``: these nodes, the one to prefer first."""

    __slots__ = ("_queues", "_top", "nodes", "order")

    def __init__(self, nodes: frozenset[str], own_id: str = "") -> None:
        self.nodes = nodes
        self.order = tuple(sorted(nodes, key=lambda node_id: (node_id != own_id, node_id)))
        self._queues: tuple[deque[Task], ...] = tuple(deque() for _ in range(PRIORITY_MAX + 1))
        self._top = 0  # no task has a higher priority than this

    def push(self, task: Task) -> None:
        """Add a task behind those of its priority."""
        self._queues[task.priority].append(task)
        self._top = max(self._top, task.priority)

    def push_front(self, task: Task) -> None:
        """Put back a task that was dispatched before: it is older than all that wait."""
        self._queues[task.priority].appendleft(task)
        self._top = max(self._top, task.priority)

    def head(self) -> Task | None:
        """The next task, left in place: the oldest of the highest priority."""
        while True:
            queue = self._queues[self._top]
            while queue:
                if queue[0].state is State.READY:
                    return queue[0]
                queue.popleft()
            if not self._top:
                return None
            self._top -= 1

    def pop(self) -> None:
        """Take the task that head() returned."""
        self._queues[self._top].popleft()

    def drain(self) -> list[Task]:
        """Take every ready task, in order."""
        tasks = [task for queue in reversed(self._queues) for task in queue if task.state is State.READY]
        for queue in self._queues:
            queue.clear()
        return tasks


class ReadyQueues:
    """All lanes. ``serve`` says which nodes can run a name. ``own_id``: the node that others being equal is preferred,
    because it is no hop away."""

    def __init__(self, own_id: str = "") -> None:
        self._own_id = own_id
        self._lanes: dict[frozenset[str], Lane] = {}
        self._lane_of_name: dict[str, Lane] = {}
        self._nodes_of_name: dict[str, frozenset[str]] = {}
        self.served: list[Lane] = []
        """Lanes that some node serves."""

    def push(self, task: Task) -> None:
        """Add a new task."""
        self._lane(task.name).push(task)

    def push_front(self, task: Task) -> None:
        """Put back a task that was taken before."""
        self._lane(task.name).push_front(task)

    def serve(self, names_of_node: dict[str, frozenset[str]]) -> None:
        """The nodes, or what they can run, changed: sort the waiting tasks into lanes again, oldest first.

        Cost: proportional to the waiting tasks. It happens when a node comes, goes or changes its modules.
        """
        nodes_of_name: dict[str, set[str]] = {}
        for node, names in names_of_node.items():
            for name in names:
                nodes_of_name.setdefault(name, set()).add(node)
        waiting = [task for lane in self._lanes.values() for task in lane.drain()]
        waiting.sort(key=lambda task: task.age)
        self._nodes_of_name = {name: frozenset(nodes) for name, nodes in nodes_of_name.items()}
        self._lanes.clear()
        self._lane_of_name.clear()
        self.served = []
        for task in waiting:
            self._lane(task.name).push(task)

    def served_by(self, name: str) -> frozenset[str]:
        """The nodes that can run this name; empty if none does."""
        return self._nodes_of_name.get(name, frozenset())

    def known_names(self) -> list[str]:
        """Every name that some node can run."""
        return sorted(self._nodes_of_name)

    def _lane(self, name: str) -> Lane:
        lane = self._lane_of_name.get(name)
        if lane is None:
            nodes = self.served_by(name)
            lane = self._lanes.get(nodes)
            if lane is None:
                lane = self._lanes[nodes] = Lane(nodes, self._own_id)
                if nodes:
                    self.served.append(lane)
            self._lane_of_name[name] = lane
        return lane
