"""What is acknowledged when, and what is submitted."""

from __future__ import annotations

from dataclasses import replace

from paceline_bridge.deliveries import GIVE_BACK_S, LONG_S, STARTED_AFTER_S, Delivery, Ledger
from paceline_bridge.message import Message, Refused, ReplyAddress, TaskCall
from paceline_protocol.messages import TaskEnd

REPLY = ReplyAddress("r", "id", "id")
ONE = bytes(16)
SUCCEEDED = (int(TaskEnd.SUCCEEDED), b"")
REFUSED = Refused("celery", "cluster", "it is not known how it ended")


def call(number: int, reply: ReplyAddress | None = None) -> TaskCall:
    return TaskCall("celery", number.to_bytes(16), "tasks.add", [], {}, 4, reply)


def add(ledger: Ledger, task: TaskCall, tag: int, now: float = 0.0) -> tuple[Delivery, bool]:
    delivery = Delivery((1, tag), Message("q", b""), task.reply, "celery")
    ledger.delivered()
    return delivery, ledger.add(task, delivery, now)


def test_without_a_reply_acceptance_settles_a_delivery_and_the_task_still_counts() -> None:
    ledger = Ledger()
    delivery, _ = add(ledger, call(0), 1)
    assert ledger.take(10) == call(0)
    assert ledger.unaccepted
    assert ledger.accept(ONE) == [delivery]
    ledger.settle(ONE, delivery)
    assert (ledger.unacked, ledger.outstanding) == (0, 1)
    assert ledger.end(ONE, SUCCEEDED) == []
    assert (ledger.outstanding, ledger.entries) == (0, {})


def test_with_a_reply_only_the_end_settles_it() -> None:
    ledger = Ledger()
    delivery, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(10)
    assert ledger.accept(ONE) == []
    assert ledger.end(ONE, SUCCEEDED) == [delivery]
    assert ledger.unacked == 1, "its reply is not confirmed"
    ledger.settle(ONE, delivery)
    assert (ledger.unacked, ledger.entries) == (0, {})


def test_a_second_message_for_a_task_joins_the_first() -> None:
    ledger = Ledger()
    first, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(10)
    second, at_once = add(ledger, call(0), 2)
    assert not at_once
    assert ledger.take(10) is None
    assert ledger.accept(ONE) == [second]
    ledger.settle(ONE, second)
    third, at_once = add(ledger, call(0), 3)
    assert at_once
    ledger.settle(ONE, third)
    assert ledger.end(ONE, SUCCEEDED) == [first]


def test_the_window_bounds_what_is_submitted() -> None:
    ledger = Ledger()
    for number in range(3):
        add(ledger, call(number), number)
    assert [ledger.take(2), ledger.take(2), ledger.take(2)] == [call(0), call(1), None]
    ledger.put_back(ONE)
    assert (ledger.outstanding, ledger.waiting) == (1, 2)
    assert [ledger.take(3), ledger.take(3)] == [call(2), call(0)]


def test_started_is_told_once_and_only_of_what_takes_its_time() -> None:
    ledger = Ledger()
    add(ledger, call(0, REPLY), 1)
    ledger.take(1)
    assert ledger.due_started(STARTED_AFTER_S) == []
    ledger.accept(ONE)
    assert ledger.due_started(STARTED_AFTER_S / 2) == []
    assert ledger.due_started(STARTED_AFTER_S) == [REPLY]
    assert ledger.due_started(STARTED_AFTER_S) == []


def test_what_is_accepted_and_does_not_end_is_asked_for_again() -> None:
    ledger = Ledger()
    delivery, _ = add(ledger, call(0), 1)
    add(ledger, call(1), 2)
    ledger.take(2)
    ledger.take(2)
    ledger.accept(ONE)
    ledger.settle(ONE, delivery)
    assert ledger.accepted_before(0.0) == []
    assert ledger.accepted_before(1.0) == [ONE]
    assert ledger.end(ONE, REFUSED) == []
    assert ledger.outstanding == 1


def test_a_long_task_is_acknowledged_and_still_owes_its_reply() -> None:
    ledger = Ledger()
    delivery, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(1)
    ledger.accept(ONE)
    assert ledger.long_running(LONG_S - 1) == []
    assert ledger.long_running(LONG_S) == [delivery]
    ledger.acked(delivery)
    assert (ledger.long_running(LONG_S), ledger.unacked) == ([], 0)
    assert ledger.end(ONE, SUCCEEDED) == [delivery]


def test_what_is_looked_up_is_acknowledged_when_it_runs_for_long_and_is_not_waited_for_at_the_end() -> None:
    ledger = Ledger()
    delivery, _ = add(ledger, replace(call(0), expired="late"), 1)
    assert ledger.long_running(LONG_S) == [], "nobody has been asked"
    ledger.take(1)
    assert not ledger.unaccepted
    assert ledger.long_running(LONG_S) == [delivery]


def test_what_is_acknowledged_and_owes_a_reply_goes_on_to_the_next_life() -> None:
    ledger = Ledger()
    long, _ = add(ledger, call(0, REPLY), 1)
    add(ledger, call(1, REPLY), 2)
    acknowledged, _ = add(ledger, call(2), 3)
    for _ in range(3):
        ledger.take(3)
    ledger.accept(ONE)
    ledger.acked(long)
    ledger.acked(acknowledged)
    later = Ledger()
    later.carry(ledger.owed())
    assert (later.waiting, later.unacked) == (1, 0)
    doubled, _ = add(later, call(0, REPLY), 9)
    assert later.give_back(GIVE_BACK_S) == [doubled], "and not what is acknowledged, and owed"
    assert (later.waiting, later.unacked) == (1, 0)
    assert later.take(1) == call(0, REPLY)
    again, at_once = add(later, call(0, REPLY), 4)
    assert not at_once
    assert later.end(ONE, SUCCEEDED) == [long, again]
    for delivery in (long, again):
        later.settle(ONE, delivery)
    assert (later.entries, later.unacked, later.owed()) == ({}, 0, [])


def test_a_refusal_is_owed_like_a_result_until_its_caller_has_it() -> None:
    ledger = Ledger()
    long, _ = add(ledger, call(0, REPLY), 1)
    ledger.take(1)
    ledger.accept(ONE)
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
    ledger = Ledger()
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
