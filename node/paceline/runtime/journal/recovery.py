"""Reads a journal: what a node knew when it stopped, or why that can't be told any more.

Beside segments and snapshots there is the file ``needed``. It holds the numbers of the first and the last segment that
the journal needs, and a crc32 of them. It is replaced after a segment was begun, and before segments are removed. So a
segment that is missing is always noticed, and a removed segment that a crash has brought back is known to be useless.

What had been synced is there, whole, or the journal is damaged: a crash takes nothing of it. The file ``synced`` tells
how far that was, and ``needed`` that the segment which it names was made. Only behind that may a write be torn.

Only :func:`cut_torn_tail` changes a file; the node calls it before its first write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from paceline.core.feature_levels import NodeTooOld
from paceline.core.raft.log import Entry, HardState
from paceline.errors import JournalCorrupt, JournalTooNew, JournalTooOld, NodeOutdated
from paceline.runtime.journal.files import Files, read_data_file
from paceline.runtime.journal.records import (
    SEGMENT_HEADER_BYTES,
    Record,
    RecordKind,
    SegmentError,
    SegmentTooNew,
    SegmentTooOld,
    next_group,
    read_header,
    record_beyond,
    records,
)
from paceline.runtime.journal.snapshot_file import SnapshotFile, file_crc, read_snapshot, snapshot_path
from paceline.runtime.journal.synced import SyncedTo, mark_path, read_mark
from paceline_protocol.errors import ProtocolError

T = TypeVar("T")

_SEGMENT_NAME = re.compile(r"(\d{16})\.segment")


@dataclass(slots=True)
class SegmentFile:
    """One segment on disk."""

    number: int
    path: Path
    size: int
    records: int = 0
    last_index: int = 0  # the highest entry that it holds


@dataclass(frozen=True, slots=True)
class TornTail:
    """The incomplete write of a crash, at the end of the last segment."""

    path: Path
    offset: int
    dropped_bytes: int


@dataclass(frozen=True, slots=True)
class Synced:
    """What is known to have been synced. Without anything, nothing is."""

    mark: SyncedTo | None = None
    last_made: int = 0  # segment

    def bytes_of(self, number: int) -> int:
        """So many bytes of a segment must be there and whole; 0 if it may not have been made."""
        if self.mark is not None and number == self.mark.segment:
            return self.mark.size
        return SEGMENT_HEADER_BYTES + 1 if number <= self.last_made else 0  # with its first group


@dataclass(slots=True)
class Recovered:
    """All that a journal holds."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotFile | None = None
    entries: list[Entry] = field(default_factory=list)  # behind the snapshot
    segments: list[SegmentFile] = field(default_factory=list)
    group: int = 0  # the last one
    torn: TornTail | None = None


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:016d}.segment"


def segment_number(path: Path) -> int | None:
    """The number of a segment's file; None if the file is not a segment."""
    match = _SEGMENT_NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def needed_path(directory: Path) -> Path:
    return directory / "needed"


def pack_needed(first: int, last: int) -> bytes:
    text = f"{first} {last}"
    return f"{text} {crc32(text.encode()):08x}\n".encode()


def read_needed(directory: Path) -> tuple[int, int] | None:
    """The first and the last segment that must be there; None if nothing says so. Raises JournalCorrupt."""
    path = needed_path(directory)
    try:
        data = read_data_file(path)
    except FileNotFoundError:
        return None
    try:
        first, last, _ = data.split()
        if data != pack_needed(int(first), int(last)):
            raise ValueError("the checksum is wrong")
    except ValueError as error:
        raise JournalCorrupt(str(path), 0, str(error)) from None
    return int(first), int(last)


def find_segments(directory: Path) -> list[Path]:
    """The segments of a journal, oldest first. Raises JournalCorrupt if one is missing."""
    found = {number for path in directory.iterdir() if (number := segment_number(path)) is not None}
    needed = read_needed(directory)
    first, last = needed or (min(found, default=1), 0)
    if needed is not None and max(found, default=0) > last + 1:  # a segment is made once the one before it is named
        raise JournalCorrupt(
            str(needed_path(directory)), 0, f"it names segments up to {last}, and {max(found)} is there"
        )
    for number in range(first, max([last, *found]) + 1):
        if number not in found:
            raise JournalCorrupt(str(segment_path(directory, number)), 0, "the file is missing")
    return [segment_path(directory, number) for number in sorted(found) if number >= first]


def read_synced(directory: Path) -> Synced:
    """How far a journal had been synced. Read before the journal is, which may be written meanwhile. Raises
    JournalCorrupt."""
    mark = read_mark(directory)
    needed = read_needed(directory)
    return Synced(mark, needed[1] if needed is not None else 0)


def read_journal(directory: Path, *, is_clean: bool = False, is_marked: bool = False) -> Recovered:
    """Read everything. ``is_clean``: its node stopped cleanly, so that no write can be torn. ``is_marked``: it must
    have the file ``synced``.

    Raises JournalCorrupt, JournalTooNew or JournalTooOld; a torn tail is reported and left out."""
    synced = read_synced(directory)
    if is_marked and synced.mark is None:
        raise JournalCorrupt(str(mark_path(directory)), 0, "the file is missing")
    replay = _Replay(directory)
    paths = find_segments(directory)
    if synced.mark is not None and (not paths or synced.mark.segment > int(paths[-1].stem)):
        raise JournalCorrupt(str(segment_path(directory, synced.mark.segment)), 0, "the file is missing")
    for path in paths:
        for record in read_segment(path, replay.found, is_last=path == paths[-1], synced=synced):
            replay.take(path, record)
    found = replay.finish()
    # It is there before a second group is, and so before a second segment.
    if not synced.last_made and paths and (int(paths[-1].stem) > 1 or found.group > 1):
        raise JournalCorrupt(str(needed_path(directory)), 0, "the file is missing")
    if is_clean and found.torn is not None:
        raise JournalCorrupt(
            str(found.torn.path), found.torn.offset, "what follows is not whole, and its node had stopped cleanly"
        )
    return found


def read_segment(path: Path, found: Recovered, *, is_last: bool, synced: Synced) -> Iterator[Record]:
    """The records of one segment, noted in ``found``. Raises JournalCorrupt, JournalTooNew or JournalTooOld."""
    try:
        data = read_data_file(path)
    except FileNotFoundError:
        raise JournalCorrupt(str(path), 0, "the file is missing") from None
    number = int(path.stem)
    least_bytes = synced.bytes_of(number)
    segment = SegmentFile(number, path, len(data))
    try:
        if read_header(data) != number:
            raise SegmentError(f"it is segment {read_header(data)} by its header")
    except SegmentTooNew as error:
        raise JournalTooNew(str(path), str(error)) from None
    except SegmentTooOld as error:
        raise JournalTooOld(str(path), str(error)) from None
    except SegmentError as error:
        if not is_last or least_bytes or record_beyond(memoryview(data), number, -8, group=found.group) is not None:
            raise JournalCorrupt(str(path), 0, str(error)) from None
        found.torn = TornTail(path, 0, len(data))  # the node crashed while it made the segment
        return
    found.segments.append(segment)
    end = whole_end = SEGMENT_HEADER_BYTES
    group: list[Record] = []
    for record in records(memoryview(data), number):
        if found.group and record.group != next_group(found.group):
            raise JournalCorrupt(str(path), record.offset, f"group {record.group} follows group {found.group}")
        group.append(record)
        end = record.end
        if record.last:
            yield from group
            segment.records += len(group)
            group, whole_end, found.group = [], end, record.group
    if whole_end < len(data) or whole_end == SEGMENT_HEADER_BYTES:
        # The group that begins here is not whole. It must be the last one: if more records follow, this is damage.
        # Without an earlier one its number is not known; it has one record then.
        damaged = group[0].group if group else found.group and next_group(found.group)
        beyond = record_beyond(memoryview(data), number, end, group=damaged)
        if not is_last or beyond is not None:
            where = f" and whole records follow at byte {beyond}" if beyond is not None else ""
            raise JournalCorrupt(str(path), end, f"the checksum is wrong{where}")
        found.torn = TornTail(path, whole_end, len(data) - whole_end)
        segment.size = whole_end
    if whole_end < least_bytes:
        raise JournalCorrupt(
            str(path), whole_end, f"what follows is damaged or gone, and had been synced up to byte {least_bytes}"
        )
    if whole_end == SEGMENT_HEADER_BYTES:
        # A crash while it was made: without its first group it does not replace earlier ones.
        found.segments.pop()
        found.torn = TornTail(path, 0, len(data))


class _Replay:
    """Applies records in order, and returns the state that they describe."""

    def __init__(self, directory: Path) -> None:
        self.found = Recovered()
        self._directory = directory
        self._snapshot: tuple[int, int, int, int, Path, int] | None = None  # index, term, size, crc, path, offset

    def take(self, path: Path, record: Record) -> None:
        try:
            fields = record.fields()
            match record.kind:
                case RecordKind.HARD_STATE:
                    self.found.hard_state = HardState(*fields)
                case RecordKind.TRUNCATE:
                    self._truncate(*fields)
                case RecordKind.ENTRIES:
                    self._append(fields)
                case RecordKind.SNAPSHOT:
                    index, term, size, checksum, replaces = fields
                    self._snapshot = (index, term, size, checksum, path, record.offset)
                    if replaces:
                        self.found.entries.clear()
                case _:
                    raise JournalTooNew(str(path), f"byte {record.offset} holds a record of unknown kind {record.kind}")
        except (TypeError, ValueError) as error:
            raise JournalCorrupt(str(path), record.offset, f"the record makes no sense: {error}") from error
        if self.found.entries:
            segment = self.found.segments[-1]
            segment.last_index = max(segment.last_index, self.found.entries[-1].index)

    def _truncate(self, from_index: int) -> None:
        entries = self.found.entries
        if entries:
            del entries[max(0, from_index - entries[0].index) :]

    def _append(self, items: list[Any]) -> None:
        entries = self.found.entries
        for index, term, kind, data in items:
            if entries and index != entries[-1].index + 1:
                raise ValueError(f"entry {index} follows entry {entries[-1].index}")
            entries.append(Entry(index, term, kind, data))

    def finish(self) -> Recovered:
        """Load the snapshot, and check that the entries continue where it ends."""
        found = self.found
        covered = 0
        if self._snapshot is not None:
            index, term, size, checksum, named_in, offset = self._snapshot
            path = snapshot_path(self._directory, index, term)
            found.snapshot = read_snapshot(path, index, term)
            if (path.stat().st_size, file_crc(path)) != (size, checksum):
                raise JournalCorrupt(str(path), 0, f"it is not what {named_in.name} names at byte {offset}")
            covered = index
        entries = found.entries
        if entries and entries[0].index > covered + 1:
            where = found.segments[0].path
            raise JournalCorrupt(str(where), 0, f"entries {covered + 1} to {entries[0].index - 1} are missing")
        if entries and entries[-1].index < covered and found.snapshot is not None:
            entries.clear()
        found.entries = entries[covered + 1 - entries[0].index :] if entries else []
        return found


def decoded(directory: Path, read: Callable[[], T]) -> T:
    """What ``read`` makes of a journal whose bytes are whole. Raises JournalCorrupt if they make no sense all the same,
    and NodeOutdated if only a later version can read them."""
    try:
        return read()
    except NodeTooOld as error:
        raise NodeOutdated(error.found) from error
    except (TypeError, ValueError, ProtocolError) as error:
        raise JournalCorrupt(str(directory / "journal"), 0, f"an entry makes no sense: {error}") from error


# --- before writing ---------------------------------------------------------------------------------------------


def cut_torn_tail(files: Files, torn: TornTail) -> None:
    """Remove the incomplete write that a crash left. Raises OSError."""
    if torn.offset == 0:
        files.remove(torn.path)
        files.sync_directory(torn.path.parent)
        return
    descriptor = files.append(torn.path)
    try:
        files.truncate(descriptor, torn.offset)
        files.sync(descriptor)
    finally:
        files.close(descriptor)
