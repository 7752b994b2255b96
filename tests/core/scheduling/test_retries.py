"""Tasks that are tried again after they have failed: how often, when, and what of it survives the leader."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_leader import TERM, Lead, tid
from paceline.client.future import error_of
from paceline.core.clients.sessions import ClientSession
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.retrying import Retrying
from paceline.core.state.call_options import FAILURE_BYTES, KEPT_FAILURES
from paceline.core.state.retries import Retries
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline.core.wall_clock import WallClock
from paceline.errors import TaskLost
from paceline_protocol.codec import decode_retries, encode_calls, encode_failed_attempt, encode_outcomes, encode_retries
from paceline_protocol.errors import MalformedFrame, ProtocolError
from paceline_protocol.messages.client import CancelState, Wait
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import MAY_RETRY, NO_LOG, Retry, TaskEnd
from paceline_protocol.payload import pack_error, unpack_error

ERROR = pack_error(ValueError("no"), "")
ERROR_INFO = unpack_error(ERROR)
STEADY = {"backoff": 1_000, "jitter": 1}
"""Each wait is twice as long as the one before, from a second on."""


class Retried(Clocked):
    """Node "a" runs task 1, which is asked for with these options."""

    def __init__(self, table: TaskTable | None = None, *, clock: WallClock | None = None, **options: Any) -> None:
        super().__init__(table, clock=clock)
        self.enrol("a")
        self.session: ClientSession = self.client()
        self.reported = 0
        if table is None:
            self.submit(self.session, 1, **(STEADY | options))
            self.commit()

    def at(self, seconds: float) -> None:
        self.now = seconds
        self.leader.meet_moments(seconds)

    def fails(self, attempt: int, *, delay_ms: int = 0, node_id: str = "a", summary: str = "ValueError: no") -> None:
        failed = encode_failed_attempt((summary, delay_ms, int(TaskEnd.FAILED), ERROR))
        self.reported += 1
        outcome = (tid(1), attempt, MAY_RETRY, failed, 500)
        self.leader.nodes.on_outcomes(node_id, TERM, self.reported, [outcome], self.now)

    def loses(self, attempt: int) -> None:
        self.reported += 1
        self.outcomes("a", self.reported, 1, end=TaskEnd.LOST, attempt=attempt)

    def runs_next(self, attempt: int) -> bool:
        return self.dispatched() == {"a": [(1, attempt)]}

    def retries(self) -> list[Retry]:
        """What the log has of them."""
        self.leader.log(self.now)
        return [each for kind, data, _ in self.entries if kind == EntryKind.RETRY for each in decode_retries(data)]

    def told(self) -> tuple[int, Any] | None:
        for update in self.updates():
            for _task_id, end, payload in update.results:
                return end, unpack_error(payload) if end == TaskEnd.FAILED else payload
        return None


def test_a_task_that_fails_waits_twice_as_long_each_time_and_ends_with_its_last_error_and_those_before() -> None:
    lead = Retried(retries=2)
    assert lead.runs_next(1)
    lead.at(10.0)
    lead.fails(1, summary="ValueError: first")
    assert lead.retries() == [(tid(1), 1, ms(11.0), ms(10.0), "ValueError: first")]
    lead.commit()
    lead.at(10.999)
    assert lead.dispatched() == {}
    lead.at(11.0)
    assert lead.runs_next(2)
    lead.fails(2, summary="ValueError: second")
    lead.commit()
    lead.at(12.999)
    assert lead.dispatched() == {}
    lead.at(13.0)
    assert lead.runs_next(3)
    lead.fails(3)
    assert lead.told() is None, "another leader could still run it, if this is not committed"
    lead.commit()
    end, error = lead.told() or (0, ERROR_INFO)
    assert (end, error.type_name, error.message) == (TaskEnd.FAILED, "ValueError", "no")
    assert error.earlier == ((1, ms(10.0), "ValueError: first"), (2, ms(11.0), "ValueError: second"))
    assert lead.leader.tasks.tally.retried == 2
    assert (lead.leader.tasks.live_bytes, lead.table.failures) == (0, {})
    lead.leader.tasks.check()


def test_a_task_that_succeeds_in_the_end_ends_so() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.outcomes("a", lead.reported + 1, 1, attempt=2)
    assert lead.told() == (TaskEnd.SUCCEEDED, b"")


def test_no_attempt_starts_before_the_log_has_that_the_last_one_failed() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.leader.log(lead.now)
    lead.at(60.0)
    assert lead.dispatched() == {}
    lead.commit()
    lead.at(60.0)
    assert lead.runs_next(2)


def test_a_wait_ends_at_its_limit_and_a_task_can_choose_it_itself() -> None:
    lead = Retried(retries=4, backoff_max=1_500)
    for attempt, (delay_ms, waits_s) in enumerate(((0, 1.0), (0, 1.5), (7_001, 7.0), (1, 0.0)), start=1):
        assert lead.runs_next(attempt)
        lead.fails(attempt, delay_ms=delay_ms)
        lead.commit()
        assert lead.retries()[-1][2:4] == (ms(lead.now + waits_s), ms(lead.now))
        lead.at(lead.now + waits_s)
    assert lead.runs_next(5)


def test_with_jitter_each_wait_is_chosen_from_zero_up_to_that_long() -> None:
    class Most:
        def uniform(self, a: float, b: float) -> float:
            drawn.append((a, b))
            return b / 4

    drawn: list[tuple[float, float]] = []
    task = Task((tid(1), "add", 4, b"", {"retries": 3, "backoff": 400}))
    assert Retrying(Most()).wait_ms(task, 0, 0) == 100
    assert drawn == [(0.0, 400)]


def test_the_wall_clock_makes_a_wait_neither_longer_nor_shorter() -> None:
    for by_s in (3_600.0, -3_600.0):
        lead = Retried(retries=1)
        assert lead.runs_next(1)
        lead.fails(1)
        lead.commit()
        lead.clock.offset_s += by_s
        lead.at(0.999)
        assert lead.dispatched() == {}
        lead.at(1.0)
        assert lead.runs_next(2)


@pytest.mark.parametrize(
    ("ahead_s", "waits_s"),
    [(0.0, 0.4), (0.3, 0.1), (50.0, 0.0), (-50.0, 1.0)],
    ids=["the same clock", "ahead", "far ahead", "far behind"],
)
def test_a_new_leader_waits_for_what_is_left_and_never_longer_than_the_whole_wait(
    ahead_s: float, waits_s: float
) -> None:
    lead = Retried(retries=3)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    after = led_next(lead.table, shows_s=0.6 + ahead_s)
    after.at(waits_s - 0.001)
    assert waits_s == 0.0 or after.dispatched() == {}
    after.at(waits_s)
    assert after.runs_next(2)
    after.fails(2)
    after.commit()
    assert after.retries()[-1][1] == 2


def test_a_new_leader_goes_on_with_the_wait_of_the_one_before() -> None:
    test_a_new_leader_waits_for_what_is_left_and_never_longer_than_the_whole_wait(0.0, 0.4)


def led_next(table: TaskTable, shows_s: float = 0.0) -> Retried:
    """The next leader, whose wall clock shows this when it takes over, at 0 of its monotonic clock."""
    clock = WallClock()
    clock.offset_s = ms(shows_s) / 1_000
    lead = Retried(table, clock=clock)
    clock.offset_s = ms(shows_s) / 1_000
    return lead


def test_attempts_that_failed_and_attempts_that_were_lost_are_counted_apart() -> None:
    lead = Retried(retries=3, max_attempts=2)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.loses(2)
    lead.commit()
    assert lead.table.lost_attempts == {tid(1): 1}
    assert lead.runs_next(3)
    lead.fails(3)
    lead.commit()
    lead.at(3.0)
    assert lead.runs_next(4)
    lead.loses(4)
    lead.commit()
    ((_, payload),) = [result[1:] for update in lead.updates() for result in update.results]
    assert unpack_error(payload).args == (2, "last on node a: killed; before that on node a: killed")


def test_a_new_leader_numbers_attempts_on_whatever_they_ended_with() -> None:
    lead = Retried(retries=3)
    assert lead.runs_next(1)
    lead.loses(1)
    assert lead.runs_next(2)
    lead.fails(2)
    lead.commit()
    after = led_next(lead.table)
    assert after.task(1).attempt == 3


def test_a_new_leader_does_not_take_a_failure_that_the_log_has_for_an_attempt_under_way() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    after = led_next(lead.table)
    after.enrol("a", {1: 1})  # the node has not heard that its outcome is recorded
    assert after.task(1).is_delayed
    after.fails(1)
    assert (after.retries(), after.task(1).is_delayed) == ([], True)
    after.at(1.0)
    assert after.runs_next(2)


def test_a_later_attempt_that_a_node_holds_is_left_there() -> None:
    lead = Retried(retries=3)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    after = led_next(lead.table)
    after.enrol("a", {1: 2})  # an earlier leader had it started
    assert after.task(1).is_dispatched_to("a")
    after.fails(2)
    after.commit()
    assert [(retry[1], retry[3] - retry[2]) for retry in after.retries()] == [(2, -2_000)]


def test_a_failure_of_an_attempt_that_is_not_the_last_one_is_ignored() -> None:
    lead = Retried(retries=1)
    lead.enrol("b", slots=0)
    assert lead.runs_next(1)
    lead.loses(1)
    lead.fails(1)
    assert (lead.retries(), lead.task(1).attempt) == ([], 2)
    assert lead.runs_next(2)


def test_a_failure_of_a_later_attempt_than_this_leader_knows_of_counts() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.fails(3)
    assert [retry[1] for retry in lead.retries()] == [3]
    lead.commit()
    lead.at(1.0)
    assert lead.runs_next(4)


def test_a_task_that_would_expire_before_it_is_tried_again_ends_with_its_error() -> None:
    lead = Retried(retries=3, expires=ms(10.0), backoff=10_001)
    assert lead.runs_next(1)
    lead.fails(1)
    assert lead.told() is None, "another leader, by another clock, could try it again"
    lead.commit()
    end, error = lead.told() or (0, ERROR_INFO)
    assert (end, error.message, lead.retries()) == (TaskEnd.FAILED, "no", [])


def test_a_task_that_expires_while_it_waits_for_a_worker_again_ends_as_expired() -> None:
    lead = Retried(retries=3, expires=ms(10.0))
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    lead.at(1.0)
    lead.at(10.0)
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}


def test_a_task_that_waits_for_its_retry_can_be_cancelled() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    lead.cancel(lead.session, 1)
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    lead.at(60.0)
    assert (lead.dispatched(), lead.results()) == ({}, {1: TaskEnd.CANCELLED})


def test_a_task_that_fails_while_its_cancellation_is_asked_for_is_not_tried_again() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.cancel(lead.session, 1)
    lead.fails(1)
    lead.commit()
    assert (lead.cancel_states(), lead.retries()) == ({1: CancelState.CANCELLED}, [])


def test_a_task_that_is_not_logged_is_tried_again_and_nothing_of_that_is_logged() -> None:
    lead = Retried(retries=1, durability=NO_LOG)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.fails(2)
    end, error = lead.told() or (0, ERROR_INFO)
    assert (end, len(error.earlier), lead.entries) == (TaskEnd.FAILED, 1, [])


def test_a_failure_beside_results_in_one_batch_is_taken_for_itself() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.submit(lead.session, 2, seq=2)
    lead.dispatched()
    failed = encode_failed_attempt(("ValueError: no", 0, int(TaskEnd.FAILED), ERROR))
    both = [(tid(2), 1, int(TaskEnd.SUCCEEDED), b"x", 5), (tid(1), 1, MAY_RETRY, failed, 5)]
    lead.leader.nodes.on_outcomes("a", TERM, 1, both, lead.now)
    assert lead.results() == {2: TaskEnd.SUCCEEDED}
    assert lead.task(1).is_delayed


def test_a_failure_that_can_not_be_read_changes_nothing() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    for payload in (b"", b"\xc1", b"\x93\xa1x\x00", ERROR):
        with pytest.raises(ProtocolError):
            lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, MAY_RETRY, payload, 5)], lead.now)
    assert (lead.retries(), lead.task(1).is_dispatched_to("a")) == ([], True)


def test_a_task_without_retries_of_which_a_worker_says_that_it_may_be_tried_again_fails() -> None:
    lead = Retried()
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    assert (lead.told() or (0, ERROR_INFO))[0] == TaskEnd.FAILED


def test_during_a_transfer_no_task_is_tried_again() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    lead.leader.set_logging(False, lead.now)
    assert lead.leader._due._waits.wakes_ms > ms(60.0)
    lead.leader.set_logging(True, lead.now)
    lead.at(1.0)
    assert lead.runs_next(2)


def test_whoever_asks_is_told_what_failed_and_when_it_is_tried_again() -> None:
    lead = Retried(retries=3)
    assert lead.runs_next(1)
    lead.fails(1, summary="OSError: disk full")
    lead.commit()
    told = whereabouts(lead.leader, tid(1), lead.now)
    assert told["why"] == (
        "attempt 1 failed (OSError: disk full); it is tried again at 2023-11-14 22:13:21.000+00:00, "
        "for the 1st time of 3"
    )
    assert (told["state"], told["failed_attempts"]) == ("delayed", 1)
    assert told["failures"] == [[1, ms(0.0), "OSError: disk full"]]


# --- by the log -----------------------------------------------------------------------------------------------------


def test_of_many_failures_the_first_and_the_last_ones_are_kept() -> None:
    table = TaskTable()
    table.apply(EntryKind.ACCEPT, encode_calls([(tid(1), "add", 4, b"", {"retries": 99})]))
    for attempt in range(1, 100):
        table.apply(EntryKind.RETRY, encode_retries([(tid(1), attempt, attempt, 0, f"error {attempt}")]))
    failures = table.failures[tid(1)]
    assert (failures.count, failures.last_attempt, failures.not_before_ms) == (99, 99, 99)
    assert [each[0] for each in failures.kept] == [1, *range(101 - KEPT_FAILURES, 100)]


def test_what_fails_and_has_ended_leaves_nothing() -> None:
    table = TaskTable()
    retry = encode_retries([(tid(1), 1, 5, 0, "no")])
    table.apply(EntryKind.RETRY, retry)
    assert table.failures == {}
    table.apply(EntryKind.ACCEPT, encode_calls([(tid(1), "add", 4, b"", {"retries": 1})]))
    table.apply(EntryKind.RETRY, retry)
    table.apply(EntryKind.OUTCOME, encode_outcomes([(tid(1), 2, TaskEnd.SUCCEEDED, b"", 1)]))
    assert table.failures == {}


def test_an_outcome_entry_with_an_attempt_that_ended_no_task_is_refused() -> None:
    failed = encode_failed_attempt(("no", 0, int(TaskEnd.FAILED), ERROR))
    with pytest.raises(MalformedFrame, match="ends no task"):
        TaskTable().decode(EntryKind.OUTCOME, encode_outcomes([(tid(1), 1, MAY_RETRY, failed, 1)]))


@pytest.mark.parametrize(
    "item",
    [
        (tid(1), 0, 5, ()),
        (tid(1), 1, 5, ((1, 0, "a"), (2, 0, "b"))),
        (tid(1), 9, 5, ((1, 0, "a"),) * (KEPT_FAILURES + 1)),
        (tid(1), 1, 5, ((1, 0, 7),)),
        (tid(1), 1, -5, ((1, 0, "a"),)),
        (tid(1), 1, 5),
    ],
)
def test_a_page_of_a_snapshot_that_can_not_be_so_is_refused(item: Any) -> None:
    with pytest.raises(ValueError, match=r"failures|expected"):
        Retries().read((item,))


def test_a_client_that_waits_for_a_task_that_is_tried_again_is_told_its_end() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    other = lead.client(b"d")
    lead.leader.admission.wait(other, Wait(0, (tid(1),)), lead.now)
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.outcomes("a", lead.reported + 1, 1, attempt=2)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}


def test_whoever_says_that_it_waits_is_told_how_long_a_task_waits_until_it_is_tried_again() -> None:
    lead = Retried(retries=2, backoff=3_600_000, backoff_max=3_600_000)
    wait = Wait(0, (tid(1), tid(2)))

    def postponed() -> list[tuple[bytes, int]]:
        return lead.leader.admission.wait(lead.session, wait, lead.now)

    assert postponed() == [], "no node has it"
    assert lead.runs_next(1)
    assert postponed() == [], "it runs"
    lead.fails(1)
    assert postponed() == [], "another leader could run it at once"
    lead.commit()
    lead.at(600.0)
    assert postponed() == [(tid(1), 3_000_000)]
    lead.at(3_600.0)
    assert postponed() == [], "it is due"
    assert lead.runs_next(2)
    assert postponed() == []


def test_what_waits_for_its_eta_is_not_told_as_a_task_that_is_tried_again() -> None:
    """A client of an older version, which may have asked for that one, knows no such message."""
    lead = Clocked()
    lead.enrol("a")
    session = lead.client()
    lead.submit(session, 1, not_before=-60_000)
    lead.commit()
    assert lead.leader.admission.wait(session, Wait(0, (tid(1),)), lead.now) == []


# --- what a reader found --------------------------------------------------------------------------------------------


def test_a_task_that_ends_by_what_is_not_tried_again_is_told_with_what_failed_before_and_once_that_is_committed() -> (
    None
):
    lead = Retried(retries=3)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.leader.nodes.on_outcomes("a", TERM, 2, [(tid(1), 2, int(TaskEnd.FAILED), ERROR, 5)], lead.now)
    assert lead.told() is None
    lead.commit()
    end, error = lead.told() or (0, ERROR_INFO)
    assert (end, error.earlier) == (TaskEnd.FAILED, ((1, ms(0.0), "ValueError: no"),))


def test_a_moment_of_the_task_lets_no_attempt_start_before_its_failure_is_logged() -> None:
    lead = Retried(retries=3, not_before=ms(5.0))
    lead.enrol("a", {1: 1})  # an earlier leader, whose clock was ahead, had it started
    assert lead.task(1).is_dispatched_to("a")
    lead.fails(1)
    lead.at(60.0)
    assert lead.dispatched() == {}
    lead.commit()
    lead.at(60.0)
    assert lead.runs_next(2)


def test_an_attempt_that_there_can_not_be_is_refused_and_never_logged() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    with pytest.raises(ProtocolError):
        lead.fails(2**62)
    with pytest.raises(ProtocolError):
        lead.enrol("a", {1: 2**62})
    assert (lead.retries(), lead.task(1).attempt) == ([], 1)
    with pytest.raises(ProtocolError):
        encode_retries([(tid(1), 2**62, 1, 0, "no")])


def test_what_failures_may_take_counts_for_the_queue_from_the_beginning() -> None:
    plain, few, many = (
        Task((tid(1), "add", 4, b"", {"retries": retries} if retries else None)).size_bytes() for retries in (0, 1, 99)
    )
    assert (few - plain, many - plain) == (FAILURE_BYTES, KEPT_FAILURES * FAILURE_BYTES)


@pytest.mark.parametrize("summary", ["two\nlines", "\x1b[2J", "x" * 201])
def test_a_failure_that_can_not_be_shown_is_refused(summary: str) -> None:
    with pytest.raises(ProtocolError):
        encode_failed_attempt((summary, 0, int(TaskEnd.FAILED), ERROR))
    with pytest.raises(ProtocolError):
        encode_retries([(tid(1), 1, 1, 0, summary)])


def test_a_task_that_is_lost_in_the_end_is_told_with_what_failed_before() -> None:
    lead = Retried(retries=3, max_attempts=1)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.commit()
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.loses(2)
    lead.commit()
    ((end, payload),) = [result[1:] for update in lead.updates() for result in update.results]
    error = error_of(end, payload)
    assert isinstance(error, TaskLost)
    assert error.__notes__ == ["It had failed before:\nattempt 1, 2023-11-14 22:13:20 UTC: ValueError: no"]


def test_an_account_of_before_a_task_came_anew_holds_it_up_only_until_the_next_one() -> None:
    """Of a task that is not logged: its client missed its end, and submits it once more."""
    lead = Retried(retries=1, durability=NO_LOG)
    assert lead.runs_next(1)
    lead.fails(1)
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.enrol("b", slots=0)
    lead.enrol("a", {1: 1}, dispatch_seq=1)  # it is heard of late, as the account behind it
    lead.fails(2)
    lead.submit(lead.session, 1, seq=2, **(STEADY | {"retries": 1, "durability": NO_LOG}))
    assert lead.runs_next(1)
    lead.fails(1)
    lead.enrol("a", {1: 2}, dispatch_seq=3)
    assert lead.task(1).is_dispatched_to("a")
    lead.enrol("a", {}, dispatch_seq=3)  # once it has heard that the outcome is recorded
    lead.at(3.0)
    assert lead.dispatched()["a"][0][0] == 1


# --- limits of how long they run --------------------------------------------------------------------------------------


def test_a_task_that_has_run_for_too_long_ends_so_or_is_tried_again() -> None:
    lead = Retried(retries=1)
    assert lead.runs_next(1)
    late = encode_failed_attempt(("paceline.errors.TaskTimedOut: late", 0, int(TaskEnd.TIMED_OUT), ERROR))
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, MAY_RETRY, late, 500)], lead.now)
    lead.commit()
    lead.at(1.0)
    assert lead.runs_next(2)
    lead.leader.nodes.on_outcomes("a", TERM, 2, [(tid(1), 2, MAY_RETRY, late, 500)], lead.now)
    lead.commit()
    assert lead.results() == {1: TaskEnd.TIMED_OUT}


def test_a_task_without_retries_that_has_run_for_too_long_ends_at_once() -> None:
    lead = Retried()
    assert lead.runs_next(1)
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, int(TaskEnd.TIMED_OUT), ERROR, 500)], lead.now)
    assert lead.results() == {1: TaskEnd.TIMED_OUT}


def test_what_is_adopted_by_an_account_of_before_is_given_back_by_the_next_whatever_was_sent_elsewhere() -> None:
    """A client that had missed the end of a task that is in no log submits it anew; another node still names an attempt
    of before. The Dispatch that counts there is none of those of the node that had the task since."""
    lead = Lead()
    lead.enrol("a")
    lead.enrol("b", slots=0)
    lead.submit(lead.client(), 1, retries=2, jitter=1, backoff=1, durability=NO_LOG)
    assert lead.dispatched() == {"a": [(1, 1)]}
    failed = encode_failed_attempt(("ValueError: no", 0, int(TaskEnd.FAILED), b"error"))
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, MAY_RETRY, failed, 500)], lead.now)
    assert lead.task(1).is_delayed
    lead.enrol("b", {1: 2}, slots=0)
    assert lead.task(1).is_dispatched_to("b")
    lead.enrol("b", slots=0)
    assert lead.task(1).waits_at_leader
