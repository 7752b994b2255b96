"""A leader asks the nodes what tasks say of themselves, and passes it on."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_leader import TERM, Lead, running, tid
from modes import source_only
from paceline.core.scheduling import remark_requests
from paceline.core.scheduling.remark_requests import AGAIN_S, LIMIT_S, OPEN_REQUESTS
from paceline_protocol.codec import encode_failed_attempt
from paceline_protocol.messages.client import OutputReply, OutputRequest, ProgressReply, ProgressRequest
from paceline_protocol.messages.records import MAY_RETRY, TaskEnd
from paceline_protocol.messages.work import RemarkAnswer, RemarkQuery
from paceline_protocol.options import PROGRESS_LEVEL
from paceline_protocol.payload import unpack_value

HALF = b"half"
FAILED = encode_failed_attempt(("KeyError: 'x'", 0, int(TaskEnd.FAILED), b""))


def ask(lead: Lead, number: int = 1, request: int = 7, *, output: bool = False, older: str = "") -> None:
    kind = OutputRequest if output else ProgressRequest

    def level_of(node_id: str) -> int:
        return PROGRESS_LEVEL - 1 if node_id == older else PROGRESS_LEVEL

    lead.leader.remarks.ask(b"c", kind(request, tid(number)), level_of, lead.now)


def asked(lead: Lead) -> list[tuple[str, RemarkQuery]]:
    """The queries to nodes that are on their way, once."""
    outbox, lead.leader.nodes.outbox = lead.leader.nodes.outbox, []
    return [(node_id, query) for node_id, query in outbox if isinstance(query, RemarkQuery)]


def answer(
    lead: Lead, sender: str, query: RemarkQuery, attempt: int = 1, progress: bytes = HALF, output: bytes = b""
) -> None:
    told = RemarkAnswer(query.term, query.number, query.id, attempt, 2_000, 1_000, progress, output, 3)
    lead.leader.remarks.answered(sender, told)


def nothing(lead: Lead, sender: str, query: RemarkQuery) -> None:
    lead.leader.remarks.answered(sender, RemarkAnswer(query.term, query.number, query.id, 0, 0, 0, b"", b"", 0))


def replies(lead: Lead) -> list[dict[str, Any]]:
    told, lead.leader.remarks.replies = lead.leader.remarks.replies, []
    assert all(key == b"c" and isinstance(reply, ProgressReply | OutputReply) for key, reply in told)
    return [unpack_value(reply.body) for _, reply in told]


def test_the_node_is_asked_that_has_the_task_and_what_it_tells_is_passed_on() -> None:
    lead, _ = running(1)
    lead.enrol("b")
    ask(lead)
    ((node_id, query),) = asked(lead)
    assert (node_id, query) == ("a", RemarkQuery(TERM, 1, tid(1), False))
    assert replies(lead) == []
    answer(lead, "a", query)
    assert replies(lead) == [
        {
            "known": True,
            "is_open": True,
            "unheard": [],
            "is_settled": True,
            "attempt": 1,
            "node": "a",
            "heard_ms": 2_000,
            "progress": HALF,
            "progress_ms": 1_000,
        }
    ]
    assert len(lead.leader.remarks) == 0


def test_of_output_the_end_is_told_and_how_much_came_before() -> None:
    lead, _ = running(1)
    ask(lead, output=True)
    ((_, query),) = asked(lead)
    assert query.output
    answer(lead, "a", query, output=b"printed")
    (told,) = replies(lead)
    assert (told["output"], told["skipped"], told["attempt"], told["node"]) == (b"printed", 3, 1, "a")


def test_a_node_that_has_heard_nothing_of_it_is_an_answer_too() -> None:
    lead, _ = running(1)
    ask(lead)
    ((_, query),) = asked(lead)
    nothing(lead, "a", query)
    (told,) = replies(lead)
    assert (told["known"], told["attempt"], told["progress"]) == (True, None, None)


def test_while_a_task_runs_what_an_earlier_attempt_has_said_of_how_far_it_is_is_told_to_nobody() -> None:
    lead, session = running(1)
    del session
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.commit()
    assert lead.dispatched() == {"a": [(1, 2)]}
    for is_of_output in (False, True):
        ask(lead, output=is_of_output)
        ((_, query),) = asked(lead)
        answer(lead, "a", query, attempt=1, output=b"of the first")
        (told,) = replies(lead)
        if is_of_output:
            assert (told["output"], told["attempt"]) == (b"of the first", 1)
        else:
            assert (told["progress"], told["attempt"]) == (None, None)
    ask(lead)
    ((_, query),) = asked(lead)
    answer(lead, "a", query, attempt=2)
    assert replies(lead)[0]["attempt"] == 2


def test_nor_while_it_waits_to_be_tried_again() -> None:
    lead = Lead()
    lead.enrol("a")
    lead.submit(lead.client(), 1, retries=3, backoff=60_000)
    lead.commit()
    lead.pass_time(1.0, heard="a")
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, MAY_RETRY, FAILED, 5)], lead.now)
    lead.commit()
    ask(lead)
    ((_, query),) = asked(lead)
    answer(lead, "a", query)
    (told,) = replies(lead)
    assert (told["is_open"], told["progress"]) == (True, None)


def test_nor_once_it_has_ended_before_all_nodes_have_told() -> None:
    lead = Lead()
    for node_id in ("a", "b"):
        lead.enrol(node_id)
    session = lead.client()
    lead.submit(session, 1, retries=3, backoff=60_000)
    lead.commit()
    lead.pass_time(1.0, heard="a")
    ((has_it, _),) = lead.dispatched().items()
    lead.leader.nodes.on_outcomes(has_it, TERM, 1, [(tid(1), 1, MAY_RETRY, FAILED, 5)], lead.now)
    lead.commit()
    ask(lead)
    queries = dict(asked(lead))
    answer(lead, "a", queries["a"])
    lead.cancel(session, 1)  # what it ends by does not matter
    answer(lead, "b", queries["b"])
    (told,) = replies(lead)
    assert told["attempt"] == 1, "this one told when it had ended"
    assert told["node"] == "b"


def test_of_a_task_that_no_node_has_all_are_asked_and_the_last_attempt_counts() -> None:
    lead, _ = running(1)
    lead.enrol("b")
    lead.enrol("c")
    lead.outcomes("a", 1, 1)
    lead.commit()
    ask(lead)
    queries = dict(asked(lead))
    assert sorted(queries) == ["a", "b", "c"]
    answer(lead, "b", queries["b"], attempt=2, progress=b"later")
    answer(lead, "a", queries["a"], attempt=1)
    assert replies(lead) == []
    nothing(lead, "c", queries["c"])
    (told,) = replies(lead)
    assert (told["is_open"], told["progress"], told["attempt"], told["node"]) == (False, b"later", 2, "b")


def test_a_question_is_repeated_and_answered_at_last_with_what_is_known_and_who_was_not_heard() -> None:
    lead, _ = running(1)
    lead.enrol("b")
    lead.enrol("old")
    lead.outcomes("a", 1, 1)
    lead.commit()
    ask(lead, older="old")
    first = dict(asked(lead))
    assert sorted(first) == ["a", "b"]
    answer(lead, "a", first["a"])
    lead.leader.remarks.tick(lead.now + AGAIN_S / 2)
    assert asked(lead) == []
    lead.leader.remarks.tick(lead.now + AGAIN_S)
    assert asked(lead) == [("b", first["b"])]
    assert replies(lead) == []
    lead.leader.remarks.tick(lead.now + LIMIT_S)
    (told,) = replies(lead)
    assert (told["progress"], told["unheard"]) == (HALF, ["old", "b"])
    answer(lead, "b", first["b"])
    assert replies(lead) == [], "it comes late"


def test_a_leader_that_does_not_know_yet_what_the_nodes_hold_asks_once_it_does() -> None:
    lead = Lead()
    lead.leader.tasks.is_settled = False
    ask(lead)
    ask(lead, request=8, output=True)
    assert asked(lead) == []
    lead.leader.remarks.tick(lead.now + LIMIT_S / 2)
    assert replies(lead) == []
    lead.enrol("a")
    lead.leader.tasks.is_settled = True
    lead.leader.remarks.tick(lead.now + LIMIT_S / 2)
    first, second = asked(lead)
    assert {first[0], second[0]} == {"a"}
    answer(lead, "a", first[1])
    lead.leader.remarks.tick(lead.now + LIMIT_S)
    assert [(told["is_settled"], told["unheard"]) for told in replies(lead)] == [(True, []), (True, ["a"])]
    lead.leader.tasks.is_settled = False
    ask(lead)
    lead.leader.remarks.tick(lead.now + LIMIT_S)
    (told,) = replies(lead)
    assert (told["is_settled"], told["progress"]) == (False, None)


def test_an_answer_that_was_not_asked_for_counts_for_nothing() -> None:
    lead, _ = running(1)
    lead.enrol("b")
    ask(lead)
    ((_, query),) = asked(lead)
    answer(lead, "b", query)
    answer(lead, "a", query._replace(number=9))
    answer(lead, "a", query._replace(term=TERM - 1))
    answer(lead, "a", query._replace(id=tid(2)))
    assert replies(lead) == []
    answer(lead, "a", query)
    answer(lead, "a", query)
    assert len(replies(lead)) == 1


def test_a_task_that_nobody_knows_is_told_to_be_unknown() -> None:
    lead = Lead()
    lead.enrol("a")
    ask(lead, 5)
    ((_, query),) = asked(lead)
    nothing(lead, "a", query)
    assert not replies(lead)[0]["known"]


def test_without_a_node_that_can_be_asked_the_answer_comes_at_once() -> None:
    lead = Lead()
    lead.enrol("old")
    ask(lead, 5, older="old")
    assert asked(lead) == []
    assert replies(lead)[0]["unheard"] == ["old"]


def test_open_requests_are_bounded_and_the_oldest_is_answered_with_what_is_known() -> None:
    lead, _ = running(1)
    for number in range(OPEN_REQUESTS + 1):
        ask(lead, 100 + number, number)
    assert len(lead.leader.remarks) == OPEN_REQUESTS
    ((_, reply),) = lead.leader.remarks.replies
    assert reply.request == 0
    assert unpack_value(reply.body)["unheard"] == ["a"]


def test_all_are_told_that_ask_for_the_same_and_the_node_is_asked_once() -> None:
    lead, _ = running(1)
    for number in range(2 * OPEN_REQUESTS):
        ask(lead, request=number)
    ask(lead, request=9_999, output=True)
    assert replies(lead) == []
    (_, progress_query), (_, output_query) = asked(lead)
    answer(lead, "a", progress_query)
    numbers = [reply.request for _, reply in lead.leader.remarks.replies]
    assert numbers == [*range(2 * OPEN_REQUESTS)]
    assert all(told["progress"] == HALF for told in replies(lead))
    answer(lead, "a", output_query, output=b"x")
    assert [told["output"] for told in replies(lead)] == [b"x"]
    assert len(lead.leader.remarks) == 0


def test_who_asks_once_a_node_has_told_has_all_nodes_asked_anew() -> None:
    lead, _ = running(1)
    lead.enrol("b")
    lead.outcomes("a", 1, 1)
    lead.commit()
    ask(lead, request=1)
    first = dict(asked(lead))
    nothing(lead, "a", first["a"])
    ask(lead, request=2)
    second = dict(asked(lead))
    assert sorted(second) == ["a", "b"]
    answer(lead, "a", second["a"])
    nothing(lead, "b", first["b"])
    nothing(lead, "b", second["b"])
    assert [(reply.request, unpack_value(reply.body)["progress"]) for _, reply in lead.leader.remarks.replies] == [
        (1, None),
        (2, HALF),
    ]


@source_only
def test_who_waits_for_one_answer_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remark_requests, "OPEN_ASKERS", 3)
    lead, _ = running(1)
    for number in range(4):
        ask(lead, request=number)
    assert [reply.request for _, reply in lead.leader.remarks.replies] == [0, 1, 2]
    _, (_, query) = asked(lead)
    answer(lead, "a", query)
    assert [reply.request for _, reply in lead.leader.remarks.replies] == [0, 1, 2, 3]
    assert lead.leader.remarks._askers == 0


def test_moments_that_no_clock_shows_are_brought_into_range() -> None:
    lead, _ = running(1)
    ask(lead)
    ((_, query),) = asked(lead)
    lead.leader.remarks.answered("a", RemarkAnswer(TERM, 1, tid(1), 1, 2**62, 2**62, HALF, b"", 0))
    del query
    (told,) = replies(lead)
    assert told["heard_ms"] == told["progress_ms"] == 253_402_300_799_999
