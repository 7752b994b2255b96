"""Who should replicate the log and vote."""

from __future__ import annotations

from itertools import product

import pytest

from paceline.core.membership.replicas import Liveness, next_config
from paceline.core.raft.configuration import changed_servers, normal
from paceline.core.raft.quorum import majority, wanted_voters
from paceline_protocol.messages.consensus import Config


def settle(
    config: Config, alive: str, *, caught_up: str = "", steady: str | None = None, gone: str = "", limit: int = 3
) -> list[Config]:
    """The steps until nothing is left to change. The first of the voters that are heard leads."""
    steps = []
    own_id = min(set(config.voters).intersection(alive))
    while True:
        following = next_config(
            config,
            own_id=own_id,
            alive=frozenset(alive),
            caught_up=frozenset(caught_up or alive),
            steady=frozenset(alive if steady is None else steady),
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


@pytest.mark.parametrize("gone", ["", "c"])
def test_three_voters_of_which_one_is_silent_stay_three_while_there_is_no_spare(gone: str) -> None:
    assert settle(Config(("a", "b", "c")), "a") == []
    assert settle(Config(("a", "b", "c")), "ab", gone=gone) == []


def test_a_spare_learns_while_a_voter_is_silent() -> None:
    assert settle(Config(("a", "b", "c")), "abd") == [Config(("a", "b", "c"), ("d",))]


def test_a_dead_voter_is_replaced_by_a_spare_that_is_promoted_first() -> None:
    assert settle(Config(("a", "b", "c")), "abd", gone="c") == [
        Config(("a", "b", "c"), ("d",)),
        Config(("a", "b", "c", "d")),
        Config(("a", "b", "d")),
    ]


def test_a_spare_that_is_not_steady_or_not_caught_up_replaces_nobody() -> None:
    config = Config(("a", "b", "c"), ("d",))
    assert settle(config, "abd", gone="c", steady="ab") == []
    assert settle(config, "abd", gone="c", caught_up="x") == []


def test_the_first_cluster_grows_without_waiting_for_its_nodes_to_be_steady() -> None:
    assert settle(Config(("a",)), "abc", steady="")[-1] == Config(("a", "b", "c"))


def test_a_voter_that_is_silent_for_a_moment_is_not_replaced() -> None:
    assert settle(Config(("a", "b", "c"), ("d",)), "abd") == []


def test_five_voters_shrink_to_three_when_two_are_dead_and_there_is_no_spare() -> None:
    assert settle(Config(("a", "b", "c", "d", "e")), "abe", gone="cd", limit=5) == [
        Config(("a", "b", "d", "e")),
        Config(("a", "b", "e")),
    ]


def test_five_voters_of_which_one_is_dead_stay_five() -> None:
    assert settle(Config(("a", "b", "c", "d", "e")), "abce", gone="d", limit=5) == []


def test_a_voter_that_came_back_after_its_replacement_makes_the_number_odd_again_as_a_learner() -> None:
    assert settle(Config(("a", "b", "c", "d")), "abcd") == [Config(("a", "b", "c"), ("d",))]


def test_the_leader_keeps_its_vote_when_the_number_shrinks() -> None:
    following = next_config(
        Config(("a", "b", "c")),
        own_id="c",
        alive=frozenset("abc"),
        caught_up=frozenset(),
        steady=frozenset(),
        gone=frozenset(),
        limit=1,
    )
    assert following == Config(("a", "c"), ("b",))


def test_two_live_voters_are_not_shrunk_to_one_unless_the_operator_wants_one() -> None:
    assert settle(Config(("a", "b")), "ab") == []
    assert settle(Config(("a", "b")), "ab", limit=1) == [Config(("a",), ("b",))]


def test_a_leader_that_hears_no_majority_does_not_vote_one_away() -> None:
    assert settle(Config(("a", "b", "c", "d", "e")), "ab", gone="cde", limit=5) == []
    assert settle(Config(("a", "b", "c", "d")), "ab", gone="cd") == []


def live(config: Config, alive: str) -> int:
    return len(set(config.voters).intersection(alive))


def tolerates(config: Config, alive: str) -> int:
    return live(config, alive) - majority(len(config.voters))


@pytest.mark.parametrize("limit", [1, 3, 5])
@pytest.mark.parametrize("nodes", ["a", "ab", "abc", "abcd", "abcde"])
def test_from_every_small_state_the_steps_end_and_never_cost_a_quorum(nodes: str, limit: int) -> None:
    """Every node is a voter, a learner or neither; heard, silent for a moment or for long."""
    states = product(("voter", "learner", "none"), ("alive", "silent", "gone"))
    for state in product(list(states), repeat=len(nodes)):
        voters = tuple(node for node, (role, _) in zip(nodes, state, strict=True) if role == "voter")
        learners = tuple(node for node, (role, _) in zip(nodes, state, strict=True) if role == "learner")
        alive = "".join(node for node, (_, health) in zip(nodes, state, strict=True) if health == "alive")
        gone = "".join(node for node, (_, health) in zip(nodes, state, strict=True) if health == "gone")
        config = Config(voters, learners)
        if not set(voters) & set(alive) or tolerates(config, alive) < 0:
            continue  # nobody leads there
        steps = settle(config, alive, gone=gone, limit=limit)
        check_steps(config, steps, alive, gone, limit)


def check_steps(config: Config, steps: list[Config], alive: str, gone: str, limit: int) -> None:
    at_first = config
    leader = min(set(config.voters).intersection(alive))
    for following in steps:
        assert following == normal(following)
        assert len(changed_servers(config, following)) == 1
        assert tolerates(following, alive) >= 0
        assert leader in following.voters
        if len(following.voters) < len(config.voters):
            assert len(following.voters) >= min(3, limit)
        config = following
    assert len(config.voters) % 2 == 1 or (len(config.voters) == 2 and limit > 1)
    assert len(config.voters) <= limit
    if len(at_first.voters) <= limit:
        assert tolerates(config, alive) >= tolerates(at_first, alive)
    if len(alive) >= limit and not set(gone) & set(config.learners) and len(config.voters) == limit:
        assert not set(config.voters) & set(gone)


def test_liveness_counts_from_the_first_review_and_from_each_gap_anew() -> None:
    liveness = Liveness()
    liveness.review(frozenset("ab"), "abc", 10.0)
    liveness.review(frozenset("abc"), "abc", 14.0)
    liveness.review(frozenset("ac"), "abc", 16.0)
    assert liveness.steady(6.0, 16.0) == frozenset("a")
    assert liveness.silent_s("b", 18.0) == 2.0
    assert liveness.silent_s("c", 18.0) == 0.0
    liveness.review(frozenset("abc"), "abc", 20.0)
    assert liveness.steady(4.0, 20.0) == frozenset("ac")
    assert liveness.silent_s("b", 20.0) == 0.0
