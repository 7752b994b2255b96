"""Dead tasks: which are kept and for how long, and that one that is requeued makes one new task."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_leader import TERM, Lead, tid
from core.scheduling.test_reading_clients import read, told
from core.scheduling.test_retention import EPOCH_S, acknowledge, clock, pass_to, restored
from modes import source_only
from paceline.client.task_record import record_of
from paceline.core.deadlines import NEVER_MS
from paceline.core.feature_levels import ClusterLevel
from paceline.core.reports.dead import ROWS_LIMIT, dead_task, dead_tasks
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.dead_task_requests import OPEN_REQUESTS
from paceline.core.state.dead_tasks import DEAD_BYTES, DeadTask
from paceline.core.state.snapshots import digests_of
from paceline_protocol.codec import (
    decode_dead,
    decode_requeued,
    encode_calls,
    encode_failed_attempt,
    encode_kept,
    encode_requeued,
)
from paceline_protocol.errors import LimitExceeded, ProtocolError
from paceline_protocol.limits import SUMMARY_LIMIT_BYTES
from paceline_protocol.messages.client import DeadState, DeadTasksRequest, Discard, Refusal, Requeue, Submit
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import MAY_RETRY, EndRecord, TaskEnd
from paceline_protocol.payload import ErrorInfo, pack_error_info
from paceline_protocol.requeued import requeued_id
from paceline_protocol.texts import one_line

KEEP_MS = 10_000
RECORD = EndRecord("add", 4, 1, 0, 1, "a", 0, 0, 2_000, 0, ())
ERROR = pack_error_info(ErrorInfo("ValueError", "builtins", "no such order\nat all", (), "Traceback"))
R, D, U, B, X = (
    DeadState.REQUEUED,
    DeadState.DISCARDED,
    DeadState.UNKNOWN,
    DeadState.REQUEUED_BEFORE,
    DeadState.REFUSED,
)


def dies(lead: Lead, *numbers: int, seq: int = 1, name: str = "add", args: bytes = b"", **options: Any) -> Lead:
    """Tasks that end by an error, and whose owner has it."""
    asked = {"keep_dead": KEEP_MS, **options}
    calls = [(tid(number), name, 7, args, asked or None) for number in numbers]
    lead.enrol("a", slots=len(numbers) + 1, names=("add", "sub"))
    lead.leader.admission.submit(lead.client(), Submit(seq, 0, encode_calls(calls)), lead.now)
    lead.commit()
    lead.dispatched()
    lead.now += 2.0
    outcomes = [(tid(number), 1, int(TaskEnd.FAILED), ERROR, 500) for number in numbers]
    lead.leader.nodes.on_outcomes("a", TERM, seq, outcomes, lead.now)
    lead.commit()
    told(lead)
    acknowledge(lead, b"c")
    return lead


def dead(*numbers: int, **options: Any) -> Lead:
    return dies(Lead(clock=clock()), *(numbers or (1,)), **options)


def kept(lead: Lead) -> list[int]:
    return [int.from_bytes(task_id, "big") for task_id in lead.table.dead]


def requeue(lead: Lead, *numbers: int, request: int = 1, args: bytes = b"", key: bytes = b"r") -> None:
    lead.leader.dead.requeue(key, Requeue(request, tuple(map(tid, numbers)), args), lead.now)


def discard(lead: Lead, *numbers: int, request: int = 1, key: bytes = b"d") -> None:
    lead.leader.dead.discard(key, Discard(request, tuple(map(tid, numbers))))


def replies(lead: Lead) -> dict[tuple[bytes, int], dict[int, int]]:
    found, lead.leader.dead.replies = lead.leader.dead.replies, []
    return {
        (key, reply.request): {int.from_bytes(task_id, "big"): state for task_id, state, _ in reply.states}
        for key, reply in found
    }


def listed(lead: Lead, name: str = "", error: str = "", skip: int = 0) -> dict[str, Any]:
    return dead_tasks(lead.table, lead.settings, DeadTasksRequest(1, name, error, skip))


# --- which are kept


def test_a_task_that_failed_for_good_is_kept_with_its_arguments_and_error_though_its_owner_has_it() -> None:
    lead = dead(args=b"packed")
    assert lead.table.results == {}
    (row,) = listed(lead)["tasks"]
    assert {key: row[key] for key in ("id", "name", "end", "priority", "node", "attempt", "failed_attempts")} == {
        "id": tid(1),
        "name": "add",
        "end": "failed",
        "priority": 7,
        "node": "a",
        "attempt": 1,
        "failed_attempts": 1,
    }
    assert (row["error_type"], row["error"]) == ("ValueError", "ValueError: no such order")
    assert [row[key] - int(EPOCH_S) * 1_000 for key in ("started_ms", "ended_ms", "kept_until_ms")] == [
        2000,
        2000,
        12000,
    ]
    all_of_it = dead_task(lead.table, tid(1))
    assert (all_of_it["args"], all_of_it["payload"], all_of_it["options"]) == (b"packed", ERROR, {"keep_dead": KEEP_MS})
    where = whereabouts(lead.leader, tid(1), lead.now)
    assert (where["state"], where["name"], where["kept_until_ms"]) == ("failed", "add", None)
    assert "it is kept as a dead task" in where["why"]


@pytest.mark.parametrize(
    ("end", "is_kept"),
    [(TaskEnd.SUCCEEDED, False), (TaskEnd.FAILED, True), (TaskEnd.TIMED_OUT, True), (TaskEnd.CANCELLED, False)],
)
def test_what_did_what_it_was_to_do_or_was_cancelled_is_not_dead(end: TaskEnd, is_kept: bool) -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, keep_dead=KEEP_MS)
    lead.commit()
    lead.dispatched()
    lead.outcomes("a", 1, 1, end=end)
    lead.commit()
    assert bool(lead.table.dead) == is_kept
    assert (EntryKind.DEAD in lead.kinds()) == is_kept
    assert EntryKind.RECORD not in lead.kinds()


def test_a_lost_task_is_dead_and_one_that_expired_is_not() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a", slots=2)
    lead.submit(lead.client(), 1, keep_dead=KEEP_MS, max_attempts=1)
    lead.submit(lead.client(), 2, seq=2, keep_dead=KEEP_MS, expires=1)
    lead.commit()
    lead.dispatched()
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.commit()
    assert kept(lead) == [1]
    assert lead.table.dead[tid(1)].error_type == "paceline.errors.TaskLost"
    assert lead.table.totals.ended[TaskEnd.EXPIRED] == 1


def test_a_task_that_does_not_ask_for_it_leaves_nothing_of_it_in_the_log() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, max_attempts=3)
    lead.commit()
    lead.dispatched()
    lead.outcomes("a", 1, 1, end=TaskEnd.FAILED)
    lead.commit()
    assert EntryKind.OUTCOME in lead.kinds()
    assert not {EntryKind.RECORD, EntryKind.DEAD}.intersection(lead.kinds())
    assert lead.table.dead == {}
    assert "dead" not in [section.name for section in lead.table.sections if section.captured()]


def test_what_it_had_failed_with_before_is_kept_too() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, keep_dead=KEEP_MS, retries=1, jitter=1, backoff=1)
    lead.commit()
    for attempt in (1, 2):
        lead.dispatched()
        failed = encode_failed_attempt((f"ValueError: {attempt}", 0, int(TaskEnd.FAILED), ERROR))
        lead.leader.nodes.on_outcomes("a", TERM, attempt, [(tid(1), attempt, MAY_RETRY, failed, 500)], lead.now)
        lead.commit()
        pass_to(lead, float(attempt))
    found = dead_task(lead.table, tid(1))
    assert (found["attempt"], found["failed_attempts"]) == (2, 2)
    assert [(number, why) for number, _, why in found["failures"]] == [(1, "ValueError: 1")]


def test_whoever_asks_for_the_result_of_a_dead_task_is_told_its_error_as_long_as_it_is_kept() -> None:
    lead = dead(result_ttl=5_000)
    pass_to(lead, 8.0)
    assert lead.table.results == {}
    for key in (b"x", b"y"):
        read(lead, key, 1)
        assert told(lead) == {key: [TaskEnd.FAILED]}
        acknowledge(lead, key)
    where = whereabouts(lead.leader, tid(1), lead.now)
    assert (where["state"], where["result_expired"]) == ("failed", True)
    assert record_of(tid(1), where).name == "add"
    pass_to(lead, 13.0)
    read(lead, b"x", 1)
    assert lead.refusals() == {1: Refusal.RESULT_EXPIRED}


def test_a_dead_task_may_have_a_result_that_is_kept_for_another_time() -> None:
    lead = dead(result_ttl=5_000)
    assert (kept(lead), list(lead.table.records)) == ([1], [tid(1)])
    pass_to(lead, 7.1)
    assert (kept(lead), lead.table.records, lead.table.results) == ([1], {}, {})
    pass_to(lead, 12.1)
    assert kept(lead) == []


@source_only
def test_of_a_long_error_no_more_is_read_than_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    read_chars: list[int] = []

    def noted(text: str) -> str:
        read_chars.append(len(text))
        return one_line(text)

    monkeypatch.setattr("paceline.core.state.dead_tasks.one_line", noted)
    long = pack_error_info(ErrorInfo("E" * 4_000, "shop", "\x1b" * 60_000, (), "Traceback"))
    dead = DeadTask((tid(1), "add", 4, b"", {"keep_dead": 1}), TaskEnd.FAILED, long, RECORD)
    assert dead.error_type == f"shop.{'E' * (SUMMARY_LIMIT_BYTES - 5)}"
    assert max(read_chars) <= 3 * SUMMARY_LIMIT_BYTES
    short = pack_error_info(ErrorInfo("E", "builtins", "\x1b" * 60_000, (), "Traceback"))
    dead = DeadTask((tid(1), "add", 4, b"", {"keep_dead": 1}), TaskEnd.FAILED, short, RECORD)
    assert dead.error == ("E: " + "\\x1b" * 60)[:SUMMARY_LIMIT_BYTES]


# --- for how long


def test_it_is_kept_for_its_time_by_the_monotonic_clock_of_who_heard_of_the_end() -> None:
    for jump_s in (3_600.0, -3_600.0):
        lead = dead()
        lead.clock.offset_s += jump_s
        pass_to(lead, 11.9)
        assert kept(lead) == [1]
        pass_to(lead, 12.1)
        assert kept(lead) == []
        assert lead.table.dead_bytes == 0
        assert lead.table.dead_by_name == {}


@pytest.mark.parametrize(("ahead_s", "until_s"), [(2.0, 10.0), (12.0, 0.0), (-3_600.0, 10.0)])
def test_a_new_leader_takes_from_its_wall_clock_what_is_left(ahead_s: float, until_s: float) -> None:
    other = Lead(restored(dead().table), clock=clock(ahead_s))
    if until_s:
        pass_to(other, until_s - 0.1)
        assert kept(other) == [1]
    pass_to(other, until_s + 0.1)
    assert kept(other) == []


def test_during_a_transfer_nothing_is_discarded_and_afterwards_all_that_should_have_been() -> None:
    lead = dead()
    moments = lead.leader._due.retention._dead_moments
    lead.leader.set_logging(False, lead.now)
    assert (moments.earliest_ms, moments.wakes_ms) == (12_000, NEVER_MS)
    lead.leader.set_logging(True, lead.now)
    pass_to(lead, 20.0)
    assert kept(lead) == []


# --- bounds


def test_past_the_limits_the_oldest_go_first_which_is_counted_and_said_once() -> None:
    lead = dies(Lead(clock=clock(), dead_limit_tasks=2), 1, 2, 3)
    lead.commit()
    assert kept(lead) == [2, 3]
    dies(lead, 4, seq=2)
    lead.commit()
    assert kept(lead) == [3, 4]
    assert lead.leader.tasks.tally.dead_dropped == 2
    said = [text for level, text in lead.notices if "room for more dead tasks" in text]
    assert len(said) == 1
    assert "than 2, or 64 MiB (--dead-limit-mib)" in said[0]
    assert len(lead.leader._due.retention._dead_moments) == 2


def test_they_are_bounded_in_bytes_and_what_is_larger_than_the_bound_drives_no_other_out() -> None:
    lead = Lead(clock=clock(), dead_limit_bytes=3 * (DEAD_BYTES + 1_000))
    dies(lead, 1, 2, args=bytes(1_000))
    dies(lead, 3, seq=2, args=bytes(10_000))
    too_large_by_its_record = lead.settings.dead_limit_bytes - DEAD_BYTES - len(ERROR)
    dies(lead, 5, seq=3, args=bytes(too_large_by_its_record))
    lead.commit()
    assert kept(lead) == [1, 2]
    assert lead.leader.tasks.tally.dead_dropped == 2
    dies(lead, 4, seq=4, args=bytes(3_000))
    lead.commit()
    assert kept(lead) == [4]
    assert lead.table.dead_bytes <= 3 * (DEAD_BYTES + 1_000)


def test_a_leader_that_keeps_fewer_discards_what_the_one_before_it_kept() -> None:
    lead = Lead(restored(dead(1, 2, 3).table), clock=clock(), dead_limit_tasks=1)
    lead.leader.applied(0, lead.now)
    assert lead.leader.recording.is_awaited, "or nothing would have the log proposed"
    lead.commit()
    assert kept(lead) == [3]


# --- requeue


def test_a_new_task_takes_the_place_of_a_dead_one_and_that_is_said_once_it_is_committed() -> None:
    lead = dead(args=b"old", max_attempts=3)
    requeue(lead, 1)
    lead.leader.log(lead.now)
    assert replies(lead) == {}
    assert kept(lead) == [1]
    where = whereabouts(lead.leader, requeued_id(tid(1)), lead.now)
    assert (where["state"], where["why"]) == (
        "delayed",
        "that it takes the place of a dead task is being written to the log",
    )
    assert lead.dispatched() == {}
    assert not lead.leader.goes_on()
    lead.commit()
    assert lead.leader.goes_on()
    assert lead.dispatched() == {"a": [(int.from_bytes(requeued_id(tid(1)), "big"), 1)]}
    assert replies(lead) == {(b"r", 1): {1: R}}
    assert kept(lead) == []
    new = lead.table.tasks[requeued_id(tid(1))]
    assert new is lead.leader.tasks.live[new.id]
    assert (new.name, new.priority, new.args) == ("add", 7, b"old")
    assert new.wire_options == {"keep_dead": KEEP_MS, "max_attempts": 3, "requeued_from": tid(1).hex()}
    assert lead.table.totals.accepted == 2
    assert lead.leader.tasks.tally.accepted == 2


def test_one_that_is_cancelled_before_the_log_has_it_does_not_run() -> None:
    lead = dead()
    requeue(lead, 1)
    lead.cancel(lead.client(), int.from_bytes(requeued_id(tid(1)), "big"))
    lead.commit()
    assert lead.table.results[requeued_id(tid(1))][0] == TaskEnd.CANCELLED
    assert lead.dispatched() == {}
    lead.leader.tasks.check()


def test_its_arguments_can_be_others_and_its_moments_are_over() -> None:
    lead = dead(
        args=b"old", not_before=1, expires=int(EPOCH_S) * 1_000 + 60_000, result_ttl=60_000, trace=1, on_client_lost=1
    )
    requeue(lead, 1, args=b"new")
    lead.commit()
    new = lead.table.tasks[requeued_id(tid(1))]
    assert new.args == b"new"
    assert new.wire_options is not None
    assert set(new.wire_options) == {"keep_dead", "result_ttl", "accepted", "requeued_from"}
    assert new.wire_options["accepted"] == int((EPOCH_S + lead.now - 1.0) * 1_000) + 1_000


def test_one_that_dies_again_is_a_dead_task_of_its_own_that_names_the_first() -> None:
    lead = dead()
    requeue(lead, 1)
    lead.commit()
    lead.dispatched()
    new_id = requeued_id(tid(1))
    lead.leader.nodes.on_outcomes("a", TERM, 2, [(new_id, 1, int(TaskEnd.FAILED), ERROR, 5)], lead.now)
    lead.commit()
    (row,) = listed(lead)["tasks"]
    assert (row["id"], row["requeued_from"]) == (new_id, tid(1).hex())


def test_whoever_asks_again_or_at_the_same_time_is_told_that_it_was_requeued_before_and_as_what() -> None:
    lead = dead(1, 2)
    requeue(lead, 1, 9)
    requeue(lead, 1, 9, 1)  # a copy
    requeue(lead, 1, key=b"other", request=7)
    discard(lead, 1, 2)
    requeue(lead, 2, key=b"late", request=3)
    lead.commit()
    assert replies(lead) == {
        (b"r", 1): {1: R, 9: U},
        (b"other", 7): {1: B},
        (b"d", 1): {1: B, 2: D},
        (b"late", 3): {2: U},
    }
    requeue(lead, 1, 2)
    assert replies(lead) == {(b"r", 1): {1: B, 2: U}}
    assert [kind for kind in lead.kinds() if kind is EntryKind.REQUEUE] == [EntryKind.REQUEUE]
    assert dead_task(lead.table, tid(1)) == {"found": False, "requeued_as": requeued_id(tid(1))}
    assert dead_task(lead.table, tid(2)) == {"found": False, "requeued_as": None}


def test_a_leader_that_dies_before_the_commit_leaves_the_dead_task_and_one_that_dies_behind_it_one_new_task() -> None:
    lead = dead()
    requeue(lead, 1)
    before = Lead(restored(lead.table), clock=clock())
    lead.commit()
    behind = Lead(restored(lead.table), clock=clock())
    for leader, state in ((before, R), (behind, B)):
        leader.enrol("a")
        requeue(leader, 1)
        leader.commit()
        assert replies(leader) == {(b"r", 1): {1: state}}
        assert list(leader.table.tasks) == [requeued_id(tid(1))]
        assert kept(leader) == []


def test_what_can_not_be_taken_now_is_refused_with_the_reason_and_stays() -> None:
    lead = dead(1, 2)
    lead.leader.admission.missing_voters = 1
    requeue(lead, 1)
    ((_, reply),) = lead.leader.dead.replies
    assert reply.states == ((tid(1), X, "1 of 1 voters are still to come"),)
    lead.leader.admission.missing_voters = 0
    lead.leader.dead.replies = []
    too_large = bytes(lead.settings.payload_limit_bytes + 1)
    requeue(lead, 1, args=too_large)
    ((_, reply),) = lead.leader.dead.replies
    assert "the cluster allows" in reply.states[0][2]
    assert kept(lead) == [1, 2]
    assert EntryKind.REQUEUE not in lead.kinds()


def test_a_task_of_the_id_that_the_new_one_would_have_is_not_run_twice() -> None:
    lead = dead()
    call = (requeued_id(tid(1)), "add", 4, b"", None)
    lead.leader.admission.submit(lead.client(), Submit(2, 0, encode_calls([call])), lead.now)
    requeue(lead, 1)
    ((_, reply),) = lead.leader.dead.replies
    assert reply.states[0][1:] == (X, "a task of the id that the new one would have was submitted before")


def test_a_dead_task_of_which_the_result_is_forgotten_is_not_accepted_again() -> None:
    lead = dead()
    lead.table.released.take_from(Lead().table.released)
    lead.submit(lead.client(), 1, seq=2)
    assert lead.refusals() == {1: Refusal.UNKNOWN_ID}
    discard(lead, 1)
    lead.commit()
    lead.submit(lead.client(), 1, seq=3)
    assert lead.refusals() == {1: Refusal.UNKNOWN_ID}


def test_requests_that_wait_for_the_log_are_bounded() -> None:
    lead = dead()
    for number in range(OPEN_REQUESTS + 2):
        discard(lead, 1, request=number)
    assert replies(lead) == {(b"d", number): {1: X} for number in (OPEN_REQUESTS, OPEN_REQUESTS + 1)}
    lead.commit()
    assert len(replies(lead)) == OPEN_REQUESTS
    assert lead.leader.dead._waiting == lead.leader.dead._open == lead.leader.dead._leaving == {}


def test_very_many_are_requeued_in_entries_that_have_room_for_them() -> None:
    lead = Lead(clock=clock(), dispatch_window_bytes=1 << 30)
    for number in range(1, 21):
        dies(lead, number, seq=number, args=bytes(500_000))
    requeue(lead, *range(1, 21))
    lead.commit()
    entries = [decode_requeued(data) for kind, data, _ in lead.entries if kind == EntryKind.REQUEUE]
    assert sum(map(len, entries)) == 20
    assert len(entries) > 1
    assert len(replies(lead)[b"r", 1]) == 20
    assert len(lead.table.tasks) == 20


def test_one_message_has_its_arguments_logged_once() -> None:
    lead = dead(1, 2)
    with pytest.raises(LimitExceeded):
        requeue(lead, 1, 2, args=bytes(1_000_000))
    requeue(lead, 1, 1, args=b"new")
    lead.commit()
    assert replies(lead) == {(b"r", 1): {1: R}}
    assert kept(lead) == [2]


# --- the log


def test_of_two_ends_the_first_counts() -> None:
    lead = dead()
    (entry,) = [data for kind, data, _ in lead.entries if kind == EntryKind.DEAD]
    ((outcome, record),) = decode_dead(entry)
    lead.table.apply(EntryKind.DEAD, b"", [((outcome[0], 2, int(TaskEnd.LOST), b"", 1), record._replace(ended_ms=1))])
    assert lead.table.dead[tid(1)].record == record
    assert lead.table.totals.duplicates == 1


def test_a_requeue_of_what_is_no_dead_task_makes_none() -> None:
    lead = dead()
    before = digests_of(lead.table)
    lead.table.apply(EntryKind.REQUEUE, encode_requeued([(tid(8), (tid(9), "add", 4, b"", None))]))
    lead.table.apply(EntryKind.DISCARD, tid(8))
    assert digests_of(lead.table) == before


def test_an_end_that_is_none_of_a_dead_task_is_no_entry() -> None:
    lead = dead()
    (entry,) = [data for kind, data, _ in lead.entries if kind == EntryKind.DEAD]
    ((outcome, record),) = decode_dead(entry)
    succeeded = (*outcome[:2], int(TaskEnd.SUCCEEDED), *outcome[3:])
    with pytest.raises(ProtocolError, match="FAILED, LOST or TIMED_OUT is expected"):
        lead.table.decode(EntryKind.DEAD, encode_kept([(succeeded, record)]))


def test_below_the_level_of_the_cluster_the_option_is_refused() -> None:
    lead = Lead(clock=clock())
    lead.leader.admission.cluster_level = ClusterLevel(6, older=("old",))
    lead.submit(lead.client(), 1, keep_dead=KEEP_MS)
    ((_, why, detail),) = [each for update in lead.updates() for each in update.refused]
    assert why == Refusal.LEVEL_TOO_LOW
    assert "the option 'keep_dead' needs feature level 8" in detail


# --- what is told


def test_they_are_counted_by_name_and_error_and_listed_page_by_page() -> None:
    lead = dead(*range(1, ROWS_LIMIT + 3))
    dies(lead, ROWS_LIMIT + 10, seq=2, name="sub")
    answer = listed(lead)
    assert [(row["name"], row["error"], row["count"]) for row in answer["groups"]] == [
        ("add", "ValueError", ROWS_LIMIT + 2),
        ("sub", "ValueError", 1),
    ]
    assert answer["groups"][0]["newest_ms"] < answer["groups"][1]["oldest_ms"]
    assert (len(answer["tasks"]), answer["more_tasks"], answer["total"]) == (ROWS_LIMIT, 3, ROWS_LIMIT + 3)
    rest = listed(lead, skip=ROWS_LIMIT)
    assert [int.from_bytes(row["id"], "big") for row in rest["tasks"]] == [
        ROWS_LIMIT + 1,
        ROWS_LIMIT + 2,
        ROWS_LIMIT + 10,
    ]
    assert rest["more_tasks"] == 0
    assert [row["name"] for row in listed(lead, name="sub")["tasks"]] == ["sub"]
    assert listed(lead, error="KeyError")["tasks"] == []
    assert listed(lead, name="sub", error="ValueError")["groups"] == [answer["groups"][1]]
    assert lead.table.dead_by_name == {"add": ROWS_LIMIT + 2, "sub": 1}


def test_what_is_listed_has_neither_arguments_nor_tracebacks() -> None:
    lead = dead(args=b"secret argument")
    assert b"secret" not in repr(listed(lead)).encode()
    assert "Traceback" not in repr(listed(lead))


def test_an_error_that_can_not_be_read_is_kept_and_said_to_be_so() -> None:
    lead = Lead(clock=clock())
    lead.enrol("a")
    lead.submit(lead.client(), 1, keep_dead=KEEP_MS)
    lead.commit()
    lead.dispatched()
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, int(TaskEnd.FAILED), b"\xc1", 500)], lead.now)
    lead.commit()
    (row,) = listed(lead)["tasks"]
    assert (row["error_type"], row["error"]) == ("", "an error that can't be read")
