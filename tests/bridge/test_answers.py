"""What is published for a message, what is held, and what is logged: with a publisher that notes what it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from paceline_bridge.answers import HELD_LIMIT_S, HELD_RETRY_S, Answers
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.dead_letters import ROUNDS, ROUNDS_LIMIT
from paceline_bridge.message import Message, Refused, ReplyAddress
from paceline_bridge.owed import Delivery
from paceline_bridge.publisher import Cause, NotTaken
from paceline_bridge.troubles import Repeats
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import pack_value

REPLY = ReplyAddress("r", "id", "id")
REFUSED = Refused("plain", "no-task", "it has none")


@dataclass
class Notes:
    """In the place of a Publisher. What is published is taken, or not, for ``refusal``."""

    refusal: NotTaken | None = None
    refused: dict[str, NotTaken] = field(default_factory=dict)  # the same, of single queues
    published: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    missing: str = ""
    may_make: bool = True
    made: list[str] = field(default_factory=list)
    is_silent: bool = False
    silent: list[tuple[Any, Any]] = field(default_factory=list)  # whom to tell what it did not say

    def make(self, queue: str, then: Callable[[], None], failed: Callable[[str], None]) -> None:
        if not self.may_make:
            failed("not allowed")
            return
        self.made.append(queue)
        self.missing = ""
        then()

    def room_bytes(self) -> int:
        return 131_000

    def publish(
        self,
        queue: str,
        body: bytes,
        properties: Mapping[str, Any],
        then: Callable[[], None] | None = None,
        if_refused: Callable[[NotTaken], None] | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        self.published.append((queue, properties))
        if self.is_silent:
            self.silent.append((then, if_refused))
        elif queue == self.missing:
            assert if_refused is not None
            if_refused(NotTaken(Cause.UNROUTABLE, ""))
        elif (refusal := self.refusal or self.refused.get(queue)) is None:
            assert then is not None
            then()
        else:
            assert if_refused is not None
            if_refused(refusal)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def answers(notes: Notes) -> Answers:
    return Answers(notes, "dead", BridgeCounters(), Repeats(), pytest.fail)  # type: ignore[arg-type]


def delivery(headers: Mapping[str, Any] | None = None) -> Delivery:
    return Delivery((1, 1), Message("q", b"", headers or {}), None, "plain")


def test_a_message_that_goes_round_between_two_queues_ends_in_one_of_its_own_and_is_never_lost(
    answers: Answers, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    headers: Mapping[str, Any] = {}
    settled: list[bool] = []
    for _ in range(ROUNDS_LIMIT):
        answers.refuse(REFUSED, delivery(headers), lambda: settled.append(True))
        headers = notes.published[-1][1]["headers"]
    assert headers[ROUNDS] == ROUNDS_LIMIT
    notes.missing = "dead.rounds"
    for _ in range(2):
        answers.refuse(REFUSED, delivery(headers), lambda: settled.append(True))
    assert len(settled) == ROUNDS_LIMIT + 2
    assert [queue for queue, _ in notes.published[-3:]] == ["dead.rounds", "dead.rounds", "dead.rounds"]
    assert notes.made == ["dead.rounds"]
    assert len([line for line in caplog.messages if "Give one another --dead-letter" in line]) == 1


def test_a_message_for_whose_rounds_no_queue_can_be_made_is_held_and_goes_back(answers: Answers, notes: Notes) -> None:
    notes.missing, notes.may_make = "dead.rounds", False
    answers.refuse(REFUSED, delivery({ROUNDS: ROUNDS_LIMIT}), pytest.fail)
    assert answers.held == 1
    assert len(answers.tick(time.monotonic() + HELD_LIMIT_S)) == 1
    assert answers.held == 0


def test_replies_that_are_taken_are_no_sign_that_the_dead_letter_queue_has_room(answers: Answers, notes: Notes) -> None:
    notes.refusal = NotTaken(Cause.REJECTED, "it is full")
    for _ in range(5):
        answers.refuse(REFUSED, delivery(), pytest.fail)
    notes.refusal = None
    answers.ended(delivery(), REPLY, (int(TaskEnd.SUCCEEDED), pack_value(1)), lambda: None)
    count = len(notes.published)
    answers.tick(time.monotonic())
    assert (len(notes.published), answers.held) == (count, 5)


@pytest.mark.parametrize("rounds", [True, -1, 1 << 40, "7", None])
def test_a_number_of_rounds_that_is_none_counts_as_none(answers: Answers, notes: Notes, rounds: object) -> None:
    answers.refuse(REFUSED, delivery({ROUNDS: rounds}), lambda: None)
    assert notes.published[0][1]["headers"][ROUNDS] in (1, 2)


@pytest.mark.parametrize("what", ["a reply", "a refusal for a caller", "a dead letter"])
def test_what_a_user_may_not_publish_is_held_and_published_once_it_may(
    answers: Answers, notes: Notes, what: str
) -> None:
    notes.refusal = NotTaken(Cause.FORBIDDEN, "give it the permission")
    settled: list[bool] = []
    for _ in range(3):
        if what == "a reply":
            outcome = (int(TaskEnd.SUCCEEDED), pack_value(1))
            answers.ended(delivery(), REPLY, outcome, lambda: settled.append(True))
        else:
            reply = REPLY if what.startswith("a refusal") else None
            answers.refuse(Refused("plain", "no-task", "", reply), delivery(), lambda: settled.append(True))
    assert (answers.held, settled) == (3, [])
    notes.refusal = None
    wanted = "dead" if what == "a dead letter" else "r"
    answers.tick(time.monotonic() + HELD_RETRY_S)
    answers.tick(time.monotonic() + HELD_RETRY_S)
    assert (answers.held, len(settled)) == (0, 3)
    assert {queue for queue, _ in notes.published} == {wanted}


@pytest.mark.parametrize(
    ("queue", "cause"),
    [
        ("first", Cause.REJECTED),
        ("first", Cause.CLOSED),
        ("first", Cause.UNROUTABLE),
        ("dead", Cause.REJECTED),
        ("dead", Cause.CLOSED),
    ],
)
def test_what_waits_is_tried_though_the_first_of_it_is_refused_for_itself(
    answers: Answers, notes: Notes, queue: str, cause: Cause
) -> None:
    notes.refusal = NotTaken(Cause.FORBIDDEN, "give it the permission")
    settled: list[str] = []
    if queue == "dead":
        answers.refuse(REFUSED, delivery(), partial(settled.append, "first"))
    for name in ("first", "second", "third"):
        outcome = (int(TaskEnd.SUCCEEDED), pack_value(1))
        answers.ended(delivery(), ReplyAddress(name, "id", "id"), outcome, partial(settled.append, name))
    notes.refusal, notes.refused = None, {queue: NotTaken(cause, "")}
    now = time.monotonic()
    for _ in range(3):
        now += 2 * HELD_RETRY_S
        answers.tick(now)
    assert {"second", "third"} <= set(settled)
    assert answers.held == (queue == "dead")


def test_a_reply_that_waited_for_too_long_is_told_as_dropped_if_its_message_can_not_go_back(
    answers: Answers, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    notes.refusal = NotTaken(Cause.FORBIDDEN, "give it the permission")
    settled: list[int] = []
    for number in range(2):
        acked = replace(delivery(), acked=bool(number))
        answers.ended(acked, REPLY, (int(TaskEnd.SUCCEEDED), pack_value(1)), partial(settled.append, number))
    [(back, _)] = answers.tick(time.monotonic() + HELD_LIMIT_S)
    assert not back.acked
    assert (settled, answers.held) == ([1], 0), "the other one is settled by whoever gives it back"
    assert answers._counters.messages["undelivered", "plain"] == 1
    assert [line for line in caplog.messages if "is dropped" in line] == [
        "a reply for a caller at r is dropped: it could not be published for 600 s"
    ]


@pytest.mark.parametrize("what", ["a reply", "a refusal for a caller", "a dead letter"])
def test_what_rabbitmq_neither_confirms_nor_refuses_is_published_once_and_its_message_goes_back(
    answers: Answers, notes: Notes, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As for a queue that has lost its majority. RabbitMQ would close the channel that has delivered it for that."""
    notes.is_silent = True
    first, second = delivery(), delivery()
    for each in (first, second):
        if what == "a reply":
            answers.ended(each, REPLY, (int(TaskEnd.SUCCEEDED), pack_value(1)), pytest.fail)
        else:
            answers.refuse(replace(REFUSED, reply=REPLY if "caller" in what else None), each, pytest.fail)
    began = time.monotonic()
    for part in range(1, 10):
        assert answers.tick(began + HELD_LIMIT_S * part / 10) == []
    assert [back for back, _ in answers.tick(time.monotonic() + HELD_LIMIT_S)] == [first, second]
    assert len(notes.published) == 2
    assert [line for line in caplog.messages if "has not confirmed" in line and line.endswith("goes back to q")]
    for taken, refused in notes.silent:  # it says so after all
        taken()
        refused(NotTaken(Cause.REJECTED, "it is full"))
    assert (len(notes.published), answers.held, answers.tick(began + 3 * HELD_LIMIT_S)) == (2, 0, [])


def test_a_probe_that_is_not_confirmed_keeps_others_waiting_no_longer_than_until_its_message_goes_back(
    answers: Answers, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("paceline_bridge.answers.time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    settled: list[int] = []
    notes.refusal = NotTaken(Cause.REJECTED, "it is full")
    answers.refuse(REFUSED, delivery(), partial(settled.append, 1))
    now = HELD_LIMIT_S / 2
    answers.refuse(REFUSED, delivery(), partial(settled.append, 2))
    notes.refusal, notes.is_silent = None, True
    answers.tick(now + HELD_RETRY_S)
    assert len(notes.silent) == 1
    notes.is_silent = False
    assert (len(answers.tick(HELD_LIMIT_S - 1.0)), settled) == (0, [])
    assert (len(answers.tick(HELD_LIMIT_S)), settled) == (1, [2])


def test_a_refusal_that_no_caller_takes_is_no_dead_letter_if_its_message_is_acknowledged(
    answers: Answers, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    """What it said is not kept."""
    notes.missing = "r"
    settled: list[int] = []
    acked = replace(delivery(), acked=True)
    answers.refuse(replace(REFUSED, reply=REPLY), acked, partial(settled.append, 1))
    assert [queue for queue, _ in notes.published] == ["r"]
    assert (settled, answers._counters.messages["undelivered", "plain"]) == ([1], 1)
    assert [line for line in caplog.messages if "is dropped" in line] == [
        "a refused message of q is dropped: it was acknowledged before, and no caller takes the reply"
    ]


def test_refusals_of_one_cause_are_one_line_and_no_line_is_long_or_more_than_one(
    answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "paceline.bridge")
    for _ in range(1_000):
        answers.refuse(Refused("plain", "bad-body", "x\n" * 4_000_000), delivery(), lambda: None)
    answers.refuse(REFUSED, delivery(), lambda: None)
    assert [line.partition(")")[0] for line in caplog.messages] == [
        "refused a message of q (bad-body",
        "refused a message of q (no-task",
    ]
    assert all(len(line) < 3_000 and line.isprintable() for line in caplog.messages)
