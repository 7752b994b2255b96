"""What a node holds, and which worker runs it."""

from __future__ import annotations

import pytest

from paceline.core.work.held import UNRECORDED_BYTES
from paceline.core.work.slots import BATCH_BYTES, DURATION_SLACK_US, Slots
from paceline.core.work.worker_slot import BATCH_TIME_US, CLEAN_UP_S, OVERRUN_S, TAKE_BACK_S
from paceline_protocol.codec import decode_outcomes
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd
from paceline_protocol.payload import ERROR_LIMIT_BYTES

PAYLOAD_LIMIT = 1_000


def assignment(number: int, attempt: int = 1, name: str = "add") -> Assignment:
    return (number.to_bytes(16, "big"), attempt, name, b"", None)


def outcome(number: int, attempt: int = 1, end: TaskEnd = TaskEnd.SUCCEEDED, duration_us: int = 10) -> Outcome:
    return (number.to_bytes(16, "big"), attempt, int(end), b"", duration_us)


def slots_of(*workers: bytes) -> Slots:
    slots = Slots()
    for worker_id in workers:
        slots.worker_ready(worker_id, ("add",))
    return slots


def given(slots: Slots) -> dict[bytes, list[int]]:
    return {worker_id: [int.from_bytes(task[0], "big") for task in tasks] for worker_id, tasks in slots.assign(0.0)}


def held(slots: Slots) -> dict[int, int]:
    return {int.from_bytes(task_id, "big"): attempt for task_id, attempt in slots.held.account()}


def test_tasks_of_unknown_length_are_bound_one_to_a_worker() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(number) for number in range(3)], 0.0)
    assert given(slots) == {b"v": [0], b"w": [1]}
    assert given(slots) == {}
    assert (slots.running_tasks, len(slots.queue)) == (2, 1)


def test_short_tasks_travel_in_batches_of_bounded_time() -> None:
    slots = slots_of(b"w")
    slots.durations.observe("add", 80)
    slots.take([assignment(number) for number in range(100)], 0.0)
    assert len(given(slots)[b"w"]) == BATCH_TIME_US // 100


def test_short_tasks_with_large_arguments_travel_in_batches_of_bounded_size() -> None:
    slots = slots_of(b"w")
    slots.durations.observe("add", 1)
    large = bytes(BATCH_BYTES // 2)
    slots.take([(number.to_bytes(16, "big"), 1, "add", large, None) for number in range(5)], 0.0)
    slots.take([((5).to_bytes(16, "big"), 1, "add", bytes(3 * BATCH_BYTES), None)], 0.0)
    assert [given(slots)[b"w"] for _ in range(4)] == [[0, 1], [2, 3], [4], [5]]


def test_a_worker_gets_its_next_batch_while_it_runs_a_short_one() -> None:
    slots = slots_of(b"w")
    slots.durations.observe("add", 80)
    slots.take([assignment(number) for number in range(50)], 0.0)
    assert given(slots)[b"w"] == list(range(10))
    assert given(slots)[b"w"] == list(range(10, 20))
    assert given(slots) == {}


def test_a_task_that_lost_an_attempt_runs_alone() -> None:
    slots = slots_of(b"w")
    slots.durations.observe("add", 1)
    slots.take([assignment(0, attempt=2), assignment(1)], 0.0)
    assert given(slots) == {b"w": [0]}
    assert given(slots) == {}


def test_only_what_a_worker_was_given_counts_as_its_outcome() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    assert slots.done(b"w", [outcome(0)], 1.0) == []
    assert slots.done(b"x", [outcome(0)], 1.0) == []
    assert slots.done(b"v", [outcome(0), outcome(5)], 1.0) == [outcome(0)]
    assert slots.done(b"v", [outcome(0)], 1.0) == []
    assert slots.executed == 1


def test_a_copy_of_an_attempt_that_is_held_is_dropped_and_a_later_attempt_is_not() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0)], 0.0)
    slots.take([assignment(0)], 0.0)
    assert len(slots.queue) == 1
    slots.take([assignment(0, attempt=2)], 0.0)
    assert len(slots.queue) == 2


def test_an_outcome_is_held_until_it_is_recorded() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    batch = slots.held.report(slots.done(b"w", [outcome(0)], 1.0))
    assert held(slots) == {0: 1}
    assert not slots.held.recorded(batch.seq)
    assert (held(slots), list(slots.held.unrecorded)) == ({}, [])


def test_the_end_of_an_earlier_attempt_does_not_take_a_later_one_out_of_the_account() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    batch = slots.held.report(slots.done(b"w", [outcome(0)], 1.0))
    slots.take([assignment(0, attempt=2)], 0.0)
    slots.held.recorded(batch.seq)
    assert held(slots) == {0: 2}


@pytest.mark.parametrize("end", [TaskEnd.SUCCEEDED, TaskEnd.LOST])
def test_an_outcome_that_is_reported_once_more_is_in_the_later_batch_alone_and_held_until_that_is_recorded(
    end: TaskEnd,
) -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0, attempt=2), assignment(1)], 0.0)
    first = slots.held.report([outcome(0, 2, end), outcome(1, 1, end)])
    again = slots.held.report(slots.take([assignment(0)], 0.0))
    assert (decode_outcomes(first.message(1).outcomes), again.items) == ([outcome(1, 1, end)], [outcome(0, 2, end)])
    slots.held.recorded(first.seq)
    assert held(slots) == {0: 2}
    assert slots.held.recorded(again.seq) is (end is TaskEnd.LOST)
    assert held(slots) == {}


def test_an_attempt_before_whose_outcome_is_not_recorded_is_held_again_once_a_later_one_is_given_back() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    batch = slots.held.report(slots.done(b"w", [outcome(0)], 1.0))
    slots.take([assignment(0, attempt=2)], 0.0)
    assert slots.revoke([assignment(0)[0]]) == ((assignment(0)[0],), ())
    assert held(slots) == {0: 1}
    assert slots.take([assignment(0)], 0.0) == [outcome(0)]
    slots.take([assignment(0, attempt=2)], 0.0)
    slots.held.recorded(batch.seq)
    assert slots.revoke([assignment(0)[0]]) == ((assignment(0)[0],), ())
    assert (held(slots), list(slots.queue)) == ({}, [])


def test_what_ran_on_a_worker_that_died_is_returned_and_stays_held() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0), assignment(1)], 0.0)
    slots.assign(0.0)
    assert slots.worker_lost(b"v") == [(assignment(0)[0], 1)]
    assert slots.worker_lost(b"v") == []
    assert held(slots) == {0: 1, 1: 1}


def batched(number: int, *, workers: tuple[bytes, ...] = (b"v",)) -> Slots:
    """So many short tasks, all at the first worker."""
    slots = slots_of(*workers)
    slots.durations.observe("add", 1)
    slots.take([assignment(task) for task in range(number)], 0.0)
    assert given(slots) == {workers[0]: list(range(number))}
    return slots


def test_what_a_worker_that_died_had_not_begun_loses_no_attempt_and_waits_in_front_again() -> None:
    slots = batched(5, workers=(b"v", b"w"))
    assert len(slots.done(b"v", [outcome(0)], 1.0)) == 1
    slots.take([assignment(5)], 0.0)
    assert slots.worker_lost(b"v", begun=3) == [(assignment(task)[0], 1) for task in (1, 2)]
    assert list(slots.queue) == [assignment(task) for task in (3, 4, 5)]
    assert held(slots) == dict.fromkeys(range(6), 1)
    assert given(slots) == {b"w": [3, 4, 5]}


def test_what_a_worker_that_died_had_not_begun_is_not_held_if_no_worker_is_left() -> None:
    slots = batched(3)
    assert slots.worker_lost(b"v", begun=1) == [(assignment(0)[0], 1)]
    assert held(slots) == {0: 1}
    assert not slots.queue


def test_all_that_a_worker_had_counts_as_begun_if_it_is_not_known() -> None:
    slots = batched(3, workers=(b"v", b"w"))
    assert slots.worker_lost(b"v") == [(assignment(task)[0], 1) for task in range(3)]
    assert not slots.queue


@pytest.mark.parametrize("begun", [0, 1 << 63])
def test_a_number_that_can_not_be_gives_back_no_more_than_there_is(begun: int) -> None:
    """A task may write to its worker's memory."""
    slots = batched(3, workers=(b"v", b"w"))
    lost = slots.worker_lost(b"v", begun)
    assert len(lost) == (1 if begun == 0 else 3)  # the first in line counts as begun
    assert len(lost) + len(slots.queue) == 3


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (outcome(1, end=TaskEnd.CANCELLED), "it gave a task the end 3"),
        (outcome(1, end=TaskEnd.LOST), "it gave a task the end 4"),
        (outcome(1, end=TaskEnd.EXPIRED), "it gave a task the end 5"),
        (outcome(1, attempt=2), "it answered for a task that it was not given"),
        (outcome(9), "it answered for a task that it was not given"),
        (outcome(0), "it answered for a task that it was not given"),
    ],
)
def test_an_outcome_that_no_worker_can_give_is_not_passed_on_and_its_worker_is_named(forged: Outcome, why: str) -> None:
    slots = batched(3)
    assert slots.done(b"v", [outcome(0), forged, outcome(2)], 1.0) == [outcome(0), outcome(2)]
    assert slots.accused[b"v"].startswith(why)
    assert slots.worker_lost(b"v") == [(assignment(1)[0], 1)]  # which it had been asked for, and did not do


@pytest.mark.parametrize(
    ("end", "limit"), [(TaskEnd.SUCCEEDED, PAYLOAD_LIMIT), (TaskEnd.FAILED, ERROR_LIMIT_BYTES)], ids=["result", "error"]
)
def test_a_payload_that_is_larger_than_any_of_a_worker_is_not_passed_on_and_its_worker_is_named(
    end: TaskEnd, limit: int
) -> None:
    slots = Slots(payload_limit_bytes=PAYLOAD_LIMIT)
    slots.worker_ready(b"v", ("add",))
    slots.take([assignment(0), assignment(1)], 0.0)
    largest = ((0).to_bytes(16, "big"), 1, int(end), bytes(limit), 10)
    larger = ((1).to_bytes(16, "big"), 1, int(end), bytes(limit + 1), 10)
    slots.assign(0.0)
    assert slots.done(b"v", [largest], 1.0) == [largest]
    slots.assign(1.0)
    assert slots.done(b"v", [larger], 2.0) == []
    assert f"of {limit + 1} bytes" in slots.accused[b"v"]
    assert slots.worker_lost(b"v") == [((1).to_bytes(16, "big"), 1)]


def test_no_task_counts_as_run_for_longer_than_its_worker_has_had_it() -> None:
    slots = slots_of(b"v")
    slots.take([assignment(0), assignment(1)], 0.0)
    slots.assign(10.0)
    honest, forged = outcome(0, duration_us=2_000_000), outcome(1, duration_us=2**63 - 1)
    assert slots.done(b"v", [honest], 12.0) == [honest]
    slots.assign(12.0)
    ((_, _, _, _, duration_us),) = slots.done(b"v", [forged], 15.0)
    assert duration_us == 3_000_000 + DURATION_SLACK_US
    assert slots.tally.by_name["add"].run_us == 5_000_000 + DURATION_SLACK_US
    assert slots.durations.cost_us("add") < 6_000_000


def test_two_attempts_of_one_task_may_run_here_side_by_side() -> None:
    slots = slots_of(b"v", b"w", b"x")
    for attempt in (1, 2, 3):
        slots.take([assignment(0, attempt)], 0.0)
        slots.assign(0.0)
    assert slots.running_tasks == 3
    assert len(slots.done(b"v", [outcome(0)], 1.0)) == 1
    assert len(slots.done(b"w", [outcome(0, 2)], 1.0)) == 1
    assert slots.worker_lost(b"x") == [(assignment(0)[0], 3)]
    assert slots.running_tasks == 0


def test_the_queue_of_the_last_worker_that_dies_is_no_longer_held() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0), assignment(1)], 0.0)
    slots.assign(0.0)
    slots.worker_lost(b"w")
    assert held(slots) == {0: 1}
    assert not slots.queue
    slots.take([assignment(2)], 0.0)
    assert held(slots) == {0: 1}


def test_a_worker_that_says_ready_twice_keeps_what_it_runs() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    slots.worker_ready(b"w", ("add", "sub"))
    assert slots.running_tasks == 1
    assert slots.names() == ("add", "sub")


def test_a_dead_workers_late_words_do_not_bring_it_back() -> None:
    slots = slots_of()
    slots.worker_lost(b"w")
    slots.worker_ready(b"w", ("add",))
    assert not slots.workers


def test_what_no_worker_has_is_given_back_and_what_one_has_begun_is_kept() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0), assignment(1), assignment(2)], 0.0)
    slots.assign(0.0)
    ids = [assignment(number)[0] for number in (0, 1)]
    assert slots.revoke(ids) == ((ids[1],), (ids[0],))
    assert held(slots) == {0: 1, 2: 1}


def test_of_what_stands_behind_another_task_nothing_is_said_before_that_has_ended() -> None:
    slots = slots_of(b"w")
    slots.durations.observe("add", 80)
    slots.take([assignment(0), assignment(1), assignment(2)], 0.0)
    assert given(slots) == {b"w": [0, 1, 2]}
    asked = [assignment(1)[0]]
    assert slots.revoke(asked) == ((), ())
    slots.done(b"w", [outcome(0)], 1.0)
    assert slots.revoke(asked) == ((), (assignment(1)[0],))
    assert slots.worker_lost(b"w", begun=1) == [(assignment(1)[0], 1)], "it was called begun"


def test_of_what_the_node_does_not_have_or_has_ended_nothing_is_said() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    slots.held.report(slots.done(b"w", [outcome(0)], 1.0))
    assert slots.revoke([assignment(0)[0], assignment(9)[0]]) == ((), ())


def test_two_queued_attempts_of_one_task_are_given_back_together() -> None:
    slots = slots_of(b"w")
    slots.take([assignment(9), assignment(0)], 0.0)
    slots.assign(0.0)
    slots.take([assignment(0, attempt=2)], 0.0)
    assert slots.revoke([assignment(0)[0]]) == ((assignment(0)[0],), ())
    assert held(slots) == {9: 1}


def test_the_end_of_a_lost_attempts_record_asks_for_a_new_account() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    slots.worker_lost(b"v")
    batch = slots.held.report([outcome(0, end=TaskEnd.LOST)])
    assert slots.held.recorded(batch.seq)


def stuck(*workers: bytes, tasks: int = 6) -> Slots:
    """The first of these workers has short tasks, and has run the first of them for too long."""
    slots = slots_of(workers[0])
    slots.durations.observe("add", 80)
    slots.take([assignment(number) for number in range(tasks)], 0.0)
    assert given(slots) == {workers[0]: list(range(tasks))}
    for worker_id in workers[1:]:
        slots.worker_ready(worker_id, ("add",))
    slots.review(1.0)
    assert slots.stuck == []
    slots.review(1.0 + OVERRUN_S)
    assert slots.stuck == [workers[0]]
    return slots


def test_what_stands_behind_a_task_that_runs_on_goes_to_another_worker() -> None:
    slots = stuck(b"v", b"w")
    assert slots.take_back(b"v", 1, 2.0) == 6, "it is to begin none of its six"
    assert slots.take_back(b"v", 2, 2.0 + TAKE_BACK_S / 2) == 0
    assert given(slots) == {}, "it may be about to begin another"
    assert slots.take_back(b"v", 2, 2.0 + TAKE_BACK_S) == 0
    assert given(slots) == {b"w": [2]}, "and it had begun the second; the others may last as long as the first"
    assert (slots.running_tasks, len(slots.queue)) == (3, 3)
    passed_over = [outcome(number, end=TaskEnd.CANCELLED) for number in range(2, 6)]
    assert slots.done(b"v", [outcome(0), outcome(1), *passed_over], 1.0) == [outcome(0), outcome(1)]
    assert slots.done(b"w", [outcome(2)], 1.0) == [outcome(2)]
    for _ in range(3):
        for worker_id, numbers in given(slots).items():
            slots.done(worker_id, [outcome(number) for number in numbers], 1.0)
    assert (slots.accused, slots.running_tasks, held(slots)) == ({}, 0, dict.fromkeys(range(6), 1))
    assert slots.workers[b"v"].cost_us == slots.workers[b"w"].cost_us == 0


def test_what_was_asked_back_behind_a_task_that_runs_on_is_given_back_and_begun_by_nobody() -> None:
    slots = stuck(b"v", b"w", tasks=4)
    assert slots.revoke([assignment(number)[0] for number in (0, 1, 3)]) == ((), (assignment(0)[0],))
    assert slots.take_back(b"v", 1, 2.0) == 4
    assert slots.take_back(b"v", 1, 2.0 + TAKE_BACK_S) == 0
    assert slots.given_back == [assignment(1)[0], assignment(3)[0]]
    assert held(slots) == {0: 1, 2: 1}
    assert given(slots) == {b"w": [2]}
    passed_over = [outcome(number, end=TaskEnd.CANCELLED) for number in (1, 2, 3)]
    assert slots.done(b"v", [outcome(0), *passed_over], 3.0) == [outcome(0)]
    assert (slots.accused, len(slots.queue), slots.workers[b"v"].cost_us) == ({}, 0, 0)


def test_what_was_asked_back_and_is_passed_over_before_that_was_sure_is_given_back() -> None:
    slots = stuck(b"v", tasks=2)
    slots.revoke([assignment(1)[0]])
    assert slots.take_back(b"v", 1, 2.0) == 2
    slots.done(b"v", [outcome(0), outcome(1, end=TaskEnd.CANCELLED)], 1.0)
    assert slots.given_back == [assignment(1)[0]]
    assert (given(slots), held(slots)) == ({}, {0: 1})


def test_what_was_asked_back_from_a_worker_that_dies_before_it_begins_it_is_given_back() -> None:
    slots = slots_of(b"v", b"w")
    slots.durations.observe("add", 80)
    slots.take([assignment(0), assignment(1), assignment(2)], 0.0)
    assert given(slots) == {b"v": [0, 1, 2]}
    slots.revoke([assignment(1)[0]])
    assert slots.worker_lost(b"v", begun=1) == [(assignment(0)[0], 1)]
    assert slots.given_back == [assignment(1)[0]]
    assert given(slots) == {b"w": [2]}


def test_a_later_attempt_of_what_was_asked_back_stays() -> None:
    slots = stuck(b"v", b"w", tasks=2)
    slots.revoke([assignment(1)[0]])
    slots.take([assignment(1, attempt=2)], 0.0)
    slots.take_back(b"v", 1, 2.0)
    slots.take_back(b"v", 1, 3.0)
    assert slots.given_back == []
    assert held(slots) == {0: 1, 1: 2}


@pytest.mark.parametrize("begun_later", [3, 4])
def test_what_a_worker_runs_is_kept_though_those_before_it_are_not_answered(begun_later: int) -> None:
    slots = stuck(b"v")
    ids = [assignment(number)[0] for number in range(6)]
    assert slots.revoke(ids) == ((), (ids[0],))
    slots.take_back(b"v", 3, 2.0)
    assert slots.revoke(ids) == ((), (ids[0],)), "it may have been about to look, and pass over the third"
    slots.take_back(b"v", begun_later, 2.0 + TAKE_BACK_S)
    assert slots.given_back == ids[begun_later:]
    assert slots.revoke(ids) == ((), tuple(ids[:3] if begun_later == 3 else ids[:1]))


def test_a_worker_may_say_that_it_has_begun_any_number() -> None:
    slots = stuck(b"v")
    for now in (2.0, 3.0):
        slots.take_back(b"v", (1 << 64) - 1, now)
    assert slots.worker_lost(b"v", (1 << 64) - 1) == [(assignment(number)[0], 1) for number in range(6)]


def test_what_a_worker_may_pass_over_is_not_called_begun() -> None:
    slots = stuck(b"v")
    slots.take_back(b"v", 1, 2.0)
    slots.done(b"v", [outcome(0)], 2.0)
    assert slots.revoke([assignment(1)[0]]) == ((), ())


def came_to_the_second(tasks: int) -> Slots:
    """A worker ends its first task and comes to its second, of ``tasks``, in the moment in which it is told to begin
    none. It has begun it, or passes over it. The leader asks for it."""
    slots = stuck(b"v", tasks=tasks)
    slots.stuck.clear()
    assert slots.take_back(b"v", 1, 2.0) == tasks
    assert slots.done(b"v", [outcome(0)], 2.0) == [outcome(0)]
    assert slots.revoke([assignment(1)[0]]) == ((), ())
    slots.review(2.05)
    assert slots.revoke([assignment(1)[0]]) == ((), ()), "that it has passed over it may be on its way"
    return slots


@pytest.mark.parametrize("tasks", [2, 3])
def test_what_a_worker_has_come_to_as_it_was_told_to_begin_none_is_kept_once_it_is_not_passed_over(tasks: int) -> None:
    slots = came_to_the_second(tasks)
    asked = [assignment(1)[0]]
    slots.review(2.05 + OVERRUN_S)
    assert slots.stuck == [b"v"]
    slots.take_back(b"v", 1, 2.05 + OVERRUN_S)
    assert slots.revoke(asked) == ((), ()), "it has not come to it"
    slots.stuck.clear()
    slots.review(2.1 + OVERRUN_S)
    assert slots.stuck == [b"v"]
    slots.take_back(b"v", 2, 2.1 + OVERRUN_S)
    assert slots.revoke(asked) == ((), tuple(asked))
    slots.stuck.clear()
    slots.review(3.0)
    assert slots.stuck == [], "nothing is left to be found out"
    assert slots.done(b"v", [outcome(1)], 3.0) == [outcome(1)]
    assert (slots.given_back, slots.accused, slots.workers[b"v"].asked_back) == ([], {}, set())


def test_what_was_called_kept_and_is_passed_over_after_all_is_given_back_and_begun_by_nobody() -> None:
    slots = came_to_the_second(2)
    slots.review(2.05 + OVERRUN_S)
    slots.take_back(b"v", 2, 2.05 + OVERRUN_S)
    assert slots.revoke([assignment(1)[0]]) == ((), (assignment(1)[0],))
    assert slots.done(b"v", [outcome(1, end=TaskEnd.CANCELLED)], 9.0) == []
    assert slots.given_back == [assignment(1)[0]]
    assert (slots.accused, given(slots), held(slots)) == ({}, {}, {0: 1})
    slots.take([assignment(2)], 0.0)
    assert given(slots) == {b"v": [2]}


def test_what_another_worker_has_ended_is_reported_once_more_though_the_one_that_is_stuck_still_has_it() -> None:
    slots = stuck(b"v", b"w", tasks=2)
    assert slots.take_back(b"v", 1, 0.2) == 2
    slots.take_back(b"v", 1, 0.2 + TAKE_BACK_S)
    assert given(slots) == {b"w": [1]}
    slots.held.report(slots.done(b"w", [outcome(1)], 1.0))
    assert slots.take([assignment(1)], 0.0) == [outcome(1)]


def test_what_a_worker_passes_over_before_that_was_sure_waits_again_in_front() -> None:
    slots = stuck(b"v", b"w", tasks=2)
    assert slots.take_back(b"v", 1, 2.0) == 2
    slots.done(b"v", [outcome(0), outcome(1, end=TaskEnd.CANCELLED)], 1.0)
    assert given(slots) == {b"v": [1]}
    assert slots.accused == {}


def test_a_worker_that_is_stuck_gets_no_more_until_it_has_answered_for_all_that_was_taken_back() -> None:
    slots = stuck(b"v", tasks=3)
    slots.take([assignment(3)], 0.0)
    assert given(slots) == {}
    slots.take_back(b"v", 1, 2.0)
    slots.take_back(b"v", 1, 3.0)
    slots.done(b"v", [outcome(0)], 1.0)
    assert given(slots) == {}
    slots.done(b"v", [outcome(number, end=TaskEnd.CANCELLED) for number in (1, 2)], 1.0)
    assert given(slots) == {b"v": [1]}


def test_a_worker_that_stands_still_before_its_first_task_is_not_told_to_pass_over_it() -> None:
    slots = stuck(b"v", b"w")
    assert slots.take_back(b"v", 0, 2.0) == 0
    assert slots.take_back(b"v", 0, 3.0) == 0
    assert given(slots) == {}


def test_what_was_taken_back_from_a_worker_that_dies_neither_waits_twice_nor_loses_an_attempt() -> None:
    slots = stuck(b"v", b"w")
    slots.take_back(b"v", 1, 2.0)
    slots.take_back(b"v", 1, 3.0)
    assert slots.worker_lost(b"v", begun=1) == [(assignment(0)[0], 1)]
    assert given(slots) == {b"w": [1]}
    assert [each[0] for each in slots.queue] == [assignment(number)[0] for number in (2, 3, 4, 5)]
    slots = stuck(b"v", b"w")
    slots.take_back(b"v", 1, 2.0)
    slots.take_back(b"v", 1, 3.0)
    assert slots.worker_lost(b"v", begun=3) == [(assignment(0)[0], 1)], "the last two of these it passed over"


def test_a_worker_that_cleans_up_behind_a_task_gives_back_what_it_has_and_gets_nothing_until_it_has_answered() -> None:
    slots = batched(3, workers=(b"v", b"w"))
    assert slots.cleans_up(b"v", [outcome(0)], 1.0) == [outcome(0)]
    assert (slots.running_tasks, slots.executed) == (2, 1)
    slots.review(1.0)
    slots.review(1.0 + OVERRUN_S)
    assert slots.stuck == [b"v"]
    assert slots.take_back(b"v", 1, 1.2) == 3
    assert slots.take_back(b"v", 1, 1.2 + TAKE_BACK_S) == 0
    for number in (1, 2):
        assert given(slots) == {b"w": [number]}, "each may leave as much"
        slots.done(b"w", [outcome(number)], 1.3)
    slots.worker_lost(b"w")
    slots.take([assignment(3)], 0.0)
    assert given(slots) == {}
    passed_over = [outcome(number, end=TaskEnd.CANCELLED) for number in range(3)]
    assert slots.done(b"v", passed_over[:1], 1.4) == []
    assert given(slots) == {}, "it has yet to pass over two"
    assert slots.done(b"v", passed_over[1:], 1.4) == []
    assert given(slots) == {b"v": [3]}
    assert (slots.accused, slots.workers[b"v"].cost_us) == ({}, slots.durations.cost_us("add"))


def test_what_a_worker_has_not_begun_loses_no_attempt_if_what_it_cleans_up_ends_it() -> None:
    slots = batched(3, workers=(b"v", b"w"))
    slots.cleans_up(b"v", [outcome(0)], 1.0)
    assert slots.worker_lost(b"v", begun=1) == []
    assert given(slots) == {b"w": [1, 2]}


def test_a_worker_that_is_blocked_by_what_a_task_has_left_is_named_once() -> None:
    slots = batched(1)
    slots.cleans_up(b"v", [outcome(0)], 1.0)
    for now in (1.0, 1.5, 0.9 + CLEAN_UP_S):
        slots.review(now)
    assert slots.blocked == {}
    slots.review(1.0 + CLEAN_UP_S)
    assert (slots.blocked.popitem(), slots.stuck) == ((b"v", "add"), [b"v"])
    slots.review(9.0)
    assert slots.blocked == {}


def test_nobody_answers_twice_for_a_task_behind_which_its_worker_cleans_up_nor_for_one_that_was_taken_back() -> None:
    for task in (0, 1):
        slots = batched(2)
        assert slots.cleans_up(b"v", [outcome(0)], 1.0) == [outcome(0)]
        slots.take_back(b"v", 1, 1.2)
        slots.take_back(b"v", 1, 1.2 + TAKE_BACK_S)
        assert slots.done(b"v", [outcome(task)], 1.3) == []
        assert slots.accused[b"v"] == "it answered for a task that it was not given"


def test_a_worker_cleans_up_behind_no_task_but_its_own() -> None:
    slots = batched(2)
    slots.cleans_up(b"v", [], 1.0)
    slots.cleans_up(b"v", [outcome(0), outcome(9)], 1.0)
    assert slots.accused[b"v"] == "it answered for a task that it was not given"
    assert (slots.workers[b"v"].cleaning_up, slots.workers[b"v"].given) == ("", 2)


def test_a_worker_that_passes_over_what_it_was_not_told_to_is_accused() -> None:
    slots = slots_of(b"v")
    slots.take([assignment(0)], 0.0)
    slots.assign(0.0)
    assert slots.done(b"v", [outcome(0, end=TaskEnd.CANCELLED)], 1.0) == []
    assert list(slots.accused) == [b"v"]


def test_a_node_that_keeps_as_many_bytes_of_outcomes_as_it_may_begins_nothing_until_some_are_recorded() -> None:
    slots = slots_of(b"w")
    payload = bytes(UNRECORDED_BYTES // 16)
    for number in range(16):
        slots.held.report([(number.to_bytes(16, "big"), 1, int(TaskEnd.SUCCEEDED), payload, 10)])
    slots.take((assignment(100),), 0.0)
    assert slots.assign(0.0) == []
    slots.held.recorded(slots.held.unrecorded[0].seq)
    assert given(slots) == {b"w": [100]}


def test_a_worker_is_given_nothing_that_it_can_not_run_while_another_can() -> None:
    """As while the modules of a node are reloaded."""
    slots = slots_of(b"v")
    slots.worker_ready(b"w", ("add", "new"))
    slots.take([assignment(1, name="new"), assignment(2), assignment(3)], 0.0)
    assert given(slots) == {b"v": [2], b"w": [1]}


def test_what_one_worker_can_not_run_keeps_no_other_from_a_worker_that_is_free() -> None:
    slots = slots_of(b"v")
    slots.take([assignment(1)], 0.0)
    assert given(slots) == {b"v": [1]}, "which lasts"
    slots.worker_ready(b"w", ("new",))
    slots.take([assignment(2), assignment(3, name="new"), assignment(4), assignment(5, name="new")], 0.0)
    assert given(slots) == {b"w": [3]}
    slots.done(b"w", (outcome(3),), 1.0)
    assert given(slots)[b"w"] == [5]
    assert [task[0][-1] for task in slots.queue] == [2, 4], "in their order"


def test_what_only_a_worker_that_leaves_could_run_is_given_back_and_taken_no_more() -> None:
    """However long that worker still runs what it has."""
    slots = slots_of(b"v")
    slots.durations.observe("add", 10)
    slots.take([assignment(1), assignment(2)], 0.0)
    assert given(slots) == {b"v": [1, 2]}
    slots.worker_ready(b"w", ("new",))
    slots.take([assignment(3), assignment(4)], 0.0)
    slots.leave(b"v", "its modules are old")
    assert slots.names() == ("new",)
    assert [task_id[-1] for task_id in slots.given_back] == [3, 4]
    assert held(slots) == {1: 1, 2: 1}
    slots.given_back.clear()
    slots.take([assignment(5), assignment(6, name="new")], 0.0)
    assert slots.has_dropped
    assert given(slots) == {b"w": [6]}
    assert slots.worker_lost(b"v", begun=1) == [(assignment(1)[0], 1)]
    assert [task_id[-1] for task_id in slots.given_back] == [2], "which it had not begun, and nobody else can run"
    assert held(slots) == {1: 1, 6: 1}
    slots.worker_ready(b"x", ("add", "new"))
    slots.take([assignment(7)], 0.0)
    assert given(slots) == {b"x": [7]}, "as there is a worker for it again"
