"""What the cluster knows of one task: where it is, or how and when it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from paceline.errors import ResultExpired, ResultUnknown
from paceline_protocol.moments import datetime_of

_MOMENTS: Final = {
    "not_before": "not_before_ms",
    "expires": "expires_ms",
    "accepted_at": "accepted_ms",
    "started_at": "started_ms",
    "ended_at": "ended_ms",
    "kept_until": "kept_until_ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """Of one task, as its leader told it. Moments are in UTC, by the wall clock of a leader.

    ``state`` and ``why`` are what ``Client.where_is`` says; ``has_ended`` whether it has. ``attempt``: the number of
    the attempt that comes next, is under way, or was the last. ``failed_attempts``, ``lost_attempts``: how many have
    failed, and how many ended with their worker or node. ``failures``: the first and the last three of those that it
    was tried again after, each (attempt, when, the exception in a line). ``losses``: the last eight of those that were
    lost, each (attempt, on which node and how), as far as the leader has heard. ``node``: that has it, or had its last
    attempt. ``started_at``: of its last attempt.

    What is not known is None, or "" for ``node``. Of a task that has ended all is known until ``kept_until`` if it has
    a ``result_ttl``, and else ``state`` and ``why`` alone. Its result, or its error, has ``Client.task``.
    """

    task_id: bytes
    state: str
    why: str
    has_ended: bool
    name: str | None
    priority: int | None
    attempt: int | None
    failed_attempts: int | None
    lost_attempts: int | None
    failures: tuple[tuple[int, datetime, str], ...]
    losses: tuple[tuple[int, str], ...] = ()
    node: str
    not_before: datetime | None
    expires: datetime | None
    accepted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    kept_until: datetime | None


def record_of(task_id: bytes, answer: Mapping[str, Any]) -> TaskRecord:
    """From the body of a TaskReply. Raises ResultUnknown if the cluster does not know the task, and ResultExpired if
    the time is over for which it remembered it."""
    if answer["state"] == "unknown":
        raise ResultUnknown(f"{task_id.hex()}: {answer['why']}")
    if answer["result_expired"] and answer["state"] == "ended":  # else it is dead, and known as that
        raise ResultExpired
    moments: dict[str, Any] = {
        name: None if answer[key] is None else datetime_of(answer[key]) for name, key in _MOMENTS.items()
    }
    plain = ("state", "why", "name", "priority", "attempt", "failed_attempts", "lost_attempts", "node")
    return TaskRecord(
        task_id=task_id,
        has_ended=not answer["is_open"],
        failures=tuple((attempt, datetime_of(at_ms), summary) for attempt, at_ms, summary in answer["failures"]),
        losses=losses_of(answer),
        **{name: answer[name] for name in plain},
        **moments,
    )


def losses_of(answer: Mapping[str, Any]) -> tuple[tuple[int, str], ...]:
    """How attempts were lost, as a reply says it. A leader of an older version says nothing."""
    return tuple((attempt, how) for attempt, how in answer.get("losses", ()))
