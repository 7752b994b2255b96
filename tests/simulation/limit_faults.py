"""Ways to break the limits of how long tasks run; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.state.task import Task
from paceline.core.work.limits import LimitedTask, TimeLimits
from paceline.core.work.slots import Slots
from paceline_protocol.messages.records import Assignment
from simulation.peer_faults import Method


def begin_late(true: Method) -> Method:
    def begins(self: TimeLimits, worker_id: bytes, assignment: Assignment, now: float, **kind: bool) -> None:
        true(self, worker_id, assignment, now + 1.0, **kind)

    return begins


def begin_early(true: Method) -> Method:
    def begins(self: TimeLimits, worker_id: bytes, assignment: Assignment, now: float, **kind: bool) -> None:
        true(self, worker_id, assignment, now - 0.15, **kind)

    return begins


def tell_no_deadline(true: Method) -> Method:
    """A leader hands a task out as if it had no deadline."""
    return lambda self, task, now: task.assignment


def tell_twice_the_time(true: Method) -> Method:
    """A leader tells a node that twice as much of the time is left."""

    def assignment(self: DueTasks, task: Task, now: float) -> Assignment:
        *parts, options = true(self, task, now)
        if options is not None and "time_left" in options:
            options = {**options, "time_left": 2 * options["time_left"]}
        return (*parts, options)

    return assignment


def never_end(true: Method) -> Method:
    """A limit stands when its task has ended, and strikes the next one."""
    return lambda self, worker_id, task_id: None


def forget_for_what(true: Any) -> Any:
    """A worker that is killed for its task has lost it."""

    def worker_lost(self: TimeLimits, worker_id: bytes) -> LimitedTask | None:
        true(self, worker_id)
        return None

    return worker_lost


def allow_one_more(true: Any) -> Any:
    return lambda worker_id, max_tasks: true(worker_id, max_tasks) + 1


def end_at_once(true: Any) -> Any:
    """A worker that is to be replaced is not let finish."""

    def take_left(self: Slots) -> list[tuple[bytes, str]]:
        left = list(self.leaving.items())
        for worker_id, _ in left:
            self.worker_lost(worker_id)
        return left

    return take_left
