"""How long attempts may run on one node: which of its workers run a task with a time limit, or with a grace once it is
asked to stop, and until when.

Such a task is given to a worker that has nothing else to do, and nothing is put behind it. So its time counts from when
it was given, and nobody else's task ends with the worker that is killed for it. Killing is the shell's business: it
asks who is over behind the messages of a turn. What a worker had written before it was killed is its answer all the
same, as its end is noticed behind that; it gets nothing more meanwhile (:meth:`Slots.is_being_ended`).

An async worker has other tasks beside it (``async_slot.py``). There what is over its limit is first cancelled in the
loop, as asyncio does, and has ASYNC_GRACE_S to end. The worker of one that goes on is killed, and its other tasks wait
again.

A limit is over by the node's clock, which a pause of the node does not stop: the worker has run on meanwhile.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from paceline_protocol.cancelled import pack_cancelled
from paceline_protocol.codec import encode_failed_attempt
from paceline_protocol.limits import SUMMARY_LIMIT_BYTES
from paceline_protocol.messages.records import (
    ASSIGNMENT_ATTEMPT,
    ASSIGNMENT_ID,
    ASSIGNMENT_NAME,
    ASSIGNMENT_OPTIONS,
    MAY_RETRY,
    Assignment,
    Options,
    Outcome,
    TaskEnd,
)
from paceline_protocol.moments import datetime_of, shown
from paceline_protocol.options import may_retry_after
from paceline_protocol.payload import ErrorInfo, pack_error_info, trim

_CANCELLED: Final = int(TaskEnd.CANCELLED)
_TIMED_OUT: Final = int(TaskEnd.TIMED_OUT)
ASYNC_GRACE_S: Final = 1.0
"""A task that runs beside others and is over its limit is cancelled, and has this long to end."""
_ERROR: Final = ("paceline.errors", "TaskTimedOut")
FEW_TASKS: Final = 16
ERROR_NAMES: Final = frozenset(
    (
        ".".join(_ERROR),
        "paceline.errors.PacelineError",
        "paceline_protocol.errors.CopyableError",
        "Exception",
        "BaseException",
        "object",
    )
)
"""Of the exception that stands for it, and of all that it derives from: what `retry_on` may name."""


def may_end_worker(options: Options) -> bool:
    """Whether the worker of such a task may be killed for it."""
    return any(options.get(key, 0) > 0 for key in ("time_limit", "cancel_grace", "time_left"))


def is_past_deadline(options: Options, now: float) -> bool:
    """Whether the deadline of such a task, which no worker has, is reached."""
    ends_ms: int = options.get("time_left", 0)
    return 0 < ends_ms / 1_000 <= now


class LimitedTask(NamedTuple):
    """One that a worker runs. ``limit_at``: when its time limit is over, or its deadline is reached, if that is
    earlier; inf if it has neither. ``deadline_ms``: that moment, in milliseconds since 1970; 0 if it is the time limit,
    which is ``limit_ms``. ``stop_by``: until when it may go on as it is asked to stop; inf until it is, and without a
    grace. ``is_async``: its worker has others, too. ``was_cancelled``: it was over its limit, and was cancelled."""

    limit_at: float
    limit_ms: int
    deadline_ms: int
    given_at: float
    task_id: bytes
    attempt: int
    name: str
    options: Options
    stop_by: float = inf
    is_async: bool = False
    was_cancelled: bool = False

    @property
    def ends_at(self) -> float:
        """Until when it may run, before something is done."""
        limit_at = self.limit_at + ASYNC_GRACE_S if self.was_cancelled else self.limit_at
        return min(limit_at, self.stop_by)

    @property
    def is_to_cancel(self) -> bool:
        """Whether it is to be cancelled in its loop, once it has run for as long as it may, and not killed yet."""
        return self.is_async and not self.was_cancelled and self.limit_at < self.stop_by

    @property
    def grace_ms(self) -> int:
        """How long it may go on once it is asked to stop; 0: to its end."""
        grace_ms: int = self.options.get("cancel_grace", 0)
        return grace_ms

    @property
    def why(self) -> str:
        """Why its worker is killed."""
        if self.stop_by <= self.limit_at:
            return f"has not stopped {self.grace_ms / 1_000:g} s after it was asked to, which is its cancel_grace"
        if self.deadline_ms:
            return f"was to end by {shown(datetime_of(self.deadline_ms))}, which is its deadline"
        return f"has run for {self.limit_ms / 1_000:g} s, which is its time_limit"

    def outcome(self, now: float) -> Outcome:
        """How its attempt has ended, as its worker was killed for it."""
        ran_us = int((now - self.given_at) * 1e6)
        if self.stop_by <= self.limit_at:
            killed = pack_cancelled(f"its worker was killed, as it {self.why}")
            return self.task_id, self.attempt, _CANCELLED, killed, ran_us
        error = self._timed_out(ran_us / 1e6)
        if self.options.get("retries", 0) and may_retry_after(self.options, ERROR_NAMES):
            summary = trim(f"{'.'.join(_ERROR)}: {error.message}", SUMMARY_LIMIT_BYTES)
            failed = encode_failed_attempt((summary, 0, _TIMED_OUT, pack_error_info(error)))
            return self.task_id, self.attempt, MAY_RETRY, failed, ran_us
        return self.task_id, self.attempt, _TIMED_OUT, pack_error_info(error), ran_us

    def _timed_out(self, ran_s: float) -> ErrorInfo:
        """The error of one whose worker was killed for its limit."""
        if self.deadline_ms:
            deadline = shown(datetime_of(self.deadline_ms))
            return ErrorInfo(
                _ERROR[1], _ERROR[0], f"it had not ended by its deadline, {deadline}", (ran_s, deadline), ""
            )
        limit_s = self.limit_ms / 1_000
        return ErrorInfo(
            _ERROR[1], _ERROR[0], f"it ran for longer than its time_limit of {limit_s:g} s", (limit_s,), ""
        )


class TimeLimits:
    """Of the workers of one node. ``next_at``: when the first of their tasks is over its limit, inf if none has one.
    ``to_cancel``: workers, and tasks that are to be cancelled in their loops; ``also_over``: workers that are being
    killed, and others of their tasks that are over as well, of a call for several. Both are emptied by the caller."""

    __slots__ = ("_killed", "_running", "also_over", "next_at", "to_cancel")

    def __init__(self) -> None:
        self.next_at = inf
        self.also_over: list[tuple[bytes, LimitedTask]] = []
        self.to_cancel: list[tuple[bytes, LimitedTask]] = []
        self._running: dict[tuple[bytes, bytes], LimitedTask] = {}  # by worker and task
        self._killed: dict[bytes, LimitedTask] = {}  # likewise: those that are being ended for it

    def __bool__(self) -> bool:
        """Whether any task runs that has a limit."""
        return bool(self._running)

    def begins(self, worker_id: bytes, assignment: Assignment, now: float, *, is_async: bool = False) -> None:
        """A worker was given this task, which :func:`may_end_worker`. It has nothing else to do, unless it
        ``is_async``."""
        options = assignment[ASSIGNMENT_OPTIONS]
        assert options is not None, "that is where its limit is"
        task_id, attempt, name = assignment[ASSIGNMENT_ID], assignment[ASSIGNMENT_ATTEMPT], assignment[ASSIGNMENT_NAME]
        limit_ms: int = options.get("time_limit", 0)
        limit_at, deadline_ms = now + limit_ms / 1_000 if limit_ms else inf, 0
        if 0 < options.get("time_left", 0) / 1_000 < limit_at:
            limit_at, deadline_ms = options["time_left"] / 1_000, options.get("deadline", 0)
        task = LimitedTask(limit_at, limit_ms, deadline_ms, now, task_id, attempt, name, options, is_async=is_async)
        self._running[worker_id, task_id] = task
        self.next_at = min(self.next_at, task.ends_at)

    def asked_to_stop(self, worker_id: bytes, task_id: bytes, now: float) -> None:
        """This task is asked to stop: it has its grace, from now on."""
        task = self._running.get((worker_id, task_id))
        if task is not None and task.grace_ms:
            self._running[worker_id, task_id] = task._replace(stop_by=now + task.grace_ms / 1_000)
            self._find_next()

    def ends(self, worker_id: bytes, task_id: bytes) -> None:
        """A worker has answered for this task."""
        if self._running.pop((worker_id, task_id), None) is not None and len(self._running) <= FEW_TASKS:
            self._find_next()  # of many it is found when it may be due: next_at is early then, and never late

    def is_over(self, now: float) -> bool:
        """Whether a task has run for longer than it may."""
        return now >= self.next_at

    def take_over(self, now: float) -> list[tuple[bytes, LimitedTask]]:
        """The workers to be killed, each with the task for which it is."""
        over: list[tuple[bytes, LimitedTask]] = []
        for key, task in [(key, task) for key, task in self._running.items() if now >= task.ends_at]:
            worker_id = key[0]
            if task.is_to_cancel:
                cancelled = self._running[key] = task._replace(was_cancelled=True)
                self.to_cancel.append((worker_id, cancelled))
                continue
            del self._running[key]
            if worker_id not in self._killed:  # else it is being ended for another one
                self._killed[worker_id] = task
                over.append((worker_id, task))
            elif not task.is_async:
                self.also_over.append((worker_id, task))
        self._find_next()
        return over

    def killed_for(self, worker_id: bytes) -> LimitedTask | None:
        """The task for which this worker is being ended; None if it is not."""
        return self._killed.get(worker_id)

    def worker_lost(self, worker_id: bytes) -> LimitedTask | None:
        """A worker has ended. Returns the task for which it was killed; None if it was not."""
        theirs = [key for key in self._running if key[0] == worker_id]
        for key in theirs:
            del self._running[key]
        if theirs:
            self._find_next()
        return self._killed.pop(worker_id, None)

    def _find_next(self) -> None:
        self.next_at = min([task.ends_at for task in self._running.values()], default=inf)
