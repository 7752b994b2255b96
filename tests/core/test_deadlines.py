"""What is due first is known at any time, also while the wall clock is set."""

from __future__ import annotations

from math import inf
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from paceline.core.deadlines import BEAT, CONSENSUS, HELLO, NEVER_MS, REVIEW, STALE_MOMENTS, Deadlines, Moments
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.reports.questions import QUESTIONS
from paceline.core.settings import Settings
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import encode_calls
from paceline_protocol.messages import Hello, Submit

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
        assert (len(moments), moments.earliest_ms) == (len(expected), min(expected.values(), default=NEVER_MS))
    reached = moments.take_reached(WallClock(), until / 1_000)
    assert set(reached) == {task_id for task_id, ms in expected.items() if ms <= until}
    assert [expected[task_id] for task_id in reached] == sorted(expected[task_id] for task_id in reached)
    assert len(moments) == len(expected) - len(reached)


def test_moments_that_are_moved_again_and_again_take_no_more_room_than_a_few() -> None:
    moments = Moments()
    for ms in range(10_000):
        moments.set(b"i" * 16, 1_000_000 + ms)
        assert len(moments._heap) <= STALE_MOMENTS + 2
    moments.clear()
    assert (len(moments), moments.earliest_ms) == (0, NEVER_MS)


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
