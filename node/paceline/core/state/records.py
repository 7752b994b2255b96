"""What is remembered of tasks that asked for it (``result_ttl``), beside how they ended: the record of each, until its
time is over; and then, for a while longer, that it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.call_options import FAILURE_BYTES
from paceline.core.state.section import Section
from paceline_protocol import fields
from paceline_protocol.codec import decode_kept, split_ids
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import EndRecord, KeptOutcome

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

RECORD_BYTES: Final = 600
"""What a record takes beside its texts: measured, and rounded up."""
_check_items: Final = fields.many(fields.record(fields.identifier, fields.task_record))


def size_of(record: EndRecord) -> int:
    """What a record counts for, beside the result."""
    return record_bytes(record.name, record.node, len(record.failures) + len(record.losses))


def record_bytes(name: str, node: str, lines: int) -> int:
    """The same of one that is not made yet. ``lines``: of how many attempts it says how they ended."""
    return RECORD_BYTES + len(name) + len(node) + FAILURE_BYTES * lines


class Records(Section):
    """By id, each with a result (``results.py``). An item is (id, record). ``size_bytes``: what they take."""

    def __init__(self) -> None:
        super().__init__("records", (EntryKind.RECORD, EntryKind.EXPIRE))
        self.by_id: dict[bytes, EndRecord] = {}
        self.size_bytes = 0

    def decode(self, kind: int, data: bytes) -> Any:
        return decode_kept(data) if kind == EntryKind.RECORD else split_ids(data)

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """RECORD: these tasks ended, and are remembered. EXPIRE: the time is over for which these were."""
        items = decoded if decoded is not None else self.decode(kind, data)
        if kind == EntryKind.RECORD:
            self._remember(table, items)
        else:
            for task_id in items:
                if table.drop_result(task_id):
                    table.expired.add(task_id)

    def _remember(self, table: TaskTable, kept: Iterable[KeptOutcome]) -> None:
        """As with results, the first outcome of a task counts, and so does its record."""
        for outcome, record in kept:
            task_id = outcome[0]
            if task_id in table.tasks:
                self.add(task_id, record)
            table.end_tasks((outcome,))

    def add(self, task_id: bytes, record: EndRecord) -> None:
        """The result of this task is kept for a time."""
        self.by_id[task_id] = record
        self.size_bytes += size_of(record)

    def drop(self, task_id: bytes) -> None:
        """The result of this task is not kept any more."""
        record = self.by_id.pop(task_id, None)
        if record is not None:
            self.size_bytes -= size_of(record)

    def captured(self) -> list[Any]:
        return list(self.by_id.items())

    def packed(self, captured: Any) -> tuple[Any, int]:
        task_id, record = captured
        return (task_id, record.packed), size_of(record)

    def read(self, items: Iterable[Any]) -> None:
        _check_items(items)
        for task_id, record in items:
            if task_id in self.by_id:
                raise ValueError("a record is in it twice")
            self.add(task_id, EndRecord(*record))

    def take_from(self, other: Any) -> None:
        read: Records = other
        self.by_id, self.size_bytes = read.by_id, read.size_bytes
