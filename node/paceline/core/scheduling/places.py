"""Where a live task can be.

There is one place for each state of a live task, and ``LiveTasks`` moves tasks between them. A place keeps its tasks in
the data structure that suits it (queues, the ledger of a node), and counts them. It does not know where a task comes
from or goes to.
"""

from __future__ import annotations

from collections.abc import Iterator

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.state.task import Task


class Place:
    """The live tasks of one state. ``count``: how many."""

    __slots__ = ("count", "state")

    def __init__(self, state: int) -> None:
        self.state = state
        self.count = 0

    def put(self, task: Task) -> None:
        """Take in a task, which has the state of this place already."""
        raise NotImplementedError

    def take(self, task: Task) -> None:
        """Remove a task, which still has the state of this place."""
        raise NotImplementedError

    def tasks(self) -> list[Task]:
        """Every task that is here. Cost: that of all of them."""
        raise NotImplementedError


class AtNodes(Place):
    """Tasks that are charged to the node ``task.node``. Several states share the ledgers of the nodes."""

    __slots__ = ("_ledgers",)

    def __init__(self, state: int, ledgers: dict[str, NodeLedger]) -> None:
        """``ledgers``: of the nodes there are; the caller keeps them."""
        super().__init__(state)
        self._ledgers = ledgers

    def put(self, task: Task) -> None:
        self.count += 1
        ledger = self._ledgers[task.node]
        ledger.put(task, task.cost_us)
        ledger.moved()

    def take(self, task: Task) -> None:
        self.count -= 1
        self._ledgers[task.node].take(task)

    def tasks(self) -> list[Task]:
        return [task for ledger in self._ledgers.values() for task in ledger.held.values() if task.state == self.state]


class ById(Place):
    """Tasks that wait for something else than a node. ``by_name``: how many, of the names of which any does."""

    __slots__ = ("_tasks", "by_name")

    def __init__(self, state: int) -> None:
        super().__init__(state)
        self._tasks: dict[bytes, Task] = {}
        self.by_name: dict[str, int] = {}

    def put(self, task: Task) -> None:
        self._tasks[task.id] = task
        self.count += 1
        self.by_name[task.name] = self.by_name.get(task.name, 0) + 1

    def take(self, task: Task) -> None:
        del self._tasks[task.id]
        self.count -= 1
        left = self.by_name[task.name] - 1
        if left:
            self.by_name[task.name] = left
        else:
            del self.by_name[task.name]

    def tasks(self) -> list[Task]:
        return list(self._tasks.values())

    def walk(self, name: str) -> Iterator[Task]:
        """Every task of this name, among others."""
        return iter(self._tasks.values()) if name in self.by_name else iter(())
