"""Ways to break how tasks are tried again; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.recording import Recording
from paceline.core.scheduling.retrying import Retrying
from paceline.core.state.retries import FailedAttempts
from paceline.core.state.task import Task
from paceline_protocol.messages.records import FailedAttempt, Outcome, Retry
from simulation.peer_faults import Method


def wait_for_nothing(true: Method) -> Method:
    def fails(self: DueTasks, task: Task, failed: FailedAttempt, now: float) -> Retry | None:
        retry: Retry | None = true(self, task, failed, now)
        if retry is not None:
            self.retrying.waits(task, now)
        return retry

    return fails


def start_before_it_is_logged(true: Method) -> Method:
    def attempts_failed(self: Recording, outcomes: list[Outcome], node_id: str, now: float) -> None:
        true(self, outcomes, node_id, now)
        for outcome in outcomes:
            task = self._tasks.live.get(outcome[0])
            if task is not None and task.is_delayed:
                self._due.retrying.waits_until[task.id] = now
                self._due.watch(task, now)

    return attempts_failed


def count(by: int) -> Any:
    def planted(true: Method) -> Method:
        return lambda self, task_id: max(0, true(self, task_id) + by)

    return planted


def adopt_any_attempt(true: Method) -> Method:
    return lambda self, task, attempt: self._is_unaccounted(task)


def count_failures_as_losses(true: Method) -> Method:
    return lambda self, task, attempt: attempt


def tell_at_once(true: Method) -> Method:
    def end(
        self: Recording, outcomes: list[Outcome], now: float, node_id: str = "", *, is_decided_here: bool = False
    ) -> None:
        true(self, outcomes, now, node_id)

    return end


def retry_whatever_expires(true: Method) -> Method:
    def wait_ms(self: Retrying, task: Task, delay_ms: int, now_ms: int) -> int | None:
        return true(self, task, delay_ms, -(1 << 50))

    return wait_ms


def wait_by_the_wall_clock(true: Method) -> Method:
    def is_early(self: DueTasks, task: Task, now: float) -> bool:
        failures = self.retrying.by_id.get(task.id)
        if failures is None:
            return bool(true(self, task, now))
        return not self.clock.has_reached(failures.not_before_ms, now)

    return is_early


def wait_anew(true: Method) -> Method:
    """A new leader begins each wait from its beginning."""

    def recover(self: DueTasks, task: Task, now: float) -> None:
        failures = self.retrying.by_id.get(task.id)
        if failures is not None:
            self.retrying.waits_until[task.id] = now + failures.wait_ms / 1_000

    return recover


def forget_the_number(true: Method) -> Method:
    """A new leader numbers attempts as if none had failed."""

    def recover(self: LiveTasks, task: Task, lost_attempts: int, now: float, *, delayed: bool = False) -> None:
        true(self, task, lost_attempts, now, delayed=delayed)
        task.attempt = lost_attempts + 1

    return recover


def keep_the_first_only(true: Any) -> Any:
    return lambda before, retry: (
        true(None, retry) if before is None else FailedAttempts(before.count, retry[2], before.kept)
    )
