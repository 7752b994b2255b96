"""Addresses, peers, and how the first cluster forms."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.membership.directory import Directory
from paceline.core.membership.first_boot import FirstBoot
from paceline.core.membership.identity import Identity
from paceline.core.membership.peering import Peering
from paceline.core.outbox import Outbox
from paceline.core.settings import Settings
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.membership import Consent, Envelope, PeerHello

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


def test_a_node_sends_no_hello_to_its_own_address() -> None:
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


KNOCKING = Settings(
    cluster_name="test", hello_interval_s=0.125, hello_interval_max_s=4.0, gossip_interval_s=2.0
)  # powers of two, so that sums are exact


def hellos(known: Directory, since: float, until: float) -> list[float]:
    """When hellos to the one address are due, if that is asked every eighth of a second."""
    return [eighth / 8 for eighth in range(round(since * 8), round(until * 8)) if known.due(eighth / 8)]


def pauses(moments: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(moments)]


def a_silent_address() -> Directory:
    """A directory that has sent it hellos in vain for 32 seconds."""
    known = Directory(KNOCKING, "me", "here:1")
    known.add_address("there:1")
    assert pauses(hellos(known, 0.0, 32.0)) == [0.125, 0.25, 0.5, 1.0, 2.0, *[4.0] * 7]
    return known


def test_an_address_that_never_answers_is_asked_ever_more_seldom_down_to_a_floor() -> None:
    known = a_silent_address()
    assert pauses(hellos(known, 32.0, 10_000.0)) == [4.0] * 2491


def test_an_address_that_discovery_or_a_person_names_anew_is_asked_often_again() -> None:
    for seed in (False, True):
        known = a_silent_address()
        known.add_address("there:1", seed=seed)
        assert pauses(hellos(known, 32.0, 35.0)) == [0.125, 0.25, 0.5, 1.0]


def test_an_address_that_a_peer_passes_on_again_is_not() -> None:
    known = a_silent_address()
    for second in range(32, 64):
        known.add_address("there:1")
        assert len(hellos(known, second, second + 1)) <= 1
    assert known.addresses["there:1"].wait_s == 4.0


def test_while_there_is_no_leader_no_address_is_left_alone_for_long() -> None:
    known = a_silent_address()
    moments = [32.0 + eighth / 8 for eighth in range(80)]
    assert pauses([now for now in moments if known.due(now, leaderless=True)]) == [0.25] * 39
    assert pauses(hellos(known, 42.0, 52.0)) == [4.0]


def test_a_peer_that_answered_and_fell_silent_is_asked_often_at_first() -> None:
    known = a_silent_address()
    known.add_peer(envelope("b"), hello("there:1"), 32.0)
    assert set(pauses(hellos(known, 32.0, 36.0))) == {2.0}
    assert pauses(hellos(known, 36.125, 40.0)) == [0.125, 0.25, 0.5, 1.0]


def test_beyond_the_limit_the_longest_silent_address_gives_way_unless_a_person_named_it() -> None:
    known = directory()  # room for three
    known.add_address("seed:1", seed=True)
    known.due(0.0)
    known.add_address("old:1")
    known.due(1.0)
    known.add_address("new:1")
    known.due(2.0)
    known.add_address("newest:1")
    known.add_address("new:2")
    assert list(known.addresses) == ["seed:1", "newest:1", "new:2"]
    known.add_address("new:3")
    assert list(known.addresses) == ["seed:1", "newest:1", "new:2"], "those have not had the time to answer"
    assert known.forget_silent(2.0) == ["new:1", "old:1"], "the caller closes the connections"
    assert known.forget_silent(2.0) == []


def test_beyond_the_limit_no_address_that_answers_gives_way() -> None:
    known = directory()
    for node_id in "bcd":
        known.add_peer(envelope(node_id), hello(f"{node_id}:1"), 0.0)
    known.due(0.0)
    known.add_address("new:1")
    assert list(known.addresses) == ["b:1", "c:1", "d:1"]
    known.add_peer(envelope("c"), hello("c:1"), 10.0)
    known.add_peer(envelope("d"), hello("d:1"), 10.0)
    known.due(10.0)
    known.add_address("new:1")
    assert list(known.addresses) == ["c:1", "d:1", "new:1"]


def test_a_batch_of_an_earlier_incarnation_is_stale() -> None:
    known = directory()
    known.add_peer(envelope("b", incarnation=2), hello("there:1"), 0.0)
    assert not known.heard(envelope("b", incarnation=1), 1.0)
    assert known.peers["b"].heard_at == 0.0
    assert known.heard(envelope("b", incarnation=2), 1.0)
    assert known.peers["b"].heard_at == 1.0


def test_a_peer_that_was_started_anew_is_greeted_until_it_says_what_it_understands() -> None:
    """Its first word may be a request for a vote: its hellos were lost, or it takes them for answered."""
    known = directory()
    known.add_peer(envelope("b"), hello("there:1"), 0.0)
    assert known.due(0.0) == ["there:1"]
    assert known.heard(envelope("b"), 0.5)
    assert hellos(known, 0.5, 1.0) == []
    for moment in (1.0, 1.0):
        assert known.heard(envelope("b", incarnation=2), moment)
    assert known.due(1.0) == ["there:1"]
    assert known.heard(envelope("b", incarnation=2), 1.05)
    assert known.due(1.05) == []
    assert hellos(known, 1.125, 2.0) == [1.125, 1.375, 1.875]
    known.add_peer(envelope("b", incarnation=2), hello("there:1"), 2.0)
    assert hellos(known, 2.0, 4.0) == [3.875]


def by_main(sent_bytes: int) -> Envelope:
    return envelope("b")._replace(recipient="me", main_before=sent_bytes - 1, main_bytes=sent_bytes)


def by_quick(sent_bytes: int) -> Envelope:
    return envelope("b")._replace(recipient="me", main_before=sent_bytes, main_bytes=sent_bytes, is_quick=True)


def test_a_peer_that_the_quick_connection_alone_brings_here_is_not_heard_is_asked_and_is_said_once() -> None:
    outbox = Outbox()
    peering = Peering(SETTINGS, Identity("me", 1), outbox, address="here:1", spare_cluster_id="c")
    known = peering.directory
    known.add_peer(by_main(100), hello("there:1"), 0.0)
    known.due(0.0)
    assert [peering.heard(by_quick(200), now) for now in (0.1, 0.9, 1.2, 2.3)] == [True, True, False, False]
    assert known.peers["b"].heard_at == 0.9
    assert known.due(2.3) == ["there:1"], "its answer would come by the main connection"
    (notice,) = outbox.take_effects().notices
    assert "node b at there:1 reaches this node by its quick connection alone" in notice.text
    assert peering.heard(by_main(200), 2.4)
    assert peering.heard(by_quick(200), 2.5)
    assert peering.heard(by_quick(50)._replace(incarnation=2, start=5), 9.0), "another process of it"


def test_what_a_hello_brings_has_come_by_the_main_connection() -> None:
    known = directory()
    known.add_peer(by_main(100), hello("there:1"), 0.0)
    assert [known.heard(by_quick(100), now) for now in (0.1, 9.0, 99.0)] == [True] * 3


def test_what_others_were_sent_says_nothing_of_what_this_node_was() -> None:
    """Another node had this address before."""
    known = directory()
    known.add_peer(by_main(100), hello("there:1"), 0.0)
    assert known.heard(by_main(5_000)._replace(recipient="who was here before"), 0.1)
    assert [known.heard(by_quick(1_000), now) for now in (0.2, 1.3)] == [True, False]


def test_a_peer_that_has_brought_no_hello_is_not_heard_by_its_quick_connection() -> None:
    known = directory()
    assert not known.heard(by_quick(100), 0.0)
    assert known.heard(by_main(100), 0.0)


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
    assert (known.peers, list(known.addresses)) == ({}, ["b:1"])


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
        lowest.receive(step[1])
    node.confirmed(step[1].holders)
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


def test_more_consents_than_there_can_be_nodes_are_refused_and_what_is_held_already_changes_nothing() -> None:
    node = FirstBoot(Settings(cluster_name="test", expect=3, peer_limit=3), Identity("b", 1, consents=frozenset("b")))
    for holders in (("c", "d", "e"), ("",), ("c" * 256,)):
        with pytest.raises(PeerViolation):
            node.receive(Consent(holders))
    assert not node.receive(Consent(("b",)))
    assert node.receive(Consent(("c", "d")))
    assert node.may_form()


def test_consents_that_come_to_a_node_of_a_cluster_are_of_no_use() -> None:
    node = FirstBoot(SETTINGS, Identity("b", 1, "cluster", frozenset("b")))
    assert not node.receive(Consent(("c", "d")))
    assert node._identity.consents == frozenset("b")


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
            nodes[recipient].receive(consent)
            if data.draw(st.booleans()):
                nodes[sender].confirmed(consent.holders)
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
            nodes[step[0]].receive(step[1])
            nodes[node_id].confirmed(step[1].holders)
    assert [node_id for node_id, node in nodes.items() if node.may_form()] == ["a"]
