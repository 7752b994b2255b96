"""Tasks that are cancelled when their client is gone: who counts as gone, and who does not."""

from __future__ import annotations

import pytest

from core.scheduling.test_leader import TERM, Lead, tid
from modes import source_only
from paceline.core.clients.sessions import ClientSession
from paceline.core.scheduling import owners
from paceline.core.scheduling.owners import REVIEW_S
from paceline_protocol.messages.client import Read, Wait
from paceline_protocol.messages.records import CANCEL, NO_LOG, TaskEnd
from paceline_protocol.messages.work import NodeBeat, Stopping, StopTasks

GRACE_S = 10.0
LATE_S = GRACE_S + 2 * REVIEW_S


def led(**limits: object) -> tuple[Lead, ClientSession]:
    """A leader, and a client of it that has tasks 1 and 2, which end with it, and 3, which does not."""
    lead = Lead(session_timeout_s=GRACE_S, **limits)
    session = lead.client()
    lead.submit(session, 1, 2, on_client_lost=CANCEL)
    lead.submit(session, 3, seq=2)
    lead.commit()
    lead.updates()
    return lead, session


def ends(lead: Lead) -> dict[int, int]:
    lead.commit()
    return {int.from_bytes(task_id, "big"): end for task_id, (end, _) in lead.table.results.items()}


def speaks(lead: Lead, session: ClientSession) -> None:
    lead.leader.admission.acknowledge(session, 0, lead.now)


CANCELLED = {1: TaskEnd.CANCELLED, 2: TaskEnd.CANCELLED}


@pytest.mark.parametrize("connection_ends", [True, False])
def test_tasks_of_a_client_that_is_gone_are_cancelled_and_no_others(*, connection_ends: bool) -> None:
    lead, session = led()
    other = lead.client(b"d")
    lead.submit(other, 4, on_client_lost=CANCEL)
    if connection_ends:
        lead.leader.sessions.close(session.key)
    while lead.now < GRACE_S:
        speaks(lead, other)
        lead.pass_time(lead.now + 0.5)
        assert ends(lead) == {}
    lead.pass_time(LATE_S)
    assert ends(lead) == CANCELLED
    assert lead.notices[-1] == ("info", "2 tasks are cancelled, as the clients that had them are gone")
    assert {*lead.leader.tasks.live} == {tid(3), tid(4)}
    lead.leader.tasks.check()


def test_a_client_that_comes_back_in_time_has_its_tasks_again() -> None:
    lead, session = led()
    lead.leader.sessions.close(session.key)
    lead.pass_time(GRACE_S - 1.0)
    again = lead.client(b"e")
    lead.leader.admission.wait(again, Wait(0, (tid(1),)), lead.now)
    lead.pass_time(LATE_S)
    assert ends(lead) == {2: TaskEnd.CANCELLED}, "it has named one of the two"
    lead.pass_time(2 * GRACE_S + 1.0)
    assert ends(lead) == CANCELLED


def test_who_reads_a_task_does_not_have_it() -> None:
    lead, session = led()
    lead.leader.sessions.close(session.key)
    reader = lead.client(b"r")
    while lead.now < LATE_S:
        lead.leader.admission.read(reader, Read(0, (tid(1),)), lead.now)
        lead.pass_time(lead.now + 0.5)
    assert ends(lead) == CANCELLED
    assert lead.results() == {1: TaskEnd.CANCELLED}, "it is told"


def test_with_a_new_leader_a_client_has_the_whole_grace() -> None:
    before, _ = led()
    before.pass_time(GRACE_S - 1.0)
    lead = Lead(before.table, session_timeout_s=GRACE_S)
    lead.pass_time(GRACE_S - 1.0)
    assert ends(lead) == {}
    lead.leader.admission.wait(lead.client(), Wait(0, (tid(2),)), lead.now)
    lead.pass_time(LATE_S)
    assert ends(lead) == {1: TaskEnd.CANCELLED}


def test_while_the_leader_stands_still_nobody_is_gone() -> None:
    lead, _ = led()
    lead.pass_time(1.0)
    lead.now += 5 * GRACE_S
    began = lead.now
    lead.pass_time(began + GRACE_S - 1.0)
    assert ends(lead) == {}
    lead.pass_time(began + LATE_S)
    assert ends(lead) == CANCELLED


def test_while_the_leadership_is_transferred_nothing_is_cancelled() -> None:
    lead, _ = led()
    lead.leader.set_logging(False, lead.now)
    lead.pass_time(LATE_S)
    lead.leader.set_logging(True, lead.now)
    assert ends(lead) == {}
    lead.pass_time(2 * LATE_S)
    assert ends(lead) == CANCELLED


def test_what_runs_is_asked_to_stop_and_not_run_again() -> None:
    lead = Lead(session_timeout_s=GRACE_S)
    lead.leader.cancelling.may_stop = True
    lead.enrol("a", slots=1)
    lead.submit(lead.client(), 1, on_client_lost=CANCEL)
    lead.commit()
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.leader.nodes.outbox.clear()
    lead.pass_time(LATE_S, heard="a")
    assert [each for each in lead.leader.nodes.outbox if isinstance(each[1], StopTasks)] == [
        ("a", StopTasks(TERM, ((tid(1), 1),)))
    ]
    lead.leader.nodes.on_stopping("a", Stopping(TERM, (tid(1),)))
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    assert ends(lead) == {1: TaskEnd.CANCELLED}
    assert lead.dispatched() == {}


def test_a_task_that_the_log_does_not_know_is_cancelled_too() -> None:
    lead = Lead(session_timeout_s=GRACE_S)
    lead.submit(lead.client(), 1, on_client_lost=CANCEL, durability=NO_LOG)
    lead.pass_time(LATE_S)
    assert lead.leader.tasks.live == {}


def test_before_the_nodes_have_said_what_they_hold_nothing_is_cancelled_that_may_run() -> None:
    before, _ = led()
    lead = Lead(before.table, settled=False, session_timeout_s=GRACE_S, recovery_grace_s=2 * GRACE_S)
    lead.leader.cancelling.may_stop = True
    lead.enrol("a", {1: 1})
    while lead.now < LATE_S:
        lead.now += 0.5
        lead.leader.nodes.on_beat("a", NodeBeat(TERM, 0, 1, 0, 0), lead.now)
        lead.leader.tick(lead.now, ["b"])
    assert ends(lead) == {}
    lead.pass_time(2 * GRACE_S + 1.0, heard="a")
    assert ends(lead) == {2: TaskEnd.CANCELLED}, "the node has the other"


@source_only
def test_of_very_many_some_are_cancelled_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "SLICE_TASKS", 3)
    lead = Lead(session_timeout_s=GRACE_S)
    for number in range(4):
        lead.submit(lead.client(bytes([65 + number])), *range(2 * number, 2 * number + 2), on_client_lost=CANCEL)
    lead.pass_time(GRACE_S)
    counts = []
    while lead.leader.tasks.live:
        lead.now += 0.05
        lead.leader.tick(lead.now, [])
        counts.append(len(ends(lead)))
    assert list(dict.fromkeys(counts)) == [0, 3, 6, 8]
    assert lead.leader.tasks.owners._tasks == {}


def test_a_task_that_asks_for_nothing_is_not_looked_after() -> None:
    lead = Lead(session_timeout_s=GRACE_S)
    lead.submit(lead.client(), 1)
    lead.submit(lead.client(), 2, seq=2, delivery=1)
    assert lead.leader.tasks.owners._tasks == {}
    lead.submit(lead.client(), 3, seq=3, on_client_lost=CANCEL)
    lead.enrol("a", slots=3)
    lead.dispatched()
    lead.outcomes("a", 1, 3)
    assert lead.leader.tasks.owners._tasks == {}
