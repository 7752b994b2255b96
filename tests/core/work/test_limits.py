"""Tasks with a time limit on one node: their workers are named once they are over it, and no other task with them."""

from __future__ import annotations

from math import inf

import pytest

from paceline.client.future import error_of
from paceline.core.settings import Settings
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.limits import ERROR_NAMES
from paceline.core.work.slots import Slots
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline.errors import TaskTimedOut
from paceline_protocol.codec import decode_failed_attempt, encode_failed_attempt
from paceline_protocol.forms import qualified_name
from paceline_protocol.messages.records import MAY_RETRY, Assignment, Options, Outcome, TaskEnd
from paceline_protocol.messages.work import Beat, Enrol, Revoked
from paceline_protocol.payload import unpack_error

LIMITED: Options = {"time_limit": 2_000}


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def task(number: int, options: Options | None = None, name: str = "add") -> Assignment:
    return tid(number), 1, name, b"", options


def slots_of(*workers: bytes) -> Slots:
    slots = Slots()
    for worker in workers:
        slots.worker_ready(worker, ("add",))
    for _ in range(20):
        slots.durations.observe("add", 10)  # it is known to be short
    return slots


def given(slots: Slots, now: float) -> dict[bytes, list[int]]:
    return {worker: [int.from_bytes(each[0], "big") for each in tasks] for worker, tasks in slots.assign(now)}


def test_a_task_with_a_limit_has_its_worker_for_itself() -> None:
    slots = slots_of(b"v")
    slots.take([task(1), task(2, LIMITED), task(3)], 0.0)
    assert given(slots, 0.0) == {b"v": [1]}
    assert given(slots, 0.0) == {}
    slots.done(b"v", [(tid(1), 1, TaskEnd.SUCCEEDED, b"", 10)], 0.1)
    assert given(slots, 0.1) == {b"v": [2]}
    assert given(slots, 0.1) == {}
    slots.done(b"v", [(tid(2), 1, TaskEnd.SUCCEEDED, b"", 10)], 0.2)
    assert (given(slots, 0.2), bool(slots.limits), slots.limits.next_at) == ({b"v": [3]}, False, inf)


def test_it_is_over_after_so_long_and_once() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([task(1, LIMITED), task(2, {"time_limit": 500})], 0.0)
    given(slots, 10.0)
    assert slots.limits.next_at == 10.5
    assert not slots.limits.is_over(10.499)
    ((_, over),) = slots.limits.take_over(10.5)
    assert (over.task_id, over.limit_ms) == (tid(2), 500)
    assert (slots.limits.take_over(10.6), slots.limits.next_at) == ([], 12.0)


def linked(options: Options) -> LeaderLink:
    link = LeaderLink(Settings(cluster_name="test"), 1, own_id="b")
    link.worker_ready(b"v", ("add",))
    link.on_beat("a", Beat(1, 0, 0, 0), 0.0)
    link.slots.take([task(1, options)], 0.0)
    link.assign(0.0)
    link.outbox.clear()
    return link


def reported(link: LeaderLink) -> list[Outcome]:
    return [outcome for each in link.outbox if isinstance(each, UnrecordedBatch) for outcome in each.items]


def test_a_task_whose_worker_was_killed_for_it_has_timed_out_and_is_not_lost() -> None:
    link = linked(LIMITED)
    ((worker_id, _),) = link.slots.limits.take_over(2.0)
    link.worker_lost(worker_id, "signal 9", 2.5, begun=1)
    ((task_id, attempt, end, payload, ran_us),) = reported(link)
    assert (task_id, attempt, end, ran_us) == (tid(1), 1, TaskEnd.TIMED_OUT, 2_500_000)
    error = unpack_error(payload)
    assert (error.type_name, error.args) == ("TaskTimedOut", (2.0,))
    tally = link.slots.tally.by_name["add"]
    assert (tally.ended[TaskEnd.TIMED_OUT], tally.run_us) == (1, 2_500_000)


def test_what_it_had_answered_before_its_worker_died_counts() -> None:
    link = linked(LIMITED)
    ((worker_id, _),) = link.slots.limits.take_over(2.0)
    link.worker_done(worker_id, ((tid(1), 1, int(TaskEnd.SUCCEEDED), b"done", 5),), 2.0)
    link.worker_lost(worker_id, "signal 9", 2.01, begun=1)
    assert [outcome[2] for outcome in reported(link)] == [TaskEnd.SUCCEEDED]


def test_a_worker_that_dies_by_itself_has_lost_its_task_whatever_its_limit() -> None:
    link = linked(LIMITED)
    link.worker_lost(b"v", "signal 11", 1.0, begun=1)
    assert [outcome[2] for outcome in reported(link)] == [TaskEnd.LOST]
    assert not link.slots.limits


@pytest.mark.parametrize(
    ("asked", "end"),
    [
        ({"retries": 1}, MAY_RETRY),
        ({"retries": 1, "retry_on": "paceline.errors.TaskTimedOut"}, MAY_RETRY),
        ({"retries": 1, "retry_on": "OSError"}, TaskEnd.TIMED_OUT),
        ({"retries": 1, "dont_retry_on": "paceline.errors.TaskTimedOut"}, TaskEnd.TIMED_OUT),
    ],
)
def test_a_task_with_retries_is_tried_again_unless_it_names_other_exceptions(asked: Options, end: int) -> None:
    link = linked(LIMITED | asked)
    ((worker_id, _),) = link.slots.limits.take_over(2.0)
    link.worker_lost(worker_id, "signal 9", 2.0, begun=1)
    ((_, _, reported_end, payload, _),) = reported(link)
    assert reported_end == end
    if end == MAY_RETRY:
        assert decode_failed_attempt(payload)[2] == TaskEnd.TIMED_OUT


def test_the_exception_that_stands_for_it_is_known_by_the_names_of_its_class() -> None:
    assert set(map(qualified_name, TaskTimedOut.__mro__)) == ERROR_NAMES


def test_a_worker_that_is_being_killed_gets_nothing_whatever_it_still_answers() -> None:
    slots = slots_of(b"v")
    slots.take([task(1, LIMITED), task(2)], 0.0)
    given(slots, 0.0)
    slots.take_over_limit(2.0)
    slots.done(b"v", [(tid(1), 1, TaskEnd.SUCCEEDED, b"", 10)], 2.0)
    assert (given(slots, 2.0), slots.serving) == ({}, 0)
    slots.worker_ready(b"w", ("add",))
    assert given(slots, 2.0) == {b"w": [2]}
    assert slots.worker_lost(b"v", 1) == []


def test_a_worker_can_not_say_that_its_task_has_run_for_too_long() -> None:
    slots = slots_of(b"v")
    slots.take([task(1, {"retries": 1})], 0.0)
    given(slots, 0.0)
    late = encode_failed_attempt(("late", 0, int(TaskEnd.TIMED_OUT), b""))
    assert slots.done(b"v", [(tid(1), 1, MAY_RETRY, late, 5)], 1.0) == []
    assert b"v" in slots.accused


# --- deadlines ------------------------------------------------------------------------------------------------------

DEADLINE: Options = {"deadline": 1_700_000_002_000, "time_left": 2_000}
"""As the leader hands such a task out, two seconds before that moment."""


def test_the_time_until_a_deadline_goes_by_while_a_task_waits_at_its_node() -> None:
    slots = slots_of(b"v")
    slots.take([task(1, LIMITED), task(2, DEADLINE)], 10.0)
    given(slots, 10.0)
    slots.done(b"v", [(tid(1), 1, TaskEnd.SUCCEEDED, b"", 10)], 11.5)
    assert given(slots, 11.5) == {b"v": [2]}
    assert slots.limits.next_at == 12.0


@pytest.mark.parametrize(
    ("limit_ms", "over_at", "deadline"), [(500, 10.5, ""), (2_500, 12.0, "2023-11-14 22:13:22.000+00:00")]
)
def test_of_a_limit_and_a_deadline_whichever_is_earlier_counts(limit_ms: int, over_at: float, deadline: str) -> None:
    link = linked({"time_limit": 1})
    link.worker_done(b"v", ((tid(1), 1, int(TaskEnd.SUCCEEDED), b"", 5),), 9.0)
    link.slots.take([task(2, DEADLINE | {"time_limit": limit_ms})], 10.0)
    link.assign(10.0)
    link.outbox.clear()
    assert link.slots.limits.next_at == over_at
    ((worker_id, over),) = link.slots.limits.take_over(over_at)
    assert ("deadline" in over.why) == bool(deadline)
    link.worker_lost(worker_id, "signal 9", over_at, begun=2)
    ((_, _, end, payload, _),) = reported(link)
    late = error_of(end, payload)
    assert isinstance(late, TaskTimedOut)
    assert (late.deadline, late.limit_s) == (deadline, over_at - 10.0)
    assert ("its deadline" in str(late)) == bool(deadline)


def test_what_no_worker_has_by_its_deadline_goes_back_to_the_leader_and_costs_no_worker() -> None:
    """As all that waits at a node while there is no leader that asks for it."""
    link = linked({"time_limit": 1})
    link.worker_done(b"v", ((tid(1), 1, int(TaskEnd.SUCCEEDED), b"", 5),), 9.0)
    link.slots.take([*(task(number, DEADLINE) for number in range(2, 50)), task(50)], 10.0)
    link.outbox.clear()
    assert [(worker, [each[0] for each in tasks]) for worker, tasks in link.assign(12.0)] == [(b"v", [tid(50)])]
    late = tuple(tid(number) for number in range(2, 50))
    assert [each for each in link.outbox if isinstance(each, Revoked)] == [Revoked(1, late, ())]
    assert (link.slots.take_over_limit(60.0), len(link.slots.queue)) == ([], 0)
    assert link.slots.held.attempts.keys() - {tid(1)} == {tid(50)}
    link.on_beat("a", Beat(1, 0, 0, 0), 12.1)
    assert any(isinstance(each, Enrol) for each in link.outbox), "what the node has by now"
