"""A task that more than one client waits for."""

from __future__ import annotations

import pytest

from core.scheduling.test_leader import Lead, running, tid
from paceline.core.clients.session_table import ClientBounds
from paceline_protocol.codec import encode_calls
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.client import Refusal, Submit, Wait
from paceline_protocol.messages.records import TaskEnd


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


def test_who_asks_again_and_again_for_what_waits_for_its_window_is_sent_it_once_more_and_not_each_time() -> None:
    """A bridge asks each second while its window is full, and takes nothing while RabbitMQ takes nothing of it."""
    lead, owner = running(1, 2, client_bounds=ClientBounds(window_bytes=1))
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED]}, "which fills the window"
    lead.outcomes("a", 2, 2)
    for _ in range(10):
        wait(lead, b"c", 1, 2)
    assert told(lead) == {}
    assert len(owner.results) == 3, "the second one, and an answer for each"
    lead.leader.admission.acknowledge(owner, owner.next_seq - 1, lead.now)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED] * 3}
    wait(lead, b"c", 2)
    lead.leader.admission.acknowledge(owner, owner.next_seq - 1, lead.now)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED]}, "it had been sent when it was asked for, and could be lost"
    assert (owner.waiting_bytes, len(owner.asked_for)) == (0, 0)


def test_who_has_left_waits_no_more() -> None:
    lead, _ = running(1)
    lead.leader.sessions.close(b"c")
    wait(lead, b"d", 1)
    assert not lead.leader.sessions.somebody_waits_too
    wait(lead, b"e", 1)
    lead.leader.sessions.close(b"d")
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"e": [TaskEnd.SUCCEEDED]}


def test_what_those_that_have_left_waited_for_is_forgotten_in_time() -> None:
    lead, _ = running(1, 2, 3)
    wait(lead, b"d", 1, 2, 3)
    lead.leader.sessions.close(b"c")
    assert lead.leader.sessions.somebody_waits_too
    lead.leader.expire_sessions(lead.now)
    assert not lead.leader.sessions.somebody_waits_too
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED]}


def test_past_the_bound_who_was_heard_longest_ago_is_closed_and_comes_back_for_what_it_lacks() -> None:
    lead, _ = running(1, 2, 3, client_bounds=ClientBounds(waits_too=3))
    sessions = lead.leader.sessions
    lead.now += 1
    wait(lead, b"d", 1, 2)
    lead.now += 1
    wait(lead, b"e", 1, 2)
    assert set(sessions.by_key) == {b"d", b"e"}, "c was silent; it is told at its next word that it has no session"
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED], b"e": [TaskEnd.SUCCEEDED]}
    lead.now += 1
    wait(lead, b"c", 1, 2, 3)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED]}
    lead.outcomes("a", 2, 2, 3)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED] * 2, b"d": [TaskEnd.SUCCEEDED], b"e": [TaskEnd.SUCCEEDED]}
    assert not sessions.somebody_waits_too


@pytest.mark.parametrize(("tasks", "lives", "bounds"), [(50_000, 2, {}), (600, 9, {"waits_too": 1_000})])
def test_a_bridge_that_is_killed_and_started_again_comes_to_every_result(
    tasks: int, lives: int, bounds: dict[str, int]
) -> None:
    """It submits again whatever RabbitMQ delivers again. Nobody knows that its earlier lives are gone."""
    lead = Lead(client_bounds=ClientBounds(**bounds))
    lead.enrol("a", slots=1)
    for life in range(lives):
        session = lead.client(b"%d" % life)
        lead.now += 1
        for start in range(0, tasks, MAX_REQUEST_TASKS):
            numbers = range(start, min(start + MAX_REQUEST_TASKS, tasks))
            calls = [(tid(number), "add", 4, b"", None) for number in numbers]
            lead.leader.admission.submit(session, Submit(1 + start, 0, encode_calls(calls)), lead.now)
            lead.commit()
        lead.leader.take_updates(lead.now)
        assert (session.closed, len(session.refused), session.open_tasks) == (False, 0, tasks)
    for task in list(lead.leader.tasks.live.values()):
        lead.leader.recording.cancel([task], lead.now)
        if len(lead.leader.tasks.live) % MAX_REQUEST_TASKS == 0:
            lead.commit()
    heard: list[bytes] = []
    while lead.leader.sessions.owes:
        for key, update in lead.leader.take_updates(lead.now):
            if key == session.key:
                heard += [task_id for task_id, _, _ in update.results]
                lead.leader.admission.acknowledge(session, update.seq, lead.now)
            else:
                lead.leader.sessions.close(key)  # it can't be reached
    assert sorted(heard) == [tid(number) for number in range(tasks)]
    assert not lead.leader.sessions.somebody_waits_too


def test_a_session_that_waits_too_is_not_idle() -> None:
    lead, owner = running(1, client_bounds=ClientBounds(sessions=2))
    wait(lead, b"d", 1)
    assert not owner.open_tasks
    lead.now += 1
    lead.client(b"e")
    lead.leader.sessions.expire(lead.now + 1)
    assert (owner.closed, set(lead.leader.sessions.by_key)) == (False, {b"c", b"d"})
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED], b"d": [TaskEnd.SUCCEEDED]}
    assert owner.idle()
