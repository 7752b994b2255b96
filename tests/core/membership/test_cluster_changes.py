"""A whole cluster of cores, as its voters change: by themselves, and because somebody asks for it."""

from __future__ import annotations

import pytest

from core.cluster_stories import QUICK, formed, node, voters
from core.node_scenarios import NodeScenario
from paceline.core.reports.status import status
from paceline.core.scheduling.leader import Leader
from paceline_protocol.messages.client import Admin, AdminOp, Hello


def test_five_voters_that_lose_two_become_three_and_go_on_taking_tasks() -> None:
    story = NodeScenario()
    story.run(f"start abcde expect=5 voters=5 {QUICK}\nadvance 5")
    leader = node(story, "b").leader_id(story._now)
    assert voters(story, leader) == "abcde"
    story.run(f"client k hello {leader}")
    assert "Update 1: accepted 1" in story.run("client k submit 1")
    lost = [node_id for node_id in "abcde" if node_id != leader][:2]
    story.run(f"cut {lost[0]}\ncut {lost[1]}\nadvance 5")
    assert voters(story, leader) == "".join(sorted(set("abcde") - set(lost)))
    assert "Update 2: accepted 2" in story.run("client k submit 2")


def test_a_dead_voter_that_comes_back_is_a_worker_and_disturbs_nobody() -> None:
    story = formed("abcd")
    assert voters(story) == "abc"
    story.run("cut c\nadvance 6\njoin c\nadvance 5")
    assert voters(story) == "abd"
    assert node(story, "a").leader is not None
    assert node(story, "a").role.elections_won == 1
    assert node(story, "c").consensus.is_removed


def test_a_leader_that_is_cut_off_changes_no_voters() -> None:
    story = formed("abc")
    story.run("cut a\nadvance 8")
    assert voters(story) == "abc"
    story.run("join a\nadvance 2")
    assert voters(story, "b") == "abc"


def test_a_new_leader_replaces_the_dead_leader() -> None:
    story = formed("abcd")
    story.run("cut a\nadvance 8")
    assert voters(story, "b") == "bcd"


def test_three_voters_of_which_one_was_removed_before_the_first_task_take_tasks() -> None:
    story = NodeScenario()
    story.run(f"start abc expect=3 {QUICK}\nadvance 3\nclient k hello a")
    assert voters(story) == "abc"
    node(story, "a").on_client(b"k", Admin(1, AdminOp.REMOVE, "c"), story._now)
    story.run("advance 3")
    assert voters(story) == "ab"
    assert "accepted 1" in story.run("client k submit 1")


@pytest.mark.parametrize(("op", "argument", "dead"), [(AdminOp.REMOVE, "b", "c"), (AdminOp.VOTERS, "1", "b")])
def test_no_vote_is_taken_away_while_the_others_need_one_that_died_a_moment_ago(
    op: AdminOp, argument: str, dead: str
) -> None:
    story = formed("abc")
    story.run(f"cut {dead}\nclient k hello a")
    node(story, "a").on_client(b"k", Admin(1, op, argument), story._now)
    story.run("advance 1")
    assert dead in node(story, "a").role.keeper._heard_nodes(leader_of(story), story._now)  # it is not missed yet
    assert voters(story) == "abc"
    story.run("advance 1\nworker a w ready add")
    assert "accepted 1" in story.run("client k submit 1")


def test_what_is_asked_of_a_leader_before_it_has_heard_every_voter_waits_until_it_has() -> None:
    story = formed("abc")
    story.run("cut a\nuntil b leads\njoin a\nclient k hello b")
    leader = node(story, "b").leader
    assert leader is not None
    assert "a" not in node(story, "b").role.keeper._heard_nodes(leader, story._now)
    node(story, "b").on_client(b"k", Admin(1, AdminOp.REMOVE, "c"), story._now)
    story.run("advance 1")
    assert voters(story, "b") == "ab"


def leader_of(story: NodeScenario) -> Leader:
    leader = node(story, "a").leader
    assert leader is not None
    return leader


def rows(story: NodeScenario, node_id: str) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in status(node(story, node_id), story._now)["nodes"]}


def test_the_leaders_status_tells_who_is_silent_and_since_when_and_who_is_behind() -> None:
    story = formed("abcd")
    assert {row["silent_s"] for row in rows(story, "a").values()} == {0.0}
    assert [rows(story, "a")[each]["behind"] for each in "abcd"] == [0, 0, 0, None]
    assert status(node(story, "a"), story._now)["fault_tolerance"] == 1
    story.run("cut c\nadvance 2\nworker a w ready add\nclient k hello a\nclient k submit 1")
    row = rows(story, "a")["c"]
    assert row["role"] == "voter"
    assert 0.3 <= float(str(row["silent_s"])) <= 0.7  # it was missed 1.5 s after its last word
    assert int(str(row["behind"])) > 0
    assert status(node(story, "a"), story._now)["fault_tolerance"] == 0


def test_a_status_tells_who_was_removed_and_how_many_voters_are_wanted() -> None:
    story = formed("abcd")
    node(story, "a").on_client(b"x", Hello(bytes(16), ""), story._now)
    for number, (op, argument) in enumerate([(AdminOp.REMOVE, "b"), (AdminOp.VOTERS, "5")]):
        node(story, "a").on_client(b"x", Admin(number, op, argument), story._now)
        story.run("advance 3")
    assert [rows(story, "a")[each]["excluded"] for each in "abcd"] == [False, True, False, False]
    assert rows(story, "a")["b"]["role"] == "worker"
    assert rows(story, "b")["b"]["role"] == "worker"  # it was told, and its log was not
    assert status(node(story, "a"), story._now)["voters_wanted"] == 5


def test_a_follower_tells_since_when_it_has_not_heard_a_node_and_knows_nothing_of_its_log() -> None:
    story = formed("abc")
    story.run("cut c\nadvance 8")
    row = rows(story, "b")["c"]
    assert float(str(row["silent_s"])) >= 7.5
    assert row["behind"] is None
    assert rows(story, "b")["a"]["silent_s"] == 0.0
