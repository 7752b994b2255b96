"""The replicated table as a stream of pages, made and read a few pages at a time.

A million tasks take seconds to pack, and a node that stood still for so long would be taken for dead. So a snapshot is
captured in one step, which copies references only (some milliseconds for a million tasks), and packed in many, while
tasks come and end; and a snapshot that arrives is read in many, into a table aside, while entries that commit wait.

What a capture shows never changes: a Task's call is immutable, and what does change of it is kept apart and copied. A
page is msgpack ``[section, items]``; equal tables give equal streams.
"""

from __future__ import annotations

from collections import OrderedDict
from sys import maxsize
from typing import Any

import msgpack  # type: ignore[import-untyped]

from paceline.core.raft.pages import Pieces, Stream, framed, page_at
from paceline.core.state.released_ids import ReleasedIds
from paceline.core.state.table import TOTALS, TaskTable
from paceline.core.state.task import Task

PAGE_ITEMS = 1_000
PAGE_BYTES = 256 * 1024
"""A page is full with either; one larger item has a page of its own."""

TASKS, LOST_ATTEMPTS, RESULTS, RELEASED, TOTAL = range(5)


class Capture:
    """A table as it was at one instant, and as much of its stream as is packed."""

    def __init__(self, table: TaskTable) -> None:
        self._sections: list[tuple[int, list[Any]]] = [
            (TASKS, list(table.tasks.values())),
            (LOST_ATTEMPTS, list(table.lost_attempts.items())),
            (RESULTS, list(table.results.items())),
            (RELEASED, list(table.released)),
            (TOTAL, [table.totals[name] for name in TOTALS]),
        ]
        self._section = 0
        self._next = 0  # of its items
        self.data = Pieces()  # whole after the last step

    def step(self) -> bool:
        """Pack one more page. False: there is none left."""
        while self._section < len(self._sections) and self._next == len(self._sections[self._section][1]):
            self._sections[self._section] = (0, [])  # what is packed need not be held
            self._section += 1
            self._next = 0
        if self._section == len(self._sections):
            return False
        section, source = self._sections[self._section]
        items: list[Any] = []
        size = 0
        while self._next < len(source) and len(items) < PAGE_ITEMS and size < PAGE_BYTES:
            item: Any = source[self._next]
            if section == TASKS:
                size += len(item.args)
                item = item.call
            elif section == RESULTS:
                task_id, (end, payload) = item
                size += len(payload)
                item = (task_id, end, payload)
            items.append(item)
            self._next += 1
        self.data.append(framed(msgpack.packb((section, items))))
        return True


class Restore:
    """Reads a stream of pages into what a table is made of."""

    def __init__(self, data: Stream) -> None:
        self._data = data
        self._offset = 0
        self._tasks: dict[bytes, Task] = {}
        self._lost_attempts: dict[bytes, int] = {}
        self._results: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._result_bytes = 0
        self._released = ReleasedIds(maxsize)
        self._totals: dict[str, int] = dict.fromkeys(TOTALS, 0)

    def step(self) -> bool:
        """Read one more page. False: there is none left. Raises ValueError if it is none."""
        if self._offset == len(self._data):
            return False
        page, self._offset = page_at(self._data, self._offset)
        section, items = msgpack.unpackb(page, use_list=False, max_bin_len=len(page), strict_map_key=False)
        match section:
            case 0:  # TASKS
                for call in items:
                    self._tasks[call[0]] = Task(call)
            case 1:  # LOST_ATTEMPTS
                for task_id, count in items:
                    self._lost_attempts[task_id] = count
            case 2:  # RESULTS
                for task_id, end, payload in items:
                    self._results[task_id] = (end, payload)
                    self._result_bytes += len(payload)
            case 3:  # RELEASED
                for task_id in items:
                    self._released.add(task_id)
            case 4:  # TOTAL
                self._totals = dict(zip(TOTALS, items, strict=True))
            case _:
                raise ValueError(f"a snapshot has a page of unknown section {section}; this node is older than it")
        return True

    def finish(self, table: TaskTable) -> None:
        """Put what was read in the place of all that the table holds."""
        table.tasks = self._tasks
        table.lost_attempts = self._lost_attempts
        table.results = self._results
        table.result_bytes = self._result_bytes
        self._released.limit = table.released.limit
        table.released = self._released
        table.totals = self._totals


def snapshot_of(table: TaskTable) -> bytes:
    """The whole table at once, as one byte string."""
    capture = Capture(table)
    while capture.step():
        pass
    return capture.data[:]


def restore(table: TaskTable, data: Stream) -> None:
    """Read a whole snapshot at once, as a node does that starts. Raises ValueError."""
    reading = Restore(data)
    while reading.step():
        pass
    reading.finish(table)
