"""Results that are kept for a time, whoever has them, and the records of their tasks."""

from __future__ import annotations

import pytest

from core.scheduling.test_leader import TERM, Lead, tid
from core.scheduling.test_reading_clients import read, told
from paceline.core.deadlines import NEVER_MS
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.releases import RELEASE_AT_ONCE_TASKS
from paceline.core.state.snapshots import digests_of, restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import decode_kept, encode_failed_attempt
from paceline_protocol.messages.client import Refusal, Wait
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import MAY_RETRY, TaskEnd

EPOCH_S = 1_700_000_000.0
TTL_MS = 10_000


def clock(ahead_s: float = 0.0) -> WallClock:
    shown = WallClock()
    shown.offset_s = EPOCH_S + ahead_s
    return shown


def ended(lead: Lead | None = None, *numbers: int, **options: int) -> Lead:
    """Tasks that have ended, and whose owner has their results."""
    lead = lead or Lead(clock=clock())
    lead.enrol("a", slots=8)
    numbers = numbers or (1,)
    lead.submit(lead.client(), *numbers, **(options or {"result_ttl": TTL_MS}))
    lead.commit()
    lead.dispatched()
    lead.now += 2.0
    lead.outcomes("a", 1, *numbers)
    lead.commit()
    told(lead)
    acknowledge(lead, b"c")
    return lead


def acknowledge(lead: Lead, key: bytes) -> None:
    lead.leader.admission.acknowledge(lead.leader.sessions.by_key[key], 99, lead.now)
    lead.now += 1.0
    lead.commit()


def pass_to(lead: Lead, at_s: float) -> None:
    lead.now = at_s
    lead.leader.meet_moments(lead.now)
    lead.commit()


def next_leader(lead: Lead, ahead_s: float = 0.0) -> Lead:
    return Lead(restored(lead.table), clock=clock(ahead_s))


def restored(table: TaskTable) -> TaskTable:
    other = TaskTable()
    restore(other, snapshot_of(table))
    assert digests_of(other) == digests_of(table)
    return other


def refusals(lead: Lead, *numbers: int) -> dict[int, int]:
    read(lead, b"r", *numbers)
    return lead.refusals()


def test_a_result_is_kept_for_its_time_though_its_owner_has_it_and_then_said_to_have_expired() -> None:
    lead = ended()
    pass_to(lead, 11.9)
    read(lead, b"d", 1)
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED]}
    pass_to(lead, 12.0)
    assert (lead.table.results, lead.table.records, lead.table.result_bytes) == ({}, {}, 0)
    assert refusals(lead, 1, 2) == {1: Refusal.RESULT_EXPIRED, 2: Refusal.UNKNOWN_ID}
    lead.leader.admission.wait(lead.client(), Wait(0, (tid(1),)), lead.now)
    assert lead.refusals() == {1: Refusal.RESULT_EXPIRED}
    lead.submit(lead.client(), 1)
    assert lead.refusals() == {1: Refusal.RESULT_EXPIRED}
    assert lead.table.knows(tid(1))


def test_a_result_without_a_time_leaves_nothing_of_it_in_the_log() -> None:
    lead = Lead(clock=clock())
    ended(lead, max_attempts=3)
    assert EntryKind.OUTCOME in lead.kinds()
    assert not {EntryKind.RECORD, EntryKind.EXPIRE}.intersection(lead.kinds())
    assert (lead.table.results, lead.table.records) == ({}, {})
    assert {"records", "expired"}.isdisjoint(name for name, _ in pages(lead.table))


def pages(table: TaskTable) -> list[tuple[str, int]]:
    return [(section.name, len(section.captured())) for section in table.sections if section.captured()]


def test_an_owner_that_acknowledges_before_the_end_is_committed_releases_nothing() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    session = lead.client()
    lead.submit(session, 1, result_ttl=TTL_MS)
    lead.commit()
    lead.dispatched()
    lead.outcomes("a", 1, 1)
    told(lead)
    lead.leader.admission.acknowledge(session, 99, lead.now)
    lead.now += 1.0
    lead.commit()
    assert tid(1) in lead.table.results


def test_the_time_goes_by_the_monotonic_clock_of_who_heard_of_the_end() -> None:
    for jump_s in (3_600.0, -3_600.0):
        lead = ended()
        lead.clock.offset_s += jump_s
        pass_to(lead, 11.9)
        assert tid(1) in lead.table.results
        pass_to(lead, 12.1)
        assert tid(1) not in lead.table.results


@pytest.mark.parametrize(("ahead_s", "until_s"), [(2.0, 10.0), (12.0, 0.0), (-3_600.0, 10.0)])
def test_a_new_leader_takes_from_its_wall_clock_what_is_left(ahead_s: float, until_s: float) -> None:
    """One that begins 2 s after the end by its clock, one by whose clock the time is over, and one whose clock is far
    behind: it keeps the result for the whole time once more, and no longer. Each begins when its own clock is at 0."""
    lead = ended()
    assert (record := lead.table.records[tid(1)]).kept_until_ms - record.ended_ms == TTL_MS
    other = next_leader(lead, ahead_s)
    if until_s:
        pass_to(other, until_s - 0.1)
        assert tid(1) in other.table.results
    pass_to(other, until_s + 0.1)
    assert refusals(other, 1) == {1: Refusal.RESULT_EXPIRED}
    assert refusals(next_leader(other), 1) == {1: Refusal.RESULT_EXPIRED}


def test_during_a_transfer_nothing_expires_and_afterwards_all_that_should_have() -> None:
    lead = ended()
    moments = lead.leader._due.retention._moments
    lead.leader.set_logging(False, lead.now)
    assert (moments.earliest_ms, moments.wakes_ms) == (12_000, NEVER_MS), "or the node would be woken in each turn"
    lead.leader.set_logging(True, lead.now)
    assert moments.wakes_ms == 12_000
    pass_to(lead, 20.0)
    assert tid(1) not in lead.table.results


def test_past_the_limits_the_oldest_go_first_whatever_their_time_and_nobody_waits_for_it_any_more() -> None:
    lead = Lead(clock=clock(), result_limit_tasks=2)
    ended(lead, 1, 2, 3, result_ttl=TTL_MS)
    lead.commit()
    assert list(lead.table.results) == [tid(2), tid(3)] == list(lead.table.records)
    assert refusals(lead, 1) == {1: Refusal.UNKNOWN_ID}
    assert len(lead.leader._due.retention._moments) == 2


def test_a_record_counts_for_the_bytes_of_results() -> None:
    lead = ended()
    assert lead.table.result_bytes >= 600
    bounded = Lead(clock=clock(), result_limit_bytes=1_000)
    ended(bounded, 1, 2, result_ttl=TTL_MS)
    bounded.commit()
    assert list(bounded.table.results) == [tid(2)]


def test_very_many_expire_in_entries_that_have_room_for_them() -> None:
    lead = Lead(clock=clock())
    for start in range(0, RELEASE_AT_ONCE_TASKS + 256, 256):
        lead.submit(lead.client(), *range(start, start + 256), result_ttl=TTL_MS)
    lead.commit()
    lead.leader.recording.cancel(list(lead.leader.tasks.live.values()), lead.now)
    lead.commit()
    assert len(lead.table.records) == RELEASE_AT_ONCE_TASKS + 256
    pass_to(lead, 20.0)
    assert len(lead.table.records) == 256
    pass_to(lead, 20.0)
    assert not lead.table.records


def test_of_two_ends_the_first_counts_and_so_does_its_record() -> None:
    lead = ended()
    (entry,) = [data for kind, data, _ in lead.entries if kind == EntryKind.RECORD]
    ((outcome, record),) = decode_kept(entry)
    before = digests_of(lead.table)
    late = ((outcome[0], 2, int(TaskEnd.FAILED), b"", 1), record._replace(ended_ms=1))
    lead.table.apply(EntryKind.RECORD, b"", [late])
    assert digests_of(lead.table) != before
    assert lead.table.records[tid(1)] == record
    assert lead.table.totals.duplicates == 1


def test_an_expiry_of_what_was_released_before_changes_nothing() -> None:
    lead = ended()
    lead.table.apply(EntryKind.RELEASE, tid(1))
    before = digests_of(lead.table)
    lead.table.apply(EntryKind.EXPIRE, tid(1) + tid(9))
    assert digests_of(lead.table) == before


def test_a_record_says_when_a_task_was_accepted_began_and_ended_and_where() -> None:
    lead = ended()
    at = int(EPOCH_S) * 1_000
    answer = whereabouts(lead.leader, tid(1), lead.now)
    assert {key: answer[key] for key in ("state", "name", "priority", "attempt", "node")} == {
        "state": "succeeded",
        "name": "add",
        "priority": 4,
        "attempt": 1,
        "node": "a",
    }
    moments = [answer[key] - at for key in ("accepted_ms", "started_ms", "ended_ms", "kept_until_ms")]
    assert moments == [0, 2_000, 2_000, 12_000]
    assert (answer["lost_attempts"], answer["failed_attempts"], answer["is_open"]) == (0, 0, False)
    assert whereabouts(next_leader(lead).leader, tid(1), 0.0) == answer


def test_a_record_is_told_before_the_log_has_it() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, result_ttl=TTL_MS)
    lead.commit()
    assert whereabouts(lead.leader, tid(1), 0.0)["accepted_ms"] == int(EPOCH_S) * 1_000
    lead.dispatched()
    lead.outcomes("a", 1, 1)
    early = whereabouts(lead.leader, tid(1), 0.0)
    assert (early["state"], early["name"], early["is_open"]) == ("succeeded", "add", False)
    assert whereabouts(next_leader(lead).leader, tid(1), 0.0)["is_open"], "it runs again if this leader dies now"
    lead.commit()
    assert whereabouts(lead.leader, tid(1), 0.0) == early


def test_lost_and_failed_attempts_are_counted_apart_in_a_record_and_failures_are_kept() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, result_ttl=TTL_MS, retries=3, jitter=1, backoff=1)
    lead.commit()
    lead.dispatched()
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.commit()
    lead.dispatched()
    failed = encode_failed_attempt(("ValueError: no", 0, int(TaskEnd.FAILED), b"error"))
    lead.leader.nodes.on_outcomes("a", TERM, 2, [(tid(1), 2, MAY_RETRY, failed, 500)], lead.now)
    lead.commit()
    pass_to(lead, 1.0)
    lead.dispatched()
    lead.outcomes("a", 3, 1, attempt=3)
    lead.commit()
    answer = whereabouts(lead.leader, tid(1), lead.now)
    assert (answer["state"], answer["attempt"]) == ("succeeded", 3)
    assert (answer["lost_attempts"], answer["failed_attempts"]) == (1, 1)
    assert [(number, why) for number, _, why in answer["failures"]] == [(2, "ValueError: no")]


def test_a_task_that_never_ran_has_a_record_without_a_start_or_a_node() -> None:
    lead = Lead(clock=clock())
    session = lead.client()
    lead.submit(session, 1, result_ttl=TTL_MS)
    lead.commit()
    lead.cancel(session, 1)
    lead.commit()
    answer = whereabouts(lead.leader, tid(1), lead.now)
    assert (answer["state"], answer["started_ms"], answer["node"]) == ("cancelled", None, "")


def test_of_a_result_that_has_expired_it_is_told_that_it_has() -> None:
    lead = ended()
    pass_to(lead, 20.0)
    answer = whereabouts(lead.leader, tid(1), lead.now)
    assert (answer["state"], answer["result_expired"], answer["name"]) == ("ended", True, None)
    assert "time is over" in answer["why"]


def test_when_a_call_was_accepted_says_its_leader_whatever_the_client_has_written() -> None:
    lead = Lead(clock=clock())
    lead.submit(lead.client(), 1, result_ttl=TTL_MS, accepted=5)
    options = lead.task(1).options
    assert options is not None
    assert options.accepted_ms == int(EPOCH_S) * 1_000


def test_what_expires_at_a_new_leader_moves_no_task_before_the_nodes_have_said_what_they_hold() -> None:
    """The earlier leader's clock was ahead: the delayed task may run at a node that has not been heard."""
    lead = ended()
    lead.submit(lead.client(), 5, seq=5, not_before=int(EPOCH_S + 13) * 1_000)
    lead.commit()
    other = Lead(restored(lead.table), clock=clock(11.0), settled=False)
    pass_to(other, 3.0)
    assert refusals(other, 1) == {1: Refusal.RESULT_EXPIRED}
    assert other.task(5).is_delayed
    other.enrol("a", held={5: 1})
    assert other.task(5).is_dispatched_to("a")


def test_of_an_attempt_that_had_counted_as_lost_the_record_says_where_and_when_that_one_ran() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, result_ttl=TTL_MS)
    lead.commit()
    lead.dispatched()
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.enrol("a", slots=0)
    lead.enrol("b")
    lead.now = 5.0
    assert lead.dispatched() == {"b": [(1, 2)]}
    lead.leader.nodes.on_outcomes("a", TERM, 2, [(tid(1), 1, int(TaskEnd.SUCCEEDED), b"", 4_000_000)], lead.now)
    lead.commit()
    record = lead.table.records[tid(1)]
    assert (record.attempt, record.lost, record.node) == (1, 0, "a")
    assert record.ended_ms - record.started_ms == 4_000


def test_what_a_new_leader_gives_up_has_all_its_attempts_in_its_record() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, result_ttl=TTL_MS, retries=3, jitter=1, backoff=1)
    lead.commit()
    lead.dispatched()
    failed = encode_failed_attempt(("ValueError: no", 0, int(TaskEnd.FAILED), b"error"))
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, MAY_RETRY, failed, 500)], lead.now)
    lead.commit()
    pass_to(lead, 1.0)
    for seq in (2, 3):
        lead.dispatched()
        lead.outcomes("a", seq, 1, attempt=seq, end=TaskEnd.LOST)
        lead.commit()
    other = Lead(restored(lead.table), clock=clock(5.0), attempt_limit=2)
    other.commit()
    record = other.table.records[tid(1)]
    assert (record.attempt, record.lost, record.failed) == (3, 2, 1)
