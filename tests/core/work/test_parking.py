"""Tasks that wait for others, at their node: their slots are others', and what goes on asks nobody."""

from __future__ import annotations

from dataclasses import replace

from core.work.test_leader_link import FIRST, SETTINGS, said
from core.work.test_slots import assignment, given, outcome
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.slots import Slots
from paceline_protocol.messages.work import PARKED_LEVEL, Beat, NodeBeat, Parked


def task_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def slots_of(*workers: bytes, limit: int = 8) -> Slots:
    slots = Slots(max_parked=limit)
    for worker_id in workers:
        slots.worker_ready(worker_id, ("add",))
    return slots


def with_stand_ins(*workers: bytes, slots: int) -> Slots:
    found = slots_of(*workers)
    found.parking.slots = slots
    return found


def test_what_waits_has_its_slot_taken_by_the_next_task() -> None:
    slots = with_stand_ins(b"v", b"w", slots=1)
    slots.take([assignment(0), assignment(1), assignment(2)], 0.0)
    assert given(slots) == {b"v": [0]}, "there is one slot, however many workers"
    assert slots.waits(b"v", task_id(0), task_id(1), 0.0)
    assert given(slots) == {b"w": [1]}
    assert given(slots) == {}
    assert (slots.serving, slots.slots, slots.parking.count) == (1, 1, 1)


def test_what_is_waited_for_is_the_next_at_its_node() -> None:
    slots = with_stand_ins(b"v", b"w", slots=1)
    slots.take([assignment(0), assignment(1), assignment(2)], 0.0)
    given(slots)
    slots.waits(b"v", task_id(0), task_id(2), 0.0)
    assert given(slots) == {b"w": [2]}


def test_after_some_have_gone_on_none_is_begun_before_fewer_run_than_there_are_slots() -> None:
    slots = with_stand_ins(b"u", b"v", b"w", slots=1)
    slots.take([assignment(number) for number in range(3)], 0.0)
    given(slots)
    slots.waits(b"u", task_id(0), task_id(1), 0.0)
    given(slots)
    assert slots.goes_on(b"u", task_id(0))
    assert not slots.goes_on(b"u", task_id(0)), "once"
    assert given(slots) == {}, "two run, in one slot"
    slots.done(b"v", [outcome(1)], 0.0)
    assert given(slots) == {}, "one runs"
    slots.done(b"u", [outcome(0)], 0.0)
    assert list(given(slots).values()) == [[2]]


def test_stand_ins_are_lacked_once_tasks_wait_for_slots_that_were_given_back() -> None:
    slots = slots_of(b"v")
    slots.take([assignment(0)], 0.0)
    given(slots)
    slots.waits(b"v", task_id(0), task_id(1), 0.0)
    given(slots)
    assert not slots.lacks_stand_ins
    slots.take([assignment(1)], 0.0)
    assert given(slots) == {}
    assert slots.lacks_stand_ins


def test_past_the_limit_what_waits_keeps_its_slot_until_another_goes_on() -> None:
    slots = slots_of(b"v", b"w", limit=1)
    slots.take([assignment(0), assignment(1)], 0.0)
    given(slots)
    slots.waits(b"v", task_id(0), task_id(2), 0.0)
    slots.waits(b"w", task_id(1), task_id(3), 0.0)
    assert slots.parking.tasks == ((task_id(0), task_id(2)),)
    slots.goes_on(b"v", task_id(0))
    assert slots.parking.tasks == ((task_id(1), task_id(3)),)


def test_nothing_stands_behind_what_waits_however_short_it_was_to_be() -> None:
    slots = slots_of(b"v")
    slots.durations.observe("add", 10)
    slots.take([assignment(number) for number in range(3)], 0.0)
    assert given(slots) == {b"v": [0, 1, 2]}
    slots.waits(b"v", task_id(0), task_id(9), 1.0)
    assert slots.stuck == [b"v"], "the others are taken back, without a pause"
    slots.take([assignment(3)], 1.0)
    assert given(slots) == {}


def test_only_what_a_worker_runs_can_wait() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0)], 0.0)
    ((worker_id, _tasks),) = slots.assign(0.0)
    other = b"w" if worker_id == b"v" else b"v"
    assert not slots.waits(other, task_id(0), task_id(1), 0.0)
    assert not slots.waits(worker_id, task_id(5), task_id(1), 0.0)
    assert not slots.waits(b"nobody", task_id(0), task_id(1), 0.0)
    assert not slots.goes_on(other, task_id(0))
    assert slots.waits(worker_id, task_id(0), task_id(1), 0.0)
    assert not slots.waits(worker_id, task_id(0), task_id(1), 0.0), "it is known"


def test_a_worker_that_dies_waits_for_nothing() -> None:
    slots = slots_of(b"v", b"w")
    slots.take([assignment(0)], 0.0)
    ((worker_id, _tasks),) = slots.assign(0.0)
    slots.waits(worker_id, task_id(0), task_id(1), 0.0)
    assert slots.worker_lost(worker_id) == [(task_id(0), 1)]
    assert slots.parking.tasks == ()


def link_at(level: int) -> LeaderLink:
    link = LeaderLink(replace(SETTINGS, max_parked=8), 1)
    link.level_of = lambda node_id: level
    link.worker_ready(b"v", ("add",))
    link.on_beat("leader", Beat(1, 0, FIRST, FIRST), 0.0)
    link.slots.take([assignment(0)], 0.0)
    link.assign(0.0)
    said(link)
    return link


def test_a_leader_is_told_which_wait_and_with_each_beat_again() -> None:
    link = link_at(PARKED_LEVEL)
    link.on_beat("leader", Beat(1, 0, FIRST, FIRST), 0.0)
    assert not [each for each in said(link) if isinstance(each, Parked)], "there was none so far"
    link.worker_waits(b"v", task_id(0), task_id(1), 0.0)
    (told,) = said(link)
    assert told == Parked(1, FIRST + 1, ((task_id(0), task_id(1)),))
    link.worker_waits(b"v", task_id(0), task_id(1), 0.0)
    assert said(link) == []
    link.on_beat("leader", Beat(1, 0, FIRST, FIRST), 0.0)
    assert Parked(1, FIRST + 2, told.tasks) in said(link)
    link.worker_goes_on(b"v", task_id(0))
    assert said(link) == [Parked(1, FIRST + 3, ())]
    link.on_beat("leader", Beat(1, 0, FIRST, FIRST), 0.0)
    assert Parked(1, FIRST + 4, ()) in said(link), "the last one may be lost as well"


def test_an_older_leader_is_told_nothing_that_it_does_not_know() -> None:
    link = link_at(PARKED_LEVEL - 1)
    link.worker_waits(b"v", task_id(0), task_id(1), 0.0)
    link.on_beat("leader", Beat(1, 0, FIRST, FIRST), 0.0)
    assert {type(each) for each in said(link)} >= {NodeBeat}
    link.worker_goes_on(b"v", task_id(0))
    assert not [each for each in said(link) if isinstance(each, Parked)]
