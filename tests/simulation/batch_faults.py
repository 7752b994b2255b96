"""Ways to break what is promised of calls that go together; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.state.task import Task
from paceline.core.work.limits import TimeLimits
from paceline.core.work.slots import Slots
from paceline.core.work.worker_slot import Running, WorkerSlot
from paceline_protocol.messages.records import Assignment, Options
from paceline_protocol.options import together
from simulation.peer_faults import Method


def take_all(true: Method) -> Method:
    """However many may go together."""

    def take(self: Slots, slot: WorkerSlot, options: Options, room: int, now: float) -> list[Assignment]:
        found: list[Assignment] = true(self, slot, options, room, now)
        while found and len(found) < room and self.queue and of_one_kind(found[0], self.queue[0]):
            found += true(self, slot, options, room - len(found), now)
        return found

    return take


def of_one_kind(one: Assignment, other: Assignment) -> bool:
    return one[2] == other[2] and together(one[4] or {}) == together(other[4] or {})


def forget_what_differs(true: Method) -> Method:
    """Whatever else they ask for."""
    return lambda options: (("batch", options["batch"]),) if true(options) else ()


def lose_the_first_alone(true: Method) -> Method:
    """As if the others could come back, as those that stand behind a task."""

    def dies(self: WorkerSlot, begun: int | None) -> Any:
        lost, rest = true(self, begun)
        return (lost[:1], [given for _, given in lost[1:]]) if self.together else (lost, rest)

    return dies


def spare_nobody(true: Method) -> Method:
    def kept(self: WorkerSlot, task_id: bytes, given: Running) -> Running:
        return given

    return kept


def end_one_of_them(true: Method) -> Method:
    """The others, whose limit is over as well, begin again."""

    def take_over(self: TimeLimits, now: float) -> Any:
        over = true(self, now)
        self.also_over = []
        return over

    return take_over


def ride_without_a_place(true: Method) -> Method:
    def put(self: NodeLedger, task: Task, cost_us: int) -> None:
        true(self, task, cost_us)
        self.riding = 0

    return put


def never_open(true: Method) -> Method:
    """What waits for others goes once there are enough, and not before."""
    return lambda lane, placement: float("inf") if true(lane, placement) > 0 else true(lane, placement)
