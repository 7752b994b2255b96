"""Workers that are replaced between two tasks: what they are given before, and when they go."""

from __future__ import annotations

import pytest

from paceline.core.work.slots import Slots
from paceline.core.work.worker_slot import ANY_NUMBER, OVERRUN_S, TAKE_BACK_S, own_max_tasks
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd


def assignment(number: int, name: str = "add") -> Assignment:
    return (number.to_bytes(16, "big"), 1, name, b"", None)


def outcome(number: int) -> Outcome:
    return (number.to_bytes(16, "big"), 1, int(TaskEnd.SUCCEEDED), b"", 10)


def slots_of(*workers: bytes, max_tasks: int = 0) -> Slots:
    slots = Slots(worker_max_tasks=max_tasks)
    slots.durations.observe("add", 1)
    for worker_id in workers:
        slots.worker_ready(worker_id, ("add",))
    return slots


def given(slots: Slots) -> dict[bytes, list[int]]:
    return {worker_id: [int.from_bytes(task[0], "big") for task in tasks] for worker_id, tasks in slots.assign(0.0)}


def test_no_worker_is_given_more_tasks_than_it_may_run_however_short_they_are() -> None:
    slots = slots_of(b"v", b"w", max_tasks=3)
    slots.take([assignment(number) for number in range(10)], 0.0)
    assert given(slots) == {b"v": [0, 1, 2], b"w": [3, 4, 5]}
    assert given(slots) == {}
    assert slots.leaving == {
        b"v": "it has run as many tasks as it may, 3",
        b"w": "it has run as many tasks as it may, 3",
    }


def test_what_it_was_given_piece_by_piece_counts_together() -> None:
    slots = slots_of(b"w", max_tasks=3)
    for number in range(3):
        assert slots.leaving == {}
        slots.take([assignment(number)], 0.0)
        assert given(slots) == {b"w": [number]}
        slots.done(b"w", [outcome(number)], 0.0)
    assert list(slots.leaving) == [b"w"]


def test_a_worker_that_leaves_answers_for_what_it_has_and_then_goes() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0), assignment(1)], 0.0)
    assert given(slots) == {b"v": [0, 1]}
    slots.leave(b"v", "it is old")
    slots.take([assignment(2)], 0.0)
    assert given(slots) == {b"w": [2]}, "it is given nothing more"
    assert slots.take_left() == []
    assert slots.done(b"v", [outcome(0)], 0.0) == [outcome(0)]
    assert slots.take_left() == []
    assert slots.done(b"v", [outcome(1)], 0.0) == [outcome(1)]
    assert slots.take_left() == [(b"v", "it is old")]
    assert (list(slots.workers), slots.leaving) == ([b"w"], {})
    assert slots.worker_lost(b"v") == [], "its end costs nothing any more"


def test_the_last_worker_stays_until_another_is_ready_so_that_the_node_keeps_its_queue() -> None:
    slots = slots_of(b"w", max_tasks=1)
    slots.take([assignment(0), assignment(1)], 0.0)
    assert given(slots) == {b"w": [0]}
    slots.done(b"w", [outcome(0)], 0.0)
    assert slots.take_left() == []
    assert (slots.serving, len(slots.queue)) == (0, 1)
    slots.worker_ready(b"x", ("add",))
    assert slots.take_left() == [(b"w", "it has run as many tasks as it may, 1")]
    assert given(slots) == {b"x": [1]}


def test_of_several_that_leave_together_one_stays() -> None:
    slots = slots_of(b"v", b"w")
    for worker_id in (b"v", b"w"):
        slots.leave(worker_id, "it is old")
    assert [worker_id for worker_id, _ in slots.take_left()] == [b"v"]
    assert list(slots.workers) == [b"w"]


def test_what_stands_behind_a_long_task_of_a_worker_that_leaves_is_run_by_another_as_the_same_attempt() -> None:
    slots = slots_of(b"w", max_tasks=3)
    slots.take([assignment(number) for number in range(3)], 0.0)
    assert given(slots) == {b"w": [0, 1, 2]}
    slots.worker_ready(b"x", ("add",))
    for now in (0.0, OVERRUN_S):
        slots.review(now)
    assert slots.stuck.pop() == b"w"
    assert slots.take_back(b"w", 1, OVERRUN_S) == 3
    slots.take_back(b"w", 1, OVERRUN_S + TAKE_BACK_S)
    assert given(slots) == {b"x": [1]}, "alone, as the name takes long by now"
    assert slots.held.attempts == {assignment(number)[0]: 1 for number in range(3)}
    assert list(slots.queue) == [assignment(2)]
    slots.done(b"w", [outcome(0)], 1.0)
    assert slots.take_left() == [], "it passes over those that were taken back, and says so"
    passed_over = [(number.to_bytes(16, "big"), 1, int(TaskEnd.CANCELLED), b"", 0) for number in (1, 2)]
    assert slots.done(b"w", passed_over, 1.0) == []
    assert [worker_id for worker_id, _ in slots.take_left()] == [b"w"]


def test_a_worker_that_leaves_and_dies_loses_what_it_had_begun_as_any_other() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0), assignment(1)], 0.0)
    given(slots)
    slots.leave(b"v", "it is old")
    assert slots.worker_lost(b"v", begun=1) == [(assignment(0)[0], 1)]
    assert slots.leaving == {}
    assert given(slots) == {b"w": [1]}


def test_a_worker_that_is_being_killed_does_not_leave_besides() -> None:
    slots = slots_of(b"v", b"w")
    slots.is_being_ended(b"v")
    slots.leave(b"v", "it is old")
    slots.leave(b"unknown", "it is old")
    assert slots.leaving == {}


def test_a_worker_that_leaves_and_is_being_killed_ends_by_that() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0)], 0.0)
    assert given(slots) == {b"v": [0]}
    slots.leave(b"v", "it is old")
    slots.is_being_ended(b"v")
    slots.done(b"v", [outcome(0)], 0.0)
    assert (slots.take_left(), list(slots.workers)) == ([], [b"v", b"w"])
    slots.worker_lost(b"v")
    assert (slots.leaving, list(slots.workers)) == ({}, [b"w"])


def test_a_worker_that_leaves_is_a_slot_until_it_has_run_what_it_has_and_then_another_is_to_serve() -> None:
    slots = slots_of(b"v", b"w", max_tasks=1)
    slots.take([assignment(0)], 0.0)
    assert given(slots) == {b"v": [0]}
    assert (slots.serving, slots.left()) == (2, []), "or whoever waits for w would wait for v"
    slots.done(b"v", [outcome(0)], 0.0)
    assert (slots.serving, slots.left()) == (1, [b"v"])
    slots.worker_ready(b"x", ("add",))
    assert slots.serving == 2


@pytest.mark.parametrize("max_tasks", [1, 9, 10, 1_000])
def test_workers_come_to_their_limits_one_after_the_other_and_none_beyond_it(max_tasks: int) -> None:
    limits = {own_max_tasks(bytes([number]), max_tasks) for number in range(256)}
    assert max(limits) == max_tasks
    assert min(limits) > max_tasks * 0.9 - 1
    assert len(limits) == max(1, min(max_tasks // 10, 256))


def test_without_a_limit_a_worker_runs_any_number() -> None:
    assert own_max_tasks(b"w", 0) == ANY_NUMBER
