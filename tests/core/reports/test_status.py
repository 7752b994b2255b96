"""What a node says of its cluster."""

from __future__ import annotations

from core.node_scenarios import NodeScenario
from paceline.core.reports.metrics import metrics
from paceline.core.reports.status import status
from paceline_protocol.messages.consensus import AppendResponse


def test_the_machines_that_may_fail_are_counted_among_those_that_are_alive() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nadvance 3")
    assert [status(node, 3.0)["fault_tolerance"] for node in story._nodes.values()] == [1, 1, 1]
    story.run("stop c\nadvance 10")
    assert status(story._nodes["a"], 13.0)["fault_tolerance"] == 0


def test_a_voter_that_has_forgotten_is_said_and_counts_for_nothing() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nadvance 3")
    leader = next(node for node in story._nodes.values() if node.leader is not None)
    voter = next(each for each in "abc" if each != leader.node_id)
    leadership = leader.consensus._leadership
    assert leadership is not None
    refusal = AppendResponse(leader.consensus.term, False, 2, 1, 1, leadership._confirmations.last)
    leadership.replication.peers[voter].forget(refusal)
    body = status(leader, 3.0)
    assert body["fault_tolerance"] == 0
    assert {row["id"]: row["forgotten"] for row in body["nodes"]} == {each: each == voter for each in "abc"}
    assert next(row["behind"] for row in body["nodes"] if row["id"] == voter) == body["commit_index"] - 1
    led = metrics(leader, 3.0)["leading"]
    assert (led["forgotten"], led["fault_tolerance"]) == (1, 0)
    for _ in range(3):
        leader.role.keeper.review(leader.leader, {}, 3.0, may_raise=False)  # type: ignore[arg-type]
    said = [notice.text for notice in leader.take_effects(3.0).notices if notice.level == "error"]
    assert len(said) == 1, "once"
    assert f"node {voter} has lost what it had promised: its log ends at entry 1 or before" in said[0]


def test_the_leader_alone_says_how_full_the_queue_is() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nadvance 3")
    bodies = {node.node_id: status(node, 3.0) for node in story._nodes.values()}
    for node in story._nodes.values():
        limits = {"limit_tasks": node.settings.queue_limit_tasks, "limit_bytes": node.settings.queue_limit_bytes}
        wanted = {"tasks": 0, "bytes": 0} | limits if node.leader is not None else None
        assert bodies[node.node_id]["queue"] == wanted


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
