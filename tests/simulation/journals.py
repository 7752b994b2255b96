"""The journal of a simulated machine: the real one, on a disk that is slow, fails and loses its power."""

from __future__ import annotations

import copy
import errno
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from journal.disk import Crash, Disk
from paceline.core.raft.log import Snapshot
from paceline.core.raft.ready import Persist
from paceline.errors import JournalFailed
from paceline.runtime.journal.recovery import Recovered, read_journal
from paceline.runtime.journal.writer import Writer

if TYPE_CHECKING:
    from simulation.world import World

SEGMENT_BYTES = 8_192
SLICE_BYTES = 2_048


class SimulatedJournal:
    """A real journal, on a disk that outlives the node. The world kills the node in the middle of a write, or cuts its
    power, then or later: with that, what was not synced is lost."""

    def __init__(self, world: World, directory: Path, *, is_new: bool = True) -> None:
        self.failure: JournalFailed | None = None
        self._world = world
        self._directory = self.directory = directory
        self.may_fail = False  # one of its next operations
        self._pending: list[tuple[float, Persist | Snapshot | None]] = []  # None: a slice of a snapshot
        self._free_at = 0.0  # when the disk has moved the bytes that it was given last
        self._durable_seq = 0
        self._disk = Disk()
        if is_new:
            directory.mkdir()

    def open(self) -> Recovered:
        """What the disk holds, as a node reads it when it starts."""
        recovered = read_journal(self._directory)
        self._world.events["torn tail"] += recovered.torn is not None
        self._disk.start_again()
        self.may_fail = False
        sync = self._world.settings.journal == "fsync"
        self._writer = Writer(
            self._directory, recovered, self._disk, sync=sync, segment_bytes=SEGMENT_BYTES, slice_bytes=SLICE_BYTES
        )
        self._world.writers.append(self._writer)
        self.failure = None
        self._durable_seq = 0
        return recovered

    def submit(self, persist: Persist) -> None:
        self._begin(copy.copy(persist))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._world.events["own snapshot"] += 1
        self._begin(snapshot)

    def _begin(self, write: Persist | Snapshot | None) -> None:
        delay_s = self._world.rng.uniform(0, self._world.faults.disk_delay_s)
        due = max(self._world.now + delay_s, self._pending[-1][0] if self._pending else 0.0)
        self._pending.append((due, write))
        if not self._world.faults.disk_delay_s:
            self.settle()

    def durable_seq(self) -> int:
        return self._durable_seq

    def snapshot_bytes(self) -> int:
        """The size of the last durable snapshot."""
        return self._writer.snapshot[2] if self._writer.snapshot is not None else 0

    def due(self) -> float:
        """When the next write is done."""
        return max(self._pending[0][0], self._free_at) if self._pending and self.failure is None else inf

    def settle(self) -> None:
        """Make durable what is due, as groups with slices of a snapshot between them."""
        while self.due() <= self._world.now:
            batch: list[Persist | Snapshot] = []
            while self._pending and self._pending[0][0] <= self._world.now:
                write = self._pending[0][1]
                if write is None and batch:
                    break
                del self._pending[0]
                if write is None:
                    break
                batch.append(write)
            before = self._disk.written_bytes
            try:
                if batch:
                    self._writer.write(batch)
                elif self._writer.is_saving:  # and not given up for one that a leader sent
                    self._writer.save_slice()
            except OSError as error:
                self.failure = JournalFailed("write", str(self._directory), str(error))
                return
            self._free_at = self._world.now + (self._disk.written_bytes - before) * self._world.faults.disk_byte_s
            self._durable_seq = max([self._durable_seq, *(each.seq for each in batch if isinstance(each, Persist))])
            if self._writer.is_saving and all(write is not None for _, write in self._pending):
                self._begin(None)

    def fail(self) -> None:
        """One of the next operations on the disk is refused."""
        self.may_fail = True
        self._disk.fail_at(self._world.rng.randint(0, 5), self._world.rng.choice((errno.ENOSPC, errno.EIO)))

    def fail_no_more(self) -> None:
        """The disk is repaired. A journal that has failed needs a new process all the same."""
        self._disk.fail_no_more()
        self.may_fail = False

    def crash(self) -> None:
        """The process ends while some of what was under way is written."""
        rng = self._world.rng
        begun = [write for _, write in self._pending[: rng.randint(0, len(self._pending))]]
        batch = [write for write in begun if write is not None]
        self._pending = []
        try:
            if self.failure is None:
                self._disk.crash_after(rng.choice((0, 0, 1, 2, 8)))
                if batch:
                    self._writer.write(batch)
                while None in begun and self._writer.is_saving:
                    self._writer.save_slice()
        except (Crash, OSError):
            self._world.events["cut write"] += 1
        self._writer.close()

    def lose_power(self) -> None:
        """The machine is off: its cache is empty."""
        self._disk.lose_unsynced(self._world.rng)
