"""Attempts that a node is asked to stop: of which worker it asks that, and what counts as their end."""

from __future__ import annotations

from math import inf

import pytest

from core.work.test_limits import given, reported, slots_of, task, tid
from paceline.core.settings import Settings
from paceline.core.work.leader_link import LeaderLink
from paceline_protocol.cancelled import LOST, NOT_AGAIN, STOPPED
from paceline_protocol.codec import encode_failed_attempt
from paceline_protocol.messages.records import MAY_RETRY, Options, TaskEnd
from paceline_protocol.messages.work import Beat, Revoked, Stopping, StopTasks
from paceline_protocol.payload import unpack_error

FAILED_ATTEMPT = encode_failed_attempt(("OSError: no", 0, int(TaskEnd.FAILED), b"packed"))


def test_a_worker_is_asked_once_by_the_number_of_its_task() -> None:
    slots = slots_of(b"v")
    slots.take([task(1), task(2)], 0.0)
    given(slots, 0.0)
    slots.done(b"v", [(tid(1), 1, TaskEnd.SUCCEEDED, b"", 10)], 0.1)
    assert slots.stop([(tid(2), 1)], 0.1) == ((), (tid(2),))
    assert slots.to_stop == [(b"v", 2)]
    assert slots.stop([(tid(2), 1)], 0.2) == ((), (tid(2),))
    assert slots.to_stop == [(b"v", 2)]


def test_a_worker_is_asked_again_with_each_beat_until_its_task_has_ended() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([task(1), task(2)], 0.0)
    given(slots, 0.0)
    slots.stop([(tid(1), 1)], 0.1)
    for _ in range(2):
        (asked,) = slots.to_stop
        slots.to_stop.clear()
        slots.review(0.3)
        assert slots.to_stop == [asked]
    slots.to_stop.clear()
    slots.done(asked[0], [(tid(1), 1, TaskEnd.CANCELLED, STOPPED, 10)], 0.4)
    slots.review(0.5)
    assert slots.to_stop == []


def test_what_no_worker_has_is_given_back_and_what_stands_behind_another_is_in_neither() -> None:
    slots = slots_of(b"v")
    slots.take([task(1), task(2), task(3, {"time_limit": 2_000})], 0.0)
    given(slots, 0.0)
    assert slots.stop([(tid(2), 1), (tid(3), 1)], 0.0) == ((tid(3),), ())
    assert slots.to_stop == []


def test_an_attempt_before_it_is_not_asked() -> None:
    slots = slots_of(b"v")
    slots.take([(tid(1), 1, "add", b"", None)], 0.0)
    given(slots, 0.0)
    assert slots.stop([(tid(1), 2)], 0.0) == ((), ())
    assert slots.to_stop == []


def test_of_what_the_leader_counts_anew_the_attempt_is_asked_that_the_node_holds() -> None:
    slots = slots_of(b"v")
    slots.take([(tid(1), 2, "add", b"", None)], 0.0)
    given(slots, 0.0)
    assert slots.take([(tid(1), 1, "add", b"", None)], 0.0) == [], (
        "it was not logged, and its client submitted it again"
    )
    assert slots.stop([(tid(1), 1)], 0.0) == ((), (tid(1),))
    assert slots.to_stop == [(b"v", 1)]
    stopped = (tid(1), 2, int(TaskEnd.CANCELLED), STOPPED, 10)
    assert slots.done(b"v", [stopped], 0.1) == [stopped]


def test_a_worker_may_say_that_a_task_has_stopped_only_if_it_was_asked_to() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([task(1), task(2)], 0.0)
    given(slots, 0.0)
    slots.stop([(tid(1), 1)], 0.0)
    (asked,) = [worker for worker, slot in slots.workers.items() if slot.stopping]
    (other,) = slots.workers.keys() - {asked}
    stopped = (tid(1), 1, int(TaskEnd.CANCELLED), STOPPED, 10)
    assert slots.done(asked, [stopped], 0.1) == [stopped]
    assert slots.tally.by_name["add"].ended[TaskEnd.CANCELLED] == 1
    assert slots.done(other, [(tid(2), 1, int(TaskEnd.CANCELLED), STOPPED, 10)], 0.1) == []
    assert list(slots.accused) == [other]


def test_what_fails_though_it_was_asked_to_stop_has_failed_and_is_not_tried_again() -> None:
    slots = slots_of(b"v")
    slots.take([task(1, {"retries": 3}), task(2, {"retries": 3})], 0.0)
    given(slots, 0.0)
    slots.stop([(tid(1), 1)], 0.0)
    answers = [(tid(number), 1, MAY_RETRY, FAILED_ATTEMPT, 10) for number in (1, 2)]
    assert [outcome[2:4] for outcome in slots.done(b"v", answers, 0.1)] == [
        (TaskEnd.FAILED, b"packed"),
        (MAY_RETRY, FAILED_ATTEMPT),
    ]
    assert not slots.workers[b"v"].stopping


@pytest.mark.parametrize(("attempt", "how"), [(1, b""), (2, NOT_AGAIN)])
def test_what_its_worker_has_passed_over_may_have_run_before(attempt: int, how: bytes) -> None:
    slots = slots_of(b"v")
    slots.take([(tid(1), attempt, "add", b"", None)], 0.0)
    given(slots, 0.0)
    slots.stop([(tid(1), attempt)], 0.0)
    (outcome,) = slots.done(b"v", [(tid(1), attempt, int(TaskEnd.CANCELLED), b"", 0)], 0.1)
    assert outcome == (tid(1), attempt, TaskEnd.CANCELLED, how, 0)


def linked(options: Options | None) -> LeaderLink:
    """A node whose worker "v" runs task 1."""
    link = LeaderLink(Settings(cluster_name="test"), 1, own_id="b")
    link.worker_ready(b"v", ("add",))
    link.on_beat("a", Beat(1, 0, 0, 0), 0.0)
    link.slots.take([task(1, options)], 0.0)
    link.assign(0.0)
    link.outbox.clear()
    return link


def stop(link: LeaderLink, now: float) -> None:
    link.on_stop_tasks("a", StopTasks(1, ((tid(1), 1),)), now)


def test_the_leader_is_told_that_its_worker_is_asked_each_time() -> None:
    link = linked(None)
    stop(link, 1.0)
    stop(link, 2.0)
    assert link.outbox == [Stopping(1, (tid(1),))] * 2
    link.on_stop_tasks("a", StopTasks(0, ((tid(1), 1),)), 2.0)
    assert len(link.outbox) == 2, "of a deposed leader"


def test_what_waits_is_given_back_as_to_a_revoke() -> None:
    link = linked(None)
    link.slots.take([task(2)], 0.0)
    link.on_stop_tasks("a", StopTasks(1, ((tid(2), 1),)), 1.0)
    assert Revoked(1, (tid(2),), ()) in link.outbox


def test_after_its_grace_its_worker_is_killed_and_it_is_cancelled() -> None:
    link = linked({"cancel_grace": 2_000})
    limits = link.slots.limits
    assert limits.next_at == inf
    stop(link, 1.0)
    stop(link, 2.5)  # repeated, which makes it no longer
    assert (limits.next_at, limits.is_over(2.99), limits.is_over(3.0)) == (3.0, False, True)
    ((worker_id, over),) = link.slots.take_over_limit(3.0)
    assert over.why == "has not stopped 2 s after it was asked to, which is its cancel_grace"
    link.worker_lost(worker_id, "signal 9", 3.1, begun=1)
    ((_, _, end, payload, ran_us),) = reported(link)
    assert (end, ran_us) == (TaskEnd.CANCELLED, 3_100_000)
    assert unpack_error(payload).message == f"its worker was killed, as it {over.why}"


@pytest.mark.parametrize("options", [None, {"cancel_grace": 0}, {"cancel_raises": 1}])
def test_without_a_grace_it_may_go_on(options: Options | None) -> None:
    link = linked(options)
    stop(link, 1.0)
    assert (link.slots.limits.next_at, bool(link.slots.limits)) == (inf, False)


def test_what_ends_within_its_grace_is_not_killed() -> None:
    link = linked({"cancel_grace": 2_000})
    stop(link, 1.0)
    link.worker_done(b"v", ((tid(1), 1, int(TaskEnd.SUCCEEDED), b"done", 5),), 2.9)
    assert (link.slots.limits.next_at, link.slots.take_over_limit(3.0)) == (inf, [])
    assert [outcome[2] for outcome in reported(link)] == [TaskEnd.SUCCEEDED]


@pytest.mark.parametrize("retries", [0, 3])
def test_a_time_limit_that_is_over_before_is_what_it_ends_by_and_nothing_follows(retries: int) -> None:
    link = linked({"cancel_grace": 5_000, "time_limit": 2_000, "retries": retries})
    stop(link, 1.0)
    assert link.slots.limits.next_at == 2.0
    ((worker_id, _),) = link.slots.take_over_limit(2.0)
    link.worker_lost(worker_id, "signal 9", 2.0, begun=1)
    assert [outcome[2] for outcome in reported(link)] == [TaskEnd.TIMED_OUT]


def test_a_worker_that_dies_by_itself_was_asked_to_stop_and_its_task_is_not_lost() -> None:
    link = linked({"retries": 3})
    stop(link, 1.0)
    link.worker_lost(b"v", "signal 11", 1.5, begun=1)
    assert [outcome[2:4] for outcome in reported(link)] == [(TaskEnd.CANCELLED, LOST)]


def test_what_its_worker_had_not_begun_is_given_back_when_that_dies() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([task(1), task(2)], 0.0)
    assert len(given(slots, 0.0)[b"v"]) == 2
    slots.stop([(tid(1), 1), (tid(2), 1)], 0.0)
    assert slots.worker_lost(b"v", 1) == []
    assert slots.ended == [(tid(1), 1, TaskEnd.CANCELLED, LOST, 0)]
    assert slots.given_back == [tid(2)]


def test_a_task_with_a_grace_has_its_worker_for_itself() -> None:
    slots = slots_of(b"v")
    slots.take([task(1), task(2, {"cancel_grace": 1_000}), task(3)], 0.0)
    assert given(slots, 0.0) == {b"v": [1]}
    slots.done(b"v", [(tid(1), 1, TaskEnd.SUCCEEDED, b"", 10)], 0.1)
    assert given(slots, 0.1) == {b"v": [2]}
    assert given(slots, 0.1) == {}
