"""Histograms: what goes in comes out within 0.1 %, merging is recording, and nothing is dropped in silence."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_bench.report.histogram import HIGHEST_NS, LatencyHistogram
from paceline_bench.report.stats import percentile

durations_s = st.floats(min_value=1e-9, max_value=3_599)
PERCENTS = (1, 50, 90, 99, 99.9, 100)


@settings(max_examples=25, deadline=None)  # a percentile looks through all the buckets, in Python
@given(st.lists(durations_s, min_size=1, max_size=50))
def test_a_percentile_is_that_of_the_samples_within_a_thousandth(samples: list[float]) -> None:
    histogram = LatencyHistogram(samples)
    for percent in PERCENTS:
        assert histogram.percentile_s(percent) == pytest.approx(percentile(samples, percent), rel=1e-3, abs=1e-9)


@settings(max_examples=25, deadline=None)  # a percentile looks through all the buckets, in Python
@given(st.lists(st.lists(durations_s, max_size=20), min_size=1, max_size=4))
def test_merged_histograms_are_the_histogram_of_everything(parts: list[list[float]]) -> None:
    merged = LatencyHistogram.merged(map(LatencyHistogram, parts))
    whole = LatencyHistogram(sample for part in parts for sample in part)
    assert merged.count == whole.count == sum(map(len, parts))
    if whole.count:
        assert merged.shares() == whole.shares()
        assert merged.latency("") == whole.latency("")


def test_merging_is_not_averaging_and_leaves_the_parts_as_they_were() -> None:
    fast, slow = LatencyHistogram([1e-3] * 99), LatencyHistogram([1.0])
    merged = LatencyHistogram.merged([fast, slow])
    assert merged.percentile_s(99) == pytest.approx(1e-3, rel=1e-3)
    assert merged.percentile_s(99.1) == pytest.approx(1.0, rel=1e-3)
    assert (fast.count, slow.count) == (99, 1)


def test_a_histogram_travels_as_text() -> None:
    histogram = LatencyHistogram([1e-6, 2e-3, 3.0])
    assert LatencyHistogram.decoded(histogram.encoded()).shares() == histogram.shares()


def test_the_shares_end_at_one_and_say_how_many_are_at_most_as_long() -> None:
    durations, shares = LatencyHistogram([1e-3, 1e-3, 2e-3, 4e-3]).shares()
    assert list(shares) == [0.5, 0.75, 1.0]
    assert list(durations) == pytest.approx([1e-3, 2e-3, 4e-3], rel=1e-3)


@pytest.mark.parametrize("duration_s", [-1e-9, math.nan, HIGHEST_NS / 1e9 * 2])
def test_what_does_not_fit_is_an_error_and_is_not_left_out(duration_s: float) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        LatencyHistogram([duration_s])


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        LatencyHistogram().percentile_s(50)
