"""A client that asks by id how a task of anybody ended, and takes it from nobody."""

from __future__ import annotations

from core.scheduling.test_leader import TERM, Lead, running, tid
from paceline.core.clients.session_table import ClientBounds
from paceline.core.clients.sessions import BYTES_PER_UPDATE
from paceline_protocol.messages.client import Read, Refusal
from paceline_protocol.messages.records import NO_LOG, TaskEnd


def read(lead: Lead, key: bytes, *numbers: int, ack: int = 0) -> None:
    lead.leader.admission.read(lead.client(key), Read(ack, tuple(map(tid, numbers))), lead.now)


def told(lead: Lead) -> dict[bytes, list[int]]:
    """The ends of tasks that each connection is told."""
    ends: dict[bytes, list[int]] = {}
    for key, update in lead.leader.take_updates(lead.now):
        if update.results:
            ends.setdefault(key, []).extend(end for _, end, _ in update.results)
    return ends


def acknowledge(lead: Lead, key: bytes) -> None:
    lead.leader.admission.acknowledge(lead.leader.sessions.by_key[key], 99, lead.now)
    lead.now += 1
    lead.commit()


def test_who_reads_is_told_once_the_end_is_committed_and_its_owner_at_once() -> None:
    lead, owner = running(1)
    read(lead, b"d", 1)
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED]}
    read(lead, b"e", 1)  # it has ended, and the log does not have that yet
    assert told(lead) == {}
    lead.commit()
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED], b"e": [TaskEnd.SUCCEEDED]}
    assert (owner.open_tasks, lead.leader.sessions.somebody_waits_too) == (0, False)


def test_what_a_reader_acknowledges_is_not_released_and_read_twice_it_is_told_twice() -> None:
    lead, _ = running(1)
    lead.outcomes("a", 1, 1)
    lead.commit()
    told(lead)
    for _ in range(2):
        read(lead, b"d", 1)
        assert told(lead) == {b"d": [TaskEnd.SUCCEEDED]}
        acknowledge(lead, b"d")
        assert tid(1) in lead.table.results
    acknowledge(lead, b"c")
    assert tid(1) not in lead.table.results
    read(lead, b"d", 1)
    assert lead.refusals() == {1: Refusal.UNKNOWN_ID}


def test_what_waits_for_room_in_the_window_of_a_reader_is_not_released_either() -> None:
    lead, _ = running(1, 2, client_bounds=ClientBounds(window_bytes=1))
    lead.outcomes("a", 1, 1, 2)
    lead.commit()
    told(lead)
    read(lead, b"d", 1)
    read(lead, b"d", 2)
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED] * 2}
    acknowledge(lead, b"d")
    assert set(lead.table.results) == {tid(1), tid(2)}
    assert not lead.leader.sessions.by_key[b"d"].lent


def test_who_reads_its_own_is_told_as_the_owner() -> None:
    lead, _ = running(1)
    read(lead, b"c", 1)
    lead.outcomes("a", 1, 1)
    lead.commit()
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED]}
    acknowledge(lead, b"c")
    assert tid(1) not in lead.table.results


def test_a_task_that_is_not_logged_is_told_as_it_ends() -> None:
    lead = Lead()
    lead.enrol("a")
    lead.submit(lead.client(), 1, durability=NO_LOG)
    lead.dispatched()
    read(lead, b"d", 1)
    lead.outcomes("a", 1, 1)
    assert told(lead) == {b"c": [TaskEnd.SUCCEEDED], b"d": [TaskEnd.SUCCEEDED]}


def test_an_end_that_waits_for_the_log_is_told_to_readers_once() -> None:
    lead = Lead()
    owner = lead.client()
    lead.submit(owner, 1)
    lead.commit()
    read(lead, b"d", 1)
    lead.cancel(owner, 1)
    assert told(lead) == {}
    lead.commit()
    assert told(lead) == {b"c": [TaskEnd.CANCELLED], b"d": [TaskEnd.CANCELLED]}


def test_an_id_that_nobody_submitted_is_refused_with_what_to_do() -> None:
    lead = Lead()
    read(lead, b"d", 7)
    ((task_id, code, detail),) = [refused for update in lead.updates() for refused in update.refused]
    assert (task_id, code) == (tid(7), Refusal.UNKNOWN_ID)
    assert "paceline submit" in detail


def test_who_reads_more_than_the_bound_in_one_message_is_closed_and_waits_for_nothing() -> None:
    lead, _ = running(*range(1, 10), client_bounds=ClientBounds(waits_too=4))
    for _ in range(3):
        read(lead, b"d", *range(1, 10))
        assert b"d" not in lead.leader.sessions.by_key
    read(lead, b"e", 1, 2, 3)
    assert b"e" in lead.leader.sessions.by_key, "what closed sessions waited for is not counted"


def test_what_is_read_again_before_there_was_room_for_it_is_told_once_and_not_released() -> None:
    lead, _ = running(1)
    large = bytes(BYTES_PER_UPDATE)
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, int(TaskEnd.SUCCEEDED), large, 500)], lead.now)
    lead.commit()
    told(lead)
    read(lead, b"d", 1)
    read(lead, b"d", 1)
    assert told(lead) == {b"d": [TaskEnd.SUCCEEDED]}
    acknowledge(lead, b"d")
    assert told(lead) == {}
    acknowledge(lead, b"d")
    assert tid(1) in lead.table.results
