"""What is acknowledged when, and what is submitted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paceline_bridge.delayed import RETAIN_S, STALE_LIMIT
from paceline_bridge.deliveries import (
    CALLERS_LIMIT,
    GIVE_BACK_S,
    LARGE_BYTES,
    LONG_S,
    POSTPONED_S,
    STARTED_AFTER_S,
    Ledger,
)
from paceline_bridge.message import Message, Refused, ReplyAddress, TaskCall
from paceline_bridge.owed import Delivery
from paceline_protocol.messages.records import TaskEnd

REPLY = ReplyAddress("r", "id", "id")
ONE = bytes(16)
SUCCEEDED = (int(TaskEnd.SUCCEEDED), b"")
REFUSED = Refused("celery", "cluster", "it is not known how it ended")


def call(number: int, reply: ReplyAddress | None = None) -> TaskCall:
    return TaskCall("celery", number.to_bytes(16), "tasks.add", [], {}, 4, reply)


def add(ledger: Ledger, task: TaskCall, tag: int, now: float = 0.0, due_s: float = 0.0) -> tuple[Delivery, bool]:
    delivery = Delivery((1, tag), Message("q", b""), task.reply, "celery")
    ledger.delivered()
    return delivery, ledger.add(task, delivery, now, due_s)


def accepted(ledger: Ledger, task: TaskCall, now: float = 0.0, due_s: float = 0.0) -> Delivery:
    """A delivery whose task the cluster has accepted."""
    delivery, _ = add(ledger, task, int.from_bytes(task.task_id), now, due_s)
    assert ledger.take(10_000) == task
    for settled in ledger.accept(task.task_id, now):
        ledger.settle(task.task_id, settled)
    return delivery


def test_without_a_reply_acceptance_settles_a_delivery_and_the_task_still_counts() -> None:
    ledger = Ledger(10)
    delivery, _ = add(ledger, call(0), 1)
    assert ledger.take(10) == call(0)
    assert ledger.unaccepted
    assert ledger.accept(ONE, 0.0) == [delivery]
    ledger.settle(ONE, delivery)
    assert (ledger.unacked, ledger.outstanding) == (0, 1)
    assert ledger.end(ONE, SUCCEEDED) == []
    assert (ledger.outstanding, ledger.entries) == (0, {})


def test_with_a_reply_only_the_end_settles_it() -> None:
    ledger = Ledger(10)
    delivery, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(10)
    assert ledger.accept(ONE, 0.0) == []
    assert ledger.end(ONE, SUCCEEDED) == [delivery]
    assert ledger.unacked == 1, "its reply is not confirmed"
    ledger.settle(ONE, delivery)
    assert (ledger.unacked, ledger.entries) == (0, {})


def test_a_second_message_for_a_task_joins_the_first() -> None:
    ledger = Ledger(10)
    first, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(10)
    second, at_once = add(ledger, call(0), 2)
    assert not at_once
    assert ledger.take(10) is None
    assert ledger.accept(ONE, 0.0) == [second]
    ledger.settle(ONE, second)
    third, at_once = add(ledger, call(0), 3)
    assert at_once
    ledger.settle(ONE, third)
    assert ledger.end(ONE, SUCCEEDED) == [first]


def test_a_broker_with_less_patience_has_its_deliveries_sooner() -> None:
    ledger = Ledger(10, patience=0.01)
    delivery, _ = add(ledger, call(0, REPLY), 1)
    waiting, _ = add(ledger, call(1), 2)
    ledger.take(1)
    ledger.accept(ONE, 0.0)
    assert ledger.long_running(LONG_S * 0.01) == [delivery]
    assert ledger.give_back(GIVE_BACK_S * 0.01) == [waiting]


def test_the_window_bounds_what_is_submitted() -> None:
    ledger = Ledger(10)
    for number in range(3):
        add(ledger, call(number), number)
    assert [ledger.take(2), ledger.take(2), ledger.take(2)] == [call(0), call(1), None]
    ledger.put_back(ONE)
    assert (ledger.outstanding, ledger.waiting) == (1, 2)
    assert [ledger.take(3), ledger.take(3)] == [call(2), call(0)]


def test_started_is_told_once_and_only_of_what_takes_its_time() -> None:
    ledger = Ledger(10)
    add(ledger, call(0, REPLY), 1)
    ledger.take(1)
    assert ledger.due_started(STARTED_AFTER_S) == []
    ledger.accept(ONE, 0.0)
    assert ledger.due_started(STARTED_AFTER_S / 2) == []
    assert ledger.due_started(STARTED_AFTER_S) == [REPLY]
    assert ledger.due_started(STARTED_AFTER_S) == []


def test_what_is_accepted_and_does_not_end_is_asked_for_again() -> None:
    ledger = Ledger(10)
    delivery, _ = add(ledger, call(0), 1)
    add(ledger, call(1), 2)
    ledger.take(2)
    ledger.take(2)
    ledger.accept(ONE, 0.0)
    ledger.settle(ONE, delivery)
    assert ledger.accepted_before(0.0) == []
    assert ledger.accepted_before(1.0) == [ONE]
    assert ledger.end(ONE, REFUSED) == []
    assert ledger.outstanding == 1


def test_a_long_task_is_acknowledged_and_still_owes_its_reply() -> None:
    ledger = Ledger(10)
    delivery, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(1)
    ledger.accept(ONE, 0.0)
    assert ledger.long_running(LONG_S - 1) == []
    assert ledger.long_running(LONG_S) == [delivery]
    ledger.acked(delivery)
    assert (ledger.long_running(LONG_S), ledger.unacked) == ([], 0)
    assert ledger.end(ONE, SUCCEEDED) == [delivery]


def test_a_late_message_is_settled_by_the_end_alone_and_acknowledged_when_that_takes_long() -> None:
    ledger = Ledger(10)
    late = replace(call(0), is_late=True)
    delivery, _ = add(ledger, late, 1)
    ledger.take(1)
    assert ledger.accept(ONE, 0.0) == [], "it may have been accepted only to expire"
    assert not ledger.unaccepted
    doubled, at_once = add(ledger, late, 2)
    assert not at_once
    assert ledger.long_running(LONG_S) == [delivery, doubled]
    assert ledger.end(ONE, REFUSED) == [delivery], "neither owes a reply"


def test_a_late_message_of_a_task_that_the_cluster_has_is_settled_at_once() -> None:
    ledger = Ledger(10)
    accepted(ledger, call(0))
    _, at_once = add(ledger, replace(call(0), is_late=True), 2)
    assert at_once


def test_what_is_acknowledged_and_owes_a_reply_goes_on_to_the_next_life() -> None:
    ledger = Ledger(10)
    long, _ = add(ledger, call(0, REPLY), 1)
    add(ledger, call(1, REPLY), 2)
    acknowledged, _ = add(ledger, call(2), 3)
    for _ in range(3):
        ledger.take(3)
    ledger.accept(ONE, 0.0)
    ledger.acked(long)
    ledger.acked(acknowledged)
    later = Ledger(10)
    later.carry(ledger.owed())
    assert list(later.entries) == [ONE]
    assert (later.waiting, later.outstanding, later.unacked) == (0, 1, 0), "the cluster has it"
    assert later.accepted_before(1.0) == [ONE]
    again, at_once = add(later, call(0, REPLY), 4)
    assert later.take(2) is None
    assert later.give_back(GIVE_BACK_S) == []
    assert not at_once
    assert later.end(ONE, SUCCEEDED) == [long, again]
    for delivery in (long, again):
        later.settle(ONE, delivery)
    assert (later.entries, later.unacked, later.owed()) == ({}, 0, [])


def test_a_refusal_is_owed_like_a_result_until_its_caller_has_it() -> None:
    ledger = Ledger(10)
    long, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(1)
    ledger.accept(ONE, 0.0)
    ledger.acked(long)
    assert ledger.end(ONE, REFUSED) == [long]
    assert ledger.end(ONE, SUCCEEDED) == [], "it is over"
    assert [entry.deliveries for entry in ledger.owed()] == [[long]], "RabbitMQ may go before it has the refusal"
    joined, at_once = add(ledger, call(0, REPLY), 2)
    assert at_once
    for delivery in (long, joined):
        ledger.settle(ONE, delivery)
    assert (ledger.entries, ledger.unacked, ledger.outstanding, ledger.owed()) == ({}, 0, 0, [])


def test_what_waits_too_long_for_its_turn_goes_back_and_what_is_submitted_does_not() -> None:
    ledger = Ledger(10)
    add(ledger, call(0), 1)
    ledger.take(1)
    waiting, _ = add(ledger, call(1), 2)
    doubled, _ = add(ledger, call(1), 3)
    young, _ = add(ledger, call(2), 4, now=1.0)
    assert ledger.give_back(GIVE_BACK_S - 0.1) == []
    assert ledger.give_back(GIVE_BACK_S) == [waiting, doubled]
    assert (ledger.unacked, ledger.waiting, ledger.outstanding) == (2, 1, 1)
    assert ledger.take(2) == call(2)
    assert ledger.take(3) is None
    assert young.tag == (1, 4)


# --- delayed tasks


def test_delayed_tasks_take_no_place_in_the_window_once_they_are_accepted_and_not_when_they_are_due_either() -> None:
    ledger = Ledger(10)
    for number in range(5_000):
        accepted(ledger, call(number), due_s=60.0)
    assert (ledger.outstanding, ledger.delayed, ledger.unacked) == (0, 5_000, 0)
    add(ledger, call(5_000), 1, now=1.0)
    assert ledger.take(1) == call(5_000)
    ledger.come_due(60.0)
    assert (ledger.outstanding, ledger.delayed) == (1, 5_000)
    for number in range(5_001):
        ledger.end(number.to_bytes(16), SUCCEEDED)
    assert (ledger.outstanding, ledger.delayed) == (0, 0)


def test_a_delayed_task_takes_its_place_in_the_window_until_it_is_accepted() -> None:
    ledger = Ledger(10)
    add(ledger, call(0), 1, due_s=60.0)
    add(ledger, call(1), 2)
    assert ledger.take(1) == call(0)
    assert ledger.take(1) is None
    ledger.accept(ONE, 1.0)
    assert ledger.take(1) == call(1)


def test_started_is_not_told_before_the_moment_and_holds_up_nobody() -> None:
    ledger = Ledger(10)
    accepted(ledger, call(0, REPLY), due_s=60.0)
    other = ReplyAddress("r", "other", "other")
    accepted(ledger, call(1, other), now=1.0)
    assert ledger.due_started(1.0 + STARTED_AFTER_S) == [other]
    assert ledger.due_started(59.0) == []
    ledger.come_due(60.0)
    assert ledger.due_started(60.0 + STARTED_AFTER_S / 2) == []
    assert ledger.due_started(60.0 + STARTED_AFTER_S) == [REPLY]
    assert ledger.due_started(100.0) == []


def test_a_task_whose_moment_has_passed_when_it_is_accepted_is_like_any_other() -> None:
    ledger = Ledger(10)
    add(ledger, call(0, REPLY), 1, due_s=60.0)
    ledger.take(1)
    ledger.accept(ONE, 60.0)
    assert (ledger.outstanding, ledger.delayed) == (1, 0)
    assert ledger.due_started(60.0) == [REPLY]


def test_a_caller_that_waits_for_a_delayed_task_gets_its_reply_though_the_task_ends_before_its_moment() -> None:
    ledger = Ledger(10)
    delivery = accepted(ledger, call(0, REPLY), due_s=60.0)
    assert ledger.take_surplus() == []
    assert ledger.end(ONE, REFUSED) == [delivery]
    ledger.settle(ONE, delivery)
    ledger.come_due(60.0)
    assert (ledger.entries, ledger.unacked, ledger.delayed, ledger.due_started(99.0)) == ({}, 0, 0, [])


def test_a_delay_for_which_rabbitmq_does_not_wait_is_acknowledged_at_once_and_its_reply_is_owed() -> None:
    ledger = Ledger(10)
    retained = accepted(ledger, call(0, REPLY), due_s=RETAIN_S)
    long = accepted(ledger, call(1, REPLY), due_s=RETAIN_S + 1)
    assert ledger.take_surplus() == [long]
    assert ledger.take_surplus() == []
    ledger.acked(long)
    ledger.come_due(RETAIN_S)
    assert ledger.long_running(RETAIN_S + LONG_S - 1) == []
    assert ledger.long_running(RETAIN_S + LONG_S) == [retained], "it is a long task from its moment on"
    [owed] = ledger.owed()
    later = Ledger(10)
    later.carry([owed])
    assert later.take(1) is None
    assert (later.outstanding, later.delayed, later.take_surplus()) == (0, 1, [])
    later.come_due(RETAIN_S + 1)
    assert later.due_started(RETAIN_S + 1 + STARTED_AFTER_S) == [REPLY]
    assert later.end(call(1).task_id, SUCCEEDED) == [long]
    assert (later.outstanding, later.delayed) == (0, 0)


def test_of_the_prefetch_of_a_queue_delayed_tasks_take_no_more_than_they_may() -> None:
    ledger = Ledger(2)
    deliveries = [accepted(ledger, call(number, REPLY), due_s=60.0) for number in range(4)]
    assert ledger.take_surplus() == deliveries[2:]
    for delivery in deliveries[2:]:
        ledger.acked(delivery)
    ledger.end(ONE, SUCCEEDED)
    ledger.settle(ONE, deliveries[0])
    accepted(ledger, call(4, REPLY), due_s=60.0)
    assert ledger.take_surplus() == [], "there is a place again"
    doubled, _ = add(ledger, call(4, REPLY), 9)
    assert ledger.take_surplus() == [doubled]
    ledger.come_due(60.0)
    accepted(ledger, call(5, REPLY), now=61.0, due_s=99.0)
    assert ledger.take_surplus() == [], "what is due is not delayed any more"


def test_the_arguments_of_delayed_tasks_and_large_ones_are_let_go_of_once_the_cluster_has_them() -> None:
    ledger = Ledger(10)
    large = bytes(LARGE_BYTES + 1)
    for number, packed, reply, due_s in [
        (0, b"small", REPLY, 0.0),
        (1, large, None, 0.0),
        (2, large, REPLY, 0.0),
        (3, b"small", REPLY, RETAIN_S),
    ]:
        accepted(ledger, replace(call(number, reply), packed=packed), due_s=due_s)
    assert [entry.call.packed for entry in ledger.entries.values()] == [b"small", b"", b"", b""]
    for number in (1, 3):
        add(ledger, replace(call(number, REPLY), packed=large), 10 + number)
    assert [entry.call.packed for entry in ledger.entries.values()] == [b"small", b"", b"", b""]


def test_of_a_message_that_is_acknowledged_before_its_reply_only_what_the_reply_needs_is_kept() -> None:
    ledger = Ledger(10)
    message = Message("q", b"body", {"id": "id", "large": "header"}, reply_to="r", others={"app_id": "shop"})
    for number, due_s in [(0, 0.0), (1, RETAIN_S + 1)]:
        task = replace(call(number, REPLY), packed=b"arguments")
        ledger.add(task, Delivery((1, number), message, REPLY, "celery"), 0.0, due_s)
        ledger.take(10)
        ledger.accept(task.task_id, 0.0)
    [running], [delayed] = ledger.long_running(LONG_S), ledger.take_surplus()
    for delivery in (running, delayed):
        assert (delivery.reply, delivery.message) == (REPLY, Message("q", b"", reply_to="r"))
    assert [entry.call.packed for entry in ledger.entries.values()] == [b"", b""]


@pytest.mark.parametrize("due_s", [0.0, RETAIN_S + 1], ids=["long", "delayed"])
def test_of_acknowledged_messages_that_owe_one_reply_one_is_kept_however_many_there_were(due_s: float) -> None:
    ledger = Ledger(10)

    def acknowledge() -> None:
        for delivery in [*ledger.take_surplus(), *ledger.long_running(LONG_S)]:
            ledger.acked(delivery)

    other = ReplyAddress("another caller", "id", "id")
    first = accepted(ledger, call(0, REPLY), due_s=due_s)
    for number in range(1, 1_000, 10):
        for tag in range(number, number + 10):
            add(ledger, call(0, REPLY), tag)
        acknowledge()
    second, _ = add(ledger, call(0, other), 1_000)
    add(ledger, call(0, other), 1_001)
    acknowledge()
    assert ledger.unacked == 0
    [entry] = ledger.owed()
    assert entry.deliveries == [first, second]
    later = Ledger(10)
    later.carry([entry])
    for reply in (REPLY, other):
        add(later, call(0, reply), 1)
    for delivery in [*later.take_surplus(), *later.long_running(LONG_S)]:
        later.acked(delivery)
    assert later.end(ONE, SUCCEEDED) == [first, second]
    for delivery in (first, second):
        later.settle(ONE, delivery)
    assert (later.entries, later.unacked) == ({}, 0)


def test_so_many_callers_of_acknowledged_messages_can_wait_for_one_task_and_no_other_joins_them() -> None:
    ledger = Ledger(10)
    callers = [call(0, ReplyAddress("r", "id", str(number))) for number in range(CALLERS_LIMIT + 1)]
    accepted(ledger, callers[0], due_s=RETAIN_S + 1)
    for tag, caller in enumerate(callers):
        assert ledger.is_crowded(caller) == (caller is callers[-1])
        if tag and not ledger.is_crowded(caller):
            add(ledger, caller, tag)
        for delivery in ledger.take_surplus():
            ledger.acked(delivery)
    assert not ledger.is_crowded(call(0)), "nobody waits for this one"
    assert len(ledger.end(ONE, SUCCEEDED)) == CALLERS_LIMIT
    assert not ledger.is_crowded(callers[-1]), "its reply is there"


def test_the_cluster_is_not_asked_again_about_a_task_whose_moment_is_ahead() -> None:
    ledger = Ledger(10)
    accepted(ledger, call(0, REPLY), due_s=60.0)
    assert ledger.accepted_before(59.0) == []
    ledger.come_due(60.0)
    assert ledger.accepted_before(60.0) == []
    assert ledger.accepted_before(61.0) == [ONE]


def test_the_moments_of_tasks_that_ended_before_them_are_forgotten() -> None:
    ledger = Ledger(10)
    for number in range(2 * STALE_LIMIT):
        accepted(ledger, call(number), due_s=1e9)
        ledger.end(call(number).task_id, SUCCEEDED)
        ledger.come_due(1.0)
    assert len(ledger._delayed._moments) <= STALE_LIMIT


# --- tasks that wait to be tried again


def test_a_task_that_waits_to_be_tried_again_gives_back_its_place_and_keeps_none_afterwards() -> None:
    ledger = Ledger(10)
    accepted(ledger, call(0))
    add(ledger, call(1), 1)
    assert ledger.take(1) is None
    assert ledger.accepted_before(10.0, in_window=True) == [ONE]
    ledger.postpone(ONE, 3_600.0, 10.0)
    assert (ledger.outstanding, ledger.delayed) == (0, 1)
    assert ledger.accepted_before(11.0) == []
    assert ledger.take(1) == call(1)
    ledger.come_due(3_600.0)
    assert (ledger.outstanding, ledger.delayed) == (1, 1)
    assert ledger.accepted_before(3_601.0) == [ONE]
    assert ledger.accepted_before(3_601.0, in_window=True) == []
    ledger.postpone(ONE, 9_000.0, 3_601.0)
    assert (ledger.outstanding, ledger.delayed, ledger.accepted_before(3_602.0)) == (1, 1, [])
    ledger.end(ONE, SUCCEEDED)
    assert (ledger.outstanding, ledger.delayed, list(ledger.entries)) == (1, 0, [call(1).task_id])
    ledger.come_due(9_000.0)


def test_a_task_that_is_tried_again_soon_has_ended_or_is_not_known_keeps_things_as_they_are() -> None:
    ledger = Ledger(10)
    delivery = accepted(ledger, call(0, REPLY))
    ledger.postpone(ONE, POSTPONED_S / 2, 0.0)
    ledger.postpone(call(7).task_id, 3_600.0, 0.0)
    assert (ledger.outstanding, ledger.delayed) == (1, 0)
    assert ledger.end(ONE, SUCCEEDED) == [delivery]
    ledger.postpone(ONE, 3_600.0, 0.0)
    assert (ledger.outstanding, ledger.delayed) == (0, 0)
    ledger.settle(ONE, delivery)


def test_a_task_that_waits_to_be_tried_again_and_is_told_so_twice_waits_once() -> None:
    ledger = Ledger(10)
    accepted(ledger, call(0))
    ledger.postpone(ONE, 3_600.0, 0.0)
    ledger.postpone(ONE, 3_600.0, 0.0)
    ledger.postpone(ONE, 7_200.0, 0.0)
    assert (ledger.outstanding, ledger.delayed) == (0, 1)
    ledger.come_due(3_600.0)
    assert ledger.accepted_before(3_601.0) == [ONE]


@pytest.mark.parametrize("wait_s", [RETAIN_S + 1.0, 60.0])
def test_however_often_a_task_is_tried_again_no_delivery_is_kept_for_as_long_as_rabbitmq_bears_it(
    wait_s: float,
) -> None:
    """A caller waits, so that acceptance does not settle it. Each attempt fails at once, and then waits."""
    ledger = Ledger(10)
    delivery = accepted(ledger, call(0, REPLY))
    now = 0.0
    while not delivery.acked:
        assert now <= RETAIN_S + LONG_S
        ledger.postpone(ONE, now + wait_s, now)
        for gone in [*ledger.take_surplus(), *ledger.long_running(now)]:
            ledger.acked(gone)
        now += wait_s
        ledger.come_due(now)
    assert ledger.unacked == 0
    assert ledger.end(ONE, SUCCEEDED) == [delivery], "its caller is told all the same"


def test_the_next_life_knows_which_tasks_wait_to_be_tried_again() -> None:
    ledger = Ledger(0)  # nothing is retained
    accepted(ledger, call(0, REPLY))
    ledger.postpone(ONE, 3_600.0, 0.0)
    for gone in ledger.take_surplus():
        ledger.acked(gone)
    after = Ledger(0)
    after.carry(ledger.owed())
    assert (after.outstanding, after.delayed) == (0, 1)
    after.come_due(3_600.0)
    assert after.accepted_before(3_601.0) == [ONE]


@pytest.mark.parametrize("outcome", [SUCCEEDED, REFUSED])
def test_a_task_that_is_told_to_wait_and_to_have_ended_at_once_is_acknowledged_with_its_reply_and_not_before(
    outcome: tuple[int, bytes] | Refused,
) -> None:
    ledger = Ledger(0)  # nothing is retained
    delivery = accepted(ledger, call(0, REPLY))
    delivery.message = Message("q", b"body")
    ledger.postpone(ONE, 3_600.0, 0.0)
    assert ledger.end(ONE, outcome) == [delivery]
    assert ledger.take_surplus() == []
    assert (delivery.message.body, ledger.unacked) == (b"body", 1), "it may have to go back, or to be a dead letter"
    ledger.settle(ONE, delivery)
    assert (ledger.unacked, ledger.entries) == (0, {})
