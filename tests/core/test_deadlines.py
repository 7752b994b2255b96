"""What is due first is known at any time, also while the wall clock is set."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.core.deadlines import (
    BEAT,
    CONSENSUS,
    HELLO,
    NEVER_MS,
    REVIEW,
    SLICE_MOMENTS,
    SORTED_OUT_AT_ONCE,
    STALE_AT_ONCE,
    STALE_MOMENTS,
    Deadlines,
    Moments,
)
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.reports.questions import QUESTIONS
from paceline.core.settings import Settings
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import encode_calls
from paceline_protocol.messages.client import Hello, Submit

NAMES = (CONSENSUS, HELLO, REVIEW, BEAT)
SINCE_1970_S = 1.7e9


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([-inf, 0.0, 1.0, 1.5, 2.0, inf]))))
def test_the_next_deadline_is_the_earliest_of_all_that_were_set_last(steps: list[tuple[int, float]]) -> None:
    deadlines, expected = Deadlines(WallClock()), dict.fromkeys(NAMES, inf)
    for which, at in steps:
        deadlines.set(which, at)
        expected[which] = at
        assert deadlines.next() == min(expected.values())
        assert deadlines.is_any_due(1.0) == (deadlines.next() <= 1.0)
        assert all(deadlines.is_due(name, 1.0) == (expected[name] <= 1.0) for name in NAMES)


task_ids = st.sampled_from([bytes([number]) * 16 for number in range(5)])


@given(st.lists(st.tuples(task_ids, st.none() | st.integers(0, 9))), st.integers(0, 9))
def test_moments_are_those_that_were_set_last_and_are_taken_in_their_order(
    steps: list[tuple[bytes, int | None]], until: int
) -> None:
    moments, expected = Moments(), dict[bytes, int]()
    for task_id, ms in steps:
        if ms is None:
            moments.drop(task_id)
            expected.pop(task_id, None)
        else:
            moments.set(task_id, ms)
            expected[task_id] = ms
        assert len(moments) == len(expected)
        assert moments.earliest_ms <= min(expected.values(), default=NEVER_MS)
    reached = moments.take_reached(WallClock(), until / 1_000)
    assert set(reached) == {task_id for task_id, ms in expected.items() if ms <= until}
    assert [expected[task_id] for task_id in reached] == sorted(expected[task_id] for task_id in reached)
    assert len(moments) == len(expected) - len(reached)
    assert moments.earliest_ms > until


def kept(moments: Moments) -> int:
    """How many moments there are, those among them that were moved or dropped."""
    return len(moments._heap) + len(moments._unsorted)


def test_thousands_of_moments_that_are_set_moved_and_dropped_are_met_in_their_order_and_take_little_more_room() -> None:
    rng, moments, expected, clock = Random(3), Moments(), dict[bytes, int](), WallClock()
    most = 0
    for step in range(40_000):
        task_id = rng.randrange(3_000).to_bytes(16, "big")
        if rng.random() < (0.7 if step % 10_000 < 5_000 else 0.2):
            expected[task_id] = ms = rng.randrange(step, step + 50_000)
            moments.set(task_id, ms)
        else:
            expected.pop(task_id, None)
            moments.drop(task_id)
        most = max(most, len(expected))
        assert kept(moments) <= 3 * most + 2 * STALE_MOMENTS
        if step % 100 == 0:
            reached = moments.take_reached(clock, step / 1_000)
            assert [expected[task_id] for task_id in reached] == sorted(ms for ms in expected.values() if ms <= step)
            for task_id in reached:
                del expected[task_id]
            assert moments.earliest_ms > step
            assert moments.earliest_ms <= min(expected.values(), default=NEVER_MS)
        assert len(moments) == len(expected)


@pytest.mark.parametrize("order", ["the front last", "the front first", "any"])
def test_no_end_of_a_task_looks_at_more_than_a_few_moments_of_others(order: str) -> None:
    moments = Moments()
    ids = [number.to_bytes(16, "big") for number in range(200_000)]
    for number, task_id in enumerate(ids):
        moments.set(task_id, 1 + number)
    any_order = Random(1).sample(ids, len(ids))
    leaving = {"the front last": [*ids[1:100_000], ids[0]], "the front first": ids, "any": any_order}
    for task_id in leaving[order]:
        before = kept(moments)
        moments.drop(task_id)
        assert before - kept(moments) <= SORTED_OUT_AT_ONCE + STALE_AT_ONCE
    before = kept(moments)
    moments.take_reached(WallClock(), 1e6)
    assert before - kept(moments) <= SLICE_MOMENTS


def test_a_moment_that_was_dropped_wakes_the_node_in_vain_once_at_most() -> None:
    moments, clock = Moments(), WallClock()
    ids = [number.to_bytes(16, "big") for number in range(50)]
    for number, task_id in enumerate(ids):
        moments.set(task_id, 1 + number)
    for task_id in reversed(ids[:-1]):
        moments.drop(task_id)
    assert moments.earliest_ms < 50
    assert moments.take_reached(clock, 0.049) == []
    assert moments.earliest_ms == 50


def test_moments_that_are_moved_again_and_again_take_no_more_room_than_a_few() -> None:
    moments = Moments()
    for ms in range(10_000):
        moments.set(b"i" * 16, 1_000_000 + ms)
        assert kept(moments) <= 2 * STALE_MOMENTS
    moments.clear()
    assert (len(moments), moments.earliest_ms) == (0, NEVER_MS)


@pytest.mark.parametrize("others", [(), (1_000_001,), (1_000_001, 1_000_002)])
def test_a_moment_that_is_set_again_and_again_to_what_it_was_takes_no_more_room_than_a_few(
    others: tuple[int, ...],
) -> None:
    moments = Moments()
    for number in range(10_000):
        moments.set(b"i" * 16, (1_000_000, *others)[number % (1 + len(others))])
        assert kept(moments) <= 3 * STALE_MOMENTS
    assert moments.take_reached(WallClock(), 1e6) == [b"i" * 16]
    assert kept(moments) == 0


def leading(now: float) -> NodeCore:
    node = NodeCore(
        Settings(cluster_name="test"),
        Identity("a", incarnation=1),
        address="a:1",
        spare_cluster_id="cluster-a",
        random=Random(1),
        now=now,
        durable_at_once=True,
        questions=QUESTIONS,
    )
    node.on_wall_clock(SINCE_1970_S)
    while node.leader is None:
        now = settle(node, max(now, node.next_deadline()))
    return node


def settle(node: NodeCore, now: float) -> float:
    node.tick(now)
    while node.effects_due(now):
        node.take_effects(now)
    return now


def test_a_node_waits_for_the_moment_of_a_task_by_the_clock_as_it_stands() -> None:
    node = leading(0.0)
    now = settle(node, 10.0)
    moments, clock = node._deadlines.moments, node._clock
    node.on_client(b"c", Hello(b"c" * 16, "test"), now)
    call = (b"i" * 16, "add", 4, b"", {"not_before": clock.ms(now + 3_600.0)})
    node.on_client(b"c", Submit(1, 0, encode_calls([call]), prompt=True), now)
    settle(node, now)
    before = node.next_deadline()
    assert node.next_deadline() == before, "there is a heartbeat before that"
    node.on_wall_clock(SINCE_1970_S + 3_600.0 - (before - now) / 2)
    assert now < node.next_deadline() < before
    assert not node.effects_due(now)
    node.tick(now)
    assert not node.effects_due(now), "it is not reached"
    node.on_wall_clock(SINCE_1970_S)
    assert node.next_deadline() == before, "the clock was set back again"
    node.on_wall_clock(SINCE_1970_S + 7_200.0)
    assert node.next_deadline() <= now
    node.tick(now)
    assert node.effects_due(now), "the task may run"
    assert len(moments) == 0
    settle(node, now)
    assert node.next_deadline() > now


def test_the_moments_of_a_term_end_with_it() -> None:
    node = leading(0.0)
    node._deadlines.moments.set(b"i" * 16, 1)
    node.consensus._become_follower(node.consensus.term, "")
    node.role.review(1.0)
    assert len(node._deadlines.moments) == 0
