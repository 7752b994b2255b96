"""What the log of a node is of: entries and snapshots of its table, read before they count.

A leader's entries are decoded before they are appended, and applied from what was decoded. Its snapshot is read into a
table aside, page by page as the chunks arrive, and takes the place of the log and of the table only once it is whole:
packing and reading a large table takes seconds, and what can't be read must leave everything as it was.
"""

from __future__ import annotations

from typing import Any

from paceline.core.feature_levels import NodeTooOld
from paceline.core.raft.contents import Contents, SnapshotReading
from paceline.core.raft.pages import Pieces
from paceline.core.state.snapshots import Restore
from paceline.core.state.table import TaskTable
from paceline_protocol.errors import PeerViolation


class TableReading(SnapshotReading):
    """Reads a snapshot that may take the place of all that ``table`` holds."""

    def __init__(self, table: TaskTable, total: int) -> None:
        super().__init__(total)
        self._table = table
        self._restore = Restore(table, b"", total)

    def read(self, data: Pieces) -> None:
        restore = self._restore
        try:
            restore.extend(data)
            while restore.has_whole_page():
                restore.step()
            if len(data) == self.total:
                self._check(restore.finished())
        except ValueError as error:  # also NodeTooOld: a configuration of a level that is too high comes first
            raise PeerViolation(f"a snapshot that can't be read: {error}") from error

    def _check(self, found: TaskTable) -> None:
        """The totals of a table only grow along a log, and the snapshot is of a later entry than this table."""
        now = found.totals.by_name()
        for name, count in self._table.totals.by_name().items():
            if now[name] < count:
                raise ValueError(f"it counts {now[name]} {name}, and of an earlier entry there were {count}")

    def finish(self) -> None:
        """Replace the content of the table by what was read."""
        self._restore.finish()


class TaskContents(Contents):
    """Reads what a leader sends for one node's table."""

    def __init__(self, table: TaskTable, snapshot_limit_bytes: int) -> None:
        """``snapshot_limit_bytes``: no larger one is taken."""
        self._table = table
        self._snapshot_limit_bytes = snapshot_limit_bytes

    def read_entry(self, kind: int, data: bytes) -> Any:
        """Raises ProtocolError. A kind that is unknown here needs a feature level that this node does not understand: a
        leader proposes none before the configuration with that level, and that one stops the node."""
        try:
            return self._table.decode(kind, data)
        except NodeTooOld as error:
            raise PeerViolation(f"{error.found}, at a feature level that this node understands") from error

    def check_size(self, total: int) -> None:
        if total > self._snapshot_limit_bytes:
            raise PeerViolation(
                f"a snapshot of {total} bytes, and this node takes {self._snapshot_limit_bytes} by its own limits; "
                f"give it the --queue-limit-mib, --result-limit-mib and --dead-limit-mib of that node"
            )

    def begin_snapshot(self, total: int) -> SnapshotReading:
        return TableReading(self._table, total)
