"""Two processes of one node: the one that began first goes on, whatever was copied and whoever hears whom."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from paceline.core.effects import PeerBatch
from paceline.core.incarnation import INCARNATION_STEP, INCARNATIONS
from paceline.core.membership.identity import Identity, IdentityTaken, Overtaken
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Consensus, HardState, Log, Timing
from paceline.core.reports.questions import QUESTIONS
from paceline.core.reports.status import status
from paceline.core.settings import Settings
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.membership import Envelope, OtherStart, PeerHello

ABC = Config(("a", "b", "c"))


def process(node_id: str, start: int, *, incarnation: int = 5, address: str = "", cluster: str = "c1") -> NodeCore:
    """A voter that has just started; or a blank node."""
    consensus = Consensus(
        node_id,
        timing=Timing(),
        random=Random(1),
        now=0.0,
        hard_state=HardState(1),
        log=Log(1, 1) if cluster else Log(),
        config=ABC if cluster else Config(),
        durable_at_once=True,
    )
    return NodeCore(
        Settings(cluster_name="test", expect=3),
        Identity(node_id, incarnation, cluster, start=start),
        address=address or f"{node_id}:1",
        spare_cluster_id=f"of-{start}",
        random=Random(start),
        now=0.0,
        consensus=consensus,
        durable_at_once=True,
        questions=QUESTIONS,
    )


class Street:
    """Processes at their addresses, and what they send each other at once. ``ended``: those that ended, and the other
    process that they name. ``notices``: what each has to say."""

    def __init__(self, *processes: NodeCore) -> None:
        self.at = {each.peering.directory.own_address: each for each in processes}
        self.ended: dict[int, str] = {}
        self.again: list[int] = []  # those that began again under a later incarnation
        self.notices: dict[int, list[str]] = {each.identity.start: [] for each in processes}
        self.deaf: set[tuple[int, int]] = set()  # (from, to) starts between which nothing arrives
        for one, other in itertools.permutations(processes, 2):
            one.on_address(other.peering.directory.own_address, seed=True)

    def live(self, until: float, begin: float = 0.0) -> None:
        now = begin
        while now < until:
            now += 0.05
            for each in list(self.at.values()):
                each.tick(now)
            while sent := [(each, batch) for each in list(self.at.values()) for batch in self._leaves(each, now)]:
                for sender, batch in sent:
                    self._deliver(sender, batch, now)

    def _leaves(self, each: NodeCore, now: float) -> list[PeerBatch]:
        if not each.effects_due(now):
            return []
        effects = each.take_effects(now)
        self.notices[each.identity.start] += [notice.text for notice in effects.notices if notice.level == "error"]
        return effects.to_peers + effects.after_persist

    def _deliver(self, sender: NodeCore, batch: PeerBatch, now: float) -> None:
        address, envelope, messages, _ = batch
        there = self.at.get(address)
        if there is None or (sender.identity.start, there.identity.start) in self.deaf:
            return
        try:
            there.on_peer(envelope, messages, now)
        except Overtaken as overtaken:
            again = process("a", there.identity.start, incarnation=overtaken.incarnation + 1)
            self.at[address] = again
            self.again.append(there.identity.start)
            for each in self.at.values():
                again.on_address(each.peering.directory.own_address, seed=True)
        except IdentityTaken as taken:
            self.ended[there.identity.start] = taken.address
            del self.at[address]

    def add(self, new: NodeCore, now: float) -> None:
        self.notices[new.identity.start] = []
        self.at[new.peering.directory.own_address] = new
        for each in self.at.values():
            if each is not new:
                new.on_address(each.peering.directory.own_address, seed=True)
        self.live(now + 3.0, now)


@pytest.mark.parametrize("incarnation", [4, 5, 6])
def test_a_copy_beside_its_original_ends_and_the_original_goes_on(incarnation: int) -> None:
    """6: it was copied while the original ran. 5: before it was started. 4: earlier."""
    street = Street(process("a", 10), process("b", 20), process("c", 30))
    street.live(3.0)
    street.add(process("a", 40, incarnation=incarnation, address="copy:1"), 3.0)
    assert street.ended == {40: "a:1"}
    assert street.again == ([10] if incarnation > 5 else [])
    heard = [street.at[address].peering.directory.peers["a"] for address in ("b:1", "c:1")]
    assert [(peer.start, peer.address) for peer in heard] == [(10, "a:1")] * 2
    assert all("copy:1" in text for said in street.notices.values() for text in said)
    assert sum(len(said) for said in street.notices.values()) > 0


def test_both_addresses_are_said_by_every_peer_and_in_the_status() -> None:
    street = Street(process("a", 10), process("b", 20))
    street.live(3.0)
    street.add(process("a", 40, incarnation=6, address="copy:1"), 3.0)
    (said,) = street.notices[20]
    assert "node a runs twice: at a:1, and, begun later, at copy:1" in said
    assert status(street.at["b:1"], 6.0)["twice"] == [said]


def test_a_copy_that_only_one_peer_hears_ends_all_the_same() -> None:
    street = Street(process("a", 10), process("b", 20), process("c", 30))
    street.live(3.0)
    street.deaf = {(10, 40), (40, 10), (20, 40), (40, 20)}
    street.add(process("a", 40, incarnation=6, address="copy:1"), 3.0)
    assert street.ended == {40: "a:1"}


def test_after_a_split_between_original_and_copy_the_one_that_began_later_ends() -> None:
    """Each side has heard one of the two."""
    a, b, c = process("a", 10), process("b", 20), process("c", 30)
    copy = process("a", 40, incarnation=5, address="copy:1")
    street = Street(a, b, c, copy)
    street.deaf = set(itertools.product((10, 20), (30, 40))) | set(itertools.product((30, 40), (10, 20)))
    street.live(3.0)
    assert street.ended == {}
    assert c.peering.directory.peers["a"].start == 40
    street.deaf = set()
    street.live(9.0, 3.0)
    assert street.ended == {40: "a:1"}
    assert c.peering.directory.peers["a"].start == 10


def test_a_node_that_was_restarted_elsewhere_is_heard_at_once() -> None:
    street = Street(process("a", 10), process("b", 20), process("c", 30))
    street.live(3.0)
    del street.at["a:1"]
    street.add(process("a", 40, incarnation=6, address="elsewhere:1"), 3.0)
    assert street.ended == {}
    assert street.at["b:1"].peering.directory.address_of("a") == "elsewhere:1"
    assert not any(street.notices.values())


@pytest.mark.parametrize("address", ["a:1", "elsewhere:1"])
@pytest.mark.parametrize("incarnation", [3, 5])
def test_a_node_whose_data_was_put_back_as_it_was_before_ends(incarnation: int, address: str) -> None:
    """The process that was known is gone, and nobody hears of the new one's own accord that it is older."""
    street = Street(process("a", 10), process("b", 20), process("c", 30))
    street.live(3.0)
    del street.at["a:1"]
    street.add(process("a", 40, incarnation=incarnation, address=address), 3.0)
    assert list(street.ended) == [40]
    said = [text for text in street.notices[20] if "is told to end" in text]
    assert len(said) == 1, "however often it says hello"
    assert f"it is start {incarnation} of that node, and start 5 is known" in said[0]


def test_the_process_before_is_asked_at_once_whether_it_lives() -> None:
    """At its old address. Until it has answered the later one is heard, as after a restart."""
    c = process("c", 30)
    c.on_peer(Envelope("c1", "a", 5, "", 10), [PeerHello("a:1", "test", 3, "", 0, (), True)], 0.0)
    c.take_effects(0.0)
    c.on_peer(Envelope("c1", "a", 6, "", 40), [PeerHello("copy:1", "test", 3, "", 0, (), True)], 0.1)
    asked = [(batch[0], batch[2]) for batch in c.take_effects(0.1).to_peers if isinstance(batch[2][0], OtherStart)]
    assert asked == [("a:1", [OtherStart(10, 40, "copy:1", 6, False)])]
    assert c.peering.directory.address_of("a") == "copy:1"


def test_an_older_state_of_a_node_is_not_heard() -> None:
    street = Street(process("a", 10), process("b", 20), process("c", 30))
    street.live(3.0)
    del street.at["a:1"]
    street.add(process("a", 40, incarnation=3), 3.0)
    assert list(street.ended) == [40]
    assert [street.at[address].peering.directory.peers["a"].start for address in ("b:1", "c:1")] == [10, 10]


def test_what_is_late_ends_nobody_who_has_taken_its_place() -> None:
    street = Street(process("a", 10), process("b", 20))
    street.live(3.0)
    del street.at["a:1"]
    street.add(process("a", 40, incarnation=6), 3.0)
    b = street.at["b:1"]
    hello = PeerHello("a:1", "test", 3, "", 0, (), False)
    b.on_peer(Envelope("c1", "a", 5, "", 10), [hello], 6.0)
    street.at["a:1"].on_peer(Envelope("c1", "b", 5, "", 20), [OtherStart(10, 40, "a:1", 6, True)], 6.0)
    street.live(9.0, 6.0)
    assert street.ended == {}
    assert not any(street.notices.values())
    assert b.peering.directory.peers["a"].start == 40


def test_a_clock_that_was_set_back_between_two_starts_makes_no_copy_of_the_second() -> None:
    street = Street(process("a", 10), process("b", 20))
    street.live(3.0)
    del street.at["a:1"]
    street.add(process("a", 7, incarnation=6), 3.0)
    a, b = street.at["a:1"], street.at["b:1"]
    late = PeerHello("a:1", "test", 3, "", 0, (), False)
    for each in (a, b):
        each.on_peer(Envelope("c1", "a", 5, "", 10), [late], 6.0)
    street.live(9.0, 6.0)
    assert street.ended == {}
    assert b.peering.directory.peers["a"].start == 7
    assert not any(text for said in street.notices.values() for text in said if "runs twice" in text)


def test_blank_nodes_of_one_image_end_but_one_and_nobody_relied_on_them() -> None:
    blanks = [process("a", start, incarnation=1, address=f"m{start}:1", cluster="") for start in (10, 20, 30)]
    street = Street(*blanks)
    ended = []
    for each in blanks[1:]:
        with pytest.raises(IdentityTaken) as taken:
            each.on_peer(Envelope("", "a", 1, "", 10), [PeerHello("m10:1", "test", 3, "", 0, (), False)], 0.0)
        ended.append((taken.value.is_blank, taken.value.own_address, taken.value.address))
    assert ended == [(True, "m20:1", "m10:1"), (True, "m30:1", "m10:1")]
    street.live(3.0)
    assert sorted(street.ended) == [20, 30]


def test_a_node_that_has_given_its_consent_away_is_not_blank() -> None:
    identity = Identity("a", 1, consents=frozenset({"a"}))
    assert identity.is_blank
    identity.handed_to = "0"
    assert not identity.is_blank


def test_another_cluster_whose_node_has_this_ones_id_is_said_and_ends_nobody() -> None:
    street = Street(process("a", 10), process("a", 20, address="other:1", cluster="c2"))
    street.live(3.0)
    assert street.ended == {}
    assert "has this node's id, a: one of the two data directories was copied" in street.notices[10][0]


def test_who_belongs_to_another_cluster_ends_nobody() -> None:
    a = process("a", 10)
    a.on_peer(Envelope("c2", "b", 1, "", 99), [OtherStart(10, 5, "x:1", 9, True)], 0.0)
    with pytest.raises(IdentityTaken):
        a.on_peer(Envelope("c1", "b", 1, "", 99), [OtherStart(10, 5, "x:1", 9, True)], 0.0)


HIGHEST = INCARNATIONS - 1


def test_whoever_claims_the_highest_incarnation_of_a_known_node_is_heard_by_nobody() -> None:
    a, b, c = (process(each, start) for each, start in (("a", 10), ("b", 20), ("c", 30)))
    street = Street(a, b, c)
    street.live(3.0)
    for each in (a, c):
        forged = [PeerHello("b:1", "test", 3, "", 0, (), False)]
        each.on_peer(Envelope("c1", "b", HIGHEST, each.node_id, 99), forged, 3.0)
        assert each.violations.total == 1
        assert each.peering.directory.peers["b"].incarnation == 5
    street.live(6.0, 3.0)
    assert (street.ended, street.again) == ({}, [])
    assert set(b.peering.live_peers(6.0)) == {"a", "c"}


@pytest.mark.parametrize("incarnation", [5 + INCARNATION_STEP + 1, HIGHEST - 2, HIGHEST])
def test_nobody_makes_a_node_use_up_its_incarnations(incarnation: int) -> None:
    a = process("a", 10)
    for sender, said in (
        ("b", OtherStart(10, 99, "x:1", incarnation, False)),
        ("a", PeerHello("x:1", "test", 3, "", 0, (), False)),
    ):
        a.on_peer(Envelope("c1", sender, incarnation if sender == "a" else 1, "", 99), [said], 0.0)
    assert a.violations.total == 2
    assert a.identity.incarnation == 5
    with pytest.raises(Overtaken):
        a.on_peer(Envelope("c1", "b", 1, "", 99), [OtherStart(10, 99, "x:1", 5 + INCARNATION_STEP, False)], 0.0)


def test_processes_that_are_invented_cost_a_bounded_number_of_lines_and_of_bytes() -> None:
    a = process("a", 10)
    a.on_peer(Envelope("c1", "b", 5, "a", 20), [PeerHello("b:1", "test", 3, "", 0, (), True)], 0.0)
    for start in range(100, 1_000):
        a.on_peer(Envelope("c1", "b", 4, "a", start), [PeerHello(f"x{start}:1", "test", 3, "", 0, (), False)], 0.0)
    assert len(a.take_effects(0.0).notices) <= 20
