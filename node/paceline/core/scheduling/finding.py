"""Finds live tasks by name and state, for whoever wants all of them cancelled: a page at a time, as there may be a
million.

The tasks of a state are in several parts: those of a name that are delayed, or wait for their limits, the queues of
lanes, the ledgers of nodes.
A cursor says the state, which of its parts, and how far in that. Tasks come, leave and move while somebody turns pages:

- A queue is looked at from its end. What leaves it in front, as it is handed out, and what joins it behind, moves
  nothing past the cursor.
- Of delayed tasks the cursor counts what stays: names that do not match, and tasks that are not meant. The others are
  about to be cancelled, and gone by the next page.
- What moves past the cursor all the same, as a task that its node gives back, is found by the next pass: whoever wants
  every task begins anew until a pass finds none.

That comes to an end, as tasks that were taken in from ``until`` on are not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Final, TypeAlias

from paceline.core.scheduling.lanes import look_back
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.task import Task
from paceline_protocol.limits import MAX_INT
from paceline_protocol.messages.live import LiveState
from paceline_protocol.name_patterns import NamePattern

PAGE_IDS: Final = 1_000
"""What one page has at most."""
PAGE_TASKS: Final = 2_000
"""How many tasks and names are looked at for one page: less than a millisecond, as compiled code."""

_DELAYED: Final = int(LiveState.DELAYED)
_WAITING: Final = int(LiveState.WAITING)
_RUNNING: Final = int(LiveState.RUNNING)

NamesFrom: TypeAlias = Callable[[int, int], list[tuple[int, str]]]
TasksOf: TypeAlias = Callable[[int, str, int], Iterator[Task]]
Cursor: TypeAlias = tuple[int, int, int]
"""(LiveState, number of the part, how far in it). All three are 0 at the beginning."""


class MatchedNames:
    """Those that a pattern matches. Each is compared once, however many tasks have it."""

    __slots__ = ("_known", "_pattern")

    def __init__(self, pattern: NamePattern) -> None:
        self._pattern = pattern
        self._known: dict[str, bool] = {}

    def match(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._pattern.matches(name)
        return known


class Page:
    """One page: what is meant, and what was found. ``left``: how much more may be looked at."""

    __slots__ = ("_is_meant", "_queue", "_until", "ids", "left", "names")

    def __init__(
        self, pattern: NamePattern, until: int, queue: str = "", is_meant: Callable[[Task], bool] | None = None
    ) -> None:
        """``until``: only tasks whose ``first_age`` is less. ``queue``: only those of this one; "" for all.
        ``is_meant``: only those of which this holds."""
        self._is_meant = is_meant
        self.ids: list[bytes] = []
        self.left = PAGE_TASKS
        self.names = MatchedNames(pattern)
        self._until = until
        self._queue = queue

    @property
    def is_full(self) -> bool:
        return self.left <= 0 or len(self.ids) >= PAGE_IDS

    def look(self, task: Task, state: int) -> bool:
        """Look at a task. True: it is meant, and it is in this state."""
        self.left -= 1
        if task.first_age >= self._until or state_of(task) != state or not self.names.match(task.name):
            return False
        if self._queue and self._queue != task.queue:
            return False
        if self._is_meant is not None and not self._is_meant(task):
            return False
        self.ids.append(task.id)
        return True


def find(tasks: LiveTasks, page: Page, states: Collection[int], cursor: Cursor) -> Cursor | None:
    """Fill the page from the cursor on. Returns where the next one begins, None if this is the last. Cost: that of
    PAGE_TASKS, and a nanosecond or two for each task in the queue that one is in the midst of."""
    at_state, part, at = cursor
    for state in (_DELAYED, _WAITING, _RUNNING):
        if state < at_state or state not in states:
            continue
        if state > at_state:
            part = at = 0
        stopped = _LOOK[state](tasks, page, part, at)
        if stopped is not None:
            return state, *stopped
    return None


def _look_at_delayed(tasks: LiveTasks, page: Page, part: int, at: int) -> tuple[int, int] | None:
    """A part is the number of a name."""
    return _look_by_name(page, tasks.delayed_names, tasks.delayed_tasks, _DELAYED, part, at)


def _look_by_name(
    page: Page, names: NamesFrom, tasks_of: TasksOf, state: int, part: int, at: int
) -> tuple[int, int] | None:
    for number, name in names(part, page.left + 1):
        if number != part:
            part, at = number, 0
        if page.is_full:
            return part, at
        page.left -= 1
        if page.names.match(name):
            for task in tasks_of(number, name, at):
                if page.is_full:
                    return part, at
                at += not page.look(task, state)
        part, at = number + 1, 0
    return None


def _look_at_waiting(tasks: LiveTasks, page: Page, part: int, at: int) -> tuple[int, int] | None:
    """A part is a line of a lane; behind all of them, the number of a name that waits for its limit."""
    lines = tasks.lines()
    while part < len(lines):
        if page.is_full:
            return part, at
        some, begin = look_back(lines[part], at or MAX_INT, page.left)
        at = begin + len(some)
        for task in reversed(some):
            if page.is_full:
                return part, at
            page.look(task, _WAITING)
            at -= 1
        if at:
            return part, at
        part += 1
    stopped = _look_by_name(page, tasks.limited_names, tasks.limited_tasks, _WAITING, part - len(lines), at)
    return None if stopped is None else (len(lines) + stopped[0], stopped[1])


def _look_at_running(tasks: LiveTasks, page: Page, part: int, at: int) -> tuple[int, int] | None:
    for ledger in tasks.all_ledgers()[part:]:
        for task in islice(ledger.held.values(), at, None):
            if page.is_full:
                return part, at
            page.look(task, _RUNNING)
            at += 1
        part, at = part + 1, 0
    return None


_LOOK: Final[dict[int, Callable[[LiveTasks, Page, int, int], tuple[int, int] | None]]] = {
    _DELAYED: _look_at_delayed,
    _WAITING: _look_at_waiting,
    _RUNNING: _look_at_running,
}


def state_of(task: Task) -> int:
    """Where a task is, as a LiveState; 0 if it has ended."""
    if task.is_delayed or task.waits_for_tasks:
        return _DELAYED
    if task.has_place_at_node:
        return _RUNNING
    return 0 if task.has_ended else _WAITING
