"""The dead tasks that are kept: the bodies of a DeadTasksReply and a DeadTaskReply. Their keys are listed in
docs/protocol.md.

Groups count exactly. To make them, each dead task is looked at, of which there are as many as the leader's limit
allows: a few milliseconds. As with what waits (``waiting.py``) an answer is short, and says how much it leaves out.

What anybody may know who may look at the cluster is in the first of the two: names, states, moments and lines of
errors. Arguments, options and tracebacks are in the second.
"""

from __future__ import annotations

from typing import Any, Final

from paceline.core.settings import Settings
from paceline.core.state.dead_tasks import DeadTask
from paceline.core.state.table import TaskTable
from paceline_protocol.messages.client import DeadTasksRequest
from paceline_protocol.messages.records import (
    CALL_ARGS,
    CALL_ID,
    CALL_NAME,
    CALL_OPTIONS,
    CALL_PRIORITY,
    TaskEnd,
)
from paceline_protocol.requeued import requeued_id

GROUPS_BYTES: Final = 32 * 1024
"""What the rows of groups in one answer take: those with most tasks."""
GROUP_BYTES: Final = 96
"""More than a row takes beside its texts."""
ROWS_LIMIT: Final = 200
"""Dead tasks in one answer."""


def dead_tasks(table: TaskTable, settings: Settings, request: DeadTasksRequest) -> dict[str, Any]:
    """Cost: that of looking at each dead task once."""
    groups: dict[tuple[str, str], list[int]] = {}
    rows: list[dict[str, Any]] = []
    skipped = more = 0
    for dead in table.dead.values():
        if request.name not in ("", dead.name) or request.error not in ("", dead.error_type):
            continue
        _count(groups, dead)
        if skipped < request.skip:
            skipped += 1
        elif len(rows) < ROWS_LIMIT:
            rows.append(_row(dead))
        else:
            more += 1
    shown = _that_fit(sorted(groups, key=lambda group: (-groups[group][0], group)))
    return {
        "groups": [
            {"name": name, "error": error, **dict(zip(("count", "oldest_ms", "newest_ms"), counts, strict=True))}
            for name, error in shown
            for counts in [groups[name, error]]
        ],
        "more_groups": len(groups) - len(shown),
        "tasks": rows,
        "more_tasks": more,
        "total": len(table.dead),
        "limit_tasks": settings.dead_limit_tasks,
        "bytes": table.dead_bytes,
        "limit_bytes": settings.dead_limit_bytes,
    }


def _count(groups: dict[tuple[str, str], list[int]], dead: DeadTask) -> None:
    ended_ms = dead.record.ended_ms
    counts = groups.setdefault((dead.name, dead.error_type), [0, ended_ms, ended_ms])
    counts[0] += 1
    counts[1] = min(counts[1], ended_ms)
    counts[2] = max(counts[2], ended_ms)


def _that_fit(groups: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first of these groups, as far as their rows may be in one answer."""
    left_bytes = GROUPS_BYTES
    for number, (name, error) in enumerate(groups):
        left_bytes -= (
            GROUP_BYTES + len(name.encode(errors="backslashreplace")) + len(error.encode(errors="backslashreplace"))
        )
        if left_bytes < 0:
            return groups[:number]
    return groups


def _row(dead: DeadTask) -> dict[str, Any]:
    """What anybody may know of one."""
    record, options = dead.record, dead.call[CALL_OPTIONS] or {}
    return {
        "id": dead.call[CALL_ID],
        "name": dead.call[CALL_NAME],
        "end": TaskEnd(dead.end).name.lower(),
        "error_type": dead.error_type,
        "error": dead.error,
        "priority": dead.call[CALL_PRIORITY],
        "attempt": record.attempt,
        "failed_attempts": record.failed,
        "lost_attempts": record.lost,
        "node": record.node,
        "started_ms": record.started_ms or None,
        "ended_ms": record.ended_ms,
        "kept_until_ms": dead.kept_until_ms,
        "requeued_from": options.get("requeued_from"),
        "bytes": dead.size_bytes,
    }


def dead_task(table: TaskTable, task_id: bytes) -> dict[str, Any]:
    """All of one, with its arguments and its error; of what is no dead task, whether it was requeued."""
    dead = table.dead.get(task_id)
    if dead is None:
        new_id = requeued_id(task_id)
        return {"found": False, "requeued_as": new_id if table.knows(new_id) else None}
    return {
        "found": True,
        **_row(dead),
        "failures": [list(failure) for failure in dead.record.failures],
        "losses": [list(loss) for loss in dead.record.losses],
        "end_number": dead.end,
        "args": dead.call[CALL_ARGS],
        "payload": dead.payload,
        "options": dict(dead.call[CALL_OPTIONS] or {}),
    }
