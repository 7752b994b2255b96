"""Ways to break what is promised of tags and amounts; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.placement import Requirements, Room
from paceline.core.state.task import Task
from paceline.core.work.amounts import TakenAmounts
from paceline_protocol.messages.records import Assignment
from simulation.peer_faults import Method


def ask_for_no_tags(true: Method) -> Method:
    def is_met_by(self: Requirements, room: Room) -> bool:
        self.tags = frozenset()
        return bool(true(self, room))

    return is_met_by


def ask_for_no_amounts(true: Method) -> Method:
    def has(self: Room, amounts: Any) -> bool:
        return True

    return has


def trust_the_leader(true: Method) -> Method:
    """However much is free, as it knows what is here."""

    def begins(self: TakenAmounts, worker_id: bytes, assignment: Assignment, needs: str, now: float) -> bool:
        self._look()
        self._free = dict.fromkeys(self._free, 1 << 60)
        return bool(true(self, worker_id, assignment, needs, now))

    return begins


def give_the_first_units(true: Method) -> Method:
    """Whoever has them."""

    def chosen(self: TakenAmounts, worker_id: bytes, assignment: Assignment, amounts: Any) -> Any:
        self._free_units = {name: set(numbers) for name, numbers in self._units}
        return true(self, worker_id, assignment, amounts)

    return chosen


def forget_what_was_adopted(true: Method) -> Method:
    def put(self: NodeLedger, task: Task, cost_us: int) -> None:
        true(self, task, cost_us)
        if not task.sent_at and task.options is not None:  # another leader had sent it
            self.room.give_back(task.options.amounts)

    return put


def count_what_was_adopted_twice(true: Method) -> Method:
    def put(self: NodeLedger, task: Task, cost_us: int) -> None:
        true(self, task, cost_us)
        if not task.sent_at and task.options is not None:
            self.room.take(task.options.amounts)

    return put


def keep_what_a_lost_attempt_took(true: Method) -> Method:
    def take(self: NodeLedger, task: Task) -> None:
        true(self, task)
        if task.options is not None and not task.has_ended:
            self.room.take(task.options.amounts)

    return take


def prefer_no_node(true: Method) -> Method:
    return lambda self, node_ids: ""


def wait_for_ever(true: Method) -> Method:
    return lambda lane, task, now: lane.preferred is not None


def keep_no_node(true: Method) -> Method:
    return lambda lanes, now: []
