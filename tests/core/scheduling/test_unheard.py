"""What tasks raised that no client waits for is said, and a task that always fails does not fill the log."""

from __future__ import annotations

import pytest

from core.scheduling.test_leader import Lead, running, tid
from paceline.core.scheduling.unheard import NAMES_LIMIT, TOLD_FIRST, TRACEBACK_CHARS, TRACEBACK_LINES, Unheard
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import ErrorInfo, pack_error, pack_error_info

TASK = b"t" * 16


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.unheard = Unheard(self.notice)

    def notice(self, level: str, text: str) -> None:
        assert level == "warning"
        self.lines.append(text)


def packed(message: str, traceback: str = "") -> bytes:
    return pack_error(ValueError(message), traceback)


def test_what_a_task_raised_is_told_with_its_name_its_id_and_its_traceback() -> None:
    log = Log()
    log.unheard.add("shop.charge", TASK, packed("no such card", "Traceback ...\n  in charge"))
    head, *rest = log.lines[0].splitlines()
    assert head == f"task shop.charge ({TASK.hex()}) ended with ValueError: no such card, and no client waits for it"
    assert rest == ["Traceback ...", "  in charge"]


def test_of_one_name_the_first_are_told_and_then_each_tenfold_of_the_count() -> None:
    log = Log()
    for number in range(1, 1_001):
        log.unheard.add("shop.charge", TASK, packed(f"failure {number}"))
    assert len(log.lines) == TOLD_FIRST + 3
    assert [line.split()[0] for line in log.lines[TOLD_FIRST:]] == ["10", "100", "1000"]
    assert "failure 1000" in log.lines[-1]
    log.unheard.add("shop.refund", TASK, packed("another"))
    assert "shop.refund" in log.lines[-1]


def test_names_beyond_the_limit_are_told_together() -> None:
    log = Log()
    for number in range(10 * NAMES_LIMIT):
        log.unheard.add(f"task{number}", TASK, packed("no"))
    told = [line for line in log.lines if "other tasks" in line]
    assert len(log.lines) - len(told) == NAMES_LIMIT
    assert len(told) == TOLD_FIRST + 3


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"no error at all"])
def test_an_error_that_can_not_be_read_is_told_as_that(payload: bytes) -> None:
    log = Log()
    log.unheard.add("shop.charge", TASK, payload)
    assert "an error that can't be read" in log.lines[0]


def test_a_long_traceback_is_told_from_its_end() -> None:
    log = Log()
    log.unheard.add("shop.charge", TASK, packed("no", "x" * 100_000 + "the end"))
    assert log.lines[0].endswith("the end")
    assert len(log.lines[0]) < 2 * TRACEBACK_CHARS


def test_what_a_worker_sent_as_an_error_is_told_in_few_lines_whatever_it_is() -> None:
    log = Log()
    forged = ErrorInfo("E\nforged" * 90_000, "m", "\r" + "x" * 90_000, None, "\n" * 60_000)
    log.unheard.add("shop.charge", TASK, pack_error_info(forged))
    assert len(log.lines[0]) < 2 * TRACEBACK_CHARS
    assert len(log.lines[0].split("\n")) <= TRACEBACK_LINES + 1


def failed(lead: Lead, *numbers: int) -> list[bool]:
    """Have these tasks fail at node "a"; whether each was told as one that nobody waits for."""
    lead.outcomes("a", 1, *numbers, end=TaskEnd.FAILED)
    lead.commit()
    lead.pass_time(lead.now + 1.0, heard="a")
    return [any(f"task add ({tid(number).hex()})" in text for _, text in lead.notices) for number in numbers]


def test_a_failure_is_told_if_its_client_had_left_before() -> None:
    lead, session = running(1)
    lead.leader.sessions.close(session.key)
    assert failed(lead, 1) == [True]


def test_a_failure_is_told_if_its_client_leaves_before_it_acknowledges_it() -> None:
    lead, session = running(1, 2)
    assert failed(lead, 1, 2) == [False, False]
    (update,) = lead.updates()
    assert len(update.results) == 2
    lead.leader.sessions.close(session.key)
    lead.pass_time(lead.now + 1.0, heard="a")
    assert [tid(number).hex() in text for number, (_, text) in zip((1, 2), lead.notices, strict=True)] == [True, True]


def test_a_failure_that_its_client_has_heard_is_not_told() -> None:
    lead, session = running(1)
    assert failed(lead, 1) == [False]
    (update,) = lead.updates()
    lead.leader.admission.acknowledge(session, update.seq, lead.now)
    lead.leader.sessions.close(session.key)
    lead.pass_time(lead.now + 1.0, heard="a")
    assert lead.notices == []


def test_a_task_that_was_lost_is_told_too_and_one_that_succeeded_is_not() -> None:
    lead, session = running(1, 2, attempt_limit=1)
    lead.leader.sessions.close(session.key)
    lead.outcomes("a", 1, 1)
    lead.outcomes("a", 2, 2, end=TaskEnd.LOST)
    lead.commit()
    ((level, text),) = lead.notices
    assert level == "warning"
    assert text.startswith(f"task add ({tid(2).hex()}) ended with TaskLost: last on node a: killed")
