"""The tasks that are accepted and have not ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.section import Section
from paceline.core.state.task import Task
from paceline_protocol.codec import decode_alterations, decode_calls
from paceline_protocol.fields import calls
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import CALL_ID, Alteration

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

# Plain numbers: to look one up in its enum at each use costs as much as several calls.
_ACCEPT: Final = int(EntryKind.ACCEPT)
_ALTER: Final = int(EntryKind.ALTER)


class Tasks(Section):
    """By id, in the order in which they were accepted. An item is a Call."""

    def __init__(self) -> None:
        super().__init__("tasks", (EntryKind.ACCEPT, EntryKind.ALTER))
        self.by_id: dict[bytes, Task] = {}

    def decode(self, kind: int, data: bytes) -> Any:
        if kind == _ALTER:
            return decode_alterations(data)
        return [Task(call) for call in decode_calls(data)]

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """ACCEPT: take in those tasks that the table does not know yet. ALTER: these have another queue, another
        priority, or are held, or not any more, unless they have ended."""
        given = decoded if decoded is not None else self.decode(kind, data)
        if kind == _ACCEPT:
            self.accept(table, given)
            return
        by_id = self.by_id
        alterations: list[Alteration] = given
        for task_id, queue, priority, is_held in alterations:
            task = by_id.get(task_id)
            if task is not None:
                by_id[task_id] = task.altered(queue, priority, is_held=is_held)

    def accept(self, table: TaskTable, tasks: Iterable[Task]) -> None:
        """Take in those of these tasks that the table does not know yet."""
        by_id, results, released, graphs = self.by_id, table.results, table.released, table.graphs
        accepted = 0
        for task in tasks:
            task_id = task.id
            if task_id not in by_id and task_id not in results and task_id not in released:
                by_id[task_id] = task
                accepted += 1
                if task.options is not None and task.options.is_in_graph:
                    graphs.is_accepted(task.options.graph)
        table.totals.accepted += accepted

    def captured(self) -> list[Any]:
        return list(self.by_id.values())

    def packed(self, captured: Any) -> tuple[Any, int]:
        task: Task = captured
        return task.call, len(task.args)

    def read(self, items: Iterable[Any]) -> None:
        calls(items)
        for call in items:
            if call[CALL_ID] in self.by_id:
                raise ValueError("a task is in it twice")
            self.by_id[call[CALL_ID]] = Task(call)

    def take_from(self, other: Any) -> None:
        tasks: Tasks = other
        self.by_id = tasks.by_id
