"""The arithmetic of a standstill. Needs no network."""

from __future__ import annotations

import pytest

from hosts.measure import KILL, Standstill, standstill, table
from hosts.stream import Ending


def ended(**at_s: float) -> dict[int, Ending]:
    return {int(name[1:]): Ending(moment_s, None, "") for name, moment_s in at_s.items()}


def test_a_standstill_tells_late_results_from_new_ones() -> None:
    submitted = {1: 9.8, 2: 9.9, 3: 10.1, 4: 10.2}
    found = standstill(10.0, 10.0, submitted, ended(_1=9.9, _2=10.05, _3=10.7, _4=10.71))
    assert (found.next_s, found.first_new_s, found.resumed_s) == pytest.approx((0.05, 0.7, 0.7))


def test_what_passes_while_the_fault_is_being_made_does_not_end_the_standstill() -> None:
    submitted = {1: 10.001, 2: 10.1}
    found = standstill(10.0, 10.01, submitted, ended(_1=10.005, _2=10.6))
    assert (found.next_s, found.first_new_s, found.resumed_s) == pytest.approx((0.6, 0.6, 0.6))


def test_a_round_without_a_new_completion_measures_nothing() -> None:
    with pytest.raises(ValueError, match="let the round go on"):
        standstill(10.0, 10.0, {1: 9.9, 2: 10.1}, ended(_1=10.05))


def test_a_table_has_the_median_the_99th_percentile_and_the_largest() -> None:
    samples = [Standstill(0.001 * number, 0.5, 0.5) for number in range(1, 201)]
    first = table(KILL, samples).splitlines()[1]
    assert " ".join(first.split()) == "to the next completed task p50 100 ms p99 198 ms max 200 ms"
