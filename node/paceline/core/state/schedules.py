"""Schedules: tasks that are made at moments of the wall clock, and what has become of the last moments of each.

Which moment comes next the leader computes, whose machine has the rules of time zones, and the log has it: so each
replica has the same, whatever its own files say. What becomes of a moment is one item of an entry, with the call of the
task that it makes. So a moment that is fired has its task accepted, and a moment that has one is never fired again: a
moment counts once, as each is behind the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from paceline.core.state.section import Section
from paceline.core.state.task import Task
from paceline_protocol import fields
from paceline_protocol.codec import decode_backfills, decode_firings, decode_schedule_changes, definition_of
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TASK_ID_BYTES
from paceline_protocol.messages.schedules import Fired, Overlap, ScheduleChange, ScheduleDefinition, ScheduleOp

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

SCHEDULE_BYTES: Final = 2_500
"""What a schedule takes beside its arguments and texts, and a little more."""

AppliedFiring: TypeAlias = tuple[str, int, int, int, int, Task | None]
"""A Firing, with its task in place of the call."""


class ScheduleRow(NamedTuple):
    """One of them. Never changed once it is made.

    ``next_ms``: its next moment, 0 if there is none. ``handled_ms``: no moment up to this one fires any more.
    ``last_ms``: the last moment of which a task was made, ``last_id``: that task. ``open``: of one that minds an
    overlap, its tasks that may not have ended. ``waiting``: moments that are queued. ``fired``, ``missed``,
    ``overlapped``: how many moments had a task, were missed, or fell into the time of an earlier task. ``backfill``:
    past moments of which somebody wants tasks, in the order in which they have them.
    """

    name: str
    definition: ScheduleDefinition
    paused: bool
    next_ms: int
    handled_ms: int
    last_ms: int = 0
    last_id: bytes = b""
    open: tuple[bytes, ...] = ()
    waiting: tuple[int, ...] = ()
    fired: int = 0
    missed: int = 0
    overlapped: int = 0
    backfill: tuple[int, ...] = ()


def size_of(name: str, definition: ScheduleDefinition) -> int:
    """What a schedule counts for."""
    return SCHEDULE_BYTES + 4 * len(name) + len(definition.args) + 4 * len(definition.owner)


def fired_id(name: str, moment_ms: int) -> bytes:
    """The id of the task of this moment: an id is accepted once, whichever leader makes it."""
    made_of = moment_ms.to_bytes(8, "big") + name.encode(errors="surrogatepass")
    return blake2b(made_of, digest_size=TASK_ID_BYTES, person=b"paceline firing").digest()


class Schedules(Section):
    """By name. An item is a ScheduleRow. ``size_bytes``: what they take."""

    def __init__(self) -> None:
        super().__init__("schedules", (EntryKind.SCHEDULE, EntryKind.FIRING, EntryKind.BACKFILL))
        self.by_name: dict[str, ScheduleRow] = {}
        self.size_bytes = 0

    def decode(self, kind: int, data: bytes) -> Any:
        if kind == EntryKind.SCHEDULE:
            return decode_schedule_changes(data)
        if kind == EntryKind.BACKFILL:
            return decode_backfills(data)
        return [
            (name, moment_ms, what, missed, next_ms, None if call is None else Task(call))
            for name, moment_ms, what, missed, next_ms, call in decode_firings(data)
        ]

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """SCHEDULE: these are as they say from now on. FIRING: this became of these moments.
        BACKFILL: tasks of these are wanted."""
        items = decoded if decoded is not None else self.decode(kind, data)
        for item in items:
            if kind == EntryKind.SCHEDULE:
                self._change(item)
            elif kind == EntryKind.BACKFILL:
                self._want(*item)
            else:
                self._fire(table, item)

    def _want(self, name: str, moments: tuple[int, ...]) -> None:
        """None of these moments fires by itself any more, if it was to."""
        row = self.by_name.get(name)
        if row is not None and moments:
            known = set(row.backfill)
            new = [each for each in moments if each not in known]
            handled_ms = max(row.handled_ms, *moments)
            self.by_name[name] = row._replace(backfill=(*row.backfill, *new), handled_ms=handled_ms)

    def _change(self, change: ScheduleChange) -> None:
        op, name, definition, next_ms, at_ms = change
        row = self.by_name.get(name)
        if op == ScheduleOp.PUT and definition is not None:
            if row is None:
                row = ScheduleRow(name, definition, False, next_ms, at_ms)
            else:
                self.size_bytes -= size_of(name, row.definition)
                handled_ms = max(row.handled_ms, at_ms)
                row = row._replace(
                    definition=definition, next_ms=next_ms, handled_ms=handled_ms, waiting=(), backfill=()
                )
            self.by_name[name] = row
            self.size_bytes += size_of(name, definition)
        elif row is not None and op == ScheduleOp.REMOVE:
            del self.by_name[name]
            self.size_bytes -= size_of(name, row.definition)
        elif row is not None and op == ScheduleOp.PAUSE:
            self.by_name[name] = row._replace(paused=True)
        elif row is not None and op == ScheduleOp.RESUME:
            handled_ms = max(row.handled_ms, at_ms)
            self.by_name[name] = row._replace(paused=False, next_ms=next_ms, handled_ms=handled_ms)

    def _fire(self, table: TaskTable, firing: AppliedFiring) -> None:
        name, moment_ms, what, missed, next_ms, task = firing
        row = self.by_name.get(name)
        if row is None:
            return
        if what == Fired.DEQUEUED:
            if not row.waiting or row.waiting[0] != moment_ms:
                return
            row = row._replace(waiting=row.waiting[1:])
        elif what == Fired.BACKFILLED or (what == Fired.HAD_TASK and moment_ms <= row.handled_ms):
            if not row.backfill or row.backfill[0] != moment_ms:
                return
            row = row._replace(backfill=row.backfill[1:])
        elif what != Fired.TRIGGERED:
            if moment_ms <= row.handled_ms:
                return
            row = row._replace(handled_ms=moment_ms, next_ms=next_ms, missed=row.missed + missed)
            if what == Fired.QUEUED:
                row = row._replace(waiting=(*row.waiting, moment_ms))
            elif what == Fired.OVERLAPPED:
                row = row._replace(overlapped=row.overlapped + 1)
        if task is not None:
            table.accept((task,))
            row = row._replace(fired=row.fired + 1)
            if what != Fired.BACKFILLED:
                row = row._replace(last_ms=moment_ms, last_id=task.id)
            if row.definition.overlap != Overlap.ALLOW:
                is_open = [task_id for task_id in (*row.open, task.id) if task_id in table.tasks]
                row = row._replace(open=tuple(is_open))
        self.by_name[name] = row

    def captured(self) -> list[Any]:
        return list(self.by_name.values())

    def packed(self, captured: Any) -> tuple[Any, int]:
        row: ScheduleRow = captured
        moments = len(row.waiting) + len(row.backfill)
        size_bytes = size_of(row.name, row.definition) + TASK_ID_BYTES * len(row.open) + 8 * moments
        return tuple(row) if row.backfill else tuple(row)[:-1], size_bytes

    def read(self, items: Iterable[Any]) -> None:
        fields.schedules(items)
        for item in items:
            row = ScheduleRow(item[0], definition_of(item[1]), *item[2:])
            if row.name in self.by_name:
                raise ValueError("a schedule is in it twice")
            self.by_name[row.name] = row
            self.size_bytes += size_of(row.name, row.definition)

    def take_from(self, other: Any) -> None:
        read: Schedules = other
        self.by_name, self.size_bytes = read.by_name, read.size_bytes
