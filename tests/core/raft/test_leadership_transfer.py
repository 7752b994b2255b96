"""A leader transfers the leadership to a voter of its choice (Ongaro's thesis, 3.10)."""

from __future__ import annotations

import pytest

from core.cluster_stories import formed, node
from paceline.core.raft.consensus import Role
from paceline_protocol.messages.consensus import Config, TimeoutNow, VoteRequest
from paceline_protocol.messages.records import TaskEnd
from simulation.consensus_nodes import Flight, Node
from simulation.consensus_world import World

HEARTBEAT_S = 0.05


def settle(world: World, *cut_off: str) -> list[Flight]:
    """Complete writes and deliver messages until nothing moves. Returns what was delivered."""
    delivered = []
    while world.network or any(each.writes for each in world.up()):
        for each in world.up():
            while each.writes:
                world.complete_write(each)
        flights, world.network[:] = list(world.network), []
        for flight in flights:
            if not {flight.sender, flight.recipient} & set(cut_off):
                delivered.append(flight)
                world.deliver(flight)
    return delivered


def beat(world: World, leader: Node, *cut_off: str) -> list[Flight]:
    now = leader.now + HEARTBEAT_S
    for each in world.nodes.values():
        each.now = now
    world.tick(leader, now)
    return settle(world, *cut_off)


def elected(nodes: str = "abc", **members: str) -> tuple[World, Node]:
    """A cluster led by a, at rest."""
    world = World(nodes, seed=1, **members)
    for each in world.nodes.values():
        each.now = 1.0
    world.tick(world.nodes["a"], 1.0)
    settle(world)
    leader = world.nodes["a"]
    assert leader.core is not None
    assert leader.core.is_leader
    beat(world, leader)
    return world, leader


def leader_of(world: World) -> str:
    leader = world.leader()
    return "" if leader is None else leader.node_id


def test_a_voter_that_holds_everything_takes_over_at_once() -> None:
    world, leader = elected()
    assert world.transfer_leadership(leader, "b")
    settle(world)
    assert leader_of(world) == "b"
    assert leader.core is not None
    assert leader.core.role is Role.FOLLOWER
    assert leader.core.leader_id == "b"


def test_a_voter_that_lags_is_brought_up_to_date_first() -> None:
    world, leader = elected()
    for _ in range(5):
        world.propose(leader)
    settle(world, "b")
    assert world.transfer_leadership(leader, "b")
    assert not any(isinstance(flight.message, TimeoutNow) for flight in world.network)
    beat(world, leader)
    assert leader_of(world) == "b"
    new = world.nodes["b"].core
    assert new is not None
    assert new.log.last_index >= 7


def test_the_candidate_asks_for_votes_without_a_pre_vote_and_passes_every_lease() -> None:
    world, leader = elected()
    world.transfer_leadership(leader, "b")
    asked = [flight.message for flight in settle(world) if isinstance(flight.message, VoteRequest)]
    assert asked
    assert all(request.transfer and not request.pre for request in asked)


def test_a_second_transfer_is_refused_while_the_first_is_under_way() -> None:
    world, leader = elected()
    assert world.transfer_leadership(leader, "b")
    assert not world.transfer_leadership(leader, "c")
    assert leader.core is not None
    assert leader.core.transfer_target(leader.now) == "b"


@pytest.mark.parametrize("to", ["a", "d", "x", ""])
def test_nobody_but_another_voter_can_take_over(to: str) -> None:
    world, leader = elected("abcd", voters="abc", learners="d")
    assert not world.transfer_leadership(leader, to)


def test_only_a_leader_can_transfer_the_leadership() -> None:
    world, _ = elected()
    assert not world.transfer_leadership(world.nodes["b"], "c")


def test_a_transfer_to_a_silent_voter_is_abandoned_and_another_may_follow() -> None:
    world, leader = elected()
    assert world.transfer_leadership(leader, "b")
    settle(world, "b")
    for _ in range(11):
        beat(world, leader, "b")
    assert leader.core is not None
    assert leader.core.is_leader
    assert leader.core.transfer_target(leader.now) == ""
    world.propose(leader)
    settle(world)  # b is back, and nobody tells it to stand any more
    beat(world, leader)
    assert leader_of(world) == "a"
    assert world.transfer_leadership(leader, "c")
    settle(world)
    assert leader_of(world) == "c"


def test_the_word_is_repeated_with_each_heartbeat_because_it_may_be_lost() -> None:
    world, leader = elected()
    world.transfer_leadership(leader, "b")
    world.network.clear()
    beat(world, leader)
    assert leader_of(world) == "b"


def test_a_word_that_comes_after_the_term_has_ended_is_not_followed() -> None:
    world, leader = elected()
    assert leader.core is not None
    term = leader.core.term
    world.transfer_leadership(leader, "b")
    settle(world)
    world.deliver(Flight("a", "c", TimeoutNow(term)))
    settle(world)
    assert leader_of(world) == "b"


def test_a_learner_that_is_told_to_stand_does_not() -> None:
    world, leader = elected("abcd", voters="abc", learners="d")
    assert leader.core is not None
    world.deliver(Flight("a", "d", TimeoutNow(leader.core.term)))
    assert leader_of(world) == "a"
    learner = world.nodes["d"].core
    assert learner is not None
    assert learner.role is Role.FOLLOWER


def test_a_transfer_to_a_voter_that_is_removed_meanwhile_is_over() -> None:
    world, leader = elected()
    world.transfer_leadership(leader, "c")
    world.network.clear()
    assert world.propose_config(leader, Config(("a", "b")))
    assert leader.core is not None
    assert leader.core.transfer_target(leader.now) == ""


def test_a_leader_keeps_nothing_of_what_a_node_answered_that_is_in_its_configuration_no_more() -> None:
    world, leader = elected()
    assert world.propose_config(leader, Config(("a", "b")))
    beat(world, leader)
    assert leader.core is not None
    assert leader.core._leadership is not None
    assert set(leader.core._leadership._confirmations._answered) == {"b"}


def test_a_node_hands_over_to_a_voter_that_is_heard_and_its_tasks_go_on() -> None:
    story = formed("abc")
    story.run("cut b\nadvance 1\nclient k hello a\nclient k submit 1")
    assert node(story, "a").transfer_leadership(story._now) == "c"
    assert node(story, "a").transfer_leadership(story._now) == "c"
    lines = story.run("advance 0.05")
    assert node(story, "c").leader is not None
    assert "a->k Redirect" in lines
    assert list(node(story, "c").table.tasks) == [(1).to_bytes(16, "big")]


def test_nothing_is_logged_while_leadership_is_on_its_way() -> None:
    story = formed("abc")
    story.run("client k hello a\nhold b\nhold c")
    core = node(story, "a")
    assert core.transfer_leadership(story._now, "b") == "b"
    before = core.consensus.log.last_index
    core.on_client(b"k", story._client_message("k", "submit", ("1",)), story._now)
    core.take_effects(story._now)
    assert core.consensus.log.last_index == before
    story.run("cut b\nwrite c\nadvance 1")  # b never answers: the attempt is over, and a goes on
    assert core.leader is not None
    assert core.consensus.log.last_index > before


def test_meanwhile_nothing_starts_and_nothing_ends_and_what_came_before_is_in_the_log() -> None:
    story = formed("abc")
    story.run("client k hello a\nworker a w ready add\nhold b\nhold c")
    core = node(story, "a")
    core.on_client(b"k", story._client_message("k", "submit", ("1",)), story._now)
    core.take_urgent(story._now)
    before = core.consensus.log.last_index
    assert core.transfer_leadership(story._now, "b") == "b"
    assert core.consensus.log.last_index == before + 1, "task 1 is known to whoever leads next"
    core.on_client(b"k", story._client_message("k", "submit", ("2",)), story._now)
    core.on_worker_done(b"w", (((1).to_bytes(16, "big"), 1, TaskEnd.SUCCEEDED, b"", 10),), story._now)
    workers, _, replies = core.take_urgent(story._now)
    assert (workers, replies) == ([], [])
    assert core.leader_link.slots.held.unrecorded, "its outcome is for the next leader"


def test_a_node_without_another_voter_hands_over_to_nobody() -> None:
    story = formed("a")
    assert node(story, "a").transfer_leadership(story._now) == ""
    story = formed("ab")
    assert node(story, "a").transfer_leadership(story._now) == ""
    assert node(story, "a").transfer_leadership(story._now, "b") == ""
