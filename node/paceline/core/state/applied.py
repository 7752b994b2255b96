"""The table as the log makes it, and its snapshots: taken for followers and for the journal, and restored.

What takes long with a large table is done a few pages a turn (``snapshots.py``); the caller calls :meth:`Applied.step`
as long as :attr:`Applied.is_busy`. While a snapshot is being read the table is that of an earlier entry, and what
commits waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Entry, Snapshot
from paceline.core.settings import Settings
from paceline.core.state.snapshots import Capture, Restore
from paceline.core.state.table import TaskTable

PAGES_PER_TURN = 2
"""Of a snapshot that is packed or read: a millisecond or two, in which nothing else is done."""


@dataclass(slots=True)
class Taking:
    """A snapshot that is being packed. ``frame``: all but its data. ``wanted_by``: followers; "" is the journal."""

    capture: Capture
    frame: Snapshot
    wanted_by: list[str]


@dataclass(slots=True)
class Restoring:
    """A snapshot that is being read, and what was committed behind it meanwhile."""

    restore: Restore
    waiting: list[Entry] = field(default_factory=list)


class Applied:
    """What this node's log has done to its table. ``journaled``: a disk keeps the log, and wants snapshots too."""

    def __init__(self, settings: Settings, consensus: Consensus, table: TaskTable, *, journaled: bool) -> None:
        self.table = table
        self.to_save: Snapshot | None = None  # for the journal; the caller takes it
        self._settings = settings
        self._consensus = consensus
        self._journaled = journaled
        self._taking: Taking | None = None
        self._restoring: Restoring | None = None
        self._wanted: list[str] = []  # who wants a snapshot once the one that is packed is done
        self._log_bytes = 0  # of the applied entries that are still in the log
        self._unsaved_bytes = 0  # of the entries applied since a snapshot for the journal was last begun
        self._begun_index = consensus.log.snapshot_index  # the last snapshot that was begun for the journal

    @property
    def is_busy(self) -> bool:
        """Whether step() has something to do."""
        return self._taking is not None or self._restoring is not None

    @property
    def is_current(self) -> bool:
        """Whether the table is that of the last applied entry."""
        return self._restoring is None

    def apply(self, snapshot: Snapshot | None, committed: Sequence[Entry]) -> bool:
        """What consensus hands over to be applied. True if the table is now that of the last entry."""
        if snapshot is not None:
            self._taking = self.to_save = None  # of a state that this one replaces
            self._log_bytes = 0
            self._restoring = Restoring(Restore(self.table, snapshot.data))
            self._begun_index = snapshot.index  # the journal has it by the Persist that brought it
            self._unsaved_bytes = 0
        if self._restoring is not None:
            self._restoring.waiting += committed
            return False
        for entry in committed:
            self.table.apply(entry.kind, entry.data, entry.decoded)
            entry.decoded = None  # it would keep tasks alive that have ended
            self._log_bytes += len(entry.data)
            self._unsaved_bytes += len(entry.data)
        if committed:
            self._compact_log()
            self._snapshot_for_journal()
        return True

    def want(self, peers: Sequence[str]) -> None:
        """These followers can't be served from the log."""
        self._wanted += peers
        self._begin_taking()

    def step(self) -> bool:
        """A few pages. True once a snapshot is whole, or read: something leaves, or is applied."""
        done = False
        if self._taking is not None:
            done = self._take_pages(self._taking)
        if self._restoring is not None:
            done = self._restore_pages(self._restoring) or done
        return done

    def _begin_taking(self) -> None:
        """Capture the table for whoever wants a snapshot; packing it takes some turns more. One at a time."""
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
        self._begin_taking()
        return True

    def _restore_pages(self, restoring: Restoring) -> bool:
        for _ in range(PAGES_PER_TURN):
            if not restoring.restore.step():
                break
        else:
            return False
        restoring.restore.finish()
        self._restoring = None
        self.apply(None, restoring.waiting)
        self._begin_taking()
        return True

    def _snapshot_for_journal(self) -> None:
        """Take one when the journal has grown: what is before it need not be kept, or read at the next start."""
        if not self._journaled:
            return
        applied = self._consensus.applied_index
        grown = applied - self._begun_index >= self._settings.snapshot_log_entries
        if grown or self._unsaved_bytes >= self._settings.snapshot_log_bytes:
            self._begun_index = applied
            self._unsaved_bytes = 0
            self.want([""])

    def _compact_log(self) -> None:
        """Forget applied entries once there is twice as much as we keep for followers that lag a little. The journal
        keeps what it needs of them itself. While a follower lags there may be as much as between two snapshots: one
        that is brought up goes on behind the snapshot that it is sent, and one that was restarted where it was."""
        settings, log = self._settings, self._consensus.log
        applied, first = log.applied_index, log.first_index
        many = applied - first >= 2 * settings.log_keep_entries
        if not many and self._log_bytes < 2 * settings.log_keep_bytes:
            return
        may_wait = self._log_bytes < settings.snapshot_log_bytes and applied - first < settings.snapshot_log_entries
        to_index = min(applied, log.durable_index)
        if may_wait:
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
