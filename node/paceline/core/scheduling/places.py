"""Where a live task can be.

There is one place for each state of a live task, and ``LiveTasks`` moves tasks between them. A place keeps its tasks in
the data structure that suits it (queues, the ledger of a node), and counts them. It does not know where a task comes
from or goes to.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.state.task import Task

_NONE: Final[dict[bytes, Task]] = {}


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
    """Tasks that wait for something else than a node. ``by_name``: them, of the names of which any does; for others to
    read only."""

    __slots__ = ("by_name",)

    def __init__(self, state: int) -> None:
        super().__init__(state)
        self.by_name: dict[str, dict[bytes, Task]] = {}

    def put(self, task: Task) -> None:
        self.count += 1
        of_name = self.by_name.get(task.name)
        if of_name is None:
            self.by_name[task.name] = {task.id: task}
        else:
            of_name[task.id] = task

    def take(self, task: Task) -> None:
        self.count -= 1
        of_name = self.by_name[task.name]
        del of_name[task.id]
        if not of_name:
            del self.by_name[task.name]

    def tasks(self) -> list[Task]:
        return [task for of_name in self.by_name.values() for task in of_name.values()]

    def count_of(self, name: str) -> int:
        """How many of this name are here."""
        of_name = self.by_name.get(name)
        return len(of_name) if of_name is not None else 0

    def look(self, name: str, skip: int, limit: int) -> list[Task]:
        """``limit`` tasks of this name behind the first ``skip``. Cost: that of both together."""
        return list(islice(self.by_name.get(name, _NONE).values(), skip, skip + limit))
