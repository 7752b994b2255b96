"""What a node says of its cluster."""

from __future__ import annotations

from core.node_scenarios import NodeScenario
from paceline.core.reports.status import status


def test_the_machines_that_may_fail_are_counted_among_those_that_are_alive() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nadvance 3")
    assert [status(node, 3.0)["fault_tolerance"] for node in story._nodes.values()] == [1, 1, 1]
    story.run("stop c\nadvance 10")
    assert status(story._nodes["a"], 13.0)["fault_tolerance"] == 0


def test_a_voter_without_a_leader_says_whom_it_waits_for() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nadvance 3")
    assert [status(node, 3.0)["leaderless"] for node in story._nodes.values()] == ["", "", ""]
    story.run("stop b\nstop c\nadvance 10")
    assert status(story._nodes["a"], 13.0)["leaderless"] == (
        "1 of 3 voters are here, of 2 that are needed; start those that are not: b, c"
    )


def test_a_node_that_does_not_vote_says_that_no_voter_answers() -> None:
    story = NodeScenario()
    story.run("start abcd expect=4\nadvance 5")
    voters = story._nodes["a"].consensus.config.voters
    (spare,) = set("abcd") - set(voters)
    story.run("\n".join(f"stop {voter}" for voter in voters) + "\nadvance 10")
    assert status(story._nodes[spare], 15.0)["leaderless"] == "none of its voters answers"


def test_another_cluster_is_told_of_until_its_nodes_are_long_silent() -> None:
    story = NodeScenario()
    story.run("start a\nuntil a leads\nstart b expect=1\nadvance 3")
    a, b = story._nodes["a"], story._nodes["b"]
    b.identity.cluster_id = "elsewhere"  # as after `paceline cluster recover`
    story.run("advance 5")
    assert status(a, 8.0)["other_clusters"] == ["elsewhere"]
    story.run("stop b\nadvance 90")
    assert status(a, 98.0)["other_clusters"] == []
