"""How many attempts each live task has used up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.section import Section
from paceline_protocol import fields
from paceline_protocol.codec import split_ids
from paceline_protocol.messages.consensus import EntryKind

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

_check_items: Final = fields.many(fields.record(fields.identifier, fields.integer))


class Attempts(Section):
    """An item is (id, count)."""

    def __init__(self) -> None:
        super().__init__("attempts", (EntryKind.ATTEMPT,))
        self.lost: dict[bytes, int] = {}

    def decode(self, kind: int, data: bytes) -> Any:
        return split_ids(data)

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """ATTEMPT: each of these tasks has used up one more attempt."""
        tasks, lost = table.tasks, self.lost
        for task_id in decoded if decoded is not None else split_ids(data):
            if task_id in tasks:
                lost[task_id] = lost.get(task_id, 0) + 1

    def captured(self) -> list[Any]:
        return list(self.lost.items())

    def read(self, items: Iterable[Any]) -> None:
        _check_items(items)
        for task_id, count in items:
            self.lost[task_id] = count

    def take_from(self, other: Any) -> None:
        attempts: Attempts = other
        self.lost = attempts.lost
