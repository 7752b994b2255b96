"""What the leader proposes together, and how much of it."""

from __future__ import annotations

from core.scheduling.test_leader import Lead, tid
from paceline.core.clients.session_table import ClientBounds
from paceline.core.clients.sessions import ClientSession
from paceline.core.scheduling.recording import COPIES_LIMIT
from paceline_protocol.codec import MAX_BATCH_ITEMS, decode_calls, decode_outcomes, encode_calls, split_ids
from paceline_protocol.messages.client import Cancel, Submit
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import Options

TASKS = 256
"""As many as a client names in one message."""
MANY = MAX_BATCH_ITEMS // TASKS + 3


def submit(lead: Lead, session: ClientSession, number: int, options: Options | None = None) -> None:
    calls = [(tid(number * TASKS + each), "add", 4, b"", options) for each in range(TASKS)]
    lead.leader.admission.submit(session, Submit(number + 1, 0, encode_calls(calls)), lead.now)


def cancel(lead: Lead, session: ClientSession, number: int) -> None:
    ids = tuple(tid(number * TASKS + each) for each in range(TASKS))
    lead.leader.cancel(session, Cancel(number, ids), lead.now)


def items(lead: Lead) -> list[tuple[EntryKind, int]]:
    """How many calls, ids or outcomes each entry has, as whoever reads the log finds them."""
    read = {EntryKind.ACCEPT: decode_calls, EntryKind.ATTEMPT: split_ids, EntryKind.OUTCOME: decode_outcomes}
    return [(EntryKind(kind), len(read[EntryKind(kind)](data))) for kind, data, _ in lead.entries]  # type: ignore[operator]


def assert_logged(lead: Lead, kind: EntryKind, count: int) -> None:
    """All is in the log, and in entries that anybody can read."""
    counts = [each for found, each in items(lead) if found is kind]
    assert sum(counts) == count
    assert len(counts) > 1
    assert max(counts) <= MAX_BATCH_ITEMS


def test_more_calls_than_a_batch_may_have_are_proposed_in_several_entries() -> None:
    lead = Lead()
    session = lead.client()
    for number in range(MANY):
        submit(lead, session, number)
    lead.commit()
    assert_logged(lead, EntryKind.ACCEPT, MANY * TASKS)
    assert len(lead.table.tasks) == MANY * TASKS


def test_more_ends_than_a_batch_may_have_at_once_are_proposed_in_several_entries() -> None:
    """A new leader is asked to cancel what nodes may have, and learns of all of it at once that they have not."""
    before = Lead()
    session = before.client()
    for number in range(MANY):
        submit(before, session, number)
    before.commit()
    lead = Lead(before.table, settled=False)
    session = lead.client()
    for number in range(MANY):
        cancel(lead, session, number)
    lead.leader.tick(1.0, [])
    lead.commit()
    assert_logged(lead, EntryKind.OUTCOME, MANY * TASKS)
    assert not lead.table.tasks


def test_more_starts_and_lost_attempts_than_a_batch_may_have_are_proposed_in_several_entries() -> None:
    lead = Lead()
    proposals = lead.leader.recording._proposals
    proposals.lose_attempts(tid(number) for number in range(MANY * TASKS))
    lead.commit()
    assert_logged(lead, EntryKind.ATTEMPT, MANY * TASKS)


def test_during_a_transfer_nothing_is_proposed_however_much_comes_and_all_of_it_afterwards_in_order() -> None:
    lead = Lead()
    session = lead.client()
    lead.leader.set_logging(False, lead.now)
    for number in range(MANY):
        submit(lead, session, number)
        cancel(lead, session, number)
    assert not lead.entries, "the log grew"
    lead.leader.set_logging(True, lead.now)
    lead.commit()
    assert_logged(lead, EntryKind.ACCEPT, MANY * TASKS)
    assert_logged(lead, EntryKind.OUTCOME, MANY * TASKS)
    assert not lead.table.tasks
    assert lead.table.totals.duplicates == 0
    lead.leader.take_updates(lead.now)
    assert session.open_tasks == 0


def test_a_submit_of_copies_is_accepted_with_what_it_copies_and_a_refused_one_waits_for_nothing() -> None:
    lead = Lead(queue_limit_tasks=TASKS)
    session = lead.client()
    submit(lead, session, 0)
    lead.leader.log(lead.now)
    submit(lead, session, 1)
    calls = [(tid(0), "add", 4, b"", None)]
    for seq in (3, 4):
        lead.leader.admission.submit(session, Submit(seq, 0, encode_calls(calls)), lead.now)
        lead.leader.log(lead.now)
    lead.now += 1.0
    assert [update.accepted for update in lead.updates()] == [(2,)]
    lead.commit()
    lead.now += 1.0
    assert [update.accepted for update in lead.updates()] == [(1, 3, 4)]


def test_a_copy_of_what_has_ended_is_not_called_accepted_before_it_is_committed() -> None:
    """Its result may have to wait until the client reads, and would be lost with the leader."""
    lead = Lead(client_bounds=ClientBounds(window_bytes=0))
    session = lead.client()
    lead.enrol("a")
    lead.submit(session, 1)
    assert lead.dispatched()
    lead.outcomes("a", 1, 1)
    lead.submit(session, 1, seq=2)
    lead.now += 1.0
    assert not lead.updates()
    lead.commit()
    lead.submit(session, 1, seq=3)
    lead.now += 1.0
    assert [update.accepted for update in lead.updates()] == [(2, 3)]


def test_copies_beyond_the_bound_are_left_unanswered_while_the_log_stands_still() -> None:
    lead = Lead()
    session = lead.client()
    submit(lead, session, 0)
    copy = Submit(2, 0, encode_calls([(tid(0), "add", 4, b"", None)]))
    for _ in range(COPIES_LIMIT + 10):
        lead.leader.admission.submit(session, copy, lead.now)
        lead.leader.log(lead.now)
    proposals = lead.leader.recording._proposals
    assert proposals.waiting_submits == COPIES_LIMIT
    assert len(proposals.drafts()) <= 2, "each of them is a draft of its own"
    lead.commit()
    assert proposals.waiting_submits == 0
