"""One part of the replicated state, and what the table asks of each.

A section owns the entry kinds that it names: dispatch by kind is a table (``TaskTable``). If such an entry changes
other sections as well, the owner changes them, through the table that it is given. So one function has the whole effect
of an entry, in order.

To add a section: write a file with a subclass, and give it a row in ``TaskTable``. From then on its entries reach it,
and it is in every snapshot and in every digest. Two rules keep nodes of two versions equal:

* A section that holds nothing writes no page, so that an older node can read the snapshot of a newer one as long as
  nothing new is in use. New features are in use only above the feature level of the older node (``feature_levels.py``).
* Pages name their section, and items that have names are written by name. A name that is unknown, or an item of another
  shape, is refused, never skipped: a node must not go on as if it were nothing.

Applying reads no clock, no random source and no setting of a node: whatever depends on them is decided by the leader,
and is in the entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable


class Section:
    """The base of all sections. ``name`` stands in the pages of snapshots: never rename one."""

    def __init__(self, name: str, kinds: tuple[int, ...] = ()) -> None:
        self.name = name
        self.kinds = kinds

    def decode(self, kind: int, data: bytes) -> Any:
        """What :meth:`apply` takes as ``decoded``. Raises ProtocolError if ``data`` can't be applied: a follower asks
        before it takes an entry into its log, since it could never get past one that can't be. None: any can."""
        return None

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """Apply one committed entry of one of ``kinds``. ``decoded``: what its proposer had parsed already, or None."""
        raise NotImplementedError

    def captured(self) -> list[Any]:
        """The content of the section at this instant, oldest first. It copies only references, at once for a million
        items; the objects that they refer to never change."""
        raise NotImplementedError

    def packed(self, captured: Any) -> tuple[Any, int]:
        """One captured item as a page holds it, and how many bytes it takes beyond a few dozen."""
        return captured, 0

    def read(self, items: Iterable[Any]) -> None:
        """Take the items of one page, into a section that was empty before the first. Raises ValueError."""
        raise NotImplementedError

    def take_from(self, other: Any) -> None:
        """Replace the content by that of ``other``, a section of the same class that is not used any more."""
        raise NotImplementedError
