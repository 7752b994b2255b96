"""Applies the log to the table, and takes snapshots of the table for followers and for the journal.

Packing the snapshot of a large table takes long, so it is done a few pages a turn (``snapshots.py``). The caller calls
:meth:`Applied.step` as long as :attr:`Applied.is_busy`. A snapshot that a leader sent was read as it arrived
(``contents.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Entry, Snapshot
from paceline.core.settings import Settings
from paceline.core.state.contents import TableReading, TaskContents
from paceline.core.state.snapshots import Capture
from paceline.core.state.table import TaskTable

PAGES_PER_TURN = 2
"""Pages of a snapshot that one turn packs: that takes a millisecond or two, in which nothing else is done."""

COMPACTED_AT_ONCE = 10_000
"""Entries that are dropped at a time, of those that were kept for a follower: a millisecond or two."""
ENTRY_BYTES = 256
"""What an entry takes in memory beside its data, and a little more."""


@dataclass(slots=True)
class Taking:
    """A snapshot that is being packed. ``frame``: the snapshot without its data. ``wanted_by``: followers, and "" for
    the journal."""

    capture: Capture
    frame: Snapshot
    wanted_by: list[str]


class Applied:
    """Applies one node's log to its table. ``journaled``: a journal keeps the log, and needs snapshots, too."""

    def __init__(self, settings: Settings, consensus: Consensus, table: TaskTable, *, journaled: bool) -> None:
        self.table = table
        self.to_save: Snapshot | None = None  # for the journal; the caller takes it
        self._settings = settings
        self._consensus = consensus
        self._journaled = journaled
        self._taking: Taking | None = None
        self._wanted: list[str] = []  # who wants the next snapshot, after the one that is being packed
        self._log_bytes = 0  # of the applied entries that are still in the log
        self._unsaved_bytes = 0  # of the entries applied since a snapshot for the journal was last begun
        self._saved_bytes = 0  # of the last snapshot for the journal
        consensus.set_contents(TaskContents(table, settings.snapshot_limit_bytes))
        self._begun_index = consensus.log.snapshot_index  # the last snapshot that was begun for the journal

    @property
    def is_busy(self) -> bool:
        """Whether step() has something to do."""
        return self._taking is not None

    def apply(self, snapshot: Snapshot | None, committed: Sequence[Entry]) -> None:
        """Apply a snapshot and entries that consensus handed out."""
        if snapshot is not None:
            self._taking = self.to_save = None  # this snapshot replaces the state that they are of
            self._log_bytes = 0
            assert isinstance(snapshot.reading, TableReading), "the contents of the log are of this table"
            snapshot.reading.finish()
            self._begun_index = snapshot.index  # the journal has it by the Persist that brought it
            self._unsaved_bytes = 0
        for entry in committed:
            self.table.apply(entry.kind, entry.data, entry.decoded)
            entry.decoded = None  # it would keep tasks alive that have ended
            self._log_bytes += len(entry.data)
            self._unsaved_bytes += len(entry.data)
        if committed:
            self._compact_log()
            self._snapshot_for_journal()
        self._begin_taking()

    def want(self, peers: Sequence[str]) -> None:
        """Take a snapshot for followers whose next entry was compacted away."""
        self._wanted += peers
        self._begin_taking()

    def step(self) -> bool:
        """Pack a few pages. True if that finished a snapshot, so that effects are due."""
        return self._taking is not None and self._take_pages(self._taking)

    def _begin_taking(self) -> None:
        """Capture the table, if anybody wants a snapshot and none is being packed."""
        if self._wanted and not self.is_busy:
            frame = self._consensus.snapshot(b"")
            self._taking = Taking(Capture(self.table), frame, self._wanted)
            self._wanted = []

    def _take_pages(self, taking: Taking) -> bool:
        for _ in range(PAGES_PER_TURN):
            if not taking.capture.step():
                break
        else:
            return False
        self._taking = None
        snapshot = replace(taking.frame, data=taking.capture.data)
        for node_id in taking.wanted_by:
            if node_id:
                self._consensus.snapshot_for(node_id, snapshot)
            else:
                self.to_save = snapshot
                self._saved_bytes = len(snapshot.data)
        self._begin_taking()
        return True

    def _snapshot_for_journal(self) -> None:
        """Take a snapshot if the journal has grown enough. Entries before it need not be kept, nor read at a start.
        While a large table is written, the log has to grow by as much again: otherwise the disk would be busy with
        snapshots, and several of them in memory."""
        if not self._journaled:
            return
        applied = self._consensus.applied_index
        grown = applied - self._begun_index >= self._settings.snapshot_log_entries
        if grown or self._unsaved_bytes >= max(self._settings.snapshot_log_bytes, self._saved_bytes):
            self._begun_index = applied
            self._unsaved_bytes = 0
            self.want([""])

    def _compact_log(self) -> None:
        """Drop applied entries from memory, once there are twice as many as are kept for followers that lag a little.
        The journal keeps its own.

        A follower that is being sent a snapshot continues after that snapshot; one that merely restarted continues at
        its own last entry. Keep the log from the lower of the two, up to the size at which the journal takes a
        snapshot; or to that of the snapshot that a follower is sent, as otherwise it would need another one, which is
        out of date as soon."""
        settings, log = self._settings, self._consensus.log
        applied, first = log.applied_index, log.first_index
        entries = applied - first
        if entries < 2 * settings.log_keep_entries and self._log_bytes < 2 * settings.log_keep_bytes:
            return
        may_wait = self._log_bytes < settings.snapshot_log_bytes and entries < settings.snapshot_log_entries
        to_index = min(applied, log.durable_index, log.snapshot_index + COMPACTED_AT_ONCE)
        if may_wait or self._log_bytes + entries * ENTRY_BYTES < self._sent_bytes():
            to_index = min(to_index, self._consensus.needed_behind(settings.voter_timeout_s))
        keep_from, left_bytes = first, self._log_bytes
        for entry in log.entries_to(first, to_index):
            if applied - entry.index < settings.log_keep_entries and left_bytes <= settings.log_keep_bytes:
                break
            left_bytes -= len(entry.data)
            keep_from = entry.index + 1
        if keep_from > first:
            self._consensus.compact(keep_from - 1)
            self._log_bytes = left_bytes

    def _sent_bytes(self) -> int:
        """The size of the largest snapshot for a follower that has not caught up behind it; of one that is being
        packed, how much of it there is."""
        taking = self._taking
        packed = len(taking.capture.data) if taking is not None and any(taking.wanted_by) else 0
        return max(packed, self._consensus.snapshot_bytes())
