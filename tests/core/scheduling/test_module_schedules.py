"""Schedules that come with the modules of nodes: which of them the cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_leader import TERM
from core.scheduling.test_schedules import BEGIN_MS, DONE, EVERY_5_S, EVERY_MINUTE, MINUTE_MS, OWNED, Scheduled
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.scheduling.module_schedules import GONE_S, KNOWN_LIMIT_BYTES
from paceline.core.scheduling.schedule_keeper import CHANGES_AT_ONCE, REFUSED_S, SETTLE_S
from paceline_protocol.codec import decode_own_schedules, encode_own_schedules
from paceline_protocol.errors import LimitExceeded, PeerViolation
from paceline_protocol.limits import MAX_OWN_SCHEDULES
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.schedules import ScheduleDefinition, ScheduleOp, When, WhenKind
from paceline_protocol.messages.work import Availability, Enrol

OF_MODULE = ScheduleDefinition("add", b"args", 4, None, EVERY_MINUTE, owner="shop")
CHANGED = OF_MODULE._replace(priority=7)


class Announced(Scheduled):
    """With nodes that announce schedules of their modules."""

    def announce(
        self, node_id: str, *definitions: ScheduleDefinition, name: str = "tick", incarnation: int = 0
    ) -> None:
        version = self.versions[f"{node_id} announces"] = self.versions.get(f"{node_id} announces", 0) + 1
        packed = encode_own_schedules([(name, definition) for definition in definitions])
        self.leader.schedules.modules.hear(node_id, (incarnation << INCARNATION_SHIFT) + version, packed)

    def review(self, *, after_s: float = SETTLE_S) -> None:
        """Let time pass, in which the nodes are heard, and the leader look."""
        self.now += after_s
        for state in self.leader.nodes.by_id.values():
            state.heard_at = self.now
        self.leader.tick(self.now, [])
        self.commit()

    def give_up(self, node_id: str) -> None:
        """It has been silent for too long."""
        self.leader.nodes.by_id[node_id].heard_at = self.now - 60.0
        self.leader.tick(self.now, [])

    def restart(self, node_id: str, incarnation: int) -> None:
        """It comes back as another process."""
        account = Enrol(TERM, incarnation << INCARNATION_SHIFT, 0, 0, 1, ("add",), b"", True)
        self.leader.nodes.on_enrol(node_id, account, self.now, availability=Availability.SERVES)

    def said(self) -> str:
        return "\n".join(text for _, text in self.notices)

    def has(self, name: str = "tick") -> ScheduleDefinition | None:
        row = self.table.schedules.get(name)
        return None if row is None else row.definition


def two_nodes() -> Announced:
    lead = Announced()
    lead.enrol("b")
    return lead


def test_what_a_module_has_is_added_fires_and_belongs_to_the_module() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE)
    lead.review(after_s=1.0)
    assert lead.has() == OF_MODULE
    assert "schedules are added, as they come with the module shop: tick" in lead.said()
    lead.pass_to_ms(MINUTE_MS)
    assert lead.made() == [MINUTE_MS]


def test_it_is_looked_at_again_and_nothing_is_logged_while_it_is_as_announced() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE._replace(when=EVERY_5_S))
    for _ in range(20):
        lead.review()
    assert lead.kinds().count(EntryKind.SCHEDULE) == 1
    assert lead.row().definition.when.from_ms == BEGIN_MS + 5_000


def test_without_any_nothing_is_looked_at() -> None:
    lead = Announced()
    at = lead.leader.schedules._review_at
    lead.review()
    assert lead.leader.schedules._review_at == at


def test_it_is_changed_once_no_node_has_the_old_one() -> None:
    lead = two_nodes()
    lead.announce("a", OF_MODULE)
    lead.announce("b", OF_MODULE)
    lead.review()
    lead.announce("b", CHANGED)
    lead.review()
    assert lead.has() == OF_MODULE
    assert "nodes have different versions of the schedule tick of the module shop" in lead.said()
    lead.announce("a", CHANGED)
    lead.review()
    assert lead.has() == CHANGED
    assert "schedules are changed, as they come with the module shop: tick" in lead.said()
    assert lead.said().count("different versions") == 1


def test_of_two_new_versions_what_was_announced_last_counts() -> None:
    lead = two_nodes()
    lead.announce("a", OF_MODULE)
    lead.review()
    lead.announce("b", CHANGED)
    lead.announce("a", OF_MODULE._replace(priority=1))
    lead.review()
    row = lead.has()
    assert row is not None
    assert row.priority == 1


def test_a_node_that_is_gone_or_was_started_anew_announces_nothing_until_it_says_so_again() -> None:
    lead = two_nodes()
    lead.announce("a", OF_MODULE)
    lead.announce("b", CHANGED)
    lead.review()
    lead.announce("a", CHANGED)
    lead.review()
    assert lead.has() == CHANGED
    lead.announce("a", OF_MODULE)
    lead.restart("b", 1)
    lead.review()
    assert lead.has() == OF_MODULE
    lead.announce("b", OF_MODULE._replace(priority=2), incarnation=1)
    lead.give_up("a")
    lead.review()
    assert lead.has() == OF_MODULE._replace(priority=2)


def test_a_new_leader_changes_none_before_all_nodes_had_time_to_announce() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE)
    lead.review()
    after = Announced(lead.table)
    after.announce("a", CHANGED)
    after.review(after_s=SETTLE_S - 1.0)
    assert after.has() == OF_MODULE
    after.review(after_s=1.0)
    assert after.has() == CHANGED


def test_what_is_paused_stays_paused_when_its_module_changes() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE)
    lead.review()
    assert lead.change("tick", ScheduleOp.PAUSE) == DONE
    lead.announce("a", CHANGED)
    lead.review()
    assert (lead.has(), lead.row().paused) == (CHANGED, True)
    lead.pass_to_ms(10 * MINUTE_MS)
    assert lead.firings() == []


def test_it_is_removed_once_no_node_has_had_it_for_ten_minutes() -> None:
    lead = two_nodes()
    lead.announce("a", OF_MODULE)
    lead.review()
    lead.announce("a")
    lead.review()
    lead.review(after_s=GONE_S - 1.0)
    assert lead.has() == OF_MODULE
    lead.review(after_s=2.0)
    assert lead.has() is None
    assert "schedules are removed, as no node has had them for ten minutes: tick" in lead.said()


def test_that_time_begins_anew_when_a_node_has_it_again_and_with_another_leader() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE)
    lead.review()
    lead.announce("a")
    lead.review()
    lead.review(after_s=GONE_S - 1.0)
    lead.announce("a", OF_MODULE)
    lead.review()
    lead.announce("a")
    lead.review()
    lead.review(after_s=GONE_S - 1.0)
    after = Announced(lead.table)
    after.review()
    after.review(after_s=GONE_S - 10.0)
    assert after.has() == OF_MODULE
    after.review(after_s=10.0)
    assert after.has() is None


def test_by_hand_it_is_neither_changed_nor_removed_while_a_node_has_it() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE)
    lead.review()
    assert lead.put() == (OWNED, "shop")
    assert lead.change("tick", ScheduleOp.REMOVE) == OWNED
    assert lead.trigger("tick", b"t" * 16) == (DONE, "")
    lead.announce("a")
    lead.review()
    assert lead.put()[0] == DONE
    row = lead.has()
    assert row is not None
    assert row.owner == ""


def test_nor_before_a_new_leader_knows_who_has_it() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE)
    lead.review()
    after = Announced(lead.table)
    assert after.change("tick", ScheduleOp.REMOVE) == OWNED
    after.review()
    assert after.change("tick", ScheduleOp.REMOVE) == DONE


def test_whoever_puts_one_by_hand_makes_no_module_its_owner() -> None:
    lead = Announced()
    lead.put(owner="shop")
    row = lead.has()
    assert row is not None
    assert row.owner == ""


@pytest.mark.parametrize("owner", ["", "stock"])
def test_of_a_name_that_another_has_nothing_is_overwritten_and_that_is_said(owner: str) -> None:
    lead = two_nodes()
    if owner:
        lead.announce("b", OF_MODULE._replace(owner=owner))
        lead.review()
    else:
        lead.put()
    before = lead.has()
    lead.announce("a", OF_MODULE)
    for _ in range(3):
        lead.review()
    assert lead.has() == before
    whose = "is of the module stock" if owner else "is of whoever made it by hand"
    assert lead.said().count(f"the schedule tick {whose}, and shop has one of that name, which is left out") == 1


def test_a_module_gets_the_name_of_another_once_that_is_removed() -> None:
    lead = two_nodes()
    lead.announce("b", OF_MODULE._replace(owner="stock"))
    lead.review()
    lead.announce("a", OF_MODULE)
    lead.announce("b")
    lead.review()
    lead.review(after_s=GONE_S)
    lead.review(after_s=2.0)
    assert lead.has() == OF_MODULE


def test_one_that_can_not_be_is_said_once_and_tried_again_later() -> None:
    lead = Announced()
    over = OF_MODULE._replace(when=When(WhenKind.ONCE, from_ms=BEGIN_MS - 1))
    lead.announce("a", over)
    for _ in range(3):
        lead.review(after_s=REFUSED_S)
    assert lead.has() is None
    assert lead.said().count("the schedule tick of the module shop can't be: it would never fire") == 1


def test_many_are_added_a_part_at_a_time() -> None:
    lead = Announced()
    packed = encode_own_schedules([(f"tick {number}", OF_MODULE) for number in range(CHANGES_AT_ONCE + 1)])
    lead.leader.schedules.modules.hear("a", 1, packed)
    lead.review()
    assert len(lead.table.schedules) == CHANGES_AT_ONCE
    assert "tick 9 and 246 others" in lead.said()
    lead.review()
    assert len(lead.table.schedules) == CHANGES_AT_ONCE + 1


def test_a_copy_of_what_a_node_announced_before_changes_nothing() -> None:
    lead = Announced()
    lead.announce("a", OF_MODULE)
    lead.announce("a", CHANGED)
    lead.leader.schedules.modules.hear("a", 1, encode_own_schedules([("tick", OF_MODULE)]))
    lead.review()
    assert lead.has() == CHANGED


@pytest.mark.parametrize(
    "schedules", [[("tick", OF_MODULE), ("tick", CHANGED)], [("tick", OF_MODULE._replace(owner=""))]]
)
def test_what_no_honest_node_announces_is_a_violation(schedules: Any) -> None:
    lead = Announced()
    with pytest.raises(PeerViolation):
        lead.leader.schedules.modules.hear("a", 1, encode_own_schedules(schedules))
    assert len(lead.leader.schedules.modules) == 0


def test_what_nodes_announce_has_a_bound_and_equal_lists_count_once() -> None:
    lead = Announced()
    size = KNOWN_LIMIT_BYTES // 8
    for number in range(20):
        lead.announce(f"node {number}", OF_MODULE._replace(args=b"a" * size))
    assert len(lead.leader.schedules.modules) == 20
    for number in range(20):
        lead.announce(f"other {number}", OF_MODULE._replace(args=bytes([number]) * size))
    assert len(lead.leader.schedules.modules) == 26
    assert lead.said().count("schedules that come with modules take more than 16 MiB") == 1


def test_one_node_announces_so_many_at_most() -> None:
    with pytest.raises(LimitExceeded, match="schedules that come with the modules"):
        encode_own_schedules([(str(number), OF_MODULE) for number in range(MAX_OWN_SCHEDULES + 1)])
    with pytest.raises(LimitExceeded, match="bytes of schedules"):
        encode_own_schedules([("tick", OF_MODULE._replace(args=b"a" * (5 << 20)))])
    with pytest.raises(LimitExceeded):
        decode_own_schedules(b"\x90" + b"a" * (5 << 20))
