"""Several addresses of one node: which of them it is sent to, and which are tried no more."""

from __future__ import annotations

import random

from core.membership.test_membership import SETTINGS, directory, envelope, hello
from paceline.core.membership.directory import REACHED_MAX, Directory, KnownAddress
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.timing import Timing
from paceline.core.reports.questions import QUESTIONS
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.membership import PeerHello


def told(address: str, others: tuple[str, ...] = (), *, reply: bool = False, to: str = "") -> PeerHello:
    return hello(address)._replace(others=others, reply=reply, to=to)


def test_a_peer_is_looked_for_at_all_its_addresses_until_it_has_answered_at_one() -> None:
    known = directory()
    known.add_peer(envelope("b"), told("bridge:1", ("lan:1",)), 0.0)
    assert known.due(0.0) == ["bridge:1", "lan:1"]
    assert known.address_of("b") == "bridge:1"
    assert known.ways_to("b", 0.0) == ["lan:1"], "what is answered goes there too"
    known.add_peer(envelope("b"), told("bridge:1", ("lan:1",), reply=True, to="lan:1"), 0.1)
    assert known.address_of("b") == "lan:1"
    assert known.ways_to("b", 0.1) == []
    known.due(0.2)
    assert known.forget_silent(0.2) == ["bridge:1"], "nobody answers there"
    known.add_peer(envelope("b"), told("bridge:1", ("lan:1",)), 0.3)
    assert list(known.addresses) == ["lan:1"]


def test_the_announced_address_is_used_while_it_answers_whatever_else_does() -> None:
    known = directory()
    for now, to in ((0.0, "lan:1"), (0.1, "announced:1"), (0.2, "lan:1")):
        known.add_peer(envelope("b"), told("announced:1", ("lan:1",)), now)
        known.add_peer(envelope("b"), told("announced:1", ("lan:1",), reply=True, to=to), now)
    assert known.address_of("b") == "announced:1"
    later = 0.2 + 10 * SETTINGS.gossip_interval_s
    known.add_peer(envelope("b"), told("announced:1", ("lan:1",), reply=True, to="lan:1"), later)
    assert known.address_of("b") == "lan:1"


def test_a_peer_that_is_silent_stays_where_it_was_reached_last() -> None:
    known = directory()
    known.add_peer(envelope("b"), told("bridge:1", ("lan:1",)), 0.0)
    known.add_peer(envelope("b"), told("bridge:1", ("lan:1",), reply=True, to="lan:1"), 0.0)
    known.forget_silent(SETTINGS.forget_peer_after_s / 2)
    assert known.address_of("b") == "lan:1"


def test_a_peer_that_announces_another_address_is_sent_to_there_at_once() -> None:
    known = directory()
    known.add_peer(envelope("b"), told("old:1"), 0.0)
    known.add_peer(envelope("b"), told("old:1", reply=True, to="old:1"), 0.0)
    known.add_peer(envelope("b"), told("new:1"), 0.1)
    assert known.address_of("b") == "new:1"
    assert "new:1" in known.due(0.1)


def test_others_that_come_and_go_do_not_interrupt_what_works() -> None:
    known = directory()
    known.add_peer(envelope("b"), told("nat:1", ("lan:1",)), 0.0)
    known.add_peer(envelope("b"), told("nat:1", ("lan:1",), reply=True, to="lan:1"), 0.0)
    known.add_peer(envelope("b"), told("nat:1", ("lan:1", "bridge:1")), 0.1)
    assert known.address_of("b") == "lan:1"
    assert known.ways_to("b", 0.1) == []


def test_an_address_that_every_machine_has_is_no_way_to_a_peer() -> None:
    known = Directory(SETTINGS, "me", "nat:1", own_others=("lan-1:1",))
    known.add_peer(envelope("b"), told("nat:1", ("lan-2:1",)), 0.0)
    assert known.address_of("b") == "lan-2:1"
    assert known.due(0.0) == ["lan-2:1"]


def test_an_address_at_which_a_node_meets_itself_is_not_tried_again() -> None:
    known = directory()
    known.add_address("docker:1", seed=False)
    known.add_peer(envelope("b"), told("docker:1", ("lan:1",)), 0.0)
    known.met_itself("docker:1")
    assert known.address_of("b") == "lan:1"
    known.add_address("docker:1", seed=False)
    assert "docker:1" not in known.addresses
    assert "docker:1" in known.forget_silent(0.0), "its connection is closed"


def test_nobody_can_say_that_a_node_meets_itself_where_a_peer_answers() -> None:
    known = directory()
    known.add_peer(envelope("b"), told("lan:1"), 0.0)
    known.add_peer(envelope("b"), told("lan:1", reply=True, to="lan:1"), 0.0)
    known.met_itself("lan:1")
    known.met_itself("never heard of:1")
    assert not known.mirrors
    assert known.address_of("b") == "lan:1"


def test_a_node_that_has_moved_greets_everybody_at_once_and_finds_out_anew_who_is_where() -> None:
    known = directory()
    known.add_address("docker:1")
    known.met_itself("docker:1")
    known.add_peer(envelope("b"), told("lan:1"), 0.0)
    known.due(0.0)
    assert known.due(0.01) == []
    known.moved("there:1", ("besides:1",))
    assert (known.address_of("me"), known.own_others) == ("there:1", ("besides:1",))
    assert known.due(0.02) == ["lan:1"]
    assert not known.mirrors


def test_what_a_peer_says_of_where_it_is_is_bounded() -> None:
    node = NodeCore(
        SETTINGS,
        Identity("me", 1),
        address="here:1",
        spare_cluster_id="c",
        random=random.Random(1),
        now=0.0,
        questions=QUESTIONS,
    )
    for hostile in (told("lan:1", ("x:1",) * 9), told("lan:1", ("x" * 301,)), told("lan:1", to="x" * 301)):
        node.on_peer(envelope("b"), [hostile], 0.0)
    assert not node.peering.directory.peers
    for number in range(20):
        answer = told("lan:1", reply=True, to=f"lan-{number}:1")
        node.peering.directory.addresses[f"lan-{number}:1"] = KnownAddress()
        node.on_peer(envelope("b"), [answer], float(number))
    assert len(node.peering.directory.peers["b"].reached) == REACHED_MAX


def test_a_node_knows_whether_a_voter_is_at_an_address() -> None:
    chance = random.Random(1)
    voting = Consensus("a", timing=Timing(), random=chance, now=0.0, config=Config(("a", "b"), ("learner",)))
    node = NodeCore(
        SETTINGS,
        Identity("a", incarnation=1, cluster_id="c1"),
        address="a:1",
        spare_cluster_id="spare",
        random=chance,
        now=0.0,
        consensus=voting,
        questions=QUESTIONS,
    )
    for peer in ("b", "learner", "worker"):
        node.on_peer(envelope(peer, cluster_id="c1"), [told(f"{peer}:1", (f"{peer}:2",))], 0.0)
    at = [f"{peer}:{port}" for peer in ("a", "b", "learner", "worker") for port in (1, 2)]
    assert list(filter(node.is_voters, at)) == ["a:1", "b:1"]
    node.on_peer(envelope("b", cluster_id="c1"), [told("b:2")], 0.0)
    assert list(filter(node.is_voters, at)) == ["a:1", "b:2"]
