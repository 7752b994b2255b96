"""Calls that are handed to their function together, on one node: a worker has them and nothing else, all of them have
begun once one has, and how each ends is its own."""

from __future__ import annotations

from math import inf
from typing import Any

from paceline.core.settings import Settings
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.slots import Slots
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline.core.work.worker_slot import OVERRUN_S, TAKE_BACK_S
from paceline_protocol.limits import BATCHED_BYTES
from paceline_protocol.messages.records import AT_MOST_ONCE, MAY_RETRY, Assignment, Options, Outcome, TaskEnd
from paceline_protocol.messages.work import Beat, Enrol


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def call(number: int, batch: int = 3, attempt: int = 1, args: bytes = b"", **options: Any) -> Assignment:
    return tid(number), attempt, "embed", args, {"batch": batch, **options}


def plain(number: int, options: Options | None = None) -> Assignment:
    return tid(number), 1, "add", b"", options


def ended(number: int, end: int = TaskEnd.SUCCEEDED, attempt: int = 1) -> Outcome:
    return tid(number), attempt, int(end), b"", 10


def slots_of(*workers: bytes, max_tasks: int = 0) -> Slots:
    slots = Slots(worker_max_tasks=max_tasks)
    for worker in workers:
        slots.worker_ready(worker, ("add", "embed"))
    for _ in range(20):
        slots.durations.observe("add", 10)  # known to be short
        slots.durations.observe("embed", 10)
    return slots


def given(slots: Slots, now: float = 0.0) -> dict[bytes, list[int]]:
    return {worker: [int.from_bytes(each[0], "big") for each in tasks] for worker, tasks in slots.assign(now)}


def test_they_have_a_worker_for_themselves_and_no_more_than_may_go_together() -> None:
    slots = slots_of(b"v")
    slots.take([plain(0), *[call(number) for number in range(1, 6)], plain(6)], 0.0)
    assert given(slots) == {b"v": [0]}
    assert given(slots) == {}
    slots.done(b"v", [ended(0)], 0.1)
    assert given(slots) == {b"v": [1, 2, 3]}
    assert given(slots) == {}
    slots.done(b"v", [ended(1), ended(2)], 0.2)
    assert given(slots) == {}
    slots.done(b"v", [ended(3)], 0.2)
    assert given(slots) == {b"v": [4, 5]}
    slots.done(b"v", [ended(4), ended(5)], 0.3)
    assert given(slots) == {b"v": [6]}


def test_those_of_other_options_names_and_those_that_run_alone_do_not_go_with_them() -> None:
    slots = slots_of(b"v")
    others = [call(3, time_limit=5_000), call(4, alone=1), call(5, alone=1), (tid(6), 1, "add", b"", {"batch": 3})]
    slots.take([call(1), call(2, deadline=10**13, time_left=60_000, trace=1), *others], 0.0)
    for together in ([1, 2], [3], [4], [5], [6]):
        assert given(slots) == {b"v": together}
        slots.done(b"v", [ended(number) for number in together], 0.1)


def test_their_arguments_are_bounded_and_so_is_what_a_worker_may_run() -> None:
    slots = slots_of(b"v")
    slots.take([call(number, 8, args=bytes(BATCHED_BYTES // 2)) for number in range(3)], 0.0)
    assert given(slots) == {b"v": [0, 1]}
    slots = slots_of(b"v", max_tasks=2)
    slots.take([call(number, 8) for number in range(3)], 0.0)
    assert given(slots) == {b"v": [0, 1]}
    assert slots.leaving


def test_all_of_them_have_begun_once_one_has_and_none_is_taken_back() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([call(number) for number in range(3)], 0.0)
    assert given(slots) == {b"v": [0, 1, 2]}
    assert slots.revoke([tid(number) for number in range(3)]) == ((), (tid(0), tid(1), tid(2)))
    now = 0.0
    for _ in range(5):
        slots.review(now)
        for worker_id in slots.stuck:
            slots.take_back(worker_id, 3, now)
        slots.stuck.clear()
        now += OVERRUN_S + TAKE_BACK_S
    assert (given(slots, now), slots.waiting) == ({}, 0)
    assert slots.done(b"v", [ended(number) for number in range(3)], now) == [ended(number) for number in range(3)]
    assert not slots.accused


def test_a_worker_that_dies_loses_an_attempt_of_each() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([call(number) for number in range(3)], 0.0)
    given(slots)
    assert slots.worker_lost(b"v", begun=3) == [(tid(0), 1), (tid(1), 1), (tid(2), 1)]


def linked(*calls: Assignment, now: float = 0.0) -> LeaderLink:
    link = LeaderLink(Settings(cluster_name="test"), 1, own_id="b")
    for worker in (b"v", b"w"):
        link.worker_ready(worker, ("embed",))
    link.on_beat("a", Beat(1, 0, 0, 0), now)
    link.slots.take(calls, now)
    link.assign(now)
    link.outbox.clear()
    return link


def reported(link: LeaderLink) -> dict[int, int]:
    found = [outcome for each in link.outbox if isinstance(each, UnrecordedBatch) for outcome in each.items]
    return {int.from_bytes(each[0], "big"): each[2] for each in found}


def killed(link: LeaderLink, now: float) -> list[bytes]:
    over = [worker for worker, _ in link.slots.take_over_limit(now)]
    for worker in over:
        link.worker_lost(worker, "it was killed", now + 0.01, begun=3)
    return over


def test_their_time_limit_is_one_for_the_call_and_ends_all_of_them() -> None:
    link = linked(*[call(number, time_limit=500) for number in range(3)])
    assert killed(link, 0.499) == []
    assert killed(link, 0.5) == [b"v"]
    assert reported(link) == dict.fromkeys(range(3), TaskEnd.TIMED_OUT)
    assert link.slots.limits.next_at == inf
    retried = linked(*[call(number, time_limit=500, retries=1) for number in range(2)])
    killed(retried, 0.5)
    assert reported(retried) == {0: MAY_RETRY, 1: MAY_RETRY}


def test_a_deadline_is_of_one_call_and_the_others_begin_again_as_the_same_attempt() -> None:
    link = linked(call(0, time_left=500, deadline=5), call(1), call(2, time_left=60_000, deadline=9))
    assert killed(link, 0.5) == [b"v"]
    assert reported(link) == {0: TaskEnd.TIMED_OUT}
    assert [
        (worker, [(int.from_bytes(each[0], "big"), each[1]) for each in tasks]) for worker, tasks in link.assign(0.6)
    ] == [(b"w", [(1, 1), (2, 1)])]


def test_those_that_start_once_are_lost_with_the_deadline_of_another() -> None:
    once = {"delivery": AT_MOST_ONCE}
    link = linked(call(0, time_left=500, deadline=5, **once), call(1, **once))
    killed(link, 0.5)
    assert reported(link) == {0: TaskEnd.TIMED_OUT, 1: TaskEnd.LOST}


def test_one_whose_deadline_is_reached_before_it_begins_is_given_back_and_the_others_go() -> None:
    link = linked(call(0, time_left=500), call(1), now=0.0)
    slots = slots_of(b"v")
    slots.take([call(0, time_left=500), call(1), call(2, time_left=500)], 0.0)
    assert given(slots, 0.6) == {b"v": [1]}
    assert slots.given_back == [tid(0), tid(2)]
    late = slots_of(b"v")
    late.take([call(0, time_left=500), plain(1)], 0.0)
    assert (given(late, 0.6), late.given_back) == ({b"v": [1]}, [tid(0)])
    assert link.slots.running_tasks == 2


def test_each_that_is_to_stop_is_asked_and_ends_as_its_worker_says() -> None:
    slots = slots_of(b"v")
    slots.take([call(number) for number in range(3)], 0.0)
    given(slots)
    assert slots.stop([(tid(1), 1), (tid(2), 1)], 0.0) == ((), (tid(1), tid(2)))
    assert sorted(slots.to_stop) == [(b"v", 2), (b"v", 3)]
    known = slots.done(b"v", [ended(0), ended(1, TaskEnd.CANCELLED), ended(2)], 0.1)
    assert [each[2] for each in known] == [TaskEnd.SUCCEEDED, TaskEnd.CANCELLED, TaskEnd.SUCCEEDED]
    assert not slots.accused


def test_a_new_leader_is_told_of_each() -> None:
    link = linked(*[call(number) for number in range(3)])
    link.on_beat("c", Beat(2, 0, 0, 0), 0.1)
    assert [each.slots for each in link.outbox if isinstance(each, Enrol)] or link.outbox
    assert dict(link.slots.held.account()) == {tid(number): 1 for number in range(3)}
