"""What somebody asks of the cluster: every step, from every small state, and the stories of whole clusters."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from core.cluster_stories import formed, node, voters
from core.node_scenarios import NodeScenario
from paceline.core.membership.admin_requests import (
    EXCLUDED_LIMIT_NODES,
    REQUESTS_LIMIT,
    Answer,
    SetNode,
    TransferLeadership,
    View,
    Waiting,
    next_step,
)
from paceline.core.membership.replicas import next_config
from paceline.core.raft.configuration import changed_servers, normal
from paceline.core.raft.quorum import majority
from paceline_protocol.codec import decode, decode_config, encode, encode_config
from paceline_protocol.limits import MAX_STRING_CHARS
from paceline_protocol.messages.client import Admin, AdminOp, AdminReply
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.work import Availability

LIMIT = 3


def view(config: Config, alive: str, own_id: str, limit: int = LIMIT) -> View:
    return View(config, own_id, frozenset(alive), frozenset(alive), config.limit or limit)


def rule(seen: View) -> Config | None:
    return next_config(
        seen.config,
        own_id=seen.own_id,
        alive=seen.alive,
        caught_up=seen.caught_up,
        steady=seen.alive,
        gone=frozenset(),
        limit=seen.limit,
    )


def carry_out(op: AdminOp, argument: str, config: Config, alive: str, own_id: str) -> tuple[Answer, Config, str]:
    """All steps of a request, with every leader's help. Returns the answer, the last configuration and the leader."""
    for _ in range(20):
        seen = view(config, alive, own_id)
        step = next_step(op, argument, seen)
        if isinstance(step, Answer):
            return step, config, own_id
        if isinstance(step, TransferLeadership):
            heard = sorted(set(config.voters) & set(alive) - {own_id})
            own_id = step.to or heard[0]
            assert own_id in heard
            continue
        following = rule(seen) if isinstance(step, Waiting) else step
        assert following is not None, f"{step} for ever"
        check_change(config, following, alive, own_id)
        config = following
    raise AssertionError("does not end")


def check_change(before: Config, after: Config, alive: str, own_id: str) -> None:
    assert decode_config(encode_config(after)) == after == normal(after)
    assert len(changed_servers(before, after)) <= 1
    assert len(set(after.voters) & set(alive)) >= majority(len(after.voters))
    assert own_id in after.voters


def settled(config: Config, alive: str, own_id: str) -> Config:
    """What the rule makes of it."""
    for _ in range(20):
        following = rule(view(config, alive, own_id))
        if following is None:
            return config
        config = following
    raise AssertionError("does not settle")


@pytest.mark.parametrize("op", [AdminOp.PROMOTE, AdminOp.REMOVE, AdminOp.TRANSFER, AdminOp.STEP_DOWN])
def test_from_every_small_state_every_request_ends_and_is_not_undone(op: AdminOp) -> None:
    """Of four nodes each is a voter, a learner, excluded or neither, and heard or silent."""
    done = 0
    roles = ("voter", "learner", "excluded", "none")
    for state in product(product(roles, (True, False)), repeat=4):
        named = dict(zip("abcd", state, strict=True))
        groups = {role: tuple(each for each in "abcd" if named[each][0] == role) for role in roles}
        alive = "".join(each for each in "abcd" if named[each][1])
        heard = sorted(set(groups["voter"]) & set(alive))
        if len(heard) < majority(max(1, len(groups["voter"]))):
            continue
        config = Config(groups["voter"], groups["learner"], groups["excluded"])
        for target in "abcd":
            answer, after, leader = carry_out(op, target, config, alive, heard[0])
            kept = settled(after, alive, leader)
            if not answer.done:
                continue
            done += 1
            if op == AdminOp.PROMOTE:
                assert target in after.voters
                assert target in kept.voters or target not in alive
            elif op == AdminOp.REMOVE:
                assert target in kept.excluded
            else:
                assert (leader == target) is (op == AdminOp.TRANSFER)
    assert done > 100


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("before", [1, 3, 5])
@pytest.mark.parametrize("nodes", ["a", "ab", "abc", "abcd", "abcde"])
def test_the_number_of_voters_becomes_what_is_asked_for_as_far_as_there_are_nodes(
    nodes: str, before: int, number: int
) -> None:
    config = settled(Config(("a",), limit=before), nodes, "a")
    answer, after, _ = carry_out(AdminOp.VOTERS, str(number), config, nodes, "a")
    assert answer.done
    assert after.limit == number
    assert len(after.voters) == {1: 1, 2: 1, 3: 3, 4: 3, 5: 5}[min(len(nodes), number)]
    assert settled(after, nodes, "a").voters == after.voters


@pytest.mark.parametrize(
    ("op", "argument", "config", "why"),
    [
        (AdminOp.VOTERS, "4", Config(("a",)), "1, 3 or 5"),
        (AdminOp.PROMOTE, "x", Config(("a", "b", "c")), "not heard"),
        (AdminOp.PROMOTE, "b", Config(("a",), ("b",)), "two voters stop when either of them fails"),
        (AdminOp.REMOVE, "x", Config(("a", "b", "c")), "unknown"),
        (AdminOp.REMOVE, "a", Config(("a",), (), ("b", "c", "d")), "the only voter"),
        (AdminOp.TRANSFER, "d", Config(("a", "b", "c")), "no voter; promote it first"),
        (AdminOp.TRANSFER, "e", Config(("a", "b", "e")), "not heard"),
        (AdminOp.STEP_DOWN, "a", Config(("a",)), "no other voter"),
        (AdminOp.STEP_DOWN, "z", Config(("a", "b", "c")), "node z is unknown"),
        (AdminOp.STEP_DOWN, "", Config(("a", "b", "c")), "is unknown"),
    ],
)
def test_what_cannot_be_done_says_why(op: AdminOp, argument: str, config: Config, why: str) -> None:
    answer = next_step(op, argument, view(config, "abcd", "a"))
    assert isinstance(answer, Answer)
    assert not answer.done
    assert why in answer.detail


def test_a_removal_that_would_leave_too_few_is_refused() -> None:
    answer = next_step(AdminOp.REMOVE, "b", view(Config(("a", "b", "c")), "ab", "a"))
    assert isinstance(answer, Answer)
    assert "silent" in answer.detail


def test_removed_nodes_that_are_gone_make_room_for_others() -> None:
    many = tuple(f"x{number:02}" for number in range(EXCLUDED_LIMIT_NODES))
    config = Config(("a",), ("b",), many)
    after = next_step(AdminOp.REMOVE, "b", view(config, "ab", "a"))
    assert isinstance(after, Config)
    assert after.excluded == ("b",)
    full = View(config, "a", frozenset(("a", "b", *many)), frozenset(), LIMIT)
    answer = next_step(AdminOp.REMOVE, "b", full)
    assert isinstance(answer, Answer)
    assert not answer.done


# --- stories of whole clusters


def ask(story: NodeScenario, node_id: str, op: AdminOp, argument: str, seconds: float = 5.0) -> str:
    """What the node answers within so many seconds."""
    core = node(story, node_id)
    printed = story.run(f"client k hello {node_id}")
    core.on_client(b"k", Admin(1, op, argument), story._now)
    story._lines = []
    story._settle()
    printed = "\n".join(story._lines) + "\n" + story.run(f"advance {seconds}")
    return "\n".join(line for line in printed.splitlines() if "->k" in line)


def test_a_node_that_does_not_lead_sends_who_asks_to_the_leader() -> None:
    assert "Redirect" in ask(formed("abc"), "b", AdminOp.VOTERS, "1")


def test_the_wanted_number_of_voters_is_known_to_the_next_leader() -> None:
    story = formed("abcde")
    assert voters(story) == "abc"
    assert "done: 5 voters, of which 2 may fail" in ask(story, "a", AdminOp.VOTERS, "5")
    assert voters(story) == "abcde"
    story.run("cut a\nadvance 8\njoin a\nadvance 8")
    leader = node(story, "b").leader_id(story._now)
    assert leader not in ("", "a")
    assert node(story, leader).consensus.config.limit == 5
    assert voters(story, leader) == "abcde"


def test_a_promoted_node_takes_the_place_of_another_and_keeps_it() -> None:
    story = formed("abcd")
    assert "done: node d votes; 3 voters" in ask(story, "a", AdminOp.PROMOTE, "d")
    assert voters(story) == "abd"
    story.run("advance 10")
    assert voters(story) == "abd"


def test_a_removed_voter_is_replaced_first_and_is_not_taken_in_again() -> None:
    story = formed("abcd")
    assert "done: node b does not replicate; 3 voters" in ask(story, "a", AdminOp.REMOVE, "b")
    assert voters(story) == "acd"
    story.run("advance 10\ncut d\nadvance 10")
    assert voters(story) == "acd"  # nobody but b could take its place
    assert node(story, "b").consensus.is_removed
    story.run("join d\nadvance 2")
    assert "done" in ask(story, "a", AdminOp.PROMOTE, "b")
    assert "b" in voters(story)
    assert node(story, "a").role.elections_won == 1


def test_a_leader_that_is_to_be_removed_hands_over_and_the_next_one_removes_it() -> None:
    story = formed("abcd")
    assert "Redirect" in ask(story, "a", AdminOp.REMOVE, "a", 1.0)
    leader = node(story, "b").leader_id(story._now)
    assert leader not in ("", "a")
    assert "done: node a does not replicate" in ask(story, leader, AdminOp.REMOVE, "a")
    assert "a" not in voters(story, leader)
    assert len(voters(story, leader)) == 3


def test_leadership_goes_where_it_is_asked_to() -> None:
    story = formed("abc")
    assert "Redirect" in ask(story, "a", AdminOp.TRANSFER, "c", 0.5)
    assert node(story, "c").leader is not None
    assert "done: node c leads" in ask(story, "c", AdminOp.TRANSFER, "c")
    assert "Redirect" in ask(story, "c", AdminOp.STEP_DOWN, "c", 0.5)
    assert node(story, "c").leader is None


@pytest.mark.parametrize(
    ("options", "why"), [("", "node c is not heard"), ("node_timeout_s=9", "no other voter took over within 2 s")]
)
def test_a_transfer_that_nobody_answers_ends_and_the_leader_goes_on(options: str, why: str) -> None:
    story = formed("abc", options)
    story.run("stop c")
    assert f"not done: {why}" in ask(story, "a", AdminOp.TRANSFER, "c")
    assert node(story, "a").leader is not None
    assert "accepted 1" in story.run("client k submit 1")


def test_a_promotion_that_does_not_come_to_its_end_says_what_it_waited_for() -> None:
    story = formed("abcd", "node_timeout_s=90")
    story.run("hold d")
    assert "not done within 20 s: node d has not caught up" in ask(story, "a", AdminOp.PROMOTE, "d", 25.0)


def test_more_requests_than_a_leader_keeps_are_refused() -> None:
    story = formed("abcd", "node_timeout_s=90")
    story.run("hold d\nclient k hello a")
    for number in range(REQUESTS_LIMIT):
        node(story, "a").on_client(b"k", Admin(number, AdminOp.PROMOTE, "d"), story._now)
    assert "too many" in ask(story, "a", AdminOp.PROMOTE, "d", 0.1)


@pytest.mark.parametrize("op", list(AdminOp))
def test_what_is_asked_for_may_be_as_long_as_a_string_and_the_answer_that_quotes_it_can_be_sent(op: AdminOp) -> None:
    story = formed("abc")
    story.run("client k hello a")
    leader = node(story, "a")
    leader.on_client(b"k", Admin(1, op, "x" * MAX_STRING_CHARS), story._now)
    replies = [reply for _, reply in leader.take_effects(story._now).to_clients if isinstance(reply, AdminReply)]
    assert all(decode(encode(reply)) == reply for reply in replies)
    assert replies or op is AdminOp.STEP_DOWN


# --- nodes that take no tasks

SERVES, QUIET, DRAINS, ENDS = Availability


def of_nodes(**availability: Availability) -> View:
    config = Config(voters=("a", "b", "c"))
    serving = frozenset(node_id for node_id, each in availability.items() if each == SERVES)
    return View(config, "a", frozenset("abc"), frozenset(), 3, availability=availability, serving=serving)


def test_a_node_is_told_to_be_quiet_to_drain_or_to_serve_until_its_account_says_so() -> None:
    seen = of_nodes(a=SERVES, b=SERVES)
    assert next_step(AdminOp.QUIET, "b", seen) == SetNode("b", QUIET)
    assert next_step(AdminOp.DRAIN, "b 1500", seen) == SetNode("b", DRAINS, 1_500)
    assert next_step(AdminOp.SERVE, "b", seen) == Answer(True, "node b takes tasks")
    drains = of_nodes(a=SERVES, b=DRAINS)
    assert next_step(AdminOp.DRAIN, "b 9", drains) == Answer(True, "node b drains")
    assert next_step(AdminOp.SERVE, "b", drains) == SetNode("b", SERVES)
    assert next_step(AdminOp.QUIET, "b", drains) == SetNode("b", QUIET)
    assert next_step(AdminOp.DRAIN, "b 9", of_nodes(a=SERVES, b=QUIET)) == SetNode("b", DRAINS, 9)


@pytest.mark.parametrize("op", [AdminOp.QUIET, AdminOp.DRAIN])
def test_whoever_takes_the_last_node_away_is_told_that_nothing_runs_then(op: AdminOp) -> None:
    argument, is_now = ("b 5", DRAINS) if op == AdminOp.DRAIN else ("b", QUIET)
    step = next_step(op, argument, of_nodes(a=QUIET, b=is_now))
    assert isinstance(step, Answer)
    assert (step.done, "no other node takes tasks" in step.detail) == (True, True)


def test_a_node_whose_process_is_to_end_is_changed_by_nobody() -> None:
    seen = of_nodes(a=SERVES, b=ENDS)
    for op, argument, done in ((AdminOp.DRAIN, "b 5", True), (AdminOp.SERVE, "b", False), (AdminOp.QUIET, "b", False)):
        step = next_step(op, argument, seen)
        assert step == Answer(done, "node b was told to stop: it drains, and its process ends")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("b", "'' is no number of milliseconds"),
        ("b -1", "'-1' is no number"),
        ("b 1e3", "'1e3' is no number"),
        ("b ٣", "is no number"),
        ("b " + "9" * 12, "is no number"),
        ("c 5", "node c is not heard"),
        ("d 5", "node d is unknown"),
        ("old 5", "node old is older"),
    ],
)
def test_a_drain_that_can_not_be_is_refused_by_name(argument: str, said: str) -> None:
    seen = replace(of_nodes(a=SERVES, b=SERVES, old=SERVES), untellable=frozenset({"old"}))
    step = next_step(AdminOp.DRAIN, argument, seen)
    assert isinstance(step, Answer)
    assert not step.done
    assert said in step.detail
