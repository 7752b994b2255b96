"""The files of a journal, as they are written: groups of records in segments, and snapshots beside them.

Nothing here knows of time or threads; ``journal.py`` has the thread that calls it, ``recovery.py`` reads what it wrote.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgpack  # type: ignore[import-untyped]

from paceline.core.raft.log import Entry, HardState, Snapshot
from paceline.core.raft.ready import Persist
from paceline.runtime.journal.files import Files, replace_file, write_all
from paceline.runtime.journal.records import SEGMENT_HEADER_BYTES, Kind, pack_header, pack_record
from paceline.runtime.journal.recovery import (
    Recovered,
    SegmentFile,
    crc_of,
    cut_torn_tail,
    needed_path,
    pack_needed,
    pack_snapshot,
    read_needed,
    segment_number,
    segment_path,
    snapshot_path,
)
from paceline.runtime.journal.snapshot_writer import SLICE_BYTES, SnapshotWriter

SEGMENT_BYTES = 64 << 20
ENTRIES_RECORD_BYTES = 1 << 20


class Writer:
    """The files of one journal. Not for several threads. Every method raises OSError."""

    def __init__(
        self,
        directory: Path,
        recovered: Recovered,
        files: Files,
        *,
        sync: bool,
        segment_bytes: int = SEGMENT_BYTES,
        slice_bytes: int = SLICE_BYTES,
    ) -> None:
        self.directory = directory
        self.snapshot: tuple[int, int, int, int] | None = None  # index, term, size, crc32 of its file
        self._files = files
        self._sync = sync
        self._segment_bytes = segment_bytes
        self._slice_bytes = slice_bytes
        self._saving: SnapshotWriter | None = None
        self._to_save: Snapshot | None = None  # the newest that waits until the one before it is there
        self._needed = read_needed(directory)
        self._segments: deque[SegmentFile] = deque(recovered.segments)
        self._group = recovered.group
        self._hard_state = recovered.hard_state
        self._descriptor = -1
        if recovered.torn is not None:
            cut_torn_tail(files, recovered.torn)
        if recovered.snapshot is not None:
            found = recovered.snapshot
            pieces = list(pack_snapshot(found.index, found.term, found.config, found.data))
            self.snapshot = (found.index, found.term, sum(map(len, pieces)), crc_of(pieces))
        try:
            if self._segments:
                self._descriptor = files.append(self._segments[-1].path)
                self._sync_found()
            else:
                self._open_segment(1)
            self._drop_covered()
        except BaseException:
            self.close()
            raise

    def write(self, batch: Iterable[Persist | Snapshot]) -> None:
        """Write the Persists of a batch as one group. They are durable when this returns, or, without ``sync``, given
        to the system. A Snapshot, which this node took itself, is only taken in, unless there is a later one: see
        :meth:`save_slice`."""
        if self._segments[-1].size >= self._segment_bytes:
            self._roll()  # before the batch is looked at: the new segment begins with what held until now
        items: list[tuple[Kind, bytes]] = []
        must_sync = self._sync
        snapshots = False
        for each in batch:
            if isinstance(each, Snapshot):
                if self.snapshot is None or each.index > self.snapshot[0]:
                    self._to_save = each
                continue
            if each.hard_state is not None:
                self._hard_state = each.hard_state
                items.append(_hard_state(each.hard_state))
                must_sync = True  # a vote that is forgotten may be given twice
            if each.snapshot is not None:
                items.append(self._replace(each.snapshot))
                snapshots = True
            if each.truncate_from is not None:
                items.append((Kind.TRUNCATE, msgpack.packb([each.truncate_from])))
            items += _entries(each.entries)
            if each.entries:
                segment = self._segments[-1]
                segment.last_index = max(segment.last_index, each.entries[-1].index)
        if not items:
            return
        self._append(items)
        if must_sync:
            self._files.sync(self._descriptor)
        if snapshots:
            self._roll()

    @property
    def is_saving(self) -> bool:
        """Whether there is more to write of a snapshot that this node took."""
        return self._saving is not None or self._to_save is not None

    def save_slice(self) -> None:
        """Write a little more of it, and with the last slice the record that makes it count. To be called while
        :attr:`is_saving`, between groups: no promise waits for more than a slice."""
        if self._saving is None:
            assert self._to_save is not None
            self._saving = SnapshotWriter(self._files, self.directory, self._to_save, self._slice_bytes)
            self._to_save = None
        if self._saving.write_slice():
            return
        self.snapshot = self._saving.finish()
        self._saving = None
        self._append([(Kind.SNAPSHOT, msgpack.packb([*self.snapshot, False]))])
        self._roll()

    def sync(self) -> None:
        """Make durable what without ``sync`` was only given to the system."""
        self._files.sync(self._descriptor)

    def close(self) -> None:
        """Let go of the files. A snapshot that is not whole is left as it is: the next Writer removes it."""
        if self._saving is not None:
            self._saving.close()
        self._close_segment()

    def _close_segment(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._files.close(descriptor)

    def _give_up_saving(self) -> None:
        self._to_save = None
        if self._saving is not None:
            self._saving.give_up()
            self._saving = None

    def _sync_found(self) -> None:
        """Make durable what was read. A process that was killed may have left the end of it in the system's cache
        alone, and whoever starts with it counts on it. Earlier segments were synced before the last was made."""
        self._files.sync(self._descriptor)
        self._files.sync_directory(self.directory)

    def _append(self, items: list[tuple[Kind, bytes]]) -> None:
        segment = self._segments[-1]
        self._group += 1
        pieces: list[bytes] = []
        offset = segment.size
        for place, (kind, body) in enumerate(items, 1):
            piece = pack_record(segment.number, offset, self._group, kind, body, last=place == len(items))
            pieces.append(piece)
            offset += len(piece)
        write_all(self._files, self._descriptor, b"".join(pieces))
        segment.size = offset

    def _replace(self, snapshot: Snapshot) -> tuple[Kind, bytes]:
        """Write the file of a snapshot that the leader sent in place of the log, at once: all that follows needs it.
        The record that names it makes it count. Whatever this node was saving itself is of an earlier entry."""
        self._give_up_saving()
        pieces = list(pack_snapshot(snapshot.index, snapshot.term, snapshot.config, snapshot.data))
        replace_file(self._files, snapshot_path(self.directory, snapshot.index, snapshot.term), pieces)
        self.snapshot = (snapshot.index, snapshot.term, sum(map(len, pieces)), crc_of(pieces))
        return Kind.SNAPSHOT, msgpack.packb([*self.snapshot, True])

    def _roll(self) -> None:
        """Go on in a new segment. It begins with what the earlier ones need not be read for."""
        self._files.sync(self._descriptor)
        number = self._segments[-1].number + 1
        self._close_segment()
        self._open_segment(number)
        self._drop_covered()

    def _open_segment(self, number: int) -> None:
        path = segment_path(self.directory, number)
        self._descriptor = self._files.create(path)
        write_all(self._files, self._descriptor, pack_header(number))
        self._segments.append(SegmentFile(number, path, SEGMENT_HEADER_BYTES))
        head = [_hard_state(self._hard_state)]
        if self.snapshot is not None:
            head.append((Kind.SNAPSHOT, msgpack.packb([*self.snapshot, False])))
        self._append(head)
        self._files.sync(self._descriptor)
        self._files.sync_directory(self.directory)

    def _drop_covered(self) -> None:
        """Say durably which segments are needed, and remove what is not: segments that hold nothing behind the
        snapshot, other snapshots, and whatever a crash left or brought back."""
        index = self.snapshot[0] if self.snapshot is not None else 0
        while len(self._segments) > 1 and self._segments[0].last_index <= index:
            self._segments.popleft()
        needed = self._segments[0].number, self._segments[-1].number
        if needed != self._needed:
            replace_file(self._files, needed_path(self.directory), [pack_needed(*needed)])
            self._needed = needed
        useless = [path for path in sorted(self.directory.iterdir()) if self._is_useless(path)]
        for path in useless:
            self._files.remove(path)
        if useless:
            self._files.sync_directory(self.directory)

    def _is_useless(self, path: Path) -> bool:
        number = segment_number(path)
        if number is not None:
            return number < self._segments[0].number
        if path.suffix == ".snapshot":
            return self.snapshot is None or path != snapshot_path(self.directory, *self.snapshot[:2])
        return path.suffix == ".tmp" and self._saving is None


def _hard_state(hard_state: HardState) -> tuple[Kind, bytes]:
    return Kind.HARD_STATE, msgpack.packb([hard_state.term, hard_state.vote])


def _entries(entries: list[Entry]) -> list[tuple[Kind, bytes]]:
    """Records of about ENTRIES_RECORD_BYTES."""
    items: list[tuple[Kind, bytes]] = []
    batch: list[tuple[int, int, int, bytes]] = []
    size = 0
    for entry in entries:
        batch.append((entry.index, entry.term, int(entry.kind), entry.data))
        size += len(entry.data)
        if size >= ENTRIES_RECORD_BYTES:
            items.append((Kind.ENTRIES, msgpack.packb(batch)))
            batch, size = [], 0
    if batch:
        items.append((Kind.ENTRIES, msgpack.packb(batch)))
    return items
