"""Where the replicated log is written down: the shell's end of ``Persist``.

The reactor submits each Persist in order and sends what it promises only once the journal says that it is durable. The
journal has a thread of its own: it writes all that piled up while it was busy, makes that durable with one sync, and
wakes the reactor. It never reorders. A snapshot that the node took itself, which nobody waits for, is written a slice
at a time between these groups, and counts from the record on that follows its last slice.

With ``journal = "memory"`` there is none: the core counts everything as durable, and a restart is a new node.

Nothing is tried twice on a disk that failed: after a failed sync the system may have dropped what it could not write.
The journal stops, says so under ``failure``, and nothing that was not durable by then ever becomes it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgpack  # type: ignore[import-untyped]

from paceline.core.log import Entry, HardState, Snapshot
from paceline.core.ready import Persist
from paceline.errors import JournalFailed
from paceline.runtime.files import Files, RealFiles, replace_file, write_all
from paceline.runtime.records import SEGMENT_HEADER_BYTES, Kind, pack_header, pack_record
from paceline.runtime.recovery import (
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
from paceline.runtime.snapshot_writer import SLICE_BYTES, SnapshotWriter

SEGMENT_BYTES = 64 << 20
ENTRIES_RECORD_BYTES = 1 << 20
CLOSE_TIMEOUT_S = 10.0

_logger = logging.getLogger("paceline.journal")


class Journal(Protocol):
    """The order in which it was submitted is the order in which it becomes durable."""

    failure: JournalFailed | None

    def submit(self, persist: Persist) -> None:
        """Start writing."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Start writing a snapshot that this node took itself; once it is there, entries before it are not needed. What
        is submitted later may be durable before it. Of those that wait only the last is written."""

    def durable_seq(self) -> int:
        """Everything up to this Persist.seq is durable."""

    def snapshot_index(self) -> int:
        """The entry up to which the last durable snapshot reaches; 0 for none."""


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
        to the system. A Snapshot, which this node took itself, is only taken in: see :meth:`save_slice`."""
        if self._segments[-1].size >= self._segment_bytes:
            self._roll()  # before the batch is looked at: the new segment begins with what held until now
        items: list[tuple[Kind, bytes]] = []
        must_sync = self._sync
        snapshots = False
        for each in batch:
            if isinstance(each, Snapshot):
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


class DiskJournal:
    """A journal in a directory, with its thread. ``mode``: "fsync", or "os", where only term and vote are synced.

    ``wake`` is called from the thread whenever there is news; it must be safe there and must not block.
    """

    def __init__(
        self,
        directory: Path,
        recovered: Recovered,
        *,
        mode: str,
        wake: Callable[[], None],
        files: Files | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        slice_bytes: int = SLICE_BYTES,
    ) -> None:
        """Raises JournalFailed if the directory can't be written."""
        self.failure: JournalFailed | None = None
        self._directory = directory
        self._wake = wake
        self._queue: deque[Persist | Snapshot] = deque()
        self._signal = threading.Event()
        self._closing = False
        self._durable_seq = 0
        self._snapshot_index = recovered.snapshot.index if recovered.snapshot is not None else 0
        try:
            self._writer = Writer(
                directory,
                recovered,
                files or RealFiles(),
                sync=mode == "fsync",
                segment_bytes=segment_bytes,
                slice_bytes=slice_bytes,
            )
        except OSError as error:
            raise JournalFailed("write", str(error.filename or directory), os.strerror(error.errno or 0)) from error
        self._thread = threading.Thread(target=self._run, name="paceline-journal", daemon=True)
        self._thread.start()

    def submit(self, persist: Persist) -> None:
        self._queue.append(persist)
        self._signal.set()

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._queue.append(snapshot)
        self._signal.set()

    def durable_seq(self) -> int:
        return self._durable_seq

    def snapshot_index(self) -> int:
        return self._snapshot_index

    def close(self) -> bool:
        """Write what was submitted, sync it in any mode, and stop. A snapshot that is not whole is given up, and after
        CLOSE_TIMEOUT_S the rest is left: nobody was promised it. True if all Persists are durable."""
        self._closing = True
        self._signal.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            _logger.error("the disk at %s does not answer; what was not durable yet is given up", self._directory)
            return False
        return self.failure is None

    def _run(self) -> None:
        try:
            try:
                while self._write_pending():
                    pass
                self._writer.sync()
            finally:
                self._writer.close()
        except OSError as error:
            self._fail(str(error.filename or self._directory), os.strerror(error.errno or 0))
        except BaseException as error:  # whatever ends this thread, nothing becomes durable any more
            self._fail(str(self._directory), f"{type(error).__name__}: {error}")
            _logger.critical("the journal ended by a defect of its own", exc_info=error)
        finally:
            self._wake()

    def _fail(self, path: str, reason: str) -> None:
        self.failure = JournalFailed("write", path, reason)
        _logger.critical("%s", self.failure)

    def _write_pending(self) -> bool:
        """Wait for something to write, and write it, then one slice of a snapshot. False: the journal is closed."""
        if not self._writer.is_saving:
            self._signal.wait()
        self._signal.clear()
        closing = self._closing  # read before the queue is: what was submitted before close() is written
        batch: list[Persist | Snapshot] = []
        while self._queue:
            batch.append(self._queue.popleft())
        if batch:
            self._writer.write(batch)
            for each in batch:
                if isinstance(each, Persist):
                    self._durable_seq = each.seq
            self._tell()
        if self._writer.is_saving and not closing:
            before = self._writer.snapshot
            self._writer.save_slice()
            if self._writer.snapshot != before:
                self._tell()
        return not closing

    def _tell(self) -> None:
        if self._writer.snapshot is not None:
            self._snapshot_index = self._writer.snapshot[0]
        self._wake()
