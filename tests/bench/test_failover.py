"""The arithmetic of a failover: schedules that are fixed beforehand, and pauses told from completions."""

import pytest

from paceline.demo.pauses import resumed_after_s
from paceline_bench.verbs.failover import AFTER_S, BEFORE_S, Kill, report, schedule


def test_a_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert schedule(200, seed=1) == schedule(200, seed=1)
    assert schedule(200, seed=1).kill_before != schedule(200, seed=2).kill_before


def test_a_schedule_is_open_loop_and_goes_on_after_the_kill() -> None:
    plan = schedule(200, seed=3)
    steps = {round(after - before, 9) for before, after in zip(plan.submit_at_s, plan.submit_at_s[1:], strict=False)}
    assert steps == {0.005}
    assert BEFORE_S[0] * 200 <= plan.kill_before <= BEFORE_S[1] * 200
    assert len(plan.submit_at_s) - plan.kill_before == pytest.approx(AFTER_S * 200, abs=1)


@pytest.mark.parametrize(
    ("completed_at_s", "expected"),
    [
        ([], None),
        ([9.0, 10.0], None),  # nothing after the kill
        ([9.9, 10.5], 0.5),
        ([10.001, 10.002, 10.4, 10.405], 0.4),  # what the dead leader had still sent does not end the pause
        ([10.4, 10.405, 10.3], 0.3),  # in any order
    ],
)
def test_work_resumed_at_the_end_of_the_longest_pause(completed_at_s: list[float], expected: float | None) -> None:
    resumed_s = resumed_after_s(10.0, completed_at_s)
    assert resumed_s == (None if expected is None else pytest.approx(expected))


def kill(resumed_s: float | None, lost: int = 0, recorded_twice: int = 0) -> Kill:
    return Kill(900, resumed_s, resumed_s, 0.5, 0.001, lost, recorded_twice)


def test_a_report_has_the_median_and_the_worst_kill() -> None:
    result = report([kill(0.3), kill(0.9), kill(0.4)], 200.0, 1)
    assert result.ok
    assert [(row.what, row.value) for row in result.rows[:2]] == [
        ("kill to next completed task, p50", "400 ms"),
        ("kill to next completed task, max", "900 ms"),
    ]


def test_a_report_counts_what_was_lost_or_recorded_twice() -> None:
    result = report([kill(0.3, lost=2), kill(0.3, lost=1, recorded_twice=4)], 200.0, 1)
    assert [(row.what, row.value) for row in result.rows[-2:]] == [("tasks lost", "3"), ("tasks recorded twice", "4")]


@pytest.mark.parametrize("bad", [kill(None), kill(0.3, lost=1), kill(0.3, recorded_twice=1)])
def test_one_bad_kill_fails_the_report(bad: Kill) -> None:
    assert not report([kill(0.3), bad], 200.0, 1).ok
