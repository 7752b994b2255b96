"""What a node counts: buckets, and names up to a limit."""

from __future__ import annotations

from paceline.core.measures.histogram import LATENCY_BOUNDS_US, Histogram
from paceline.core.measures.tally import NAMES_LIMIT, OTHER, Tally
from paceline_protocol.messages.records import TaskEnd


def test_a_value_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram((10, 100))
    for value_us in (0, 10, 11, 100, 101):
        histogram.observe(value_us)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum_us == 222


def test_no_value_is_too_large_for_a_histogram() -> None:
    histogram = Histogram((10,))
    histogram.observe(2**63 - 1)
    histogram.observe(1)
    assert histogram.counts == [1, 1]
    assert histogram.sum_us == 2**63


def test_seconds_are_counted_in_microseconds_and_never_below_zero() -> None:
    histogram = Histogram((10, 100))
    histogram.observe_s(0.0000505)
    histogram.observe_s(-1.0)
    assert histogram.counts == [1, 1, 0]
    assert histogram.sum_us == 50


def test_latencies_around_fifty_microseconds_can_be_told_apart() -> None:
    assert {20, 50, 100} <= set(LATENCY_BOUNDS_US)


def test_names_beyond_the_limit_are_counted_together() -> None:
    tally = Tally()
    for number in range(NAMES_LIMIT + 5):
        tally.executed(f"task{number}", TaskEnd.SUCCEEDED, 10)
    tally.executed("task1", TaskEnd.FAILED, 7)
    assert len(tally.by_name) == NAMES_LIMIT + 1
    assert tally.by_name[OTHER].ended[TaskEnd.SUCCEEDED] == 5
    row = tally.by_name["task1"]
    assert (row.ended[TaskEnd.SUCCEEDED], row.ended[TaskEnd.FAILED], sum(row.ended), row.run_us) == (1, 1, 2, 17)


def test_every_end_of_a_task_has_a_count_of_its_own_beside_the_time_it_ran() -> None:
    tally = Tally()
    for end in TaskEnd:
        tally.executed(end.name, end, 7)
        row = tally.by_name[end.name]
        assert (row.ended[end], sum(row.ended)) == (1, 1)
        assert row.run_us == (0 if end is TaskEnd.LOST else 7)


def test_an_attempt_that_was_lost_ran_for_no_known_time() -> None:
    tally = Tally()
    tally.executed("add", TaskEnd.LOST, 0)
    assert tally.by_name["add"].ended[TaskEnd.LOST] == 1
    assert sum(tally.duration.counts) == 0


def test_the_time_without_a_leader_is_counted_between_two_leaders() -> None:
    tally = Tally()
    tally.leader_known("a", 1.0)
    tally.leader_known("", 2.0)
    tally.leader_known("b", 2.3)
    tally.leader_known("c", 3.0)
    assert tally.leader_changes == 3
    assert sum(tally.election.counts) == 1
    assert 290_000 <= tally.election.sum_us <= 300_001
