"""Where one task is, and why it does not run: the body of a TaskReply. Its keys are listed in docs/protocol.md.

Each state of a live task has its sentence here. The leader answers from what it holds; what a node does with a task
that it was given, only that node knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.moments import datetime_of

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader
    from paceline.core.state.task import Task

_ENDS: Final = {
    TaskEnd.SUCCEEDED: "it succeeded; its submitter has the result, or can fetch it",
    TaskEnd.FAILED: "it raised an exception, which its submitter has, or can fetch",
    TaskEnd.CANCELLED: "it was cancelled before it started",
    TaskEnd.LOST: "its last attempt ended with its worker or its node",
    TaskEnd.EXPIRED: "it had not started by the moment that `expires` gave it",
}


_WITHOUT_TASK: Final[dict[str, Any]] = {
    "name": None,
    "priority": None,
    "attempt": None,
    "node": "",
    "not_before_ms": None,
    "expires_ms": None,
    "cancel_asked": False,
    "waits_for_worker": False,
}


def whereabouts(leader: Leader, task_id: bytes, now: float) -> dict[str, Any]:
    """Cost: that of the number of nodes."""
    recording = leader.recording
    task = recording.open_task(task_id)
    if task is None:
        state, why = _ended(recording.result_of(task_id), is_known=recording.knows(task_id))
        return {"state": state, "why": why, **_WITHOUT_TASK}
    options = task.options
    return {
        "state": task.state_name,
        "why": "its end is being written to the log" if task.has_ended else _why(leader, task, now),
        "name": task.name,
        "priority": task.priority,
        "attempt": task.attempt,
        "node": task.node if task.has_place_at_node else "",
        "not_before_ms": None if options is None else options.not_before_ms or None,
        "expires_ms": None if options is None else options.expires_ms or None,
        "cancel_asked": leader.cancelling.is_asked_for(task),
        "waits_for_worker": _waits_for_worker(leader, task),
    }


def _waits_for_worker(leader: Leader, task: Task) -> bool:
    """Whether all workers that could run it are busy, as far as the leader knows."""
    if task.is_dispatched:
        return _ahead_at_node(leader, task) > 0
    tasks = leader.tasks
    if task.has_ended or task.is_delayed or task.is_starting or _waits_for_disk(leader, task):
        return False
    return any(ledger.slots and task.name in ledger.names for ledger in tasks.ledgers.values())


def _waits_for_disk(leader: Leader, task: Task) -> bool:
    """Whether it is not handed out for what the log does not have yet of others."""
    return leader.recording.is_full and task.is_logged


def _ahead_at_node(leader: Leader, task: Task) -> int:
    """How many tasks its node was given before and still has, if they are enough for all its workers; else 0."""
    ledger = leader.tasks.ledgers.get(task.node)
    if ledger is None:
        return 0
    ahead = sum(1 for other in ledger.held.values() if other.is_dispatched and other.sent_at < task.sent_at)
    return ahead if ahead >= ledger.slots > 0 else 0


def _ended(result: tuple[int, bytes] | None, *, is_known: bool) -> tuple[str, str]:
    if result is not None:
        end = TaskEnd(result[0])
        return end.name.lower(), _ENDS[end]
    if is_known:
        return "ended", "it has ended, and its submitter has the result"
    return "unknown", "no task of this id was accepted, or it ended so long ago that its record is gone"


def _why(leader: Leader, task: Task, now: float) -> str:
    """Of a live task."""
    tasks = leader.tasks
    if task.is_delayed and task.options is not None:
        moment = datetime_of(task.options.not_before_ms).isoformat(sep=" ", timespec="milliseconds")
        return f"it may not start before {moment}"
    if task.is_starting:
        return f"its start on node {task.node} is being written to the log, as it may start only once"
    if task.is_dispatched:
        since = f" since {now - task.sent_at:.1f} s" if task.sent_at else ""
        if ahead := _ahead_at_node(leader, task):
            return f"node {task.node} has it{since}, and {ahead} before it, which are enough for all its workers"
        return f"node {task.node} has it{since}: it runs there, or waits there for a worker"
    if task.is_recovered and not tasks.is_settled:
        return "an earlier leader accepted it; it is handed out once every node has said whether it has it"
    if not leader.recording.is_logging:
        return "the leadership is being transferred; the next leader hands it out"
    if tasks.is_unknown(task.name):
        return f"no node runs a task named {task.name}; start a node with the module that has it"
    if _waits_for_disk(leader, task):
        mib = leader.recording.unlogged_bytes >> 20
        return f"it waits until disks have written what has ended, {mib} MiB by now: one is too slow, or stands still"
    slots = sum(ledger.slots for ledger in tasks.ledgers.values() if task.name in ledger.names)
    if not slots:
        return f"no worker is ready that could run {task.name}"
    ahead = sum(tasks.waiting_by_priority()[task.priority + 1 :])
    return (
        f"all {slots} workers that can run it are busy; {ahead} of the {tasks.waiting} tasks that wait have a higher "
        "priority"
    )
