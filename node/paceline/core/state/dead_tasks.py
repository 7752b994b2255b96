"""Dead tasks that are kept: they failed for good, were lost or timed out, and their calls asked for that with
``keep_dead``.

Such a task is kept as it was called, with its error and the record of its attempts, until its time is over, or it is
requeued or discarded. How many there may be the leader says, by what it discards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.records import size_of
from paceline.core.state.section import Section
from paceline.core.state.task import Task
from paceline_protocol import fields
from paceline_protocol.codec import decode_dead, decode_requeued, split_ids
from paceline_protocol.errors import PayloadError
from paceline_protocol.keyed import key_of
from paceline_protocol.limits import SUMMARY_LIMIT_BYTES
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import CALL_ARGS, CALL_ID, CALL_NAME, CALL_OPTIONS, Call, EndRecord, KeptOutcome
from paceline_protocol.moments import MOMENT_MAX_MS
from paceline_protocol.payload import trim, unpack_error
from paceline_protocol.texts import one_line

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

DEAD_BYTES: Final = 1_400
"""What a dead task takes beside its arguments, its error and its record: measured, and rounded up."""
_NO_ERROR: Final = "an error that can't be read"


class DeadTask:
    """One of them. Never changed once it is made.

    ``end``: its TaskEnd, with its packed error as ``payload``. ``error_type``: the name of the exception as a traceback
    shows it, ``error``: the exception in a line. ``kept_until_ms``: by the wall clock of the leader that heard of the
    end. ``size_bytes``: what it counts for."""

    __slots__ = ("call", "end", "error", "error_type", "kept_until_ms", "payload", "record", "size_bytes")

    def __init__(self, call: Call, end: int, payload: bytes, record: EndRecord) -> None:
        self.call: Final = call
        self.end: Final = end
        self.payload: Final = payload
        self.record: Final = record
        self.error_type, self.error = _described(payload)
        options = call[CALL_OPTIONS]
        keep_ms: int = 0 if options is None else options.get("keep_dead", 0)
        self.kept_until_ms: Final[int] = min(record.ended_ms + keep_ms, MOMENT_MAX_MS)
        self.size_bytes: Final[int] = dead_bytes(call, payload, record)

    @property
    def name(self) -> str:
        """That of the task."""
        return self.call[CALL_NAME]


def dead_bytes(call: Call, payload: bytes, record: EndRecord) -> int:
    """What a task would count for as a dead one."""
    return DEAD_BYTES + len(call[CALL_ARGS]) + len(payload) + size_of(record)


def _described(payload: bytes) -> tuple[str, str]:
    """(the type of an error, the error in a line). What a worker sent may be anything, and each replica looks at it: so
    no more is read than may be shown."""
    try:
        error = unpack_error(payload)
    except PayloadError:
        return "", _NO_ERROR
    name = error.type_name if error.module == "builtins" else f"{error.module}.{error.type_name}"
    name = trim(one_line(name[:SUMMARY_LIMIT_BYTES]), SUMMARY_LIMIT_BYTES)
    message = error.message[:SUMMARY_LIMIT_BYTES].partition("\n")[0]
    return name, trim(one_line(f"{name}: {message}" if message else name), SUMMARY_LIMIT_BYTES)


class DeadTasks(Section):
    """By id, those that died first in front. An item is (call, TaskEnd, payload, record). ``size_bytes``: what they
    take. ``count_by_name``: how many there are of each name."""

    def __init__(self) -> None:
        super().__init__("dead", (EntryKind.DEAD, EntryKind.REQUEUE, EntryKind.DISCARD))
        self.by_id: OrderedDict[bytes, DeadTask] = OrderedDict()
        self.size_bytes = 0
        self.count_by_name: dict[str, int] = {}

    def decode(self, kind: int, data: bytes) -> Any:
        if kind == EntryKind.DEAD:
            return decode_dead(data)
        if kind == EntryKind.REQUEUE:
            return [(task_id, Task(call)) for task_id, call in decode_requeued(data)]
        return split_ids(data)

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """DEAD: these tasks ended, and are kept. REQUEUE: new tasks take the place of these. DISCARD: these are kept no
        longer."""
        items = decoded if decoded is not None else self.decode(kind, data)
        if kind == EntryKind.DEAD:
            self._keep(table, items)
        elif kind == EntryKind.REQUEUE:
            for task_id, task in items:
                if self._drop(table, task_id):
                    table.accept((task,))
        else:
            for task_id in items:
                self._drop(table, task_id)

    def _keep(self, table: TaskTable, dead: Iterable[KeptOutcome]) -> None:
        """As with results, the first outcome of a task counts."""
        for outcome, record in dead:
            task_id, _attempt, end, payload, _duration_us = outcome
            task = table.tasks.get(task_id)
            if task is not None:
                self._add(task_id, DeadTask(task.call, end, payload, record))
                if task.options is not None and task.options.result_ttl_ms:
                    table.remember(task_id, record)
            table.end_tasks((outcome,))

    def _add(self, task_id: bytes, dead: DeadTask) -> None:
        self._forget(task_id)
        self.by_id[task_id] = dead
        self.size_bytes += dead.size_bytes
        self.count_by_name[dead.name] = self.count_by_name.get(dead.name, 0) + 1

    def _drop(self, table: TaskTable, task_id: bytes) -> bool:
        """Whether it was here. Its id is remembered a while longer, as long as with others that are over; but that of a
        task with a key only until its result is kept no longer, as it may be that of another task from then on."""
        dead = self.by_id.get(task_id)
        was_here = self._forget(task_id)
        if dead is not None and key_of(dead.call[CALL_OPTIONS]):
            return was_here
        if was_here and not table.knows(task_id):
            table.released.add(task_id)
        return was_here

    def _forget(self, task_id: bytes) -> bool:
        dead = self.by_id.pop(task_id, None)
        if dead is None:
            return False
        self.size_bytes -= dead.size_bytes
        left = self.count_by_name[dead.name] - 1
        if left:
            self.count_by_name[dead.name] = left
        else:
            del self.count_by_name[dead.name]
        return True

    def captured(self) -> list[Any]:
        return list(self.by_id.values())

    def packed(self, captured: Any) -> tuple[Any, int]:
        dead: DeadTask = captured
        return (dead.call, dead.end, dead.payload, dead.record.packed), dead.size_bytes

    def read(self, items: Iterable[Any]) -> None:
        fields.dead_tasks(items)
        for call, end, payload, record in items:
            if call[CALL_ID] in self.by_id:
                raise ValueError("a dead task is in it twice")
            self._add(call[CALL_ID], DeadTask(call, end, payload, EndRecord(*record)))

    def take_from(self, other: Any) -> None:
        read: DeadTasks = other
        self.by_id, self.size_bytes, self.count_by_name = read.by_id, read.size_bytes, read.count_by_name
