"""A voter that was removed hears of it, and of nothing that would be wrong. The story: scenarios/removed_voter.txt."""

from __future__ import annotations

from random import Random

import pytest

from paceline.core.raft.consensus import Consensus, Entry, HardState, Log, Role, Timing
from paceline_protocol.codec import encode_config
from paceline_protocol.messages.consensus import Append, Config, EntryKind, Removed, VoteRequest

ABC = Config(("a", "b", "c"))
ABCD = Config(("a", "b", "c", "d"))


def voter(node_id: str, *configs: tuple[int, Config], formed: Config = ABCD) -> Consensus:
    """A node of a cluster that formed at index 1, with the configurations of these terms in its log since."""
    entries = [Entry(number, term, EntryKind.CONFIG, encode_config(c)) for number, (term, c) in enumerate(configs, 2)]
    return Consensus(
        node_id,
        timing=Timing(),
        random=Random(1),
        now=0.0,
        hard_state=HardState(max((term for term, _ in configs), default=1)),
        log=Log(1, 1, entries),
        config=formed,
        durable_at_once=True,
    )


def stands(node: Consensus, now: float) -> bool:
    node.tick(now)
    sent = node.take_ready().send_after
    return any(isinstance(message, VoteRequest) for _, message in sent)


def test_whoever_knows_the_removal_to_be_committed_tells_the_candidate_of_it() -> None:
    node = voter("b", (2, ABC))
    node.step("d", VoteRequest(9, 1, 1, True), 0.0)
    assert not any(isinstance(message, Removed) for _, message in node.take_ready().send_after)
    node.step("a", Append(2, 2, 2, 2, ()), 0.0)
    node.step("d", VoteRequest(9, 1, 1, True), 0.0)
    assert ("d", Removed(2, 2)) in node.take_ready().send_after


def test_a_voter_and_a_node_of_no_cluster_are_told_nothing() -> None:
    node = voter("b", (2, ABC))
    node.step("a", Append(2, 2, 2, 2, ()), 0.0)
    node.take_ready()
    node.step("c", VoteRequest(9, 1, 1, True), 0.0)
    assert not any(isinstance(message, Removed) for _, message in node.take_ready().send_after)
    blank = Consensus("x", timing=Timing(), random=Random(1), now=0.0, durable_at_once=True)
    blank.step("c", VoteRequest(9, 1, 1, True), 0.0)
    assert not any(isinstance(message, Removed) for _, message in blank.take_ready().send_after)


def test_a_candidate_that_hears_of_its_removal_gives_up() -> None:
    node = voter("d")
    assert stands(node, 1.0)
    node.step("a", Removed(2, 2), 1.0)
    assert node.role is Role.FOLLOWER
    assert node.is_removed
    assert node.next_deadline() == float("inf")
    assert not stands(node, 5.0)


@pytest.mark.parametrize("late", [Removed(2, 2), Removed(1, 9)])
def test_a_later_configuration_counts_more_than_a_late_word_of_an_earlier_removal(late: Removed) -> None:
    node = voter("d", (2, ABC), (2, ABCD))
    assert stands(node, 0.6)
    node.step("a", late, 0.6)
    assert not node.is_removed
    assert stands(node, 2.0)


def test_a_configuration_that_was_never_committed_counts_less_than_the_removal_of_a_later_term() -> None:
    node = voter("d", (2, ABCD), (2, Config(("a", "b", "c", "d", "e"))))
    assert stands(node, 0.6)
    node.step("a", Removed(3, 2), 0.6)
    assert node.is_removed


def test_who_was_not_asked_for_a_vote_removes_nobody() -> None:
    node = voter("d")
    node.step("a", Removed(2, 2), 0.5)
    assert stands(node, 1.0)
    node.step("x", Removed(2, 2), 1.0)
    assert not node.is_removed
    assert node.role is Role.PRE_CANDIDATE


def test_a_node_that_a_leader_replicates_to_believes_no_longer_that_it_was_removed() -> None:
    node = voter("d")
    assert stands(node, 1.0)
    node.step("a", Removed(99, 99), 1.0)
    assert node.is_removed
    node.step("b", Append(3, 9, 3, 1, ()), 1.1)
    assert node.is_removed, "it could be a leader of anything"
    node.step("b", Append(3, 1, 1, 1, ()), 1.2)
    assert not node.is_removed
    assert stands(node, 5.0)


def test_a_configuration_that_is_compacted_away_still_counts() -> None:
    node = voter("d", (2, ABC), (2, ABCD))
    node.step("a", Append(2, 3, 2, 3, ()), 0.0)
    node.take_ready()
    node.compact(3)
    assert stands(node, 0.6)
    node.step("a", Removed(2, 2), 0.6)
    assert not node.is_removed
