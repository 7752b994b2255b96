"""Where one task is, and why it does not run: the body of a TaskReply. Its keys are listed in docs/protocol.md.

Each state of a live task has its sentence here. The leader answers from what it holds; what a node does with a task
that it was given, only that node knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paceline.core.scheduling.placed_lanes import opens_at
from paceline_protocol.errors import PayloadError
from paceline_protocol.messages.records import EndRecord, TaskEnd
from paceline_protocol.messages.work import Availability
from paceline_protocol.moments import datetime_of, shown
from paceline_protocol.payload import unpack_error
from paceline_protocol.rates import shown_rate

if TYPE_CHECKING:
    from paceline.core.scheduling.credits import NodeLedger
    from paceline.core.scheduling.lanes import Lane
    from paceline.core.scheduling.leader import Leader
    from paceline.core.scheduling.placement import Requirements
    from paceline.core.scheduling.recording import Recording
    from paceline.core.state.task import Task

_ENDS: Final = {
    TaskEnd.SUCCEEDED: "it succeeded; its submitter has the result, or can fetch it",
    TaskEnd.FAILED: "it raised an exception, which its submitter has, or can fetch",
    TaskEnd.LOST: "its last attempt ended with its worker or its node",
    TaskEnd.TIMED_OUT: "it ran for longer than its `time_limit`, or until its `deadline`, and its worker was killed",
    TaskEnd.EXPIRED: "it had not started by the moment that `expires` or `deadline` gave it",
    TaskEnd.UPSTREAM_FAILED: "a task that it depends on did not succeed",
}

_AWAY: Final = {
    Availability.QUIET: "is quiet",
    Availability.DRAINS: "drains",
    Availability.ENDS: "is being stopped",
}
NODES_TOLD: Final = 3
"""In one sentence."""

INPUTS_TOLD: Final = 3

_WITHOUT_TASK: Final[dict[str, Any]] = {
    "is_open": False,
    "name": None,
    "priority": None,
    "attempt": None,
    "node": "",
    "not_before_ms": None,
    "expires_ms": None,
    "failures": [],
    "losses": [],
    "failed_attempts": None,
    "lost_attempts": None,
    "cancel_asked": False,
    "cancel_asked_s": None,
    "stopping": False,
    "waits_for_worker": False,
    "accepted_ms": None,
    "started_ms": None,
    "ended_ms": None,
    "kept_until_ms": None,
    "result_expired": False,
}


def whereabouts(leader: Leader, task_id: bytes, now: float) -> dict[str, Any]:
    """Cost: that of the number of nodes."""
    recording = leader.recording
    task = recording.open_task(task_id)
    if task is None:
        return _ended(recording, task_id)
    options = task.options
    failures = leader.tasks.failures_of(task)
    asked = leader.cancelling.request_for(task)
    not_before_ms = leader.tasks.not_before_ms(task)
    return _WITHOUT_TASK | {
        "state": task.state_name,
        "why": "its end is being written to the log" if task.has_ended else _why_after(leader, task, now),
        "is_open": True,
        "name": task.name,
        "priority": task.priority,
        "attempt": task.attempt,
        "node": task.node if task.has_place_at_node else "",
        "not_before_ms": not_before_ms or None,
        "failures": [] if failures is None else [list(failure) for failure in failures.kept],
        "losses": [list(loss) for loss in recording.losses_of(task_id)],
        "failed_attempts": 0 if failures is None else failures.count,
        "lost_attempts": max(0, task.attempt - 1 - (0 if failures is None else failures.count)),
        "accepted_ms": None if options is None else options.accepted_ms or None,
        "expires_ms": None if options is None else options.expires_ms or None,
        "cancel_asked": asked is not None,
        "cancel_asked_s": None if asked is None else round(now - asked.since, 3),
        "stopping": asked is not None and asked.is_stopping,
        "waits_for_worker": _waits_for_worker(leader, task),
    }


def _waits_for_worker(leader: Leader, task: Task) -> bool:
    """Whether all workers that could run it are busy, as far as the leader knows."""
    if task.is_dispatched:
        return _ahead_at_node(leader, task) > 0
    tasks = leader.tasks
    waits_apart = task.is_delayed or task.is_limited or task.waits_for_tasks
    if task.has_ended or waits_apart or task.is_starting or _waits_for_disk(leader, task):
        return False
    return any(ledger.slots and task.name in ledger.names for ledger in tasks.all_ledgers())


def _waits_for_disk(leader: Leader, task: Task) -> bool:
    """Whether it is not handed out for what the log does not have yet of others."""
    return leader.recording.is_full and task.is_logged


def _ahead_at_node(leader: Leader, task: Task) -> int:
    """How many tasks its node was given before and still has, if they are enough for all its workers; else 0."""
    ledger = leader.tasks.ledger_of(task)
    if ledger is None:
        return 0
    before = [other.id for other in ledger.held.values() if other.is_dispatched and other.sent_at < task.sent_at]
    ahead = sum(1 for task_id in before if task_id not in ledger.parked)
    return ahead if ahead >= ledger.slots > 0 else 0


def _ended(recording: Recording, task_id: bytes) -> dict[str, Any]:
    """Of a task that has ended, or that nobody knows."""
    result, record = recording.result_of(task_id), recording.record_of(task_id)
    found = _WITHOUT_TASK | {"result_expired": recording.has_expired(task_id)}
    if result is not None:
        end = TaskEnd(result[0])
        found |= {"state": end.name.lower(), "why": _cancelled(result[1]) if end == TaskEnd.CANCELLED else _ENDS[end]}
    elif found["result_expired"]:
        found |= {"state": "ended", "why": "it has ended, and the time is over for which its result was kept"}
    elif recording.knows(task_id):
        found |= {"state": "ended", "why": "it has ended, and its submitter has the result"}
    else:
        why = "no task of this id was accepted, or it ended so long ago that its record is gone"
        found |= {"state": "unknown", "why": why}
    if recording.dead_end_of(task_id) is not None:
        found["why"] += f"; it is kept as a dead task: `paceline dead show {task_id.hex()}` shows all of it"
    return found if record is None else found | _of_record(record)


def _of_record(record: EndRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "priority": record.priority,
        "attempt": record.attempt,
        "node": record.node,
        "failures": [list(failure) for failure in record.failures],
        "losses": [list(loss) for loss in record.losses],
        "failed_attempts": record.failed,
        "lost_attempts": record.lost,
        "accepted_ms": record.accepted_ms or None,
        "started_ms": record.started_ms or None,
        "ended_ms": record.ended_ms,
        "kept_until_ms": record.kept_until_ms or None,
    }


def _cancelled(payload: bytes) -> str:
    if not payload:
        return "it was cancelled before it started"
    try:
        return f"it was cancelled: {unpack_error(payload).message}"
    except PayloadError:  # its worker has made it
        return "it was cancelled when it had begun"


def _shown(moment_ms: int) -> str:
    return shown(datetime_of(moment_ms))


def _ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, ..."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def _why_after(leader: Leader, task: Task, now: float) -> str:
    """Of a live task, with what it has failed with before, and that somebody wants it cancelled."""
    failures = leader.tasks.failures_of(task)
    why = _why(leader, task, now)
    asked = leader.cancelling.request_for(task)
    if asked is not None:
        how = "its worker is asked to stop it" if asked.is_stopping else "its node is asked for it"
        why += f"; somebody wants it cancelled since {now - asked.since:.1f} s, and {how}"
    if failures is None or task.is_delayed:
        return why
    return f"{why}; attempt {failures.last_attempt} failed ({failures.kept[-1][2]})"


def _nobody_takes(leader: Leader, name: str) -> str | None:
    """Of a name that nodes run, none of which takes tasks now: which they are, and what has one take them again."""
    tasks = leader.tasks
    away: list[str] = []
    may_be_back = False
    for node_id, state in leader.nodes.by_id.items():
        ledger = tasks.ledgers.get(node_id)
        if ledger is None or not state.enrolled or name not in ledger.announced:
            continue
        if state.availability == Availability.SERVES:
            return None
        away.append(f"{node_id} {_AWAY[state.availability]}")
        may_be_back = may_be_back or state.availability != Availability.ENDS
    if not away:
        return None
    more = f" and {len(away) - NODES_TOLD} more" if len(away) > NODES_TOLD else ""
    fix = "`paceline quiet --off NODE` has one take them again" if may_be_back else "start another with its module"
    return f"no node that runs {name} takes tasks ({', '.join(away[:NODES_TOLD])}{more}); {fix}"


def _lacks_room(name: str, placement: Requirements, takers: list[NodeLedger]) -> str | None:
    """Of a task that asks something of its node, which no node has, or none has free; None if one has it free."""
    if not takers:
        return None
    meeting = [ledger for ledger in takers if placement.is_met_by(ledger.room)]
    if not meeting:
        closest = min(takers, key=lambda ledger: (len(placement.missing(ledger.room)), ledger.key))
        missing = ", ".join(placement.missing(closest.room))
        return (
            f"no node that runs {name} has what it asks for, {placement.shown}; node {closest.node_id} comes closest "
            f"and has {missing}. Start a node with --tag or --resource that has all of it"
        )
    if any(ledger.room.has(placement.amounts) and not ledger.room.is_full for ledger in meeting):
        return None
    closest = min(meeting, key=lambda ledger: (ledger.room.lacks(placement.amounts), ledger.key))
    free = ", ".join(
        f"{max(0, closest.room.free(each))} of {closest.room.amounts[each]} {each}" for each, _ in placement.amounts
    )
    kept = "; it is kept for the first task that waits for that" if closest.room.kept_for is not None else ""
    return (
        f"it {placement.shown}, and none of the {len(meeting)} nodes that have so much has it free; node "
        f"{closest.node_id} comes closest, with {free}{kept}"
    )


def _who_is_away(leader: Leader, name: str, placement: Requirements) -> str:
    """Which nodes have what a task asks for, and take no tasks now; "" if there are none."""
    away = [
        f"{node_id} {_AWAY[state.availability]}"
        for node_id, state in leader.nodes.by_id.items()
        if (ledger := leader.tasks.ledgers.get(node_id)) is not None
        and state.availability != Availability.SERVES
        and name in ledger.announced
        and placement.is_met_by(ledger.room)
    ]
    return f". Of those that have all of it node {' and node '.join(away[:NODES_TOLD])}" if away else ""


def _waits_for_others(lane: Lane | None, task: Task, placement: Requirements, now: float) -> str:
    """Of a task that waits in a lane for others that are to go with it; "" if it does not."""
    if lane is None or task.runs_alone or not placement.window_s or (at := opens_at(lane, placement)) <= now:
        return ""
    return (
        f"it waits for others that its function is to be called with, {at - now:.3f} s more at most: "
        f"{lane.lanes.count} are there, of {placement.batch}"
    )


def _waits_for(ids: list[bytes]) -> str:
    if not ids:
        return "a task that it depends on did not succeed, and that is being written to the log"
    shown_ids = ", ".join(task_id.hex() for task_id in ids[:INPUTS_TOLD])
    more = f" and {len(ids) - INPUTS_TOLD} more" if len(ids) > INPUTS_TOLD else ""
    return f"it depends on tasks that have not ended: {shown_ids}{more}"


def _why_limited(leader: Leader, task: Task) -> str:
    """Of a task whose gate holds it."""
    gate, options = leader.tasks.gates.known(task), task.options
    if gate is None or options is None or gate.is_shut:
        return "an earlier leader accepted tasks with its limit; it starts once every node has said which it has"
    of_key = f" with limit_key {options.limit_key!r}" if options.limit_key else ""
    if options.rate and (not options.max_running or gate.running < options.max_running):
        return (
            f"of {task.name}{of_key} no more may start now (rate {shown_rate(options.rate)}); {gate.held()} wait for "
            "that"
        )
    return (
        f"nodes have {gate.running} tasks of {task.name}{of_key}, and may have {options.max_running} at a time "
        f"(max_running); {gate.held()} wait for that"
    )


def _why(leader: Leader, task: Task, now: float) -> str:
    """Of a live task."""
    tasks = leader.tasks
    failures = tasks.failures_of(task)
    if task.id in tasks.altering:
        return "that it is held, released, moved or has another priority is being written to the log"
    if task.is_held:
        return f"somebody holds it; `paceline tasks unhold {task.id.hex()}` lets it go on"
    if task.is_delayed and failures is not None and task.options is not None:
        return (
            f"attempt {failures.last_attempt} failed ({failures.kept[-1][2]}); it is tried again at "
            f"{_shown(failures.not_before_ms)}, for the {_ordinal(failures.count)} time of {task.options.retries}"
        )
    if task.is_delayed and not tasks.not_before_ms(task):
        return (
            "that it takes the place of a dead task is being written to the log"
            if task.options is None or not task.options.is_limited
            else "that it is accepted is being written to the log, before which no task with a limit starts"
        )
    if task.is_delayed and task.options is not None:
        return f"it may not start before {_shown(task.options.not_before_ms)}"
    if task.waits_for_tasks:
        return _waits_for(tasks.inputs.waits_for(task))
    if task.is_starting:
        return f"its start on node {task.node} is being written to the log, as it may start only once"
    if task.is_dispatched:
        since = f" since {now - task.sent_at:.1f} s" if task.sent_at else ""
        ledger = tasks.ledger_of(task)
        if ledger is not None and (waits_for := ledger.parked.get(task.id)):
            return (
                f"node {task.node} has it{since}: it waits for task {waits_for.hex()}, and has given its slot back; "
                f"`paceline tasks why {waits_for.hex()}` says where that is"
            )
        if ahead := _ahead_at_node(leader, task):
            return f"node {task.node} has it{since}, and {ahead} before it, which are enough for all its workers"
        return f"node {task.node} has it{since}: it runs there, or waits there for a worker"
    if task.is_limited:
        return _why_limited(leader, task)
    if task.is_recovered and not tasks.is_settled:
        return "an earlier leader accepted it; it is handed out once every node has said whether it has it"
    if not leader.recording.is_logging:
        return "the leadership is being transferred; the next leader hands it out"
    queue = tasks.queue_of(task)
    if queue.is_paused:
        return f"its queue is paused; `paceline queues resume {queue.name}` lets it go on"
    if (nobody := _nobody_takes(leader, task.name)) is not None:
        return nobody
    if tasks.is_unknown(task.name):
        return f"no node runs a task named {task.name}; start a node with the module that has it"
    if _waits_for_disk(leader, task):
        mib = leader.recording.unlogged_bytes >> 20
        return f"it waits until disks have written what has ended, {mib} MiB by now: one is too slow, or stands still"
    running = [ledger for ledger in tasks.all_ledgers() if task.name in ledger.names]
    takers = [ledger for ledger in running if ledger.takes(queue.name)]
    if running and not takers:
        return (
            f"no node that runs {task.name} takes tasks of the queue {queue.name}; start one with --queues "
            f"{queue.name}, or without --queues"
        )
    if task.options is not None and task.options.is_placed:
        placement = tasks.queues.placement_of(task.name, task.options)
        takers = [ledger for ledger in takers if ledger.slots]
        if (lack := _lacks_room(task.name, placement, takers)) is not None:
            return lack + _who_is_away(leader, task.name, placement)
        takers = [ledger for ledger in takers if placement.is_met_by(ledger.room)]
        preferred = placement.preferred([ledger.node_id for ledger in takers])
        left_s = task.arrived_at + task.options.affinity_wait_s - now
        if preferred and left_s > 0:
            return (
                f"it waits for a place on node {preferred}, which is best by its affinity, {left_s:.1f} s more at most"
            )
        if waits := _waits_for_others(tasks.lane_of(task), task, placement, now):
            return waits
    slots = sum(ledger.slots for ledger in takers)
    if not slots:
        return f"no worker is ready that could run {task.name}"
    ahead = sum([sum(lanes.by_priority[task.priority + 1 :]) for lanes in queue.all_lanes])
    is_async = not task.runs_alone and any(task.name in ledger.names for ledger in tasks.async_ledgers.values())
    all_busy = f"all {slots} places for it are taken" if is_async else f"all {slots} workers that can run it are busy"
    where = "" if len(tasks.queues.by_name) == 1 else f" in queue {queue.name}"
    return f"{all_busy}; {ahead} of the {queue.count} tasks that wait{where} have a higher priority"
