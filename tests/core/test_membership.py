"""Addresses, peers, and how the first cluster forms."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.membership import Directory, FirstBoot, Identity
from paceline.core.settings import Settings
from paceline_protocol.messages import Consent, Envelope, PeerHello

SETTINGS = Settings(cluster_name="test", expect=3, peer_limit=3)


def envelope(sender: str, incarnation: int = 1, cluster_id: str = "") -> Envelope:
    return Envelope(cluster_id, sender, incarnation, "")


def hello(address: str) -> PeerHello:
    return PeerHello(address, "test", 3, "", 0, (), True)


def directory() -> Directory:
    return Directory(SETTINGS, "me", "here:1")


def blank(node_id: str, expect: int = 3) -> FirstBoot:
    identity = Identity(node_id, 1, consents=frozenset({node_id}))
    return FirstBoot(Settings(cluster_name="test", expect=expect), identity)


# --- addresses and peers


def test_a_node_does_not_knock_at_its_own_door() -> None:
    known = directory()
    known.add_address("here:1", seed=True)
    assert known.due(0.0) == []


def test_an_address_that_does_not_answer_is_asked_more_often_than_a_peer_that_does() -> None:
    known = directory()
    known.add_address("there:1")
    assert known.due(0.0) == ["there:1"]
    assert known.due(SETTINGS.hello_interval_s / 2) == []
    now = SETTINGS.hello_interval_s
    assert known.due(now) == ["there:1"]
    known.add_peer(envelope("b"), hello("there:1"), now)
    assert known.due(now + SETTINGS.hello_interval_s) == []
    assert known.due(now + SETTINGS.gossip_interval_s) == ["there:1"]


def test_a_batch_of_an_earlier_incarnation_is_stale() -> None:
    known = directory()
    known.add_peer(envelope("b", incarnation=2), hello("there:1"), 0.0)
    assert not known.heard(envelope("b", incarnation=1), 1.0)
    assert known.peers["b"].heard_at == 0.0
    assert known.heard(envelope("b", incarnation=2), 1.0)
    assert known.peers["b"].heard_at == 1.0


def test_a_peer_that_moved_is_found_at_its_new_address() -> None:
    known = directory()
    known.add_peer(envelope("b"), hello("there:1"), 0.0)
    known.add_peer(envelope("b", incarnation=2), hello("there:2"), 0.0)
    assert known.address_of("b") == "there:2"
    assert known.address_of("me") == "here:1"
    assert known.address_of("nobody") == ""


def test_beyond_the_limit_the_longest_silent_peer_is_replaced() -> None:
    known = directory()
    for number, node_id in enumerate("abcd"):
        known.add_peer(envelope(node_id), hello(f"{node_id}:1"), float(number))
    assert sorted(known.peers) == ["b", "c", "d"]


def test_a_silent_peer_is_forgotten_with_its_address_unless_a_person_named_it() -> None:
    known = directory()
    known.add_address("b:1", seed=True)
    known.add_peer(envelope("b"), hello("b:1"), 0.0)
    known.add_peer(envelope("c"), hello("c:1"), 0.0)
    assert known.forget_silent(SETTINGS.forget_peer_after_s) == []
    assert known.forget_silent(SETTINGS.forget_peer_after_s + 1) == ["c:1"]
    assert (known.peers, list(known.knocked)) == ({}, ["b:1"])


def test_only_peers_of_the_same_cluster_that_were_heard_lately_are_live() -> None:
    known = directory()
    known.add_peer(envelope("b", cluster_id="x"), hello("b:1"), 0.0)
    known.add_peer(envelope("c", cluster_id="x"), hello("c:1"), 10.0)
    known.add_peer(envelope("d", cluster_id="y"), hello("d:1"), 10.0)
    assert [peer.node_id for peer in known.live(10.0, "x")] == ["c"]


# --- first boot


def test_a_single_expected_node_forms_at_once() -> None:
    assert blank("a", expect=1).may_form()


def test_a_node_that_only_joins_never_forms() -> None:
    node = blank("a", expect=0)
    assert node.step(["b", "c"]) is None
    assert not node.may_form()


def test_consents_go_to_the_lowest_of_the_nodes_that_are_here_once_all_are() -> None:
    node = blank("b")
    assert node.step(["c"]) is None
    assert node.step(["a", "c"]) == ("a", Consent(("b",)))
    assert node.step(["a", "0"]) == ("a", Consent(("b",))), "a consent is given once, whoever comes later"


def test_a_consent_is_repeated_until_it_is_confirmed() -> None:
    node, lowest = blank("b"), blank("a")
    for _ in range(2):
        step = node.step(["a", "c"])
        assert step is not None
        confirmation = lowest.receive(step[1])
    node.confirmed(confirmation)
    assert node.step(["a", "c"]) is None


def test_a_consent_that_was_not_confirmed_is_still_handed_on_after_a_restart() -> None:
    identity = Identity("b", 1, consents=frozenset({"b"}))
    assert FirstBoot(SETTINGS, identity).step(["a", "c"]) is not None
    assert FirstBoot(SETTINGS, identity).step([]) == ("a", Consent(("b",)))


def test_what_comes_to_a_node_that_has_handed_its_consent_on_goes_the_same_way() -> None:
    node = blank("b")
    node.step(["a", "c"])
    node.receive(Consent(("c", "d")))
    assert node.step([]) == ("a", Consent(("b", "c", "d")))
    assert not node.may_form()


def test_a_blank_node_says_what_it_waits_for() -> None:
    node = blank("b")
    assert node.waiting_for(1) == "2 of 3 nodes are here"
    assert node.waiting_for(2) == "1 of 3 consents are in"
    node.step(["a", "c"])
    assert "consent given to node a" in node.waiting_for(2)
    assert blank("a", expect=0).waiting_for(0) == "waiting for a node of the cluster to answer"


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_whoever_sees_whom_when_and_whatever_is_lost_or_repeated_at_most_one_node_may_form(data: st.DataObject) -> None:
    nodes = {node_id: blank(node_id) for node_id in "abcde"}  # expect 3 is more than half of 5
    under_way: list[tuple[str, str, Consent]] = []
    for _ in range(data.draw(st.integers(5, 40))):
        node_id = data.draw(st.sampled_from("abcde"))
        if under_way and data.draw(st.booleans()):
            sender, recipient, consent = data.draw(st.sampled_from(under_way))
            confirmation = nodes[recipient].receive(consent)
            if data.draw(st.booleans()):
                nodes[sender].confirmed(confirmation)
        else:
            others = data.draw(st.sets(st.sampled_from([other for other in "abcde" if other != node_id])))
            step = nodes[node_id].step(sorted(others))
            if step is not None:
                under_way.append((node_id, *step))
        assert sum(node.may_form() for node in nodes.values()) <= 1


def test_when_everybody_sees_everybody_the_lowest_forms() -> None:
    nodes = {node_id: blank(node_id) for node_id in "abc"}
    for node_id in itertools.islice(itertools.cycle("abc"), 6):
        step = nodes[node_id].step(sorted(set("abc") - {node_id}))
        if step is not None:
            nodes[node_id].confirmed(nodes[step[0]].receive(step[1]))
    assert [node_id for node_id, node in nodes.items() if node.may_form()] == ["a"]
