"""Efficiency is the ideal makespan over the actual one."""

import pytest

from paceline_bench.verbs.scaling import IDEAL_S, Scale, counts, report


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [1, 2]), (7, [1, 2, 4]), (8, [1, 2, 4, 8])])
def test_workers_are_doubled_up_to_the_most(most: int, expected: list[int]) -> None:
    assert counts(most) == expected


def test_efficiency_is_of_the_ideal_makespan_and_the_median_stands_for_it() -> None:
    result = report([Scale(1, [IDEAL_S], 0), Scale(4, [IDEAL_S * 2, IDEAL_S * 4, IDEAL_S * 1.25], 0)])
    assert result.ok
    assert [scale["efficiency"] for scale in result.details["scales"]] == [1.0, 0.5]
    assert [scale["tasks_per_s"] for scale in result.details["scales"]] == pytest.approx([100, 200])
    efficiency, throughput = result.pictures
    assert [list(series.y) for series in efficiency.series] == [[1.0, 1.0], [1.0, 0.5]]
    assert [list(series.y) for series in throughput.series] == [pytest.approx([100, 400]), pytest.approx([100, 200])]


def test_one_wrong_result_fails_the_report() -> None:
    assert not report([Scale(1, [1.0], 0), Scale(2, [1.0], 1)]).ok
