"""Backfills: the tasks of past moments, each once, and in their order."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling import test_schedules
from core.scheduling.test_schedules import (
    BEGIN_MS,
    DONE,
    EVERY_5_S,
    MINUTE_MS,
    REFUSED,
    UNKNOWN,
    Scheduled,
)
from paceline.core.feature_levels import ClusterLevel
from paceline.core.scheduling import backfills
from paceline.core.scheduling.backfills import BACKFILL_LIMIT
from paceline.core.scheduling.schedule_keeper import BACKFILLED_AT_ONCE
from paceline.core.state.schedules import fired_id
from paceline.core.state.snapshots import digests_of
from paceline_protocol.codec import encode_backfills
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.schedules import BackfillSchedule, Fired, Overlap, ScheduleOp, When, WhenKind
from paceline_protocol.options import SCHEDULES_LEVEL

HOUR_MS = 60 * MINUTE_MS


class Backfilled(Scheduled):
    """With a schedule of each minute, that begins at BEGIN."""

    def backfill(self, from_ms: int, to_ms: int, name: str = "tick") -> tuple[int, int, int]:
        """(answer, how many wait, how many had their tasks), of moments so long after BEGIN."""
        self.request(from_ms, to_ms, name)
        self.commit()
        return self.replied()

    def request(self, from_ms: int, to_ms: int, name: str = "tick") -> None:
        self.numbers += 1
        asked = BackfillSchedule(self.numbers, name, BEGIN_MS + from_ms, BEGIN_MS + to_ms)
        self.leader.schedules.ask(b"c", asked, self.now)

    def replied(self) -> tuple[int, int, int]:
        ((_, reply),), self.leader.schedules.replies = self.leader.schedules.replies, []
        self.detail = reply.detail
        return reply.answer, reply.waiting, reply.made  # type: ignore[union-attr]

    def commit(self) -> None:
        """The log commits until there is nothing more for it."""
        before = -1
        while before < len(self.entries):
            before = len(self.entries)
            super().commit()

    def next_leader(self, **limits: Any) -> Backfilled:
        other = super().next_leader(**limits)
        other.__class__ = Backfilled
        assert isinstance(other, Backfilled)
        return other


def test_each_past_moment_has_its_task_in_their_order() -> None:
    lead = Backfilled()
    lead.put()
    assert lead.backfill(-3 * MINUTE_MS, -MINUTE_MS) == (DONE, 3, 0)
    moments = [-3 * MINUTE_MS, -2 * MINUTE_MS, -MINUTE_MS]
    assert lead.made(Fired.BACKFILLED) == moments
    assert list(lead.table.tasks) == [fired_id("tick", BEGIN_MS + each) for each in moments]
    row = lead.row()
    assert (row.backfill, row.fired, row.last_id, row.next_ms) == ((), 3, b"", BEGIN_MS + MINUTE_MS)
    lead.end_all()
    assert not lead.table.tasks


def test_a_moment_that_had_its_task_has_no_other_whoever_made_it() -> None:
    lead = Backfilled()
    lead.put()
    lead.pass_to_ms(MINUTE_MS)
    lead.pass_to_ms(2 * MINUTE_MS)
    assert lead.backfill(-MINUTE_MS, 2 * MINUTE_MS) == (DONE, 2, 2)
    assert lead.made(Fired.BACKFILLED) == [-MINUTE_MS, 0]
    lead.end_all()
    assert lead.backfill(-2 * MINUTE_MS, MINUTE_MS) == (DONE, 1, 3)
    assert lead.backfill(-2 * MINUTE_MS, MINUTE_MS) == (DONE, 0, 4)
    assert len(lead.firings()) == 5
    assert len({task[1] for task in lead.firings()}) == 5


def test_a_second_copy_finds_the_moments_waiting() -> None:
    lead = Backfilled()
    lead.put(overlap=Overlap.QUEUE)
    lead.request(-3 * MINUTE_MS, 0)
    lead.request(-3 * MINUTE_MS, 0)
    lead.commit()
    assert [(reply.waiting, reply.made) for _, reply in lead.leader.schedules.replies] == [(4, 0), (3, 1)]  # type: ignore[union-attr]
    assert len(lead.row().backfill) == 3


def test_what_fires_by_itself_is_left_to_that() -> None:
    lead = Backfilled()
    lead.put()
    assert lead.backfill(0, HOUR_MS) == (DONE, 1, 0)
    lead.pass_to_ms(MINUTE_MS)
    assert lead.made() == [MINUTE_MS]


def test_where_an_overlap_is_minded_one_runs_at_a_time_and_those_that_wait_go_first() -> None:
    lead = Backfilled()
    lead.put(overlap=Overlap.QUEUE)
    lead.backfill(-2 * MINUTE_MS, -MINUTE_MS)
    assert (lead.made(Fired.BACKFILLED), len(lead.row().backfill)) == ([-2 * MINUTE_MS], 1)
    lead.pass_to_ms(MINUTE_MS)
    assert lead.row().waiting == (BEGIN_MS + MINUTE_MS,)
    lead.end_all()
    assert (lead.made(Fired.DEQUEUED), lead.made(Fired.BACKFILLED)) == ([MINUTE_MS], [-2 * MINUTE_MS])
    lead.end_all()
    assert lead.made(Fired.BACKFILLED) == [-2 * MINUTE_MS, -MINUTE_MS]
    lead.end_all()
    assert not lead.table.tasks


def test_a_next_leader_goes_on_with_it() -> None:
    lead = Backfilled()
    lead.put(overlap=Overlap.SKIP)
    lead.backfill(-3 * MINUTE_MS, -MINUTE_MS)
    other = lead.next_leader()
    assert len(other.row().backfill) == 2
    other.end_all()
    other.end_all()
    other.end_all()
    assert other.made(Fired.BACKFILLED) == [-2 * MINUTE_MS, -MINUTE_MS]
    assert other.row().backfill == ()


def test_what_an_earlier_leader_had_made_in_vain_is_made_once_more_and_nothing_twice() -> None:
    lead = Backfilled()
    lead.put()
    lead.request(-2 * MINUTE_MS, -MINUTE_MS)
    lead.leader.log(lead.now)
    other = lead.next_leader()  # the log has nothing of it
    assert other.backfill(-2 * MINUTE_MS, -MINUTE_MS) == (DONE, 2, 0)
    assert other.made(Fired.BACKFILLED) == [-2 * MINUTE_MS, -MINUTE_MS]


def test_while_it_is_paused_it_waits_and_what_fell_into_the_pause_can_be_made_up_for() -> None:
    lead = Backfilled()
    lead.put()
    lead.change("tick", ScheduleOp.PAUSE)
    lead.pass_to_ms(2 * MINUTE_MS)
    assert lead.backfill(MINUTE_MS, 2 * MINUTE_MS) == (DONE, 2, 0)
    assert lead.firings() == []
    lead.clock.offset_s -= 120.0
    lead.change("tick", ScheduleOp.RESUME)
    assert lead.made(Fired.BACKFILLED) == [MINUTE_MS, 2 * MINUTE_MS]
    lead.clock.offset_s += 120.0
    lead.meet()
    assert lead.made() == []


def test_a_change_of_the_schedule_ends_it() -> None:
    lead = Backfilled()
    lead.put(overlap=Overlap.SKIP)
    lead.backfill(-3 * MINUTE_MS, -MINUTE_MS)
    assert lead.row().backfill
    assert lead.put(overlap=Overlap.SKIP, priority=9)[0] == DONE
    assert lead.row().backfill == ()


def test_those_of_many_moments_are_made_a_part_at_a_time() -> None:
    lead = Backfilled()
    lead.put()
    count = BACKFILLED_AT_ONCE + 5
    lead.backfill(-count * MINUTE_MS, -MINUTE_MS)
    assert [kind for kind, _, _ in lead.entries].count(EntryKind.FIRING) == 2
    assert len(lead.made(Fired.BACKFILLED)) == count


def test_a_full_queue_holds_it_up_and_the_list_says_why() -> None:
    lead = Backfilled(queue_limit_tasks=2)
    lead.put()
    lead.backfill(-4 * MINUTE_MS, -MINUTE_MS)
    assert len(lead.row().backfill) == 2
    (row,) = test_schedules.listed(lead)
    assert (row["backfill"], "full" in row["why"] or "limit" in row["why"]) == (2, True)
    lead.end_all()
    lead.pass_to_ms(300)
    assert lead.row().backfill == ()


def test_of_more_moments_than_one_request_may_have_none_is_made() -> None:
    lead = Backfilled()
    lead.put(overlap=Overlap.SKIP)
    assert lead.backfill(-BACKFILL_LIMIT * MINUTE_MS, -MINUTE_MS) == (DONE, BACKFILL_LIMIT, 0)
    assert lead.backfill(-(2 * BACKFILL_LIMIT + 1) * MINUTE_MS, -(BACKFILL_LIMIT + 1) * MINUTE_MS)[0] == REFUSED
    assert "there are more than 1000 moments" in lead.detail
    waiting = len(lead.row().backfill)
    assert waiting
    assert lead.backfill(-2 * BACKFILL_LIMIT * MINUTE_MS, -(BACKFILL_LIMIT + 1) * MINUTE_MS)[0] == REFUSED
    assert f"{waiting} moments of it wait already" in lead.detail
    assert lead.backfill(0, -1)[0] == REFUSED
    assert lead.backfill(0, 1, "nobody's")[0] == UNKNOWN


@pytest.mark.parametrize("limit", [1])
def test_moments_of_all_schedules_have_a_bound(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lead = Backfilled()
    lead.put(overlap=Overlap.SKIP)
    if isinstance(backfills.__file__, str) and backfills.__file__.endswith(".py"):  # compiled, a constant is fixed
        monkeypatch.setattr(backfills, "BACKFILLS_LIMIT", limit)
        assert lead.backfill(-2 * MINUTE_MS, -MINUTE_MS)[0] == REFUSED
        assert "all schedules" in lead.detail
    assert lead.backfill(-MINUTE_MS, -MINUTE_MS)[0] == DONE


def test_of_an_interval_there_are_no_moments_before_it_begins() -> None:
    lead = Backfilled()
    lead.put(when=EVERY_5_S)
    assert lead.backfill(-HOUR_MS, 0) == (DONE, 1, 0)


def test_a_zone_that_the_leader_does_not_know_is_said() -> None:
    lead = Backfilled()
    lead.put()
    row = lead.row()
    unknown = row.definition._replace(when=When(WhenKind.CRON, "* * * * *", "Nowhere/City"))
    lead.table.schedules["tick"] = row._replace(definition=unknown)
    assert lead.backfill(-MINUTE_MS, 0)[0] == REFUSED
    assert "can't tell its moments" in lead.detail


def test_in_a_cluster_with_older_nodes_it_is_refused() -> None:
    lead = Backfilled()
    lead.put()
    lead.leader.admission.cluster_level = ClusterLevel(SCHEDULES_LEVEL, ("old",))
    assert lead.backfill(-MINUTE_MS, 0)[0] == REFUSED
    assert "a backfill needs feature level 23" in lead.detail


def test_what_the_log_has_twice_or_of_no_schedule_changes_nothing() -> None:
    lead = Backfilled()
    lead.put(overlap=Overlap.SKIP)
    lead.backfill(-3 * MINUTE_MS, -MINUTE_MS)
    before = digests_of(lead.table)
    for kind, data, _ in lead.entries:
        if kind == EntryKind.FIRING:
            lead.table.apply(kind, data)
    lead.table.apply(EntryKind.BACKFILL, encode_backfills([("tick", lead.row().backfill), ("none", (1,))]))
    assert digests_of(lead.table) == before
