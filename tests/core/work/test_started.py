"""A node says which tasks with rates have started: each once, when a worker that does nothing else is given it."""

from __future__ import annotations

from core.work.test_leader_link import FIRST, SETTINGS, said
from core.work.test_slots import assignment, given, outcome
from paceline.core.feature_levels import FEATURE_LEVEL
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.slots import Slots
from paceline_protocol.messages.records import Assignment, TaskEnd
from paceline_protocol.messages.work import Beat, Begun, Dispatch

RATED = {"rate": 7}


def rated(number: int, attempt: int = 1) -> Assignment:
    return number.to_bytes(16, "big"), attempt, "add", b"", RATED


def a_link(*workers: bytes, level: int = FEATURE_LEVEL) -> LeaderLink:
    link = LeaderLink(SETTINGS, 1)
    link.level_of = lambda _node_id: level
    for worker_id in workers:
        link.worker_ready(worker_id, ("add",))
    link.on_beat("leader", Beat(1, FIRST, 0, 0, 0), 0.0)
    link.outbox.clear()
    return link


def told(link: LeaderLink) -> list[tuple[int, int]]:
    messages = [each for each in said(link) if isinstance(each, Begun)]
    return [(int.from_bytes(task_id, "big"), seq) for each in messages for task_id, seq in each.tasks]


def test_the_leader_is_told_in_the_turn_in_which_a_worker_is_given_it_and_with_each_beat() -> None:
    link = a_link(b"w")
    link.on_dispatch("leader", Dispatch(1, FIRST + 1, (rated(1), rated(2), assignment(3))), 0.0)
    assert told(link) == []
    link.assign(0.0)
    assert told(link) == [(1, FIRST + 1)]
    link.assign(0.0)
    assert told(link) == []
    link.on_beat("leader", Beat(1, FIRST, FIRST + 1, 0, 0), 0.1)
    assert told(link) == [(1, FIRST + 1)]
    link.worker_done(b"w", (outcome(1),), 0.2)
    link.assign(0.2)
    assert told(link) == [(2, FIRST + 1)]


def test_the_next_leader_is_told_of_all_of_them() -> None:
    link = a_link(b"v", b"w")
    link.on_dispatch("leader", Dispatch(1, FIRST + 1, (rated(1), rated(2))), 0.0)
    link.assign(0.0)
    link.outbox.clear()
    link.on_beat("other", Beat(2, FIRST, 0, 0, 0), 0.5)
    assert told(link) == [(1, FIRST + 1), (2, FIRST + 1)]


def test_a_leader_that_does_not_know_rates_is_told_nothing() -> None:
    link = a_link(b"w", level=19)
    link.on_dispatch("leader", Dispatch(1, FIRST + 1, (rated(1),)), 0.0)
    link.assign(0.0)
    assert told(link) == []


def test_it_goes_to_a_worker_that_does_nothing_else_and_nothing_stands_behind_it() -> None:
    slots = Slots()
    slots.worker_ready(b"w", ("add",))
    slots.durations.observe("add", 1)
    slots.take([assignment(1), rated(2), assignment(3)], 0.0)
    assert given(slots) == {b"w": [1]}
    slots.done(b"w", [outcome(1)], 0.1)
    assert given(slots) == {b"w": [2]}
    slots.done(b"w", [outcome(2)], 0.2)
    assert given(slots) == {b"w": [3]}


def test_what_has_started_never_waits_here_again() -> None:
    slots = Slots(async_slots=8)
    slots.worker_ready(b"v", ("add",))
    slots.learn_async(("add",), ("add",))
    slots.take([rated(1), rated(2)], 0.0, 5)
    slots.worker_ready(b"w", ("add",))
    assert given(slots) == {b"w": [1, 2]}
    lost = slots.worker_lost(b"w", begun=1)
    assert lost == [(rated(1)[0], 1)]
    assert slots.given_back == [rated(2)[0]], "its worker may have begun it in that moment: the leader counts it anew"
    assert rated(2)[0] not in slots.held.attempts


def test_what_the_node_has_no_more_is_forgotten() -> None:
    link = a_link(b"w")
    link.on_dispatch("leader", Dispatch(1, FIRST + 1, (rated(1),)), 0.0)
    link.assign(0.0)
    link.worker_done(b"w", ((rated(1)[0], 1, TaskEnd.SUCCEEDED, b"", 5),), 0.1)
    link.on_beat("leader", Beat(1, FIRST, FIRST + 1, FIRST + 1, FIRST + 1), 0.2)
    assert not link.slots.starts
