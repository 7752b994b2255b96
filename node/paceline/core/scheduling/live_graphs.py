"""How many live tasks of each graph are where: numbers that follow from where ``LiveTasks`` has them.

They are counted as tasks move, since a graph may have a million tasks and be asked for every second. A task that
belongs to none is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline.core.state.task import LIVE, STATE_NAMES, State, Task
from paceline_protocol.limits import MAX_GRAPHS

RUNNING: Final = 0
WAITING: Final = 1
DELAYED: Final = 2
DEPENDING: Final = 3
WORDS: Final = ("running", "waiting", "delayed", "depending")
"""As they are told: a node has it; it waits for a node; for its moment, or is held; for tasks that it depends on."""

_KINDS: Final[dict[int, int]] = {
    State.READY: WAITING,
    State.RECOVERED: WAITING,
    State.LIMITED: WAITING,  # and offered or withheld as others of its limit come and go
    State.STARTING: RUNNING,
    State.DISPATCHED: RUNNING,
    State.DELAYED: DELAYED,
    State.WAITING: DEPENDING,
}
_KIND_OF: Final[list[int]] = [_KINDS[state] if state in LIVE else -1 for state in range(len(STATE_NAMES))]
"""By state; -1: it has ended."""


class LiveGraphs:
    """``by_name``: of each graph with live tasks, how many are where, by the numbers of WORDS. Not to be changed."""

    def __init__(self) -> None:
        self.by_name: dict[str, list[int]] = {}

    def has_room_for(self, name: str) -> bool:
        """Whether a task of this graph may come."""
        return name in self.by_name or len(self.by_name) < MAX_GRAPHS

    def enters(self, name: str, state: int) -> None:
        """A task of this graph is live from now on."""
        counts = self.by_name.get(name)
        if counts is None:
            counts = self.by_name[name] = [0] * len(WORDS)
        counts[_KIND_OF[state]] += 1

    def moves(self, name: str, before: int, state: int) -> None:
        """A live task of this graph has this state instead of the one before."""
        counts = self.by_name[name]
        counts[_KIND_OF[before]] -= 1
        kind = _KIND_OF[state]
        if kind >= 0:
            counts[kind] += 1
        elif not any(counts):
            del self.by_name[name]

    def counts_of(self, name: str) -> list[int]:
        """How many of this graph are where. Not to be changed."""
        return self.by_name.get(name, _NONE)

    def miscounted(self, tasks: Iterable[Task]) -> str:
        """Which graph is counted wrongly, if these are the live tasks; "" if none is. Cost: that of all of them."""
        found: dict[str, list[int]] = {}
        for task in tasks:
            if task.options is not None and task.options.is_in_graph:
                found.setdefault(task.options.graph, [0] * len(WORDS))[_KIND_OF[task.state]] += 1
        return "" if found == self.by_name else f"of graphs {self.by_name} are counted, and there are {found}"


_NONE: Final = [0] * len(WORDS)
