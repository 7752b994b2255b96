"""The protocol of a client, in virtual time: each test's name is what it shows."""

from __future__ import annotations

import itertools
import math

import pytest

from client.session_rig import LIMIT_BYTES, Rig, call, ids_of, succeeded, task_id, welcome
from paceline.client.session.session import (
    BUSY_FROM_TASKS,
    BUSY_INTERVAL_S,
    OUTSTANDING_LIMIT_TASKS,
    WINDOW_SUBMITS,
    State,
)
from paceline.errors import (
    FeatureLevelTooLow,
    IncompatibleVersion,
    NoLeader,
    NoNodeFound,
    QueueFull,
    RequestRefused,
    ResultUnknown,
    UnknownTask,
)
from paceline_protocol import codec
from paceline_protocol.errors import PayloadTooLarge
from paceline_protocol.messages import (
    Cancel,
    CancelReply,
    CancelState,
    Failure,
    Hello,
    Ping,
    Pong,
    Redirect,
    Refusal,
    StatusReply,
    StatusRequest,
    Submit,
    TaskEnd,
    Update,
    Wait,
)

# --- finding the leader -----------------------------------------------------------------------------------------


def test_it_attaches_to_the_node_that_leads_and_closes_the_others() -> None:
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    assert rig.greeted() == ["a:1", "b:1"]
    rig.hear("a:1", welcome("a:1", "b:1"))
    assert not rig.session.attached
    rig.hear("b:1", welcome("b:1", "b:1"))
    rig.sent()
    assert rig.session.leader_address == "b:1"
    assert rig.closed == ["a:1"]


def test_it_follows_a_follower_to_a_leader_that_nobody_named_before() -> None:
    rig = Rig("a:1")
    rig.session.connect(rig.now)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "z:9"))
    assert rig.greeted() == ["z:9"]


def test_it_asks_again_every_50_ms_with_jitter() -> None:
    rig = Rig("a:1")
    rig.session.connect(rig.now)
    rig.greeted()
    rig.pass_time(0.5)
    assert 8 <= len(rig.greeted()) <= 13


def test_with_many_addresses_it_asks_eight_at_a_time_and_gets_to_all() -> None:
    addresses = [f"h{number}:1" for number in range(20)]
    rig = Rig(*addresses)
    rig.session.connect(rig.now)
    assert rig.greeted() == addresses[:8]
    rig.pass_time(2.0)
    assert set(rig.greeted()) == set(addresses)


def test_a_connection_that_comes_up_is_greeted_at_once() -> None:
    rig = Rig("a:1")
    rig.session.connect(rig.now)
    rig.sent()
    rig.session.opened("a:1", rig.now)
    assert rig.greeted() == ["a:1"]


def test_a_leader_of_an_older_term_is_not_believed() -> None:
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    rig.hear("b:1", welcome("b:1", "c:1", term=7))
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert not rig.session.attached


def test_a_term_that_nobody_led_does_not_keep_the_leader_of_an_earlier_one_out() -> None:
    """A candidate may crash before anybody has its term on disk: the cluster then never comes to it."""
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    rig.hear("b:1", welcome("b:1", "", term=7))
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert rig.session.attached
    rig.hear("a:1", Redirect(7, "", ""))
    rig.pass_time(0.1)
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert rig.session.attached


def test_no_node_found_if_nobody_answers_and_no_leader_if_somebody_does() -> None:
    silent = Rig("a:1", connect_timeout_s=2.0)
    silent.submit(1)
    silent.pass_time(2.1)
    [(failed_id, error)] = silent.session.failed
    assert failed_id == task_id(1)
    assert isinstance(error, NoNodeFound)
    assert error.tried == ("a:1",)

    leaderless = Rig("a:1", connect_timeout_s=2.0)
    leaderless.submit(1)
    leaderless.hear("a:1", welcome("a:1"))
    leaderless.pass_time(2.1)
    assert isinstance(leaderless.session.failure, NoLeader)
    assert leaderless.session.state is State.IDLE
    assert leaderless.session.next_deadline() == math.inf


def test_after_giving_up_the_next_use_looks_again() -> None:
    rig = Rig("a:1", connect_timeout_s=1.0)
    rig.submit(1)
    rig.pass_time(1.1)
    rig.session.failed.clear()
    rig.sent()
    rig.submit(2)
    rig.attach()
    assert [ids_of(submit) for submit in rig.submits()] == [[2]]


def test_another_protocol_version_fails_everything_by_its_name() -> None:
    rig = Rig("a:1")
    rig.submit(1)
    rig.session.received("a:1", codec.encode(Failure(5, "no"), version=99), rig.now)
    [(_, error)] = rig.session.failed
    assert isinstance(error, IncompatibleVersion)
    assert error.theirs == 99


def test_bytes_that_are_no_message_are_counted_and_nothing_else() -> None:
    rig = Rig()
    rig.attach()
    rig.session.received("a:1", b"GET / HTTP/1.1", rig.now)
    assert rig.session.malformed_frames == 1
    assert rig.session.attached


def test_what_comes_from_a_closed_connection_is_ignored() -> None:
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    rig.hear("a:1", welcome("a:1", "a:1"))
    rig.hear("b:1", welcome("b:1", "b:1", term=5))
    assert rig.session.leader_address == "a:1"


# --- batches ----------------------------------------------------------------------------------------------------


def test_a_submit_leaves_at_once_until_the_window_is_full_then_calls_pile_up() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, 31))
    submits = rig.submits()
    assert [submit.seq for submit in submits] == list(range(1, WINDOW_SUBMITS + 1))
    assert [submit.prompt for submit in submits] == [False] * (WINDOW_SUBMITS - 1) + [True]
    rig.now += BUSY_INTERVAL_S
    rig.update(1, accepted=[1])
    [batch] = rig.submits()
    assert ids_of(batch) == list(range(WINDOW_SUBMITS + 1, 31))


def busy() -> Rig:
    """Many tasks are outstanding, and all of them accepted."""
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, BUSY_FROM_TASKS + 1))
    rig.session.press_all(rig.now)
    rig.update(1, accepted=[submit.seq for submit in rig.submits()])
    rig.now += 1.0
    return rig


def test_calls_that_come_fast_travel_together_if_many_are_outstanding() -> None:
    rig = busy()
    rig.submit(101, 102, 103, 104)
    submits = rig.submits()
    assert [ids_of(submit) for submit in submits] == [[101], [102]]
    assert [submit.prompt for submit in submits] == [False, True]
    rig.update(2, accepted=[submits[0].seq])
    [together] = rig.submits()
    assert ids_of(together) == [103, 104]
    assert together.prompt


def test_calls_that_come_slowly_leave_at_once_however_many_are_outstanding() -> None:
    rig = busy()
    for number in range(101, 101 + WINDOW_SUBMITS):
        rig.submit(number)
        rig.now += BUSY_INTERVAL_S
    assert [ids_of(submit) for submit in rig.submits()] == [[number] for number in range(101, 101 + WINDOW_SUBMITS)]


def test_a_full_batch_leaves_although_the_window_is_full() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, WINDOW_SUBMITS + 257))
    assert len(ids_of(rig.submits()[-1])) == 256
    rig.session.submit(call(1000, bytes(300 * 1024)), rig.now)
    assert [ids_of(submit) for submit in rig.submits()] == [[1000]]


def test_a_result_implies_acceptance_and_frees_its_place() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, WINDOW_SUBMITS + 2))
    rig.submits()
    rig.update(1, results=[succeeded(1)])
    assert [ids_of(submit) for submit in rig.submits()] == [[WINDOW_SUBMITS + 1]]
    assert rig.session.is_accepted(task_id(1))
    assert not rig.session.is_accepted(task_id(2))


def test_pressing_sends_what_piled_up_and_asks_for_prompt_acceptance() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, WINDOW_SUBMITS + 2))
    rig.submits()
    rig.session.press(task_id(WINDOW_SUBMITS + 1), rig.now)
    [submit] = rig.submits()
    assert submit.prompt


def test_there_is_no_room_past_the_limits() -> None:
    rig = Rig(outstanding_limit_tasks=3)
    rig.attach()
    rig.submit(1, 2)
    assert rig.session.has_room
    rig.submit(3)
    assert not rig.session.has_room
    rig.update(1, results=[succeeded(1)])
    assert rig.session.has_room
    assert OUTSTANDING_LIMIT_TASKS == 200_000


def test_unaccepted_bytes_are_bounded_and_counted_back() -> None:
    rig = Rig()
    big = bytes(15 * 1024 * 1024)
    for number in range(1, 19):
        assert rig.session.has_room
        rig.session.submit(call(number, big), rig.now)
    assert not rig.session.has_room
    rig.attach()
    rig.update(1, accepted=range(1, 10), results=[succeeded(number) for number in range(10, 19)])
    assert rig.session._ledger.unaccepted_bytes == 0


# --- updates ----------------------------------------------------------------------------------------------------


def test_a_result_is_reported_once_however_often_it_arrives() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, results=[succeeded(1), succeeded(1), succeeded(77)])
    rig.update(2, results=[succeeded(1)])
    assert rig.session.results == [succeeded(1)]


def test_the_next_submit_acknowledges_and_an_idle_client_pings_once() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, results=[succeeded(1)])
    rig.submits()
    rig.submit(2)
    assert rig.submits()[0].ack == 1
    rig.update(2, results=[succeeded(2)])
    rig.pass_time(10)
    assert rig.sent() == [("a:1", Ping(2))]


def test_a_gap_in_the_updates_begins_a_new_epoch_that_asks_for_what_is_missing() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    rig.update(1, accepted=[1, 2])
    rig.update(3, results=[succeeded(2)])
    assert rig.session.state is State.SEEKING
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert rig.sent() == [("a:1", Wait(0, (task_id(1),)))]


def test_what_is_called_accepted_behind_a_gap_may_have_been_refused_in_it() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(2, accepted=[1])
    assert not rig.session.is_accepted(task_id(1))
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    [(_, message)] = rig.sent()
    assert isinstance(message, Submit), "it is submitted again"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Refusal.UNKNOWN_TASK, UnknownTask),
        (Refusal.QUEUE_FULL, QueueFull),
        (Refusal.PAYLOAD_TOO_LARGE, PayloadTooLarge),
        (Refusal.BAD_REQUEST, RequestRefused),
        (Refusal.UNKNOWN_ID, ResultUnknown),
        (Refusal.LEVEL_TOO_LOW, FeatureLevelTooLow),
    ],
)
def test_each_refusal_has_its_error(code: Refusal, error: type[Exception]) -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, refused=[(task_id(1), code, "the detail")])
    [(failed_id, raised)] = rig.session.failed
    assert failed_id == task_id(1)
    assert type(raised) is error
    if isinstance(raised, PayloadTooLarge):
        assert (raised.size, raised.limit) == (4, LIMIT_BYTES)
    else:
        assert "the detail" in str(raised)


def test_a_batch_of_which_some_are_refused_is_accepted_without_them() -> None:
    rig = Rig()
    rig.session.submit(call(1), rig.now)
    rig.session.submit(call(2), rig.now)
    rig.attach()
    assert [ids_of(submit) for submit in rig.submits()] == [[1, 2]]
    rig.update(1, accepted=[1], refused=[(task_id(1), Refusal.QUEUE_FULL, "full")])
    assert [failed_id for failed_id, _ in rig.session.failed] == [task_id(1)]
    assert rig.session.outstanding == 1
    assert rig.session.is_accepted(task_id(2))


def test_a_cluster_that_is_not_ready_is_asked_again_with_growing_pauses_until_the_deadline() -> None:
    rig = Rig(failover_timeout_s=5.0)
    rig.attach()
    rig.submit(1)
    times = []
    seq = 0
    while not rig.session.failed:
        for submit in rig.submits():
            assert ids_of(submit) == [1]
            times.append(rig.now)
            seq += 1
            rig.update(seq, refused=[(task_id(1), Refusal.NOT_READY, "too few voters")])
        rig.pass_time(0.01, answer_pings=True)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] < 0.1
    assert max(pauses) > 0.4
    assert len(times) < 30
    [(_, error)] = rig.session.failed
    assert isinstance(error, NoLeader)
    assert "too few voters" in str(error)


def test_a_cluster_that_becomes_ready_gets_the_task() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.submits()
    rig.update(1, refused=[(task_id(1), Refusal.NOT_READY, "forming")])
    rig.pass_time(0.06, answer_pings=True)
    assert [ids_of(submit) for submit in rig.submits()] == [[1]]


def test_a_frame_that_the_leader_can_not_take_fails_what_is_not_accepted_only() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    rig.update(1, accepted=[1])
    rig.hear("a:1", Failure(Refusal.BAD_REQUEST, "malformed"))
    [(failed_id, error)] = rig.session.failed
    assert failed_id == task_id(2)
    assert isinstance(error, RequestRefused)


# --- failover ---------------------------------------------------------------------------------------------------


def test_after_a_failover_unaccepted_tasks_are_resubmitted_under_their_ids_and_accepted_ones_awaited() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    rig.submit(1, 2, 3)
    rig.update(1, accepted=[1], results=[succeeded(3)])
    rig.submits()
    rig.session.lost("a:1", rig.now)
    rig.submit(4)
    rig.pass_time(0.1)
    assert "a:1" in rig.closed
    rig.sent()
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    wait, submit = (message for _, message in rig.sent())
    assert wait == Wait(0, (task_id(1),))
    assert submit.seq == 1  # type: ignore[union-attr]
    assert submit.ack == 0  # type: ignore[union-attr]
    assert ids_of(submit) == [2, 4]  # type: ignore[arg-type]


def test_a_redirect_leads_to_the_new_leader() -> None:
    rig = Rig("a:1")
    rig.attach()
    rig.pass_time(1)
    rig.submit(1)
    rig.sent()
    rig.hear("a:1", Redirect(2, "b:1", "b:1"))
    assert rig.greeted() == ["b:1", "a:1"]
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    assert [ids_of(submit) for submit in rig.submits()] == [[1]]


def test_two_nodes_that_redirect_to_each_other_make_no_busy_loop_and_no_endless_one() -> None:
    rig = Rig("a:1", failover_timeout_s=3.0)
    rig.attach()
    rig.submit(1)
    hellos = 0
    while not rig.session.failed:
        for address, message in rig.sent():
            if isinstance(message, Hello):
                hellos += 1
                rig.hear(address, welcome(address, address))
        if rig.session.attached:
            rig.hear(rig.session.leader_address, Redirect(1, "b:1", "b:1"))
        rig.pass_time(0.01)
    assert hellos < 200
    assert isinstance(rig.session.failed[0][1], NoLeader)


def test_a_silent_leader_is_given_up_within_half_a_second() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.pass_time(0.45)
    assert rig.session.state is State.SEEKING


def test_a_leader_that_answers_pings_is_kept_however_long_a_task_takes() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, accepted=[1])
    rig.sent()
    rig.pass_time(60, answer_pings=True)
    assert rig.session.attached
    assert rig.sent() == []


def test_a_client_that_was_stopped_itself_asks_before_it_blames_the_leader() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.sent()
    rig.now += 30
    rig.session.tick(rig.now)
    assert rig.session.attached
    assert rig.sent()[0] == ("a:1", Ping(0))


def test_an_idle_client_sends_nothing_and_expects_nothing() -> None:
    rig = Rig()
    rig.attach()
    rig.sent()
    rig.pass_time(3600)
    assert rig.sent() == []
    assert rig.session.attached


def test_a_failover_that_takes_too_long_fails_everything() -> None:
    rig = Rig("a:1", failover_timeout_s=30.0)
    rig.attach()
    rig.submit(1, 2)
    rig.update(1, accepted=[1])
    rig.session.lost("a:1", rig.now)
    rig.pass_time(29)
    assert rig.session.failed == []
    rig.pass_time(1.1)
    assert [failed_id for failed_id, _ in rig.session.failed] == [task_id(1), task_id(2)]
    assert isinstance(rig.session.failed[0][1], NoNodeFound)


def test_a_submit_without_any_answer_is_sent_again_under_its_ids() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    rig.sent()
    rig.pass_time(1.05, answer_pings=True)
    [again] = rig.submits()
    assert (again.seq, again.prompt, ids_of(again)) == (3, True, [1])
    rig.update(1, accepted=[3, 2])
    assert not rig.session.has_unaccepted


# --- requests ---------------------------------------------------------------------------------------------------


def test_a_cancel_is_answered_and_ends_the_task() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.sent()
    request = rig.session.cancel((task_id(1),), rig.now)
    assert rig.sent() == [("a:1", Cancel(request, (task_id(1),)))]
    rig.hear("a:1", CancelReply(request, ((task_id(1), int(CancelState.CANCELLED)),)))
    assert rig.session.cancel_replies[request] == ((task_id(1), int(CancelState.CANCELLED)),)
    assert rig.session.results == [(task_id(1), int(TaskEnd.CANCELLED), b"")]


def test_an_unanswered_cancel_is_sent_again_to_the_next_leader_behind_its_task() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    request = rig.session.cancel((task_id(1),), rig.now)
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert [type(message).__name__ for _, message in rig.sent()] == ["Submit", "Cancel"]
    rig.session.forget_request(request)


def test_who_has_the_result_does_not_ask_the_next_leader_to_cancel_the_task() -> None:
    """That one may not know of the result yet, and would run the task again."""
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    request = rig.session.cancel((task_id(1), task_id(2)), rig.now)
    alone = rig.session.cancel((task_id(1),), rig.now)
    rig.hear("a:1", Update(1, (), (), (succeeded(1),)))
    assert rig.session.cancel_replies == {alone: ((task_id(1), int(CancelState.FINISHED)),)}
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert [message for _, message in rig.sent() if isinstance(message, Cancel)] == [Cancel(request, (task_id(2),))]
    rig.hear("a:1", CancelReply(request, ((task_id(2), int(CancelState.CANCELLED)),)))
    assert dict(rig.session.cancel_replies[request]) == {
        task_id(1): int(CancelState.FINISHED),
        task_id(2): int(CancelState.CANCELLED),
    }


def test_status_comes_from_any_node_while_nobody_leads() -> None:
    rig = Rig("a:1", "b:1")
    request = rig.session.status(rig.now)
    asked = [address for address, message in rig.sent() if message == StatusRequest(request)]
    assert asked == ["a:1", "b:1"]
    rig.hear("b:1", StatusReply(request, b"body"))
    rig.hear("a:1", StatusReply(request, b"later"))
    assert rig.session.status_replies == {request: b"body"}


def test_a_leader_asked_for_its_status_has_to_answer_something() -> None:
    rig = Rig()
    rig.attach()
    rig.session.status(rig.now)
    rig.pass_time(0.25)
    assert ("a:1", Ping(0)) in rig.sent()
    rig.hear("a:1", Pong(1))
    rig.hear("a:1", Update(1, (), (), ()))
    assert rig.session.attached


def test_one_seed_gives_one_run() -> None:
    def run() -> list[tuple[float, object]]:
        rig = Rig("a:1", "b:1", "c:1", seed=7)
        rig.submit(1)
        history: list[tuple[float, object]] = []
        for _ in range(50):
            rig.pass_time(0.02)
            history.extend((rig.now, item) for item in rig.sent())
        return history

    assert run() == run()
