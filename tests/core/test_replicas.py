"""Who should replicate the log and vote."""

from __future__ import annotations

import pytest

from paceline.core.replicas import next_config, wanted_voters
from paceline_protocol.messages import Config


def settle(config: Config, alive: str, *, caught_up: str = "", gone: str = "", limit: int = 3) -> list[Config]:
    """The steps until nothing is left to change."""
    steps = []
    while True:
        following = next_config(
            config,
            alive=frozenset(alive),
            caught_up=frozenset(caught_up or alive),
            gone=frozenset(gone),
            limit=limit,
        )
        if following is None:
            return steps
        steps.append(following)
        config = following
        assert len(steps) < 20, "does not settle"


@pytest.mark.parametrize(
    ("alive", "limit", "wanted"), [(1, 3, 1), (2, 3, 1), (3, 3, 3), (4, 3, 3), (9, 3, 3), (4, 5, 3), (5, 5, 5)]
)
def test_voters_are_odd_and_within_the_limit(alive: int, limit: int, wanted: int) -> None:
    assert wanted_voters(alive, limit) == wanted


def test_two_nodes_are_one_voter_and_one_learner() -> None:
    assert settle(Config(("a",)), "ab") == [Config(("a",), ("b",))]


def test_three_nodes_become_three_voters_one_step_at_a_time() -> None:
    assert settle(Config(("a",)), "abc") == [
        Config(("a",), ("b",)),
        Config(("a",), ("b", "c")),
        Config(("a", "b"), ("c",)),
        Config(("a", "b", "c")),
    ]


def test_growing_does_not_start_before_enough_learners_have_caught_up_to_reach_an_odd_number() -> None:
    assert settle(Config(("a",), ("b", "c")), "abc", caught_up="b") == []


def test_growing_that_stopped_at_an_even_number_goes_on_as_soon_as_one_can() -> None:
    assert settle(Config(("a", "b"), ("c",)), "abc", caught_up="c") == [Config(("a", "b", "c"))]


def test_five_vote_only_if_the_operator_asks_for_it() -> None:
    assert settle(Config(("a",)), "abcde")[-1] == Config(("a", "b", "c"))
    assert settle(Config(("a",)), "abcde", limit=5)[-1] == Config(("a", "b", "c", "d", "e"))


def test_a_learner_that_is_gone_leaves_the_configuration() -> None:
    assert settle(Config(("a",), ("b",)), "a", gone="b") == [Config(("a",))]


def test_voters_that_are_silent_are_not_voted_down_to_an_even_number_or_fewer() -> None:
    assert settle(Config(("a", "b", "c")), "a") == []
    assert settle(Config(("a", "b", "c")), "ab") == []


def test_a_spare_learns_while_a_voter_is_silent() -> None:
    assert settle(Config(("a", "b", "c")), "abd") == [Config(("a", "b", "c"), ("d",))]
