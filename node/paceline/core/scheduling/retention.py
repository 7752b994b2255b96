"""Which results are kept though their owners have them, and until when: those of tasks with a ``result_ttl``. And until
when dead tasks are kept: those with ``keep_dead``.

The time begins when the leader hears of the end. The log has the moment, by that leader's wall clock, at which it is
over. The leader itself goes by its monotonic clock, which no correction of the other one moves; a new leader takes from
its own wall clock how much of the time has passed, which may be set otherwise, and keeps a result for no longer than
the whole time once more. As it waits for retries (``due_tasks.py``).

Nothing is forgotten by a replica because a clock shows it: the leader proposes an EXPIRE entry (``releases.py``), and
of dead tasks a DISCARD entry (``dead_task_requests.py``).
"""

from __future__ import annotations

from typing import Final

from paceline.core.deadlines import Moments
from paceline.core.state.dead_tasks import DeadTask
from paceline.core.state.retries import FailedAttempts
from paceline.core.state.task import Task
from paceline.core.wall_clock import WallClock
from paceline_protocol.limits import MAX_ATTEMPT
from paceline_protocol.messages.records import EndRecord, Outcome, TaskEnd
from paceline_protocol.moments import MOMENT_MAX_MS

_FAILED: Final = frozenset((int(TaskEnd.FAILED), int(TaskEnd.TIMED_OUT)))
_RAN: Final = _FAILED | {int(TaskEnd.SUCCEEDED)}
_LOST: Final = int(TaskEnd.LOST)


class Retention:
    """Of one leader. ``moments``: the node's, by the monotonic clock, which are this leader's alone while it leads;
    ``dead_moments``: those of dead tasks."""

    __slots__ = ("_clock", "_dead_moments", "_moments", "_monotonic", "_new")

    def __init__(self, clock: WallClock, moments: Moments | None = None, dead_moments: Moments | None = None) -> None:
        self._clock = clock
        self._monotonic = WallClock()
        self._moments = moments if moments is not None else Moments()
        self._dead_moments = dead_moments if dead_moments is not None else Moments()
        self._moments.clear()
        self._dead_moments.clear()
        # Of those that have ended, and the log does not have that yet: until when the result is kept and until when the
        # dead task, 0 if it is not, and the record.
        self._new: dict[bytes, tuple[float, float, EndRecord]] = {}

    @property
    def has_new(self) -> bool:
        """Whether tasks have ended that are to be kept, and the log does not have that yet."""
        return bool(self._new)

    def new_record(self, task_id: bytes) -> EndRecord | None:
        """That of one of them."""
        new = self._new.get(task_id)
        return None if new is None else new[2]

    def keeps_new_result(self, task_id: bytes) -> bool:
        """Whether it is one of them, and its result is kept for a time."""
        new = self._new.get(task_id)
        return new is not None and new[0] > 0.0

    def begins(
        self,
        task: Task,
        outcome: Outcome,
        node_id: str,
        failures: FailedAttempts | None,
        losses: tuple[tuple[int, str], ...],
        now: float,
        *,
        is_dead: bool = False,
    ) -> EndRecord:
        """A task has ended that asked to be kept. ``is_dead``: as a dead one. ``node_id``: that had the attempt of the
        outcome, which may be one that counted as lost. ``failures``: those of its attempts that it was tried again
        after. ``losses``: how others were lost. Returns its record, for the log."""
        task_id, attempt, end, _payload, duration_us = outcome
        options = task.options
        assert options is not None, "who asks for nothing is not kept"
        attempt = min(attempt, MAX_ATTEMPT)
        retried = 0 if failures is None else failures.count
        has_run = end in _RAN
        ended_ms = min(max(0, self._clock.ms_from(now)), MOMENT_MAX_MS)
        # No longer than it was away: a node may say anything.
        sent_at = task.sent_at if attempt == task.attempt else 0.0
        ran_ms = int(min(duration_us / 1e3, max(0.0, now - sent_at) * 1e3)) if has_run else 0
        record = EndRecord(
            name=task.name,
            priority=task.priority,
            attempt=attempt,
            lost=max(0, attempt - 1 - retried) + (end == _LOST),
            failed=retried + (end in _FAILED),
            node=node_id if has_run or end == _LOST or attempt > 1 else "",
            accepted_ms=options.accepted_ms,
            started_ms=max(0, ended_ms - ran_ms) if has_run else 0,
            ended_ms=ended_ms,
            kept_until_ms=min(ended_ms + options.result_ttl_ms, MOMENT_MAX_MS) if options.result_ttl_ms else 0,
            failures=() if failures is None else failures.kept,
            losses=losses,
        )
        until = now + options.result_ttl_ms / 1e3 if options.result_ttl_ms else 0.0
        self._new[task_id] = until, now + options.keep_dead_ms / 1e3 if is_dead else 0.0, record
        return record

    def is_logged(self, task_id: bytes) -> None:
        """The log has that this task has ended."""
        until, dead_until, _record = self._new.pop(task_id)
        if until:
            self._moments.set(task_id, self._monotonic.ms_from(until))
        if dead_until:
            self._dead_moments.set(task_id, self._monotonic.ms_from(dead_until))

    def recover(self, task_id: bytes, record: EndRecord, now: float) -> None:
        """An earlier leader has logged this record."""
        self._moments.set(task_id, self._left_until_ms(record.ended_ms, record.kept_until_ms, now))

    def recover_dead(self, task_id: bytes, dead: DeadTask, now: float) -> None:
        """An earlier leader has logged that this task is dead."""
        self._dead_moments.set(task_id, self._left_until_ms(dead.record.ended_ms, dead.kept_until_ms, now))

    def _left_until_ms(self, ended_ms: int, kept_until_ms: int, now: float) -> int:
        """By the monotonic clock, of what an earlier leader has logged."""
        left_ms = min(kept_until_ms - self._clock.ms(now), kept_until_ms - ended_ms)
        return self._monotonic.ms_from(now) + max(0, left_ms)

    def take_reached(self, now: float) -> list[bytes]:
        """Take some of the tasks that are kept no longer, those first whose time has been over for longest."""
        return self._moments.take_reached(self._monotonic, now)

    def take_dead_reached(self, now: float) -> list[bytes]:
        """The same of dead tasks."""
        return self._dead_moments.take_reached(self._monotonic, now)

    def forget_dead(self, task_id: bytes) -> None:
        """It is dead no more, before its time is over."""
        self._dead_moments.drop(task_id)

    def forget(self, task_id: bytes) -> None:
        """It is released before its time, as there are too many. Unknown ids are ignored."""
        self._moments.drop(task_id)

    def hold(self, on: bool) -> None:
        """Whether nothing may be proposed for now."""
        self._moments.hold(on)
        self._dead_moments.hold(on)
