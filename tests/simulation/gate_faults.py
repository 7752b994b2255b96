"""Ways to break what is promised of limits; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.gates import Gates, LimitGate, Line
from paceline.core.scheduling.paces import Pace
from paceline.core.state.call_options import CallOptions
from paceline.core.state.task import Task
from simulation.peer_faults import Method


def never_shut(true: Method) -> Method:
    """A new leader does not wait for what the nodes hold."""
    return lambda self, task, options: None


def count_no_node(true: Method) -> Method:
    def free(self: LimitGate, line: Line) -> int:
        return 0 if self.is_shut else line.limit

    return free


def keep_the_place_of_what_is_lost(true: Method) -> Method:
    """What waits for its next attempt is counted as if it ran."""

    def leaves(self: Gates, task: Task, options: CallOptions, **was: bool) -> Any:
        gate = true(self, task, options, **was)
        if was["was_at_node"] and task.attempt > 1:
            gate.running += 1
        return gate

    return leaves


def offer_nothing_again(true: Method) -> Method:
    """Nobody is given a place that comes free."""

    def next_move(self: LimitGate) -> Task | None:
        found = true(self)
        return None if self.running and found is not None and found.is_limited else found

    return next_move


def do_not_wait_for_the_log(true: Method) -> Method:
    return lambda self, task_id: None


def take_no_turn(true: Method) -> Method:
    return lambda self, task_id: None


def know_all_starts(true: Method) -> Method:
    return lambda self, number, rate, is_known: true(self, number, rate, is_known=True)


def start_as_it_leaves(true: Method) -> Method:
    def takes(self: Pace, task_id: bytes) -> None:
        true(self, task_id)
        self.starts(task_id)

    return takes


def reach_nothing(true: Method) -> Method:
    return lambda self, key: False


def say_no_start(true: Method) -> Method:
    return lambda self, task_id: None
