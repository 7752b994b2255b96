"""Ways to break what a node does that takes no tasks, or drains; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.work.draining import Draining
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.slots import Slots
from simulation.peer_faults import Method


def give_back_what_may_start_once(true: Method) -> Method:
    def takes_back(self: Draining, task_id: bytes, name: str, is_given_up: bool) -> bool:
        return self.is_over or is_given_up

    return takes_back


def give_back_before_the_worker_is_gone(true: Method) -> Method:
    """What is to be killed may run elsewhere at once."""

    def give_up(self: Slots) -> None:
        true(self)
        for slot in self.workers.values():
            if slot.is_ending:
                self.held.let_go({task_id for task_id in slot.running if task_id not in self.draining._once})

    return give_up


def go_before_the_leader_knows(true: Any) -> Any:
    """With nothing here, whether what ended here is recorded or not."""
    return property(lambda self: not any(slot.running for slot in self.slots.workers.values()))


def keep_the_queue(true: Method) -> Method:
    """What no worker has stays, and a worker gets it."""

    def set_availability(self: LeaderLink, availability: int, now: float, drain_s: float = 0.0) -> None:
        if self.slots.draining.change(availability, now, drain_s):
            self.on_drain(self.slots.draining.ends_at)
            self.account_changed()

    return set_availability


def assign_all_the_same(true: Method) -> Method:
    def assign(self: LeaderLink, now: float) -> Any:
        return self.slots.assign(now)

    return assign
