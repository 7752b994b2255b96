"""How far a journal had been synced: the file ``synced``, which the writer overwrites after each sync.

A write that a crash left incomplete and one that was damaged later look alike. What tells them apart is whether the
write had been synced: a crash takes only what had not. So the writer notes the last segment, and how many bytes of it
are synced. The note itself is not waited for. A process that is killed leaves the last one, and a machine that loses
its power leaves that or an earlier one; each of them is true. Only a clean stop syncs it, and so does a start.

There are two places, which are written in turn, so that one is whole though the power fails while the other is written.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from paceline.errors import JournalCorrupt
from paceline.runtime.journal.files import Files, read_data_file, replace_file

PLACE_BYTES = 512
"""A disk writes a sector whole or not at all."""
_MAGIC = b"PLS1"
_MARK = struct.Struct(">4sQQ")
_CHECKSUM = struct.Struct(">I")


class SyncedTo(NamedTuple):
    """Of this segment so many bytes had been synced, and of each segment before it all."""

    segment: int
    size: int


class SyncedMark:
    """The file of one journal, held open. Every method raises OSError."""

    def __init__(self, files: Files, directory: Path, mark: SyncedTo) -> None:
        self._files = files
        self._writes = 0
        path = mark_path(directory)
        replace_file(files, path, [pack_mark(mark) * 2])
        self._descriptor = files.rewrite(path)

    def set(self, mark: SyncedTo) -> None:
        """The journal is synced up to here."""
        self._writes += 1
        self._files.overwrite(self._descriptor, pack_mark(mark), self._writes % 2 * PLACE_BYTES)

    def sync(self) -> None:
        self._files.sync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._files.close(descriptor)


def mark_path(directory: Path) -> Path:
    return directory / "synced"


def read_mark(directory: Path) -> SyncedTo | None:
    """The last mark of a journal; None if there is no such file. Raises JournalCorrupt."""
    path = mark_path(directory)
    try:
        data = read_data_file(path)
    except FileNotFoundError:
        return None
    marks = [mark for place in (0, PLACE_BYTES) if (mark := _unpack(data[place : place + PLACE_BYTES])) is not None]
    if not marks:
        raise JournalCorrupt(str(path), 0, "it does not say how far the journal was synced")
    return max(marks)


def pack_mark(mark: SyncedTo) -> bytes:
    """One place of the file."""
    head = _MARK.pack(_MAGIC, *mark)
    return (head + _CHECKSUM.pack(crc32(head))).ljust(PLACE_BYTES, b"\0")


def _unpack(place: bytes) -> SyncedTo | None:
    if len(place) < _MARK.size + _CHECKSUM.size:
        return None
    head = place[: _MARK.size]
    magic, segment, size = _MARK.unpack(head)
    (checksum,) = _CHECKSUM.unpack_from(place, _MARK.size)
    return SyncedTo(segment, size) if magic == _MAGIC and checksum == crc32(head) else None
