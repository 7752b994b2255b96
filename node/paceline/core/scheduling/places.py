"""Where a live task can be.

There is one place for each state of a live task, and ``LiveTasks`` moves tasks between them. A place keeps its tasks in
the data structure that suits it (queues, the ledger of a node), and counts them. It does not know where a task comes
from or goes to.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Final

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.state.task import Task

GONE_NAMES: Final = 64
"""So many names that are gone keep their numbers, and as many as there are others."""
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

    __slots__ = ("_async_ledgers", "_ledgers")

    def __init__(self, state: int, ledgers: dict[str, NodeLedger], async_ledgers: dict[str, NodeLedger]) -> None:
        """``ledgers``: of the nodes there are; ``async_ledgers``: likewise, of their async tasks. The caller keeps
        them."""
        super().__init__(state)
        self._ledgers = ledgers
        self._async_ledgers = async_ledgers

    def _ledger(self, task: Task) -> NodeLedger:
        return self._async_ledgers[task.node] if task.is_async else self._ledgers[task.node]

    def put(self, task: Task) -> None:
        self.count += 1
        ledger = self._ledger(task)
        ledger.put(task, task.cost_us)
        ledger.moved()

    def take(self, task: Task) -> None:
        self.count -= 1
        self._ledger(task).take(task)

    def tasks(self) -> list[Task]:
        ledgers = (*self._ledgers.values(), *self._async_ledgers.values())
        return [task for ledger in ledgers for task in ledger.held.values() if task.state == self.state]


class ByName:
    """Tasks that wait for something else than a node, of all states that do. ``by_name``: them, of the names of which
    any does; for others to read only.

    Names are numbered in the order in which they came, so that whoever goes through them, be they a million, can say
    where to go on. The numbers of those that are gone are dropped once they are more than the others."""

    __slots__ = ("_came", "_number_of", "_numbers", "by_name")

    def __init__(self) -> None:
        self.by_name: dict[str, dict[bytes, Task]] = {}
        self._numbers = 0
        self._number_of: dict[str, int] = {}
        self._came: list[tuple[int, str]] = []  # names with their numbers, some of them gone

    def put(self, task: Task) -> None:
        """It waits."""
        of_name = self.by_name.get(task.name)
        if of_name is None:
            self.by_name[task.name] = {task.id: task}
            self._number_of[task.name] = self._numbers
            self._came.append((self._numbers, task.name))
            self._numbers += 1
        else:
            of_name[task.id] = task

    def take(self, task: Task) -> None:
        """It waits no longer."""
        of_name = self.by_name[task.name]
        del of_name[task.id]
        if not of_name:
            del self.by_name[task.name]
            del self._number_of[task.name]
            if len(self._came) > 2 * len(self.by_name) + GONE_NAMES:
                self._came = [each for each in self._came if self._number_of.get(each[1]) == each[0]]

    def names_from(self, number: int, limit: int) -> list[tuple[int, str]]:
        """``limit`` names at most with numbers from this one on, each with its number, and names that are gone among
        them. Cost: that of ``limit``."""
        begin = bisect_left(self._came, (number, ""))
        return self._came[begin : begin + limit]

    def tasks_of(self, number: int, name: str, skip: int) -> Iterator[Task]:
        """The tasks of the name of this number, behind the first ``skip``; none if it is gone, though it may have come
        again under another one."""
        of_name = self.by_name.get(name, _NONE) if self._number_of.get(name) == number else _NONE
        return islice(of_name.values(), skip, None)

    def tasks(self) -> list[Task]:
        """All of them."""
        return [task for of_name in self.by_name.values() for task in of_name.values()]

    def count_of(self, name: str) -> int:
        """How many of this name are here."""
        of_name = self.by_name.get(name)
        return len(of_name) if of_name is not None else 0

    def look(self, name: str, skip: int, limit: int) -> list[Task]:
        """``limit`` tasks of this name behind the first ``skip``. Cost: that of both together."""
        return list(islice(self.by_name.get(name, _NONE).values(), skip, skip + limit))


class ById(Place):
    """The tasks of one of the states in which tasks wait for something else than a node."""

    __slots__ = ("_waiting",)

    def __init__(self, state: int, waiting: ByName) -> None:
        """``waiting``: the tasks of all such states."""
        super().__init__(state)
        self._waiting = waiting

    def put(self, task: Task) -> None:
        self.count += 1
        self._waiting.put(task)

    def take(self, task: Task) -> None:
        self.count -= 1
        self._waiting.take(task)

    def tasks(self) -> list[Task]:
        return [task for task in self._waiting.tasks() if task.state == self.state]
