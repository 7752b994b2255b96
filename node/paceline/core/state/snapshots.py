"""The replicated table as a stream of pages, made and read a few pages at a time.

A million tasks take seconds to pack, and a node that stood still for so long would be taken for dead. So a snapshot is
captured in one step, which copies references only (some milliseconds for a million tasks), and packed in many, while
tasks come and end; and a snapshot that arrives is read in many, into a table aside, while entries that commit wait.

What a capture shows never changes: a Task's call is immutable, and what does change of it is kept apart and copied.

The first page is ``[STREAM_NAME, STREAM_FORMAT]``; all others are ``[section, items]`` with the section's name. All are
msgpack, and equal tables give equal streams. What a reader does not know it refuses (NodeTooOld). So a change that an
older reader can't take needs another format number, or a section of another name, and must not be written while the
feature level of the cluster is below the one that brought it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from paceline.core.feature_levels import NodeTooOld
from paceline.core.raft.pages import Pieces, Stream, framed, page_at
from paceline.core.state.section import Section
from paceline.core.state.table import TaskTable

STREAM_NAME: Final = "paceline tasks"
STREAM_FORMAT: Final = 1
PAGE_ITEMS: Final = 1_000
PAGE_BYTES: Final = 256 * 1024
"""A page is full with either; one larger item has a page of its own."""


class Capture:
    """A table as it was at one instant, and as much of its stream as is packed."""

    def __init__(self, table: TaskTable) -> None:
        self._sections: list[tuple[Section, list[Any]]] = [(each, each.captured()) for each in table.sections]
        self._section = 0
        self._next = 0  # of its items
        self.data = Pieces([framed(msgpack.packb((STREAM_NAME, STREAM_FORMAT)))])  # whole after the last step

    def step(self) -> bool:
        """Pack one more page. False: there is none left."""
        while self._section < len(self._sections) and self._next == len(self._sections[self._section][1]):
            self._sections[self._section][1].clear()  # what is packed need not be held
            self._section += 1
            self._next = 0
        if self._section == len(self._sections):
            return False
        section, source = self._sections[self._section]
        items: list[Any] = []
        size = 0
        while self._next < len(source) and len(items) < PAGE_ITEMS and size < PAGE_BYTES:
            item, size_bytes = section.packed(source[self._next])
            items.append(item)
            size += size_bytes
            self._next += 1
        self.data.append(framed(msgpack.packb((section.name, items))))
        return True


class Restore:
    """Reads a stream of pages into a table aside, which then takes the place of all that ``table`` holds."""

    def __init__(self, table: TaskTable, data: Stream) -> None:
        self._table = table
        self._data = data
        self._offset = 0
        self._aside = table.aside()
        self._by_name = {section.name: section for section in self._aside.sections}

    def step(self) -> bool:
        """Read one more page. False: there is none left. Raises ValueError if it is none, NodeTooOld if it is one of a
        later version."""
        is_first = self._offset == 0
        if self._offset == len(self._data) and not is_first:
            return False
        page, self._offset = page_at(self._data, self._offset)
        try:
            name, content = msgpack.unpackb(page, use_list=False, max_bin_len=len(page), strict_map_key=False)
            if is_first:
                _check_head(name, content)
            elif (section := self._by_name.get(name)) is None:
                raise NodeTooOld(f"a snapshot has a page of unknown section {name!r}")
            else:
                section.read(content)
        except NodeTooOld:
            raise
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise ValueError(f"a page of a snapshot makes no sense: {error}") from error
        return True

    def finish(self) -> None:
        """Put what was read in the place of all that the table holds."""
        self._table.take_from(self._aside)


def _check_head(name: object, stream_format: object) -> None:
    if name != STREAM_NAME or not isinstance(stream_format, int):
        raise ValueError("it does not begin as a snapshot of tasks does")
    if stream_format > STREAM_FORMAT:
        raise NodeTooOld(f"a snapshot has format {stream_format}, and this node reads up to {STREAM_FORMAT}")
    if stream_format < STREAM_FORMAT:
        raise ValueError(f"format {stream_format} is read no more")


def snapshot_of(table: TaskTable) -> bytes:
    """The whole table at once, as one byte string."""
    capture = Capture(table)
    while capture.step():
        pass
    return capture.data[:]


def restore(table: TaskTable, data: Stream) -> None:
    """Read a whole snapshot at once, as a node does that starts. Raises ValueError, NodeTooOld."""
    reading = Restore(table, data)
    while reading.step():
        pass
    reading.finish()


def digests_of(table: TaskTable) -> dict[str, bytes]:
    """What tells the states of two tables apart, by section: equal tables give equal digests. Not by way of a snapshot,
    so that what a snapshot leaves out is found once a node was restored from it."""
    return {section.name: _digest(section) for section in table.sections}


def _digest(section: Section) -> bytes:
    digest = sha256()
    for item in section.captured():
        digest.update(msgpack.packb(section.packed(item)[0]))
    return digest.digest()
