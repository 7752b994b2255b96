"""A task that more than one client waits for."""

from __future__ import annotations

import pytest

from core.scheduling.test_leader import Lead, running, tid
from paceline.core.clients import session_table
from paceline_protocol.messages import Refusal, TaskEnd, Wait


def told(lead: Lead) -> dict[bytes, list[int]]:
    """The ends of tasks that each connection is told."""
    ends: dict[bytes, list[int]] = {}
    for key, update in lead.leader.take_updates(lead.now):
        ends.setdefault(key, []).extend(end for _, end, _ in update.results)
    return ends


def wait(lead: Lead, key: bytes, *numbers: int) -> None:
    lead.leader.admission.wait(lead.client(key), Wait(0, tuple(map(tid, numbers))), lead.now)


@pytest.mark.parametrize("how", ["waits", "submits"])
def test_a_client_that_asks_for_anothers_task_takes_it_from_nobody(how: str) -> None:
    lead, owner = running(1)
    if how == "waits":
        wait(lead, b"d", 1)
    else:
        lead.submit(lead.client(b"d"), 1)
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED], b"d": [TaskEnd.SUCCEEDED]}
    assert owner.open_tasks == 0
    assert not lead.leader.sessions.somebody_waits_too


def test_one_that_has_it_released_first_takes_it_from_nobody() -> None:
    lead, _ = running(1)
    wait(lead, b"d", 1)
    lead.outcomes("a", 1, 1)
    lead.commit()
    assert set(told(lead)) == {b"c", b"d"}
    lead.leader.admission.acknowledge(lead.leader.sessions.by_key[b"d"], 99, lead.now)
    lead.leader.log(lead.now + 1)
    lead.commit()
    wait(lead, b"c", 1)  # it had lost what it was sent
    assert lead.refusals() == {1: Refusal.UNKNOWN_ID}


def test_a_client_that_comes_back_on_another_connection_is_told_there_alone() -> None:
    lead, owner = running(1)
    lead.leader.sessions.open(b"d", owner.client_id, lead.now)
    lead.leader.admission.wait(lead.leader.sessions.by_key[b"d"], Wait(0, (tid(1),)), lead.now)
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED]}


def test_a_client_that_asks_for_its_own_again_is_told_once() -> None:
    lead, _ = running(1)
    wait(lead, b"d", 1)
    wait(lead, b"c", 1)
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED], b"d": [TaskEnd.SUCCEEDED]}


def test_who_has_left_waits_no_more() -> None:
    lead, _ = running(1)
    lead.leader.sessions.close(b"c")
    wait(lead, b"d", 1)
    assert not lead.leader.sessions.somebody_waits_too
    wait(lead, b"e", 1)
    lead.leader.sessions.close(b"d")
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"e": [TaskEnd.SUCCEEDED]}


def test_past_the_limit_the_newcomer_is_refused_and_those_that_have_left_count_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_table, "WAIT_TOO_LIMIT", 2)
    lead, _ = running(1, 2, 3)
    wait(lead, b"d", 1, 2, 3)
    assert lead.refusals() == {3: Refusal.QUEUE_FULL}
    lead.outcomes("a", 1, 3)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED]}
    wait(lead, b"e", 1)
    assert lead.refusals() == {1: Refusal.QUEUE_FULL}
    lead.leader.sessions.close(b"c")
    wait(lead, b"e", 1)
    lead.outcomes("a", 2, 1, 2)
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED] * 2, b"e": [TaskEnd.SUCCEEDED]}
