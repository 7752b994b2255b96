"""The earliest of a node's deadlines is known at any time."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from paceline.core.deadlines import BEAT, CONSENSUS, HELLO, REVIEW, Deadlines

NAMES = (CONSENSUS, HELLO, REVIEW, BEAT)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([-inf, 0.0, 1.0, 1.5, 2.0, inf]))))
def test_the_earliest_is_that_of_all_that_were_set_last(steps: list[tuple[int, float]]) -> None:
    deadlines, expected = Deadlines(), dict.fromkeys(NAMES, inf)
    for which, at in steps:
        deadlines.set(which, at)
        expected[which] = at
        assert deadlines.earliest == min(expected.values())
        assert all(deadlines.is_due(name, 1.0) == (expected[name] <= 1.0) for name in NAMES)
