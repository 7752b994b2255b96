"""That a soak of schedules would notice: a moment that is left out, and one that runs twice."""

from __future__ import annotations

from soak.schedules import JudgedRuns, ScheduledRun, judge

A, B = b"a" * 16, b"b" * 16
EXPECTED = {A: ("often", 1_000), B: ("once", 2_000)}
BOTH = [ScheduledRun(A, 1.0), ScheduledRun(B, 2.0)]


def judged(*runs: ScheduledRun, kills_s: tuple[float, ...] = (), lost: frozenset[bytes] = frozenset()) -> JudgedRuns:
    return judge(EXPECTED, runs, kills_s, {"once"}, lost)


def test_each_moment_once_is_right() -> None:
    assert judged(*BOTH) == ([], [], 0, 0)


def test_a_moment_that_is_left_out_is_found() -> None:
    assert judged(BOTH[0]).skipped == [("once", 2_000)]
    assert judged(BOTH[1]).skipped == [("often", 1_000)]


def test_a_task_that_is_run_at_most_once_may_be_lost_and_no_other() -> None:
    assert judged(BOTH[0], lost=frozenset([B])).skipped == []
    assert judged(BOTH[1], lost=frozenset([A])).skipped == [("often", 1_000)]


def test_a_moment_that_runs_twice_is_found_unless_a_node_died_in_between() -> None:
    again = ScheduledRun(A, 5.0)
    assert judged(*BOTH, again, kills_s=(0.5, 6.0)).doubled == [("often", 1_000)]
    assert judged(*BOTH, again, kills_s=(3.0,)) == ([], [], 0, 1)
    assert judged(*BOTH, ScheduledRun(B, 5.0), kills_s=(3.0,)).doubled == [("once", 2_000)]


def test_a_run_of_what_is_no_moment_is_found() -> None:
    assert judged(*BOTH, ScheduledRun(b"c" * 16, 1.0)).unknown == 1
