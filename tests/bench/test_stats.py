"""Percentiles are samples, never values in between."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_bench.report.stats import percentile


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (50.1, 51), (99, 99), (99.1, 100), (100, 100), (0.001, 1)]
)
def test_the_nearest_rank_of_one_to_a_hundred(percent: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_a_rank_that_binary_floating_point_would_push_up_is_exact() -> None:
    assert percentile(list(range(1, 1001)), 99.9) == 999


@pytest.mark.parametrize("percent", [0, -1, 100.1, math.nan])
def test_a_percentage_out_of_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile([1.0], percent)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(min_value=0.01, max_value=100))
def test_a_percentile_is_a_sample_that_enough_samples_do_not_exceed(samples: list[float], percent: float) -> None:
    value = percentile(samples, percent)
    assert value in samples
    assert sum(sample <= value for sample in samples) >= percent / 100 * len(samples) - 1e-6
