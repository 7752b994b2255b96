"""What the log is of, as far as the log has to ask: whether what a leader sends can be applied at all.

The rest of this room knows entries, and not what is in them. But an entry that can't be applied must not get into the
log: the node could neither go on nor be started again. So what a leader sends is read before it is appended, or takes
the place of the log, and what was read is kept with it, so that it is read once. ``state/contents.py`` has the
contents of a node.
"""

from __future__ import annotations

from typing import Any

from paceline.core.raft.pages import Pieces


class SnapshotReading:
    """Reads a snapshot of ``total`` bytes while it arrives. This one takes any."""

    def __init__(self, total: int) -> None:
        self.total = total

    def read(self, data: Pieces) -> None:
        """``data`` is all that has arrived. Raises PeerViolation if that can be no part of a snapshot, or no whole
        one."""


class Contents:
    """Reads entries and snapshots. These are opaque: of a log whose entries nobody applies."""

    def read_entry(self, kind: int, data: bytes) -> Any:
        """What becomes ``Entry.decoded``. Raises ProtocolError if such an entry can't be applied."""
        return None

    def check_size(self, total: int) -> None:
        """Raises PeerViolation if this node takes no snapshot of so many bytes."""

    def begin_snapshot(self, total: int) -> SnapshotReading:
        """A snapshot of so many bytes begins to arrive."""
        return SnapshotReading(total)
