"""Whether a task is tried again after it has failed, and from which moment on.

Only the worker knows the exception; it says that the task may be tried again. How often it was, and how long it waits
now, the leader decides, with its own random numbers. What it decides is in the log, so that the next leader goes by the
same.

An attempt that failed is counted apart from one that was lost with its worker or node, of which ``max_attempts`` says
how many there may be. Attempts of both kinds are numbered together.
"""

from __future__ import annotations

from math import inf
from typing import Final

from paceline.core.raft.timing import RandomSource
from paceline.core.state.call_options import CallOptions
from paceline.core.state.retries import FailedAttempts
from paceline.core.state.task import Task
from paceline_protocol.moments import MOMENT_MAX_MS

_DOUBLINGS: Final = 62
"""After so many, any backoff is past any limit."""


class Retrying:
    """Of one leader. ``by_id``: the failed attempts of its live tasks, of those that have any. ``waits_until``: when
    these may start again, by the monotonic clock; inf until the log has that they have failed, and of tasks that start
    only once the log has them, until it has."""

    __slots__ = ("_random", "_unlogged", "by_id", "waits_until")

    def __init__(self, random: RandomSource | None = None, by_id: dict[bytes, FailedAttempts] | None = None) -> None:
        """``random``: chooses the waits of tasks with jitter; without one they wait as long as they may. ``by_id``:
        what earlier leaders have logged."""
        self.by_id: dict[bytes, FailedAttempts] = {} if by_id is None else by_id
        self.waits_until: dict[bytes, float] = {}
        self._unlogged: dict[bytes, float] = {}  # until when, of those whose failure the log does not have yet
        self._random = random

    def count_of(self, task_id: bytes) -> int:
        """How many attempts of this task have failed."""
        failures = self.by_id.get(task_id)
        return 0 if failures is None else failures.count

    def waits(self, task: Task, until: float) -> None:
        """The next attempt of a task that has failed waits so long, and for the log."""
        if task.is_logged:
            self.waits_until[task.id], self._unlogged[task.id] = inf, until
        else:
            self.waits_until[task.id] = until

    def waits_for_log(self, task_id: bytes) -> None:
        """This task may not start before the log has it."""
        self.waits_until[task_id] = inf

    def is_accepted(self, task_id: bytes) -> None:
        """The log has it."""
        self.waits_until.pop(task_id, None)

    def is_logged(self, task_id: bytes) -> None:
        """The log has that this task has failed."""
        self.waits_until[task_id] = self._unlogged.pop(task_id, self.waits_until.get(task_id, 0.0))

    def forget(self, task_id: bytes) -> None:
        """Nothing becomes of this task any more."""
        self.waits_until.pop(task_id, None)
        self._unlogged.pop(task_id, None)

    def wait_ms(self, task: Task, delay_ms: int, now_ms: int) -> int | None:
        """How long a task waits until it is tried again of which one more attempt has failed now; None: it is not. One
        that would expire by then is not: it ends by what it has raised. ``delay_ms``: as a failed attempt has it."""
        options = task.options
        if options is None:
            return None
        count = self.count_of(task.id)
        if count >= options.retries:
            return None
        wait_ms = delay_ms - 1 if delay_ms else self._backoff_ms(options, count)
        moment_ms = now_ms + wait_ms
        if moment_ms > MOMENT_MAX_MS or 0 < options.expires_ms <= moment_ms:
            return None
        return wait_ms

    def _backoff_ms(self, options: CallOptions, count: int) -> int:
        """How long a task waits of which ``count`` attempts had failed before."""
        longest_ms = min(options.backoff_ms << min(count, _DOUBLINGS), options.backoff_max_ms)
        if self._random is None or not options.has_jitter:
            return longest_ms
        return round(self._random.uniform(0.0, longest_ms))
