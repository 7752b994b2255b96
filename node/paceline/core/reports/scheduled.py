"""Which schedules there are: the body of a SchedulesReply. Its keys are listed in docs/protocol.md.

A page has some of them, in the order of their names: the caller asks again behind the last one. What anybody may know
who may look at the cluster is in it: no arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.schedules import ScheduleRow
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.schedules import Misfire, Overlap, SchedulesRequest
from paceline_protocol.name_patterns import NamePattern

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader
    from paceline.core.state.table import TaskTable

ROWS_LIMIT: Final = 200
"""Schedules in one answer."""


def scheduled(leader: Leader, table: TaskTable, request: SchedulesRequest, now_ms: int) -> dict[str, Any]:
    """Cost: that of sorting the names behind the last one."""
    pattern = NamePattern(request.name)
    names = sorted(name for name in table.schedules if name > request.after and pattern.matches(name))
    return {
        "schedules": [_row(leader, table, table.schedules[name]) for name in names[:ROWS_LIMIT]],
        "more": max(0, len(names) - ROWS_LIMIT),
        "total": len(table.schedules),
        "bytes": table.schedule_bytes,
        "now_ms": max(0, now_ms),
    }


def _row(leader: Leader, table: TaskTable, row: ScheduleRow) -> dict[str, Any]:
    definition = row.definition
    return {
        "name": row.name,
        "task": definition.task,
        "when": tuple(definition.when),
        "priority": definition.priority,
        "misfire": Misfire(definition.misfire).name.lower(),
        "misfire_limit": definition.misfire_limit,
        "overlap": Overlap(definition.overlap).name.lower(),
        "owner": definition.owner,
        "paused": row.paused,
        "next_ms": None if row.paused else row.next_ms or None,
        "handled_ms": row.handled_ms,
        "last_ms": row.last_ms or None,
        "last_id": row.last_id or None,
        "last_state": _state_of(leader, row.last_id) if row.last_id else None,
        "waiting": len(row.waiting),
        "backfill": len(row.backfill),
        "fired": row.fired,
        "missed": row.missed,
        "overlapped": row.overlapped,
        "why": leader.schedules.held.get(row.name, ""),
    }


def _state_of(leader: Leader, task_id: bytes) -> str:
    """What has become of a task, as far as is known."""
    task = leader.tasks.live.get(task_id)
    if task is not None:
        return task.state_name
    ended = leader.recording.result_of(task_id)
    return "ended" if ended is None else TaskEnd(ended[0]).name.lower()
