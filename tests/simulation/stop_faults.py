"""Ways to break how tasks are stopped that run and are to be cancelled; as those of ``peer_faults.py``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paceline.core.clients.sessions import ClientSession
from paceline.core.scheduling.cancelling import Cancelling
from paceline.core.work.limits import TimeLimits
from paceline.core.work.slots import Slots
from paceline_protocol.messages.client import CancelState
from simulation.peer_faults import Method


def ask_the_next_one(true: Method) -> Method:
    """The number of the task is wrong by one."""
    return lambda self, task_id: min(true(self, task_id) + 1, self.given)


def ask_nobody(true: Method) -> Method:
    def stop(self: Slots, attempts: Iterable[tuple[bytes, int]], now: float) -> Any:
        found = true(self, attempts, now)
        self.to_stop.clear()
        return found

    return stop


def ask_for_any_attempt(true: Method) -> Method:
    """Whoever is to be stopped, each task of the node is."""

    def stop(self: Slots, attempts: Iterable[tuple[bytes, int]], now: float) -> Any:
        others = [(task_id, run[0]) for slot in self.workers.values() for task_id, run in slot.running.items()]
        return true(self, [*attempts, *others], now)

    return stop


def end_as_the_worker_says(true: Any) -> Any:
    """What failed as it was asked to stop may be tried again."""
    return lambda outcome: outcome


def have_grace(factor: float) -> Any:
    def planted(true: Method) -> Method:
        def asked_to_stop(self: TimeLimits, worker_id: bytes, task_id: bytes, now: float) -> None:
            true(self, worker_id, task_id, now)
            task = self._running.get((worker_id, task_id))
            if task is not None and task.grace_ms:
                self._running[worker_id, task_id] = task._replace(stop_by=now + factor * task.grace_ms / 1_000)
                self._find_next()

        return asked_to_stop

    return planted


def have_grace_from_the_beginning(true: Method) -> Method:
    """It is killed so long after it has begun, whether anybody asks or not."""

    def begins(self: TimeLimits, worker_id: bytes, assignment: Any, now: float, **kind: bool) -> None:
        true(self, worker_id, assignment, now, **kind)
        true_asked(self, worker_id, assignment[0], now)

    true_asked = TimeLimits.asked_to_stop
    return begins


def say_killed(true: Any) -> Any:
    """Whatever it is killed for, it was the grace."""
    return lambda self, now: true(self._replace(stop_by=self.limit_at), now)


def stop_at_once(true: Method) -> Method:
    """A leader says so before the node has."""

    def ask(self: Cancelling, task_id: bytes, session: ClientSession, request: int, now: float) -> bool:
        is_first: bool = true(self, task_id, session, request, now)
        self.reply(session, request, ((task_id, CancelState.STOPPING),))
        return is_first

    return ask


def revoke_alone(true: Method) -> Method:
    """What has begun is left alone."""
    return lambda self, task: False
