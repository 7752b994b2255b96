"""How tasks ended, until the log says that a result is released: its owner has it, or the leader keeps no more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.section import Section
from paceline_protocol.codec import decode_outcomes, split_ids
from paceline_protocol.errors import MalformedFrame
from paceline_protocol.fields import results
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import MAY_RETRY, Outcome

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

# Plain numbers: to look one up in its enum at each use costs as much as several calls.
_OUTCOME: Final = int(EntryKind.OUTCOME)


class Results(Section):
    """By id, the oldest first. How many there may be the leader says, by what it releases. An item is
    (id, TaskEnd, payload)."""

    def __init__(self) -> None:
        super().__init__("results", (EntryKind.OUTCOME, EntryKind.RELEASE))
        # Ordered, for taking the oldest: a plain dict would search for it past all the places of those already gone.
        self.by_id: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self.size_bytes = 0  # of the payloads

    def decode(self, kind: int, data: bytes) -> Any:
        if kind != _OUTCOME:
            return split_ids(data)
        outcomes = decode_outcomes(data)
        for outcome in outcomes:  # a loop: compiled, it makes no object for each
            if outcome[2] == MAY_RETRY:
                raise MalformedFrame("outcomes: an attempt that may be made again ends no task")
        return outcomes

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """OUTCOME: these tasks ended. RELEASE: the results of these are not kept any more."""
        items = decoded if decoded is not None else self.decode(kind, data)
        if kind == _OUTCOME:
            self.record(table, items)
        else:
            self._release(table, items)

    def record(self, table: TaskTable, outcomes: Iterable[Outcome]) -> None:
        """The first outcome of a task counts; later ones are counted, and dropped."""
        tasks, lost_attempts, failures = table.tasks, table.lost_attempts, table.failures
        ended, by_id = table.totals.ended, self.by_id
        for task_id, _attempt, end, payload, _duration_us in outcomes:
            task = tasks.pop(task_id, None)
            if task is None:
                table.totals.duplicates += 1
                continue
            if lost_attempts:
                lost_attempts.pop(task_id, None)
            if failures:
                failures.pop(task_id, None)
            if task.options is not None and task.options.is_in_graph:
                table.graphs.has_ended(task.options.graph, end)
            ended[end] += 1
            by_id[task_id] = (end, payload)
            self.size_bytes += len(payload)

    def _release(self, table: TaskTable, ids: Iterable[bytes]) -> None:
        """Forget these results. Their ids are remembered a while longer."""
        for task_id in ids:
            if table.drop_result(task_id):
                table.released.add(task_id)

    def drop(self, task_id: bytes) -> bool:
        """Whether it was here."""
        result = self.by_id.pop(task_id, None)
        if result is None:
            return False
        self.size_bytes -= len(result[1])
        return True

    def captured(self) -> list[Any]:
        return list(self.by_id.items())

    def packed(self, captured: Any) -> tuple[Any, int]:
        task_id, (end, payload) = captured
        return (task_id, end, payload), len(payload)

    def read(self, items: Iterable[Any]) -> None:
        results(items)
        for task_id, end, payload in items:
            if task_id in self.by_id:
                raise ValueError("a result is in it twice")
            self.by_id[task_id] = (end, payload)
            self.size_bytes += len(payload)

    def take_from(self, other: Any) -> None:
        read: Results = other
        self.by_id, self.size_bytes = read.by_id, read.size_bytes
