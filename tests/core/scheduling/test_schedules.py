"""Schedules at their leader: each moment becomes one task, or is said to have become none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from core.scheduling.test_leader import TERM, Lead, tid
from modes import source_only
from paceline.core.feature_levels import ClusterLevel
from paceline.core.reports.scheduled import ROWS_LIMIT, scheduled
from paceline.core.scheduling import schedule_keeper
from paceline.core.scheduling.schedule_keeper import GRACE_MS, OPEN_REQUESTS, RETRY_MS, WAITING_LIMIT
from paceline.core.state.schedules import ScheduleRow, fired_id
from paceline.core.state.snapshots import digests_of, restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import decode_firings, encode_definition
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages.client import Cancel
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.schedules import (
    ChangeSchedule,
    Fired,
    Misfire,
    Overlap,
    PutSchedule,
    ScheduleAnswer,
    ScheduleDefinition,
    ScheduleOp,
    SchedulesRequest,
    TriggerSchedule,
    When,
    WhenKind,
)

BEGIN = datetime(2026, 12, 1, 1, 0, tzinfo=UTC)
BEGIN_MS = int(BEGIN.timestamp()) * 1_000
MINUTE_MS = 60_000
EVERY_MINUTE = When(WhenKind.CRON, "* * * * *", "UTC")
EVERY_5_S = When(WhenKind.EVERY, every_ms=5_000)
DONE, SAME, UNKNOWN, REFUSED, OWNED = (int(answer) for answer in ScheduleAnswer)


def at_begin() -> WallClock:
    clock = WallClock()
    clock.offset_s = BEGIN.timestamp()
    return clock


class Scheduled(Lead):
    """With a node that runs the tasks, and a clock that shows BEGIN at 0."""

    def __init__(self, table: TaskTable | None = None, *, names: tuple[str, ...] = ("add",), **limits: Any) -> None:
        super().__init__(table, clock=at_begin(), **limits)
        if names:
            self.enrol("a", slots=1_000, names=names)
        self.numbers = 0
        self.outcome_seq = 0

    def put(self, name: str = "tick", when: When = EVERY_MINUTE, **changes: Any) -> tuple[int, str]:
        definition = ScheduleDefinition("add", b"args", 4, None, when)._replace(**changes)
        return self.ask(PutSchedule, name, encode_definition(definition))

    def change(self, name: str, op: ScheduleOp) -> int:
        return self.ask(ChangeSchedule, name, int(op))[0]

    def trigger(self, name: str, task_id: bytes) -> tuple[int, str]:
        return self.ask(TriggerSchedule, name, task_id)

    def ask(self, kind: Any, *fields: Any) -> tuple[int, str]:
        self.numbers += 1
        self.leader.schedules.ask(b"c", kind(self.numbers, *fields), self.now)
        self.commit()
        ((answer, detail),) = self.answers()
        return answer, detail

    def answers(self) -> list[tuple[int, str]]:
        found, self.leader.schedules.replies = self.leader.schedules.replies, []
        return [(reply.answer, reply.detail) for _, reply in found]

    def pass_to_ms(self, after_ms: int) -> None:
        """Let the clock show this, so long after BEGIN, in one step; and the log commit."""
        self.now = after_ms / 1_000
        self.meet()

    def meet(self) -> None:
        if self.leader._due.clock.has_reached(self.leader._due.fires.wakes_ms, self.now):
            self.leader.meet_moments(self.now)
        self.commit()

    def row(self, name: str = "tick") -> ScheduleRow:
        return self.table.schedules[name]

    def firings(self) -> list[tuple[str, int, int, int, bool]]:
        """(name, moment after BEGIN, what, missed, whether it has a task) of all that the log has."""
        found = []
        for kind, data, _ in self.entries:
            if kind == EntryKind.FIRING:
                for name, moment_ms, what, missed, _next_ms, call in decode_firings(data):
                    found.append((name, moment_ms - BEGIN_MS, int(what), missed, call is not None))
        return found

    def made(self, what: Fired = Fired.FIRED) -> list[int]:
        return [moment_ms for _, moment_ms, is_what, _, _ in self.firings() if is_what == what]

    def end_all(self) -> None:
        """The node runs all that it can be given."""
        self.leader.dispatch(self.now)
        held = [(task.id, task.attempt) for task in self.leader.tasks.live.values() if task.is_dispatched]
        self.outcome_seq += 1
        outcomes = [(task_id, attempt, int(TaskEnd.SUCCEEDED), b"", 5) for task_id, attempt in held]
        self.leader.nodes.on_outcomes("a", TERM, self.outcome_seq, outcomes, self.now)
        self.commit()

    def next_leader(self, **limits: Any) -> Scheduled:
        """Another leads, with what is committed."""
        table = TaskTable()
        restore(table, snapshot_of(self.table))
        assert digests_of(table) == digests_of(self.table)
        other = Scheduled(table, **limits)
        other.now = self.now
        other.clock.offset_s = self.clock.offset_s
        return other


# --- moments


def test_a_moment_fires_when_the_clock_shows_it_and_not_a_millisecond_before() -> None:
    lead = Scheduled()
    assert lead.put() == (DONE, "")
    assert lead.row().next_ms == BEGIN_MS + MINUTE_MS
    lead.pass_to_ms(MINUTE_MS - 1)
    assert lead.firings() == []
    lead.pass_to_ms(MINUTE_MS)
    assert lead.firings() == [("tick", MINUTE_MS, Fired.FIRED, 0, True)]
    assert list(lead.table.tasks) == [fired_id("tick", BEGIN_MS + MINUTE_MS)]
    assert lead.row().next_ms == BEGIN_MS + 2 * MINUTE_MS
    task = lead.table.tasks[fired_id("tick", BEGIN_MS + MINUTE_MS)]
    assert (task.name, task.args, task.priority) == ("add", b"args", 4)


def test_its_task_is_handed_out_once_the_log_has_it() -> None:
    lead = Scheduled()
    lead.put()
    lead.now = 60.0
    lead.leader.meet_moments(lead.now)
    lead.leader.log(lead.now)
    assert lead.dispatched() == {}
    lead.commit()
    assert lead.leader.goes_on()
    assert len(lead.dispatched()["a"]) == 1


def test_every_moment_fires_once_over_an_hour() -> None:
    lead = Scheduled()
    lead.put()
    lead.put("often", EVERY_5_S)
    for second in range(3_600):
        lead.pass_to_ms(second * 1_000 + 1_000)
        lead.end_all()
    assert [moment for name, moment, *_ in lead.firings() if name == "tick"] == [n * MINUTE_MS for n in range(1, 61)]
    assert [moment for name, moment, *_ in lead.firings() if name == "often"] == [n * 5_000 for n in range(1, 721)]
    assert (lead.row().fired, lead.row().missed) == (60, 0)


def test_a_next_leader_fires_what_the_log_does_not_have_and_nothing_twice() -> None:
    lead = Scheduled()
    lead.put()
    lead.pass_to_ms(MINUTE_MS)
    lead.now = 2 * 60.0
    lead.leader.meet_moments(lead.now)  # proposed, and never committed
    other = lead.next_leader()
    other.meet()
    assert other.firings() == [("tick", 2 * MINUTE_MS, Fired.FIRED, 0, True)]
    third = other.next_leader()
    third.meet()
    assert third.firings() == []


def test_a_clock_that_is_put_back_fires_nothing_twice() -> None:
    lead = Scheduled()
    lead.put()
    lead.pass_to_ms(5 * MINUTE_MS)
    lead.clock.offset_s -= 200
    for second in range(300, 500):
        lead.pass_to_ms(second * 1_000)
    assert lead.made() == [5 * MINUTE_MS]
    lead.pass_to_ms(561_000)
    assert lead.made() == [5 * MINUTE_MS, 6 * MINUTE_MS]


@pytest.mark.parametrize("has_ended", [False, True])
@pytest.mark.parametrize("leader", ["the same", "another"])
def test_a_schedule_that_is_removed_and_added_again_by_a_clock_that_is_behind_fires_nothing_twice(
    leader: str, has_ended: bool
) -> None:
    lead = Scheduled()
    lead.put()
    lead.pass_to_ms(MINUTE_MS)
    if has_ended:
        lead.end_all()
    lead.clock.offset_s -= 60
    assert lead.change("tick", ScheduleOp.REMOVE) == DONE
    if leader == "another":
        lead = lead.next_leader()
    lead.put()
    assert lead.row().next_ms == BEGIN_MS + MINUTE_MS
    for minute in (2, 3):
        lead.pass_to_ms(minute * MINUTE_MS)
        lead.leader.tasks.check()
    made = [("tick", MINUTE_MS, Fired.FIRED, 0, True)] if leader == "the same" else []
    again = [("tick", MINUTE_MS, Fired.HAD_TASK, 0, False), ("tick", 2 * MINUTE_MS, Fired.FIRED, 0, True)]
    assert lead.firings() == made + again


@source_only
def test_ten_thousand_that_are_due_at_once_take_turns_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_keeper, "MOMENTS_AT_ONCE", 3)
    lead = Scheduled()
    for number in range(10):
        lead.put(f"tick {number}")
    turns = 0
    lead.now = 60.0
    while lead.leader._due.clock.has_reached(lead.leader._due.fires.wakes_ms, lead.now):
        lead.leader.meet_moments(lead.now)
        turns += 1
    lead.commit()
    assert (turns, len(lead.firings())) == (4, 10)


def test_what_fires_once_has_no_next_moment() -> None:
    lead = Scheduled()
    lead.put(when=When(WhenKind.ONCE, from_ms=BEGIN_MS + 1_500))
    lead.pass_to_ms(1_500)
    assert (lead.made(), lead.row().next_ms) == ([1_500], 0)
    lead.pass_to_ms(10**9)
    assert lead.made() == [1_500]


# --- misfires


def test_of_missed_moments_the_last_is_made_up_for() -> None:
    lead = Scheduled()
    lead.put()
    lead.pass_to_ms(10 * MINUTE_MS + 30_000)
    assert lead.firings() == [("tick", 10 * MINUTE_MS, Fired.FIRED, 9, True)]
    assert (lead.row().missed, lead.row().next_ms) == (9, BEGIN_MS + 11 * MINUTE_MS)
    tally = lead.leader.tasks.tally
    assert (tally.moments[Fired.FIRED], tally.missed_moments) == (1, 9), "for metrics"


def test_with_skip_nothing_is_made_up_for_but_what_is_a_little_late() -> None:
    lead = Scheduled()
    lead.put(misfire=Misfire.SKIP)
    lead.pass_to_ms(10 * MINUTE_MS + GRACE_MS + 1)
    assert lead.firings() == [("tick", 10 * MINUTE_MS, Fired.SKIPPED, 10, False)]
    assert (lead.row().missed, lead.row().fired, lead.table.tasks) == (10, 0, {})
    lead.pass_to_ms(11 * MINUTE_MS + GRACE_MS)
    assert lead.made() == [11 * MINUTE_MS]


def test_with_all_each_is_made_up_for_up_to_its_bound() -> None:
    lead = Scheduled()
    lead.put(misfire=Misfire.ALL, misfire_limit=3)
    lead.pass_to_ms(3 * MINUTE_MS)
    assert lead.made() == [MINUTE_MS, 2 * MINUTE_MS, 3 * MINUTE_MS]
    lead.pass_to_ms(10 * MINUTE_MS)
    pairs = [(moment // MINUTE_MS, missed) for _, moment, _, missed, _ in lead.firings()[3:]]
    assert pairs == [(8, 4), (9, 0), (10, 0)]


# --- overlaps


def test_with_skip_a_moment_within_the_time_of_an_earlier_task_has_none() -> None:
    lead = Scheduled()
    lead.put(overlap=Overlap.SKIP)
    lead.pass_to_ms(MINUTE_MS)
    lead.pass_to_ms(2 * MINUTE_MS)
    other = lead.next_leader()
    other.pass_to_ms(3 * MINUTE_MS)
    assert lead.firings()[1:] == [("tick", 2 * MINUTE_MS, Fired.OVERLAPPED, 0, False)]
    assert other.made(Fired.OVERLAPPED) == [3 * MINUTE_MS]
    lead.end_all()
    lead.pass_to_ms(3 * MINUTE_MS)
    assert lead.made() == [MINUTE_MS, 3 * MINUTE_MS]
    assert (lead.row().fired, lead.row().overlapped) == (2, 1)


def test_with_queue_it_waits_until_the_earlier_task_has_ended() -> None:
    lead = Scheduled()
    lead.put(overlap=Overlap.QUEUE)
    for minute in (1, 2, 3):
        lead.pass_to_ms(minute * MINUTE_MS)
    assert lead.made(Fired.QUEUED) == [2 * MINUTE_MS, 3 * MINUTE_MS]
    assert lead.row().waiting == (BEGIN_MS + 2 * MINUTE_MS, BEGIN_MS + 3 * MINUTE_MS)
    other = lead.next_leader()
    assert other.row().waiting == lead.row().waiting
    lead.end_all()
    lead.commit()
    assert lead.made(Fired.DEQUEUED) == [2 * MINUTE_MS]
    assert list(lead.table.tasks) == [fired_id("tick", BEGIN_MS + 2 * MINUTE_MS)]
    lead.end_all()
    lead.commit()
    assert (lead.made(Fired.DEQUEUED), lead.row().waiting) == ([2 * MINUTE_MS, 3 * MINUTE_MS], ())


def test_what_is_queued_fires_though_the_log_stands_still_once_its_name_is_known() -> None:
    lead = Scheduled()
    lead.put(overlap=Overlap.QUEUE)
    lead.pass_to_ms(MINUTE_MS)
    lead.pass_to_ms(2 * MINUTE_MS)
    lead.leader.cancel(lead.client(), Cancel(1, (fired_id("tick", BEGIN_MS + MINUTE_MS),)), lead.now)
    lead.leader.schedules._queued.clear()  # as if this leader died before it could fire it
    lead.commit()
    other = lead.next_leader(names=("other",))
    other.commit()
    assert "no node knows" in listed(other)[0]["why"]
    other.enrol("b", names=("add",))
    other.pass_to_ms(2 * MINUTE_MS + RETRY_MS)
    assert (other.made(Fired.DEQUEUED), listed(other)[0]["why"]) == ([2 * MINUTE_MS], "")


def test_of_queued_moments_there_are_so_many_at_most() -> None:
    lead = Scheduled()
    lead.put(when=EVERY_5_S, overlap=Overlap.QUEUE)
    for number in range(1, WAITING_LIMIT + 5):
        lead.pass_to_ms(5_000 * number)
    assert (len(lead.row().waiting), lead.row().overlapped) == (WAITING_LIMIT, 3)


# --- what can't have its task


def test_a_moment_whose_name_nobody_runs_waits_and_says_why() -> None:
    lead = Scheduled(names=("other",))
    lead.put()
    lead.pass_to_ms(MINUTE_MS)
    assert (lead.firings(), lead.table.tasks) == ([], {})
    assert "no node knows a task named 'add'" in listed(lead)[0]["why"]
    lead.enrol("b", names=("add",))
    lead.pass_to_ms(MINUTE_MS + RETRY_MS)
    assert (lead.made(), listed(lead)[0]["why"]) == ([MINUTE_MS], "")


def test_a_full_queue_keeps_the_rest_of_what_is_made_up_for() -> None:
    lead = Scheduled(queue_limit_tasks=2)
    lead.put(misfire=Misfire.ALL)
    lead.pass_to_ms(4 * MINUTE_MS)
    assert (lead.made(), lead.row().next_ms) == ([MINUTE_MS, 2 * MINUTE_MS], BEGIN_MS + 3 * MINUTE_MS)
    assert "its limit" in listed(lead)[0]["why"]
    lead.end_all()
    lead.pass_to_ms(4 * MINUTE_MS + RETRY_MS)
    assert lead.made() == [MINUTE_MS, 2 * MINUTE_MS, 3 * MINUTE_MS, 4 * MINUTE_MS]


@source_only
def test_a_leader_that_does_not_know_the_zone_says_so_once_and_fires_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lead = Scheduled()
    lead.put(when=When(WhenKind.CRON, "* * * * *", "Europe/Berlin"))

    def unknown(*_: object) -> int:
        raise schedule_keeper.ScheduleError("no such zone here")

    with monkeypatch.context() as patched:
        patched.setattr(schedule_keeper, "next_after", unknown)
        lead.pass_to_ms(MINUTE_MS)
        lead.pass_to_ms(2 * MINUTE_MS)
    assert [text for level, text in lead.notices if level == "error"] == [
        "the schedule 'tick' can't fire while this node leads: no such zone here"
    ]
    assert (lead.firings(), listed(lead)[0]["why"]) == ([], "no such zone here")
    lead.pass_to_ms(3 * MINUTE_MS)
    assert lead.made() == [3 * MINUTE_MS]


def test_while_the_leadership_is_transferred_nothing_fires_or_changes() -> None:
    lead = Scheduled()
    lead.put()
    lead.leader.set_logging(False, lead.now)
    lead.now = 60.0
    lead.leader.meet_moments(lead.now)
    lead.leader.schedules.ask(b"c", ChangeSchedule(7, "tick", ScheduleOp.REMOVE), lead.now)
    assert len(lead.entries) == 1
    lead.leader.set_logging(True, lead.now)
    lead.commit()
    assert (lead.answers(), lead.table.schedules) == ([(DONE, "")], {})


# --- options


def test_a_task_has_what_its_nodes_announce_and_moments_from_its_firing_on() -> None:
    lead = Scheduled()
    lead.put(options={"expires": -10_000, "not_before": -2_000, "retries": 2})
    lead.pass_to_ms(MINUTE_MS)
    task = lead.table.tasks[fired_id("tick", BEGIN_MS + MINUTE_MS)]
    assert task.wire_options == {
        "expires": BEGIN_MS + MINUTE_MS + 10_000,
        "not_before": BEGIN_MS + MINUTE_MS + 2_000,
        "retries": 2,
    }
    assert lead.dispatched() == {}
    lead.now += 2.0
    lead.leader.meet_moments(lead.now)
    assert len(lead.dispatched()["a"]) == 1


def test_a_task_that_is_cancelled_before_the_log_has_it_does_not_run() -> None:
    lead = Scheduled()
    lead.put()
    lead.now = 60.0
    lead.leader.meet_moments(lead.now)
    lead.leader.cancel(lead.client(), Cancel(1, (fired_id("tick", BEGIN_MS + MINUTE_MS),)), lead.now)
    lead.commit()
    assert (lead.table.tasks, lead.dispatched()) == ({}, {})
    assert lead.table.results[fired_id("tick", BEGIN_MS + MINUTE_MS)] == (TaskEnd.CANCELLED, b"")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"options": {"not_before": BEGIN_MS + 5}}, "a moment that does not move"),
        ({"options": {"durability": 1}}, "is in the log"),
        ({"options": {"on_client_lost": 1}}, "has no client"),
        ({"options": {"idempotency_key": "x"}}, "leave idempotency_key out"),
        ({"when": When(WhenKind.CRON, "nonsense", "UTC")}, "write five fields"),
        ({"when": When(WhenKind.CRON, "* * * * *", "Mars/Olympus")}, "no time zone"),
        ({"when": When(WhenKind.ONCE, from_ms=BEGIN_MS)}, "its moment is over"),
        ({"args": bytes(17 << 20)}, "the cluster allows"),
    ],
)
def test_what_can_not_be_a_schedule_is_refused_with_the_reason(changes: dict[str, Any], says: str) -> None:
    lead = Scheduled()
    answer, detail = lead.put(**changes)
    assert (answer, says in detail, lead.table.schedules) == (REFUSED, True, {})


def test_an_older_node_in_the_cluster_refuses_schedules_by_name() -> None:
    lead = Scheduled()
    lead.leader.admission.cluster_level = ClusterLevel(16, ("old",))
    answer, detail = lead.put()
    assert (answer, "feature level 17" in detail, "old" in detail) == (REFUSED, True, True)


def test_a_definition_that_can_not_be_read_is_refused_and_changes_nothing() -> None:
    lead = Scheduled()
    with pytest.raises(ProtocolError):
        lead.leader.schedules.ask(b"c", PutSchedule(1, "tick", b"\x91\x01"), 0.0)


@source_only
def test_schedules_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_keeper, "SCHEDULES_LIMIT", 2)
    monkeypatch.setattr(schedule_keeper, "SCHEDULES_LIMIT_BYTES", 12_000)
    lead = Scheduled()
    assert [lead.put(name)[0] for name in ("a", "b", "c")] == [DONE, DONE, REFUSED]
    assert "remove some" in lead.put("c")[1]
    assert lead.put("a", args=bytes(9_000))[0] == REFUSED
    assert lead.put("a", args=bytes(5_000))[0] == DONE
    assert lead.table.schedule_bytes == sum(
        schedule_keeper.size_of(row.name, row.definition) for row in lead.table.schedules.values()
    )


# --- changes


def test_the_same_again_changes_nothing_and_an_interval_goes_on_as_it_did() -> None:
    lead = Scheduled()
    assert lead.put(when=EVERY_5_S)[0] == DONE
    lead.pass_to_ms(7_000)
    assert lead.put(when=EVERY_5_S)[0] == SAME
    assert lead.put(when=EVERY_5_S, priority=9)[0] == DONE
    assert (lead.row().next_ms - BEGIN_MS, lead.row().fired) == (10_000, 1)
    assert lead.put(when=When(WhenKind.EVERY, every_ms=9_000))[0] == DONE
    assert lead.row().next_ms - BEGIN_MS == 16_000


def test_a_schedule_is_paused_and_goes_on_without_what_was_in_between() -> None:
    lead = Scheduled()
    lead.put()
    assert [lead.change("tick", ScheduleOp.PAUSE), lead.change("tick", ScheduleOp.PAUSE)] == [DONE, SAME]
    lead.pass_to_ms(10 * MINUTE_MS)
    assert lead.firings() == []
    assert [lead.change("tick", ScheduleOp.RESUME), lead.change("tick", ScheduleOp.RESUME)] == [DONE, SAME]
    assert lead.row().next_ms == BEGIN_MS + 11 * MINUTE_MS
    assert [lead.change("tick", ScheduleOp.REMOVE), lead.change("tick", ScheduleOp.REMOVE)] == [DONE, UNKNOWN]
    assert lead.change("tick", ScheduleOp.PUT) == UNKNOWN
    lead.put()
    assert lead.change("tick", ScheduleOp.PUT) == REFUSED
    lead.pass_to_ms(12 * MINUTE_MS)
    assert lead.made() == [12 * MINUTE_MS]


def test_a_change_waits_for_what_is_on_its_way_into_the_log() -> None:
    lead = Scheduled()
    lead.put()
    lead.now = 60.0
    lead.leader.meet_moments(lead.now)
    lead.clock.offset_s -= 30.0
    lead.leader.schedules.ask(b"c", PutSchedule(9, "tick", encode_definition(definition(priority=7))), lead.now)
    assert lead.kinds().count(EntryKind.SCHEDULE) == 1
    lead.commit()
    lead.commit()
    assert lead.answers() == [(DONE, "")]
    assert lead.row().next_ms == BEGIN_MS + 2 * MINUTE_MS


def definition(**changes: Any) -> ScheduleDefinition:
    return ScheduleDefinition("add", b"args", 4, None, EVERY_MINUTE)._replace(**changes)


def test_a_task_is_triggered_once_however_often_that_is_asked_for() -> None:
    lead = Scheduled()
    lead.put()
    assert lead.trigger("tick", tid(7)) == (DONE, "")
    assert lead.trigger("tick", tid(7)) == (DONE, "")
    other = lead.next_leader()
    assert other.trigger("tick", tid(7)) == (DONE, "")
    assert (lead.made(Fired.TRIGGERED), other.firings(), list(other.table.tasks)) == ([0], [], [tid(7)])
    assert lead.row().next_ms == BEGIN_MS + MINUTE_MS
    assert lead.trigger("tock", tid(8))[0] == UNKNOWN
    lead.put("nobody's", task="sub")
    assert "no node knows" in lead.trigger("nobody's", tid(9))[1]


def test_requests_that_wait_for_the_log_have_a_bound() -> None:
    lead = Scheduled()
    lead.leader.set_logging(False, lead.now)
    for number in range(OPEN_REQUESTS + 1):
        lead.leader.schedules.ask(b"c", ChangeSchedule(number, "tick", ScheduleOp.PAUSE), lead.now)
    ((answer, detail),) = lead.answers()
    assert (answer, "too many" in detail) == (REFUSED, True)


# --- lists


def listed(lead: Scheduled, name: str = "*", after: str = "") -> list[dict[str, Any]]:
    found = scheduled(lead.leader, lead.table, SchedulesRequest(1, name, after), lead.clock.ms(lead.now))
    rows: list[dict[str, Any]] = found["schedules"]
    return rows


def test_a_list_says_what_became_of_the_last_firing() -> None:
    lead = Scheduled()
    lead.put()
    lead.pass_to_ms(MINUTE_MS)
    (row,) = listed(lead)
    assert (row["last_ms"] - BEGIN_MS, row["last_id"], row["last_state"]) == (
        MINUTE_MS,
        fired_id("tick", BEGIN_MS + MINUTE_MS),
        "ready",
    )
    lead.end_all()
    assert listed(lead)[0]["last_state"] == "succeeded"
    lead.change("tick", ScheduleOp.PAUSE)
    assert (listed(lead)[0]["paused"], listed(lead)[0]["next_ms"]) == (True, None)


def test_a_list_has_pages_in_the_order_of_names() -> None:
    lead = Scheduled()
    for number in range(ROWS_LIMIT + 5):
        lead.put(f"{number:04}")
    rows = listed(lead)
    assert [row["name"] for row in rows] == [f"{number:04}" for number in range(ROWS_LIMIT)]
    assert [row["name"] for row in listed(lead, after=rows[-1]["name"])] == [f"{n:04}" for n in range(200, 205)]
    assert [row["name"] for row in listed(lead, "00*7*3")] == ["0073"]


# --- what the log has, by itself


def test_what_the_log_has_twice_or_of_no_schedule_makes_nothing() -> None:
    lead = Scheduled()
    lead.put(overlap=Overlap.QUEUE)
    lead.pass_to_ms(MINUTE_MS)
    lead.pass_to_ms(2 * MINUTE_MS)
    before = digests_of(lead.table)
    for kind, data, _ in lead.entries:
        if kind == EntryKind.FIRING:
            lead.table.apply(kind, data)
    assert digests_of(lead.table) == before
    lead.change("tick", ScheduleOp.REMOVE)
    before = digests_of(lead.table)
    for kind, data, _ in lead.entries:
        if kind == EntryKind.FIRING:
            lead.table.apply(kind, data)
    assert digests_of(lead.table) == before
