"""What a client asks beside its calls, in virtual time: of whom, how often, and what it does with the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from client.session_rig import Rig, succeeded, task_id, welcome
from modes import source_only
from paceline.client.session.session import Session
from paceline.client.session.sweep import PageRequest
from paceline.errors import FeatureLevelTooLow, NotAllowed
from paceline_protocol.messages.client import (
    Admin,
    AdminOp,
    AdminReply,
    Cancel,
    CancelReply,
    CancelState,
    DeadChanges,
    DeadState,
    Discard,
    Failure,
    LiveState,
    Ping,
    Pong,
    Redirect,
    Refusal,
    Requeue,
    StatusReply,
    StatusRequest,
    TaskReply,
    TaskRequest,
    Update,
)
from paceline_protocol.messages.records import TaskEnd


def test_a_cancel_is_answered_and_ends_the_task() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.sent()
    request = rig.session.cancel((task_id(1),), rig.now)
    assert rig.sent() == [("a:1", Cancel(request, (task_id(1),)))]
    cancelled = CancelReply(request, ((task_id(1), int(CancelState.CANCELLED)),))
    rig.hear("a:1", cancelled)
    assert not rig.session.requests.replies, "the Update says so, too, and how it came to that"
    result = (task_id(1), int(TaskEnd.CANCELLED), b"how")
    rig.hear("a:1", Update(1, (), (), (result,)))
    assert rig.session.requests.replies[request] == cancelled
    assert rig.session.output.results == [result]


def test_a_key_that_may_cancel_nothing_is_said_to_whoever_asks_and_other_requests_stand() -> None:
    rig = Rig()
    rig.attach()
    requests = rig.session.requests
    cancel, where = rig.session.cancel((task_id(1),), rig.now), rig.session.where_is(task_id(1), rig.now)
    rig.hear("a:1", Failure(Refusal.BAD_REQUEST, "malformed"))
    assert requests.is_open(cancel), "nobody knows that it was this one"
    rig.hear("a:1", Failure(Refusal.FORBIDDEN, "an observer may only ask"))
    assert isinstance(requests.failures[cancel], NotAllowed)
    assert (requests.is_open(cancel), requests.is_open(where)) == (False, True)


STOPPING = int(CancelState.STOPPING)


def test_a_task_that_is_asked_to_stop_is_asked_for_until_it_has_ended_whether_somebody_waits_or_not() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    rig.submit(1)
    rig.sent()
    requests = rig.session.requests
    number = rig.session.cancel((task_id(1), task_id(2)), rig.now)
    rig.hear("a:1", CancelReply(number, ((task_id(1), STOPPING),)))
    assert requests.cancel_states(number) is None, "nothing is known of the other"
    rig.hear("a:1", CancelReply(number, ((task_id(2), int(CancelState.UNKNOWN)),)))
    assert requests.cancel_states(number) == {task_id(1): STOPPING, task_id(2): int(CancelState.UNKNOWN)}
    requests.leave(number)
    assert not requests.has_unheard, "a client that closes does not wait for its end"
    rig.sent()
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    assert Cancel(number, (task_id(1),)) in [message for _, message in rig.sent()], "the next leader is asked again"
    rig.hear("b:1", Update(1, (), (), (succeeded(1),)))
    assert (len(requests), requests.replies) == (0, {})


def test_a_request_that_is_made_again_and_again_stands_once() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    requests = rig.session.requests
    for _ in range(5):
        number = rig.session.cancel((task_id(1),), rig.now)
        rig.hear("a:1", CancelReply(number, ((task_id(1), STOPPING),)))
        requests.leave(number)
    assert len(requests) == 1
    given_up = rig.session.cancel((task_id(1),), rig.now)
    requests.leave(given_up)
    assert len(requests) == 1, "nobody has answered it"


def test_a_cancel_of_several_tasks_is_answered_once_each_is_known_however_the_answers_come() -> None:
    rig = Rig()
    rig.attach()
    request = rig.session.cancel((task_id(1), task_id(2), task_id(3)), rig.now)
    rig.hear("a:1", CancelReply(request, ((task_id(2), int(CancelState.RUNNING)),)))
    rig.hear("a:1", CancelReply(request, ((task_id(2), int(CancelState.CANCELLED)),)))  # a copy counts for nothing
    assert rig.session.requests.replies == {}
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    asked = [message for _, message in rig.sent() if isinstance(message, Cancel)]
    assert asked == [Cancel(request, (task_id(1), task_id(3)))], "the next leader is asked for the rest"
    rig.hear("a:1", CancelReply(request, ((task_id(3), int(CancelState.CANCELLED)),)))
    rig.hear("a:1", CancelReply(request, ((task_id(1), int(CancelState.UNKNOWN)),)))
    reply = rig.session.requests.replies[request]
    assert isinstance(reply, CancelReply)
    assert dict(reply.states) == {
        task_id(1): int(CancelState.UNKNOWN),
        task_id(2): int(CancelState.RUNNING),
        task_id(3): int(CancelState.CANCELLED),
    }


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
    rig.session.requests.forget(request)


def test_who_has_the_result_does_not_ask_the_next_leader_to_cancel_the_task() -> None:
    """That one may not know of the result yet, and would run the task again."""
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    request = rig.session.cancel((task_id(1), task_id(2)), rig.now)
    alone = rig.session.cancel((task_id(1),), rig.now)
    rig.hear("a:1", Update(1, (), (), (succeeded(1),)))
    assert rig.session.requests.replies == {alone: CancelReply(alone, ((task_id(1), int(CancelState.FINISHED)),))}
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert [message for _, message in rig.sent() if isinstance(message, Cancel)] == [Cancel(request, (task_id(2),))]
    rig.hear("a:1", Update(1, (), (), ((task_id(2), int(TaskEnd.CANCELLED), b""),)))
    reply = rig.session.requests.replies[request]
    assert isinstance(reply, CancelReply)
    assert dict(reply.states) == {
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
    requests = rig.session.requests
    assert requests.second_best == {request: StatusReply(request, b"body")}
    assert requests.replies == {}
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert ("a:1", StatusRequest(request)) in rig.sent(), "the leader is asked all the same"
    rig.hear("a:1", StatusReply(request, b"the leader's"))
    assert requests.replies == {request: StatusReply(request, b"the leader's")}
    requests.forget(request)
    assert requests.second_best == {}


def test_status_is_asked_once_by_each_connection_however_long_a_leader_is_looked_for() -> None:
    rig = Rig("a:1", "b:1")
    request = rig.session.status(rig.now)

    def asked() -> list[str]:
        return [address for address, message in rig.sent() if message == StatusRequest(request)]

    assert asked() == ["a:1", "b:1"]
    rig.session.opened("a:1", rig.now)
    assert asked() == ["a:1"], "what was sent before may have had no connection to leave by"
    rig.hear("a:1", welcome("a:1", others=["c:1"]))
    rig.pass_time(5.0)
    assert asked() == ["c:1"], "a node that was heard of meanwhile"
    rig.session.lost("a:1", rig.now)
    rig.session.opened("a:1", rig.now)
    assert asked() == ["a:1"]
    rig.hear("b:1", welcome("b:1", "b:1"))
    rig.hear("b:1", StatusReply(request, b"body"))
    assert rig.session.requests.replies == {request: StatusReply(request, b"body")}


def test_a_leader_asked_for_its_status_has_to_answer_something() -> None:
    rig = Rig()
    rig.attach()
    rig.session.status(rig.now)
    rig.pass_time(0.25)
    assert ("a:1", Ping(0)) in rig.sent()
    rig.hear("a:1", Pong(1))
    rig.hear("a:1", Update(1, (), (), ()))
    assert rig.attached


def test_an_answer_of_another_kind_is_none() -> None:
    rig = Rig()
    rig.attach()
    request = rig.session.admin(AdminOp.VOTERS, "5", rig.now)
    rig.hear("a:1", StatusReply(request, b"body"))
    assert rig.session.requests.replies == {}
    assert rig.session.expects_answer


def admins(rig: Rig) -> list[tuple[str, Admin]]:
    return [(address, message) for address, message in rig.sent() if isinstance(message, Admin)]


def test_a_request_goes_to_the_leader_and_its_answer_is_kept_for_who_asked() -> None:
    rig = Rig()
    rig.attach()
    request = rig.session.admin(AdminOp.PROMOTE, "n1", rig.now)
    assert admins(rig) == [("a:1", Admin(request, AdminOp.PROMOTE, "n1"))]
    assert rig.session.expects_answer
    rig.hear("a:1", AdminReply(request, True, "it votes"))
    assert rig.session.requests.replies == {request: AdminReply(request, True, "it votes")}
    assert not rig.session.expects_answer
    rig.session.requests.forget(request)
    assert rig.session.requests.replies == {}


def test_a_request_waits_for_a_leader() -> None:
    rig = Rig()
    request = rig.session.admin(AdminOp.VOTERS, "5", rig.now)
    assert admins(rig) == []
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert admins(rig) == [("a:1", Admin(request, AdminOp.VOTERS, "5"))]


def test_a_leader_that_hands_over_answers_nothing_and_the_next_one_is_asked() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    request = rig.session.admin(AdminOp.TRANSFER, "b:1", rig.now)
    rig.hear("a:1", Redirect(2, "b:1", "b:1"))
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    assert admins(rig) == [("b:1", Admin(request, AdminOp.TRANSFER, "b:1"))]
    rig.hear("b:1", AdminReply(request, True, "leads"))
    assert rig.session.requests.replies[request] == AdminReply(request, True, "leads")


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    rig = Rig()
    rig.attach()
    request = rig.session.admin(AdminOp.VOTERS, "5", rig.now)
    rig.session.requests.forget(request)
    rig.hear("a:1", AdminReply(request, True, "late"))
    assert rig.session.requests.replies == {}


def test_where_a_task_is_is_asked_of_the_leader_behind_the_calls_that_wait() -> None:
    rig = Rig()
    request = rig.session.where_is(task_id(1), rig.now)
    rig.submit(1)
    rig.attach()
    sent = [type(message).__name__ for _, message in rig.sent()]
    assert sent.index("Submit") < sent.index("TaskRequest")
    rig.hear("a:1", TaskReply(request, b"body"))
    assert rig.session.requests.replies == {request: TaskReply(request, b"body")}


def test_where_a_task_is_is_asked_again_of_the_next_leader() -> None:
    rig = Rig()
    rig.attach()
    request = rig.session.where_is(task_id(1), rig.now)
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert ("a:1", TaskRequest(request, task_id(1))) in rig.sent()


@source_only
def test_what_a_result_costs_does_not_depend_on_how_many_cancels_are_open() -> None:
    def calls_for_a_result(cancels: int) -> int:
        rig = Rig()
        rig.attach()
        for number in range(cancels):
            rig.session.cancel((task_id(number),), rig.now)
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            rig.session.requests.note_results([succeeded(0)])
        finally:
            sys.setprofile(None)
        assert len(rig.session.requests) == cancels - 1
        return calls

    assert calls_for_a_result(500) == calls_for_a_result(1)


def test_a_task_of_several_cancels_is_known_to_each_of_them() -> None:
    rig = Rig()
    rig.attach()
    both = rig.session.cancel((task_id(1), task_id(2)), rig.now)
    given_up = rig.session.cancel((task_id(1),), rig.now)
    other = rig.session.cancel((task_id(1),), rig.now)
    requests = rig.session.requests
    requests.forget(given_up)
    requests.note_results([succeeded(1)])
    finished = int(CancelState.FINISHED)
    assert requests.replies == {other: CancelReply(other, ((task_id(1), finished),))}
    requests.mend()
    requests.note_results([succeeded(1), succeeded(2)])
    assert requests.replies[both] == CancelReply(both, ((task_id(1), finished), (task_id(2), finished)))
    assert not requests
    assert not requests._cancels_of


def test_what_is_asked_of_dead_tasks_is_asked_of_the_next_leader_until_it_is_answered() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    rig.sent()
    requeue = rig.session.requeue((task_id(1),), b"args", rig.now)
    discard = rig.session.discard((task_id(2),), rig.now)
    expected = [Requeue(requeue, (task_id(1),), b"args"), Discard(discard, (task_id(2),))]
    assert [message for _, message in rig.sent()] == expected
    changes = DeadChanges(discard, "", ((task_id(2), int(DeadState.DISCARDED), ""),))
    rig.hear("a:1", changes)
    rig.hear("a:1", Redirect(2, "b:1", "b:1"))
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    assert [message for _, message in rig.sent() if isinstance(message, Requeue | Discard)] == expected[:1]
    rig.hear("b:1", DeadChanges(requeue, "", ((task_id(1), int(DeadState.REQUEUED_BEFORE), ""),)))
    assert set(rig.session.requests.replies) == {requeue, discard}
    assert not len(rig.session.requests)


@pytest.mark.parametrize(
    "ask",
    [
        lambda session, now: session.dead_tasks("", "", 0, now),
        lambda session, now: session.find(PageRequest("tasks.*", (int(LiveState.WAITING),)), now),
    ],
    ids=["dead tasks", "tasks by name"],
)
def test_a_leader_that_is_older_and_can_not_read_a_request_is_said_to_be_and_no_other_request_fails(
    ask: Callable[[Session, float], int],
) -> None:
    rig = Rig()
    rig.attach()
    requests = rig.session.requests
    listing = ask(rig.session, rig.now)
    where = rig.session.where_is(task_id(1), rig.now)
    rig.hear("a:1", Failure(Refusal.FORBIDDEN, "an observer may only ask"))
    assert requests.failures == {}
    rig.hear("a:1", Failure(Refusal.BAD_REQUEST, "unknown message kind 110"))
    assert isinstance(requests.failures[listing], FeatureLevelTooLow)
    assert "unknown message kind 110); upgrade paceline on all nodes" in str(requests.failures[listing])
    assert (requests.is_open(listing), requests.is_open(where)) == (False, True)


def test_a_leader_that_is_older_and_can_not_look_for_tasks_is_said_to_be() -> None:
    rig = Rig()
    rig.attach()
    page = rig.session.find(PageRequest("*", (1, 2)), rig.now)
    rig.hear("a:1", Failure(Refusal.BAD_REQUEST, "unknown message kind 19"))
    assert isinstance(rig.session.requests.failures[page], FeatureLevelTooLow)
