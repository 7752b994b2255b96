"""Results whose owners have them, and that are there only for tasks which depend on them (``scheduling/inputs.py``).

So the next leader knows that it may drop them once these tasks have ended, and that nobody will ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.section import Section
from paceline_protocol import fields
from paceline_protocol.codec import split_ids
from paceline_protocol.messages.consensus import EntryKind

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

_check_items: Final = fields.many(fields.identifier)


class HeldResults(Section):
    """In the order in which that was logged. An item is an id."""

    def __init__(self) -> None:
        super().__init__("held", (EntryKind.HELD,))
        self.ids: dict[bytes, None] = {}

    def decode(self, kind: int, data: bytes) -> Any:
        return split_ids(data)

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """HELD: the owners of these results have them."""
        for task_id in decoded if decoded is not None else self.decode(kind, data):
            if task_id in table.results:
                self.ids[task_id] = None

    def captured(self) -> list[Any]:
        return list(self.ids)

    def read(self, items: Iterable[Any]) -> None:
        _check_items(items)
        self.ids.update(dict.fromkeys(items))

    def take_from(self, other: Any) -> None:
        held: HeldResults = other
        self.ids = held.ids
