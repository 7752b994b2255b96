"""Tasks that may not start before a moment of the wall clock, and tasks that may not start from one on."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_leader import TERM, Lead, tid
from paceline.core.clients.sessions import ClientSession
from paceline.core.deadlines import NEVER_MS, SLICE_MOMENTS
from paceline.core.scheduling.credits import LONG_US
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import decode_calls, decode_outcomes, encode_calls, encode_failed_attempt
from paceline_protocol.messages.client import CancelState, Submit
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import AT_MOST_ONCE, MAY_RETRY, NO_LOG, TaskEnd
from paceline_protocol.messages.work import Dispatch, Revoke, Revoked
from paceline_protocol.payload import pack_error, unpack_error

SINCE_1970_S = 1_700_000_000.0


class Clocked(Lead):
    """A leader whose wall clock shows ``SINCE_1970_S`` when its monotonic clock shows 0."""

    def __init__(self, *args: Any, **limits: Any) -> None:
        super().__init__(*args, **limits)
        self.clock.offset_s = SINCE_1970_S

    def at(self, seconds: float) -> None:
        """Let time pass until then."""
        self.now = seconds
        if self.moments.wakes_ms != NEVER_MS and self.clock.has_reached(self.moments.wakes_ms, self.now):
            self.leader.meet_moments(self.now)

    def set_clock(self, by_s: float) -> None:
        """Set the wall clock forward, or back."""
        self.clock.offset_s += by_s
        self.at(self.now)

    def asked_back(self) -> list[tuple[str, list[int]]]:
        """What nodes were asked for since the last time."""
        messages, self.leader.nodes.outbox = self.leader.nodes.outbox, []
        return [
            (node_id, [int.from_bytes(task_id, "big") for task_id in message.ids])
            for node_id, message in messages
            if isinstance(message, Revoke)
        ]

    def revoked(self, node_id: str, given_back: tuple[int, ...] = (), kept: tuple[int, ...] = ()) -> None:
        answer = Revoked(TERM, tuple(map(tid, given_back)), tuple(map(tid, kept)))
        self.leader.nodes.on_revoked(node_id, answer, self.now)

    def accepted(self) -> list[dict[str, int] | None]:
        """The options of the calls that were logged."""
        self.leader.log(self.now)
        calls = [call for kind, data, _ in self.entries if kind == EntryKind.ACCEPT for call in decode_calls(data)]
        return [call[4] for call in calls]


def ms(seconds: float) -> int:
    """The moment at which the monotonic clock shows this, unless the wall clock is set."""
    return round((SINCE_1970_S + seconds) * 1_000)


def led(*nodes: str, **limits: Any) -> tuple[Clocked, ClientSession]:
    lead = Clocked(**limits)
    for node_id in nodes:
        lead.enrol(node_id)
    return lead, lead.client()


def table_with(**options: Any) -> TaskTable:
    """What an earlier leader had accepted: task 1."""
    table = TaskTable()
    table.apply(EntryKind.ACCEPT, encode_calls([(tid(1), "add", 4, b"", options)]))
    return table


# --- not before -----------------------------------------------------------------------------------------------------


def test_a_delayed_task_is_accepted_at_once_and_handed_out_at_its_moment() -> None:
    lead, session = led("a", accept_linger_s=0.0)
    lead.submit(session, 1, not_before=ms(5.0))
    lead.commit()
    assert [update.accepted for update in lead.updates()] == [(1,)]
    lead.at(4.999)
    assert lead.dispatched() == {}
    assert (lead.leader.tasks.delayed, lead.leader.tasks.waiting) == (1, 0)
    lead.at(5.0)
    assert lead.dispatched() == {"a": [(1, 1)]}
    assert lead.leader.tasks.delayed == 0
    lead.leader.tasks.check()


def test_a_moment_that_is_past_delays_nothing() -> None:
    lead, session = led("a")
    lead.at(5.0)
    lead.submit(session, 1, not_before=ms(5.0))
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_what_is_relative_counts_from_the_leaders_clock_and_is_logged_as_a_moment() -> None:
    lead, session = led("a")
    lead.at(7.0)
    lead.submit(session, 1, not_before=-3_000, expires=-9_000)
    assert lead.accepted() == [{"not_before": ms(10.0), "expires": ms(16.0)}]
    lead.at(10.0)
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_a_batch_in_which_nothing_is_relative_is_logged_as_its_client_wrote_it() -> None:
    lead, session = led("a")
    calls = encode_calls([(tid(1), "add", 4, b"", {"not_before": ms(5.0)}), (tid(2), "add", 4, b"", None)])
    lead.leader.admission.submit(session, Submit(1, 0, calls), lead.now)
    lead.leader.log(lead.now)
    assert lead.entries[0][1] is calls


def test_tasks_run_in_the_order_of_their_moments_behind_what_waits() -> None:
    lead, session = led()
    for number, moment_s in enumerate((3.0, 2.0, 2.5), start=1):
        lead.submit(session, number, seq=number, not_before=ms(moment_s))
    lead.at(1.0)
    lead.submit(session, 4, seq=4)
    lead.at(4.0)
    lead.enrol("a", slots=4)
    assert lead.dispatched() == {"a": [(4, 1), (2, 1), (3, 1), (1, 1)]}


@pytest.mark.parametrize("by_s", [3_600.0, -3_600.0])
def test_a_clock_that_is_set_moves_the_moment_by_as_much(by_s: float) -> None:
    lead, session = led("a")
    lead.submit(session, 1, not_before=ms(1_800.0))
    lead.set_clock(by_s)
    assert lead.dispatched() == ({"a": [(1, 1)]} if by_s > 0 else {})
    lead.at(1_800.0)
    lead.set_clock(0.0)
    if by_s < 0:
        assert lead.dispatched() == {}
        lead.at(1_800.0 - by_s)
        assert lead.dispatched() == {"a": [(1, 1)]}


def test_a_delayed_task_is_cancelled_like_one_that_waits() -> None:
    lead, session = led("a")
    lead.submit(session, 1, not_before=ms(5.0))
    lead.commit()
    lead.cancel(session, 1)
    lead.commit()
    assert lead.results() == {1: TaskEnd.CANCELLED}
    assert len(lead.moments) == 0
    lead.at(6.0)
    assert lead.dispatched() == {}


def test_an_unlogged_task_waits_too() -> None:
    lead, session = led("a")
    lead.submit(session, 1, not_before=ms(5.0), durability=NO_LOG)
    assert lead.kinds() == []
    assert lead.dispatched() == {}
    lead.at(5.0)
    assert lead.dispatched() == {"a": [(1, 1)]}


# --- what an earlier leader accepted --------------------------------------------------------------------------------


def taken_over(**options: Any) -> Clocked:
    """A leader that has just taken over task 1; its clock shows the monotonic time since 1970."""
    lead = Clocked(table_with(**options), settled=False)
    lead.clock.offset_s = 0.0
    return lead


def test_the_next_leader_waits_for_the_moment_by_its_own_clock() -> None:
    lead = taken_over(not_before=5_000)
    lead.enrol("a")
    lead.leader.tick(lead.now, ["a"])
    lead.at(4.999)
    assert lead.dispatched() == {}
    lead.at(5.0)
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_what_comes_due_before_the_nodes_have_told_waits_for_them() -> None:
    lead = taken_over(not_before=5_000)
    assert lead.leader.tasks.delayed == 1
    lead.at(5.0)
    lead.enrol("a")
    assert lead.dispatched() == {}
    lead.leader.tick(lead.now, ["a"])
    assert lead.dispatched() == {}, "the node is woken for it first"
    lead.at(5.0)
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_a_delayed_task_that_a_node_already_has_stays_there() -> None:
    """The clock of the leader that sent it there was ahead of this one's."""
    lead = taken_over(not_before=5_000)
    lead.enrol("a", {1: 1})
    assert (lead.leader.tasks.delayed, lead.leader.tasks.at_nodes) == (0, 1)
    lead.leader.tick(lead.now, ["a"])
    lead.at(5.0)
    assert lead.dispatched() == {}
    lead.outcomes("a", 1, 1)
    lead.leader.tasks.check()
    assert lead.leader.tasks.live == {}


def test_a_delayed_task_is_cancelled_once_the_nodes_have_told_that_none_has_it() -> None:
    lead = taken_over(not_before=5_000)
    lead.cancel(lead.client(), 1)
    lead.commit()
    assert lead.cancel_states() == {}
    lead.enrol("a")
    lead.leader.tick(lead.now, ["a"])
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.CANCELLED}


def test_a_task_that_had_expired_when_the_leader_came_ends_once_the_nodes_have_told() -> None:
    lead = taken_over(expires=1)
    lead.at(1.0)
    assert lead.leader.tasks.live
    lead.enrol("a")
    lead.leader.tick(lead.now, ["a"])
    assert lead.dispatched() == {}
    lead.at(1.0)
    lead.commit()
    assert lead.table.results[tid(1)][0] == TaskEnd.EXPIRED


def test_one_that_may_have_started_for_the_last_time_is_lost_and_not_expired() -> None:
    table = table_with(expires=1_000, delivery=AT_MOST_ONCE)
    table.apply(EntryKind.ATTEMPT, tid(1))
    lead = Clocked(table, settled=False)
    lead.clock.offset_s = 0.0
    lead.at(2.0)
    lead.leader.tick(lead.now, [])
    lead.commit()
    assert table.results[tid(1)][0] == TaskEnd.LOST


# --- expires --------------------------------------------------------------------------------------------------------


def test_what_has_not_started_by_then_ends_as_expired_and_is_told_so_once_that_is_committed() -> None:
    lead, session = led()
    lead.submit(session, 1, expires=ms(5.0))
    lead.commit()
    lead.updates()
    lead.at(4.999)
    assert lead.leader.tasks.live
    lead.at(5.0)
    assert lead.results() == {}, "the next leader might run it otherwise"
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}
    error = unpack_error(lead.table.results[tid(1)][1])
    assert (error.type_name, error.message) == ("TaskExpired", "2023-11-14 22:13:25.000+00:00")
    lead.enrol("a")
    assert lead.dispatched() == {}


def test_a_task_that_expires_before_its_delay_is_over_never_runs() -> None:
    lead, session = led("a")
    lead.submit(session, 1, not_before=ms(5.0), expires=ms(3.0))
    lead.at(3.0)
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}
    lead.at(6.0)
    assert lead.dispatched() == {}


def test_a_delayed_task_expires_behind_its_moment_if_no_worker_is_free() -> None:
    lead, session = led()
    lead.submit(session, 1, not_before=ms(3.0), expires=ms(5.0))
    lead.at(3.0)
    assert lead.leader.tasks.waiting == 1
    lead.at(5.0)
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}


def test_a_call_that_comes_too_late_is_accepted_and_ends_without_being_handed_out() -> None:
    lead, session = led("a")
    lead.at(9.0)
    lead.submit(session, 1, expires=ms(5.0))
    assert lead.dispatched() == {}
    assert lead.kinds() == [EntryKind.ACCEPT, EntryKind.OUTCOME]
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}


def at_its_node() -> Clocked:
    lead, session = led("a")
    lead.submit(session, 1, expires=ms(5.0))
    lead.commit()
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.updates()
    lead.at(5.0)
    assert lead.asked_back() == [("a", [1])]
    return lead


def test_what_a_node_has_is_asked_back_and_ends_if_it_had_not_started() -> None:
    lead = at_its_node()
    lead.revoked("a", given_back=(1,))
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}
    assert lead.cancel_states() == {}, "nobody had asked"


def test_what_has_started_runs_to_its_end() -> None:
    lead = at_its_node()
    lead.revoked("a", kept=(1,))
    lead.at(60.0)
    lead.leader.nodes.beat(["a"], lead.now)
    assert lead.asked_back() == []
    lead.outcomes("a", 1, 1)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}


def test_it_is_asked_for_again_until_its_node_answers() -> None:
    """Which it does once it knows whether a worker begins it."""
    lead = at_its_node()
    for _ in range(3):
        lead.at(lead.now + 0.1)
        lead.leader.nodes.beat(["a"], lead.now)
        assert lead.asked_back() == [("a", [1])]
    lead.revoked("a", given_back=(1,))
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}


def test_an_attempt_that_is_lost_after_that_is_not_run_again() -> None:
    lead = at_its_node()
    lead.revoked("a", kept=(1,))
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    assert lead.dispatched() == {}
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}


def test_a_clock_that_is_set_back_before_the_node_answers_lets_it_run() -> None:
    lead = at_its_node()
    lead.set_clock(-10.0)
    lead.revoked("a", given_back=(1,))
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.leader.nodes.beat(["a"], lead.now)
    assert lead.asked_back() == []
    lead.at(15.0)
    assert lead.asked_back() == [("a", [1])]


def assert_ends(lead: Clocked, *, is_transferring: bool) -> None:
    """A task that expires while its start is being logged ends and does not start."""
    lead.enrol("a")
    session = lead.client()
    lead.submit(session, 1, expires=ms(5.0), delivery=AT_MOST_ONCE)
    assert lead.dispatched() == {}
    lead.leader.log(lead.now)
    lead.leader.set_logging(not is_transferring, lead.now)
    lead.at(5.0)
    lead.commit()
    lead.leader.set_logging(True, lead.now)
    lead.commit()
    assert lead.dispatched() == {}
    assert lead.results() == {1: TaskEnd.EXPIRED}


def test_what_expires_while_its_start_is_logged_before_the_nodes_have_told_does_not_start() -> None:
    assert_ends(Clocked(settled=False), is_transferring=False)


def test_what_expires_while_its_start_is_committed_in_a_transfer_does_not_start() -> None:
    assert_ends(Clocked(), is_transferring=True)


def test_a_task_that_comes_back_from_its_node_again_and_again_has_one_moment() -> None:
    lead, session = led("a")
    lead.submit(session, 1, expires=ms(86_400.0))
    lead.commit()
    for _ in range(100):
        lead.dispatched()
        lead.enrol("a", dispatch_seq=lead.leader.nodes.by_id["a"].dispatch_seq)
    assert (len(lead.moments), len(lead.moments._heap)) == (1, 1)


def test_one_that_somebody_wants_cancelled_too_gets_one_end_and_its_answer() -> None:
    lead = at_its_node()
    lead.cancel(lead.client(), 1)
    lead.revoked("a", given_back=(1,))
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.FINISHED}
    assert lead.table.results[tid(1)][0] == TaskEnd.EXPIRED


def test_one_whose_start_is_not_logged_yet_does_not_start() -> None:
    lead, session = led("a")
    lead.submit(session, 1, expires=ms(5.0), delivery=AT_MOST_ONCE)
    lead.dispatched()
    lead.at(5.0)
    lead.commit()
    assert lead.dispatched() == {}
    assert lead.results() == {1: TaskEnd.EXPIRED}
    lead.leader.tasks.check()


def test_while_another_takes_over_nothing_comes_due() -> None:
    lead, session = led("a")
    lead.leader.dispatcher.durations.observe("add", LONG_US // 2)
    lead.submit(session, 1, not_before=ms(5.0))
    lead.submit(session, 2, seq=2, not_before=ms(9.0), expires=ms(5.0))
    lead.commit()
    lead.leader.set_logging(False, lead.now)
    assert lead.moments.wakes_ms == NEVER_MS
    lead.at(6.0)
    assert lead.leader.tasks.delayed == 2
    lead.submit(session, 3, seq=3)
    lead.leader.set_logging(True, lead.now)
    assert lead.dispatched() == {}, "what has expired meanwhile must not be handed out"
    lead.at(6.0)
    assert lead.dispatched() == {"a": [(3, 1), (1, 1)]}
    lead.leader.log(lead.now)
    ends = [outcome for kind, data, _ in lead.entries if kind == EntryKind.OUTCOME for outcome in decode_outcomes(data)]
    assert [(outcome[0], outcome[2]) for outcome in ends] == [(tid(2), TaskEnd.EXPIRED)]


def test_a_submit_with_many_calls_that_are_late_is_logged_as_its_tasks_are() -> None:
    """Their ends fill more than one draft, and another Submit waits in the first."""
    lead, session = led("a")
    lead.at(9.0)
    calls = [(tid(number), "add", 4, b"", {"expires": ms(5.0)}) for number in range(1, 16_000)]
    lead.leader.admission.submit(session, Submit(1, 0, encode_calls([(tid(0), "add", 4, b"", None)])), lead.now)
    last = (tid(16_000), "add", 4, b"", None)
    lead.leader.admission.submit(session, Submit(2, 0, encode_calls([*calls, last])), lead.now)
    lead.leader.log(lead.now)
    follower = TaskTable()
    for kind, data, _ in lead.entries:
        follower.apply(kind, data)
    assert set(follower.tasks) == {tid(0), tid(16_000)}
    lead.commit()
    assert set(lead.table.tasks) == set(follower.tasks)
    assert lead.table.totals.by_name() == follower.totals.by_name()


def test_many_moments_are_met_in_slices_of_a_turn_and_nothing_is_handed_out_before_the_last() -> None:
    lead, session = led("a")
    many = SLICE_MOMENTS + 1
    calls = [(tid(number), "add", 4, b"", {"expires": ms(5.0)}) for number in range(many)]
    lead.leader.tasks.ledgers["a"].resize(0, frozenset())
    lead.leader.admission.submit(session, Submit(1, 0, encode_calls(calls)), lead.now)
    lead.submit(session, many, seq=2)
    lead.leader.tasks.ledgers["a"].resize(1, frozenset(["add"]))
    lead.at(5.0)
    assert len(lead.leader.tasks.live) == 2
    assert lead.dispatched() == {}
    lead.at(5.0)
    assert list(lead.leader.tasks.live) == [tid(many)]


def test_what_a_node_holds_of_tasks_that_are_over_is_asked_back() -> None:
    """It was sent there by an earlier leader, and its client submitted it anew, when it had expired."""
    lead, session = led("b")
    lead.at(9.0)
    lead.submit(session, 1, expires=ms(5.0))
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}
    lead.asked_back()
    lead.enrol("a", {1: 1, 7: 1})
    assert lead.asked_back() == [("a", [1, 7])]
    lead.revoked("a", given_back=(1, 7))
    lead.leader.tasks.check()


# --- deadlines ------------------------------------------------------------------------------------------------------


def handed_out(lead: Clocked) -> list[dict[str, int] | None]:
    """The options of the tasks that nodes are sent now."""
    lead.leader.dispatch(lead.now)
    messages, lead.leader.nodes.outbox = lead.leader.nodes.outbox, []
    return [each[4] for _, message in messages if isinstance(message, Dispatch) for each in message.tasks]


def test_a_node_is_told_how_much_of_the_time_until_a_deadline_is_left() -> None:
    lead, session = led()
    lead.submit(session, 1, deadline=-9_000)
    assert lead.accepted() == [{"deadline": ms(9.0)}]
    lead.at(4.0)
    lead.enrol("a")
    assert handed_out(lead) == [{"deadline": ms(9.0), "time_left": 5_000}]


def test_what_has_not_started_by_its_deadline_expires() -> None:
    lead, session = led()
    lead.submit(session, 1, 2, deadline=-5_000)
    lead.submit(session, 3, seq=2, deadline=-5_000, expires=-2_000)
    lead.submit(session, 4, seq=3, deadline=-5_000, expires=-7_000)
    lead.commit()
    lead.at(2.0)
    lead.commit()
    assert lead.results() == {3: TaskEnd.EXPIRED}
    lead.at(5.0)
    lead.commit()
    assert lead.results() == dict.fromkeys((1, 2, 4), TaskEnd.EXPIRED)
    lead.enrol("a")
    assert lead.dispatched() == {}


def test_an_attempt_that_fails_is_not_made_again_at_the_deadline_or_later() -> None:
    lead, session = led("a")
    lead.submit(session, 1, deadline=-5_000, retries=3, backoff=5_000, jitter=1)
    assert lead.dispatched() == {"a": [(1, 1)]}
    failed = encode_failed_attempt(("oops", 0, int(TaskEnd.FAILED), pack_error(ValueError("oops"), "")))
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, MAY_RETRY, failed, 500)], lead.now)
    lead.commit()
    assert lead.results() == {1: TaskEnd.FAILED}


def test_the_next_leader_tells_what_is_left_by_its_own_clock() -> None:
    lead = taken_over(deadline=9_000)
    lead.at(4.0)
    lead.enrol("a")
    lead.leader.tick(lead.now, ["a"])
    lead.at(4.0)
    assert handed_out(lead) == [{"deadline": 9_000, "time_left": 5_000}]


def test_what_a_node_gives_back_at_the_deadline_expires_or_is_handed_out_again_by_the_leaders_clock() -> None:
    lead, session = led("a")
    lead.submit(session, 1, deadline=-5_000)
    assert handed_out(lead) == [{"deadline": ms(5.0), "time_left": 5_000}]
    lead.now = 4.9995
    lead.revoked("a", given_back=(1,))
    lead.enrol("a", dispatch_seq=1)
    assert handed_out(lead) == [{"deadline": ms(5.0), "time_left": 1}]
    lead.now = 5.0  # and nobody has looked at moments yet
    lead.enrol("a", dispatch_seq=2)
    lead.commit()
    assert lead.results() == {1: TaskEnd.EXPIRED}
    assert handed_out(lead) == []
