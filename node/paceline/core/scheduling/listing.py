"""Lists live tasks for a person, a page at a time, as there may be a million: first what runs, node by node, with what
each has had for longest in front; then what waits, in the order in which it goes out, and behind that, name by name,
what waits for its limit; then what is delayed, those that come due first in front.

A cursor says the state, which of its parts, and how far in that. Of tasks that wait it names the age from which to go
on, so that whatever leaves or joins the queues, none is listed twice. Elsewhere it counts, and tasks that come and go
between two pages may be missing, or be listed twice: whoever wants each task exactly once, to cancel it, uses
``finding.py``.

Delayed tasks are in no order. Up to SORTED_TASKS of them are sorted for each page; more are listed name by name, in the
order in which they came.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import merge
from itertools import chain, islice
from operator import attrgetter
from typing import Final

from paceline.core.scheduling.finding import PAGE_TASKS, Cursor, MatchedNames, NamesFrom, TasksOf, state_of
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.task import Task
from paceline_protocol.messages.live import LiveState
from paceline_protocol.messages.records import PRIORITY_MAX
from paceline_protocol.name_patterns import NamePattern

ROWS_LIMIT: Final = 200
"""Tasks in one page."""
SORTED_TASKS: Final = PAGE_TASKS
_PRIORITIES: Final = PRIORITY_MAX + 1

_DELAYED: Final = int(LiveState.DELAYED)
_WAITING: Final = int(LiveState.WAITING)
_RUNNING: Final = int(LiveState.RUNNING)
_age: Final = attrgetter("age")


class Listing:
    """One page: what is meant, and what was found. ``left``: how many tasks may still be looked at."""

    __slots__ = ("_graph", "_limit", "left", "name", "names", "node", "tasks")

    def __init__(self, name: str, node: str, limit: int, graph: str = "") -> None:
        """``name``: with * for any number of characters. ``node``, ``graph``: "" for all."""
        self.tasks: list[Task] = []
        self.left = PAGE_TASKS
        self.name = "" if "*" in name else name  # the only one, if it is one
        self.node = node
        self._graph = graph
        self._limit = min(limit, ROWS_LIMIT)
        self.names = MatchedNames(NamePattern(name))

    @property
    def is_full(self) -> bool:
        return self.left <= 0 or len(self.tasks) >= self._limit

    def look(self, task: Task, state: int) -> None:
        """Look at a task, and list it if it is meant."""
        self.left -= 1
        if self._graph and self._graph != task.graph:
            return
        if state_of(task) == state and self.names.match(task.name):
            self.tasks.append(task)


def fill(tasks: LiveTasks, listing: Listing, states: Collection[int], cursor: Cursor) -> Cursor | None:
    """Fill the page from the cursor on. Returns where the next one begins, None if this is the last. Cost: that of
    PAGE_TASKS for each lane, of sorting SORTED_TASKS, and a few nanoseconds for each name and task before the cursor.
    """
    at_state, part, at = cursor
    for state in (_RUNNING, _WAITING, _DELAYED):
        if at_state and state > at_state:
            continue  # it is behind us
        if state != at_state:
            part = at = 0
        if state not in states or (listing.node and state != _RUNNING):
            continue
        if state == _RUNNING:
            stopped = _list_running(tasks, listing, part, at)
        elif state == _WAITING:
            stopped = _list_waiting(tasks, listing, part, at)
        else:
            stopped = _list_delayed(tasks, listing, part, at)
        if stopped is not None:
            return state, *stopped
    return None


def _list_running(tasks: LiveTasks, listing: Listing, part: int, at: int) -> tuple[int, int] | None:
    """A part is a node."""
    nodes = [listing.node] if listing.node else sorted(tasks.ledgers)
    for node_id in nodes[part:]:
        held = chain.from_iterable([ledger.held.values() for ledger in tasks.ledgers_of(node_id)])
        for task in islice(held, at, None):
            if listing.is_full:
                return part, at
            listing.look(task, _RUNNING)
            at += 1
        part, at = part + 1, 0
    return None


def _list_waiting(tasks: LiveTasks, listing: Listing, part: int, at: int) -> tuple[int, int] | None:
    """A part is a priority, the highest first; ``at``: an age. Behind them, the number of a name that waits for its
    limit."""
    lanes = tasks.lanes_of(listing.name)
    for priority in range(PRIORITY_MAX - part, -1, -1):
        limit = max(1, listing.left + 1)
        before: Task | None = None
        for task in merge(*[lane.look_from(priority, at, limit) for lane in lanes], key=_age):
            if task is before:  # it had left its lane to be adopted, is still found there, and waits in another by now
                continue
            if listing.is_full:
                return PRIORITY_MAX - priority, task.age
            listing.look(task, _WAITING)
            before = task
        at = 0
    stopped = _list_by_name(listing, tasks.limited_names, tasks.limited_tasks, _WAITING, max(0, part - _PRIORITIES), at)
    return None if stopped is None else (_PRIORITIES + stopped[0], stopped[1])


def _list_delayed(tasks: LiveTasks, listing: Listing, part: int, at: int) -> tuple[int, int] | None:
    """Part 0 is all of them, sorted; the others are numbers of names, from 1 on."""
    if not part and tasks.delayed <= SORTED_TASKS:
        in_order = sorted([(tasks.not_before_ms(task), task.first_age, task) for task in tasks.all_delayed()])
        for _moment_ms, _first_age, task in in_order[at:]:
            if listing.is_full:
                return 0, at
            listing.look(task, _DELAYED)
            at += 1
        return None
    if not part:
        part, at = 1, 0
    stopped = _list_by_name(listing, tasks.delayed_names, tasks.delayed_tasks, _DELAYED, part - 1, at)
    return None if stopped is None else (1 + stopped[0], stopped[1])


def _list_by_name(
    listing: Listing, names: NamesFrom, tasks_of: TasksOf, state: int, part: int, at: int
) -> tuple[int, int] | None:
    """A part is the number of a name."""
    for number, name in names(part, listing.left + 1):
        if number != part:
            part, at = number, 0
        if listing.is_full:
            return part, at
        listing.left -= 1
        if listing.names.match(name):
            for task in tasks_of(number, name, at):
                if listing.is_full:
                    return part, at
                listing.look(task, state)
                at += 1
        part, at = number + 1, 0
    return None
