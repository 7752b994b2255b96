"""Writes the files of a journal: groups of records in segments, and snapshots beside them.

Nothing here knows of time or threads. ``journal.py`` has the thread that calls this, and ``recovery.py`` reads the
files.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgpack  # type: ignore[import-untyped]

from paceline.core.raft.log import Entry, HardState, Snapshot
from paceline.core.raft.ready import Persist
from paceline.errors import DataDirLost
from paceline.runtime.journal.files import Files, replace_file, write_all
from paceline.runtime.journal.records import SEGMENT_HEADER_BYTES, RecordKind, next_group, pack_header, pack_record
from paceline.runtime.journal.recovery import (
    Recovered,
    SegmentFile,
    cut_torn_tail,
    needed_path,
    pack_needed,
    read_needed,
    segment_number,
    segment_path,
)
from paceline.runtime.journal.snapshot_file import Summed, pack_snapshot, snapshot_path
from paceline.runtime.journal.snapshot_writer import SLICE_BYTES, SnapshotWriter
from paceline.runtime.journal.synced import SyncedMark, SyncedTo, mark_path

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
        self._to_save: Snapshot | None = None  # the newest one; it waits until the one before it is written
        self._needed = read_needed(directory)
        self._segments: deque[SegmentFile] = deque(recovered.segments)
        self._group = recovered.group
        self._hard_state = recovered.hard_state
        self._descriptor = -1
        self._mark: SyncedMark | None = None
        if recovered.torn is not None:
            cut_torn_tail(files, recovered.torn)
        if recovered.snapshot is not None:
            found = recovered.snapshot
            summed = Summed(pack_snapshot(found.index, found.term, found.config, found.data))
            for _ in summed:
                pass
            self.snapshot = (found.index, found.term, summed.size, summed.crc)
        try:
            if self._segments:
                self._descriptor = files.append(self._segments[-1].path)
                self._sync_found()
            else:
                self._open_segment(1)
            self._mark = SyncedMark(files, directory, self._synced)
            self._drop_covered()
        except BaseException:
            self.close()
            raise

    def write(self, batch: Iterable[Persist | Snapshot]) -> None:
        """Write the Persists of a batch as one group. They are durable when this returns; without ``sync`` they have
        only been passed to the system. A Snapshot, which this node took itself, is only remembered: :meth:`save_slice`
        writes the latest one."""
        if self._segments[-1].size >= self._segment_bytes:
            self._roll()  # before the batch is applied: the new segment begins with the hard state of before
        items: list[tuple[RecordKind, bytes]] = []
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
                must_sync = True  # in every mode: a node that forgets its vote could vote twice in a term
            if each.snapshot is not None:
                items.append(self._replace(each.snapshot))
                snapshots = True
            if each.truncate_from is not None:
                items.append((RecordKind.TRUNCATE, msgpack.packb([each.truncate_from])))
            items += _entries(each.entries)
            if each.entries:
                segment = self._segments[-1]
                segment.last_index = max(segment.last_index, each.entries[-1].index)
        if not items:
            return
        self._append(items)
        if must_sync:
            self._sync_group()
        if snapshots:
            self._roll()

    @property
    def is_saving(self) -> bool:
        """Whether a snapshot that this node took is not written to its end yet."""
        return self._saving is not None or self._to_save is not None

    def save_slice(self) -> None:
        """Write one slice of the snapshot, and after the last one the record that makes it count. The caller calls this
        between groups while :attr:`is_saving`, so that no Persist waits for more than one slice."""
        if self._saving is None:
            assert self._to_save is not None
            self._saving = SnapshotWriter(self._files, self.directory, self._to_save, self._slice_bytes)
            self._to_save = None
        if self._saving.write_slice():
            return
        self.snapshot = self._saving.finish()
        self._saving = None
        self._append([(RecordKind.SNAPSHOT, msgpack.packb([*self.snapshot, False]))])
        self._roll()

    def stop(self) -> None:
        """Sync all of it, with the mark that says how far it goes: whatever is missing later is damage."""
        self._sync_group()
        if self._mark is not None:
            self._mark.sync()

    def check(self) -> None:
        """Raises DataDirLost if one of the journal's files was deleted or replaced."""
        paths = [segment.path for segment in self._segments]
        paths += [needed_path(self.directory), mark_path(self.directory)]
        if self.snapshot is not None:
            paths.append(snapshot_path(self.directory, *self.snapshot[:2]))
        for path in paths:
            try:
                found = os.stat(path)
            except FileNotFoundError:
                raise DataDirLost(str(path), "it is gone from its path") from None
            if path == self._segments[-1].path and not os.path.samestat(found, os.fstat(self._descriptor)):
                raise DataDirLost(str(path), "another file is in its place")

    def close(self) -> None:
        """Close the files. A snapshot that is not whole is left as it is; the next Writer removes it."""
        if self._saving is not None:
            self._saving.close()
        if self._mark is not None:
            self._mark.close()
        self._close_segment()

    @property
    def _synced(self) -> SyncedTo:
        """What is synced once the last segment is."""
        return SyncedTo(self._segments[-1].number, self._segments[-1].size)

    def _sync_group(self) -> None:
        self._files.sync(self._descriptor)
        self._set_mark()

    def _set_mark(self) -> None:
        """After each sync, and never before: what the mark names and is not there is damage."""
        if self._mark is not None:
            self._mark.set(self._synced)

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
        """Sync the segment that was read. A process that was killed may have left the end of it only in the system's
        cache, and the node relies on it from now on. Earlier segments were synced before the last one was begun."""
        self._files.sync(self._descriptor)
        self._files.sync_directory(self.directory)

    def _append(self, items: list[tuple[RecordKind, bytes]]) -> None:
        segment = self._segments[-1]
        self._group = next_group(self._group)
        pieces: list[bytes] = []
        offset = segment.size
        for place, (kind, body) in enumerate(items, 1):
            piece = pack_record(segment.number, offset, self._group, kind, body, last=place == len(items))
            pieces.append(piece)
            offset += len(piece)
        write_all(self._files, self._descriptor, b"".join(pieces))
        segment.size = offset

    def _replace(self, snapshot: Snapshot) -> tuple[RecordKind, bytes]:
        """Write the file of a snapshot that the leader sent in place of the log. It is written at once, since all later
        records need it; the returned record makes it count. A snapshot that this node was saving is of an earlier
        entry, and is given up."""
        self._give_up_saving()
        summed = Summed(pack_snapshot(snapshot.index, snapshot.term, snapshot.config, snapshot.data))
        replace_file(self._files, snapshot_path(self.directory, snapshot.index, snapshot.term), summed)
        self.snapshot = (snapshot.index, snapshot.term, summed.size, summed.crc)
        return RecordKind.SNAPSHOT, msgpack.packb([*self.snapshot, True])

    def _roll(self) -> None:
        """Begin a new segment. Its first group repeats the hard state and the snapshot, so that earlier segments need
        not be read for them."""
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
            head.append((RecordKind.SNAPSHOT, msgpack.packb([*self.snapshot, False])))
        self._append(head)
        self._files.sync(self._descriptor)
        self._files.sync_directory(self.directory)
        self._set_mark()

    def _drop_covered(self) -> None:
        """Write durably which segments are needed, and remove the other files: segments with no entry after the
        snapshot, other snapshots, and files that a crash left or brought back."""
        index = self.snapshot[0] if self.snapshot is not None else 0
        while len(self._segments) > 1 and self._segments[0].last_index <= index:
            self._segments.popleft()
        needed = self._segments[0].number, self._segments[-1].number
        if needed != self._needed:
            replace_file(self._files, needed_path(self.directory), [pack_needed(*needed)])
            self._needed = needed
        useless = [path for path in self._files.paths_in(self.directory) if self._is_useless(path)]
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


def _hard_state(hard_state: HardState) -> tuple[RecordKind, bytes]:
    return RecordKind.HARD_STATE, msgpack.packb([hard_state.term, hard_state.vote])


def _entries(entries: list[Entry]) -> list[tuple[RecordKind, bytes]]:
    """The entries as records of about ENTRIES_RECORD_BYTES each."""
    items: list[tuple[RecordKind, bytes]] = []
    batch: list[tuple[int, int, int, bytes]] = []
    size = 0
    for entry in entries:
        batch.append((entry.index, entry.term, int(entry.kind), entry.data))
        size += len(entry.data)
        if size >= ENTRIES_RECORD_BYTES:
            items.append((RecordKind.ENTRIES, msgpack.packb(batch)))
            batch, size = [], 0
    if batch:
        items.append((RecordKind.ENTRIES, msgpack.packb(batch)))
    return items
