"""The replicated table as a stream of pages, made and read a few pages at a time.

A million tasks take seconds to pack, and a node that stood still for so long would be taken for dead. So a snapshot is
captured in one step, which copies references only (some milliseconds for a million tasks), and packed in many, while
tasks come and end; and a snapshot that arrives is read in many, into a table aside, as its chunks come.

The content of a capture never changes: a Task's call is immutable, and the parts that change are kept apart and copied.

The first page is ``[STREAM_NAME, STREAM_FORMAT]``; all others are ``[section, items]`` with the section's name. All are
msgpack, and equal tables give equal streams. A reader refuses what it does not know (NodeTooOld). So a change that an
older reader can't take needs another format number, or a section of another name, and must not be written while the
feature level of the cluster is below the one that brought it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from paceline.core.feature_levels import NodeTooOld
from paceline.core.raft.pages import PAGE_HEAD_BYTES, Pieces, Stream, framed, page_at
from paceline.core.state.section import Section
from paceline.core.state.table import TaskTable
from paceline_protocol.errors import ProtocolError
from paceline_protocol.limits import MAX_BATCH_ITEMS
from paceline_protocol.packing import check_whole

STREAM_NAME: Final = "paceline tasks"
STREAM_FORMAT: Final = 1
PAGE_ITEMS: Final = 1_000
PAGE_BYTES: Final = 256 * 1024
"""A page is full with either; one larger item has a page of its own."""
SHARED_BYTES: Final = 4096
"""Arguments and results of so many bytes are in the stream as they are in the table, without a copy: a snapshot of a
large queue would take as much memory again."""


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
        size = longest = 0
        while self._next < len(source) and len(items) < PAGE_ITEMS and size < PAGE_BYTES:
            item, size_bytes = section.packed(source[self._next])
            items.append(item)
            size += size_bytes
            longest = max(longest, size_bytes)
            self._next += 1
        if longest < SHARED_BYTES:
            self.data.append(framed(msgpack.packb((section.name, items))))
        else:
            self._append_shared(section.name, items)
        return True

    def _append_shared(self, name: str, items: list[Any]) -> None:
        """The same page, with long strings as pieces of their own: they are those of the table, and no copies."""
        packer = msgpack.Packer(autoreset=False)
        pieces: list[bytes] = []
        packer.pack_array_header(2)
        packer.pack(name)
        packer.pack_array_header(len(items))
        for item in items:
            if type(item) is not tuple:
                packer.pack(item)
                continue
            packer.pack_array_header(len(item))
            for part in item:
                if type(part) is bytes and len(part) >= SHARED_BYTES:
                    pieces += (packer.bytes() + _bin_head(len(part)), part)
                    packer.reset()
                else:
                    packer.pack(part)
        pieces.append(packer.bytes())
        self.data.append(sum(map(len, pieces)).to_bytes(PAGE_HEAD_BYTES, "big"))
        for piece in pieces:
            self.data.append(piece)


def _bin_head(size: int) -> bytes:
    """What msgpack writes in front of so many bytes, of which there are at least SHARED_BYTES."""
    return b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")


class Restore:
    """Reads a stream of pages into a table aside, which then takes the place of all that ``table`` holds."""

    def __init__(self, table: TaskTable, data: Stream, total: int) -> None:
        """``data``: the beginning of the stream, which has ``total`` bytes; see :meth:`extend`."""
        self._table = table
        self._data = data
        self._total = total
        self._offset = 0
        self._aside = table.aside()
        self._by_name = {section.name: section for section in self._aside.sections}

    def extend(self, data: Stream) -> None:
        """``data`` is the stream as far as it is there by now."""
        self._data = data

    def has_whole_page(self) -> bool:
        """Whether step() can read a page. Raises ValueError if the page can't be whole within the stream."""
        start = self._offset + PAGE_HEAD_BYTES
        if start > len(self._data):
            if self._offset < self._total < start:
                raise ValueError(f"a snapshot ends within the page at byte {self._offset}")
            return False
        end = start + int.from_bytes(self._data[self._offset : start], "big")
        if end > self._total:
            raise ValueError(f"a snapshot ends within the page at byte {self._offset}")
        return end <= len(self._data)

    def step(self) -> None:
        """Read one more page. Raises ValueError if it is none, NodeTooOld if it is one of a later version."""
        is_first = self._offset == 0
        page, self._offset = page_at(self._data, self._offset)
        longest = min(len(page), MAX_BATCH_ITEMS)
        try:
            check_whole(page)
            name, content = msgpack.unpackb(
                page, use_list=False, max_bin_len=len(page), max_array_len=longest, strict_map_key=False
            )
            if is_first:
                _check_head(name, content)
            elif (section := self._by_name.get(name)) is None:
                raise NodeTooOld(f"a snapshot has a page of unknown section {name!r}")
            else:
                section.read(content)
        except NodeTooOld:
            raise
        except (ValueError, TypeError, AttributeError, LookupError, ProtocolError) as error:
            raise ValueError(f"a page of a snapshot makes no sense: {error}") from error

    def finished(self) -> TaskTable:
        """What the whole stream holds. Raises ValueError if it is not whole, or no table can be so."""
        if not self._offset or self._offset != self._total:
            raise ValueError(f"a snapshot ends within the page at byte {self._offset}")
        self._aside.check()
        return self._aside

    def finish(self) -> None:
        """Replace the content of the table by what was read."""
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
    reading = Restore(table, data, len(data))
    while reading.has_whole_page():
        reading.step()
    reading.finished()
    reading.finish()


def digests_of(table: TaskTable) -> dict[str, bytes]:
    """Digests of a table by section: equal tables have equal digests. They are not made from a snapshot, so that they
    differ if a snapshot leaves something out and a node is restored from it."""
    return {section.name: _digest(section) for section in table.sections}


def _digest(section: Section) -> bytes:
    digest = sha256()
    for item in section.captured():
        digest.update(msgpack.packb(section.packed(item)[0]))
    return digest.digest()
