"""That a soak of limits would notice one that runs too many."""

from __future__ import annotations

import pytest

from soak.limits import PlaceRun, most_at_once, read_runs


def test_runs_are_read_from_their_lines_whatever_their_order() -> None:
    lines = ["k a begins 1", "k b begins 2", "k b ends 3", "m c begins 4", "k a ends 5"]
    assert read_runs(lines) == [PlaceRun("k", 2, 3), PlaceRun("k", 1, 5), PlaceRun("m", 4, None)]


def test_the_most_of_each_key_is_found() -> None:
    runs = [PlaceRun("k", 1, 5), PlaceRun("k", 2, 3), PlaceRun("k", 4, 6), PlaceRun("m", 1, 9)]
    assert most_at_once(runs, []) == {"k": 2, "m": 1}


def test_what_was_killed_ends_with_its_node_and_nothing_else_is_without_an_end() -> None:
    runs = [PlaceRun("k", 1, None), PlaceRun("k", 8, 9)]
    assert most_at_once(runs, [7]) == {"k": 1}
    assert most_at_once(runs, [8]) == {"k": 1}
    assert most_at_once(runs, [9]) == {"k": 2}
    with pytest.raises(AssertionError, match="no node was killed"):
        most_at_once(runs, [])
