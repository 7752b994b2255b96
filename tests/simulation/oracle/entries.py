"""What a log entry says of tasks. A kind of entries that is new has its row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from paceline_protocol.codec import (
    decode_alterations,
    decode_backfills,
    decode_calls,
    decode_dead,
    decode_firings,
    decode_kept,
    decode_outcomes,
    decode_requeued,
    decode_retries,
    decode_schedule_changes,
    split_ids,
)
from paceline_protocol.messages.consensus import EntryKind
from simulation.oracle.events import (
    Accepted,
    Altered,
    AttemptUsed,
    BackfillWanted,
    Committed,
    Discarded,
    Ended,
    Event,
    Held,
    MomentFired,
    Released,
    Requeued,
    ResultExpired,
    Retried,
    ScheduleChanged,
)


def _accepts(entry: Committed) -> Iterator[Event]:
    for call in decode_calls(entry.data):
        yield Accepted(entry.at_s, call[0])


def _ends(entry: Committed) -> Iterator[Event]:
    for task_id, attempt, end, payload, _duration_us in decode_outcomes(entry.data):
        yield Ended(entry.at_s, task_id, attempt, end, payload, entry.leader_ms)


def _records(entry: Committed) -> Iterator[Event]:
    for (task_id, attempt, end, payload, _duration_us), record in decode_kept(entry.data):
        yield Ended(entry.at_s, task_id, attempt, end, payload, entry.leader_ms, record)


def _deaths(entry: Committed) -> Iterator[Event]:
    for (task_id, attempt, end, payload, _duration_us), record in decode_dead(entry.data):
        yield Ended(entry.at_s, task_id, attempt, end, payload, entry.leader_ms, record, is_dead=True)


def _requeues(entry: Committed) -> Iterator[Event]:
    for task_id, call in decode_requeued(entry.data):
        yield Requeued(entry.at_s, task_id, call[0])
        yield Accepted(entry.at_s, call[0])


def _alters(entry: Committed) -> Iterator[Event]:
    for task_id, queue, _priority, is_held in decode_alterations(entry.data):
        yield Altered(entry.at_s, task_id, queue, is_held)


def _discards(entry: Committed) -> Iterator[Event]:
    for task_id in split_ids(entry.data):
        yield Discarded(entry.at_s, task_id)


def _expiries(entry: Committed) -> Iterator[Event]:
    for task_id in split_ids(entry.data):
        yield ResultExpired(entry.at_s, task_id)


def _releases(entry: Committed) -> Iterator[Event]:
    for task_id in split_ids(entry.data):
        yield Released(entry.at_s, task_id)


def _holds(entry: Committed) -> Iterator[Event]:
    for task_id in split_ids(entry.data):
        yield Held(entry.at_s, task_id)


def _attempts(entry: Committed) -> Iterator[Event]:
    for task_id in split_ids(entry.data):
        yield AttemptUsed(entry.at_s, task_id)


def _retries(entry: Committed) -> Iterator[Event]:
    for task_id, attempt, not_before_ms, failed_at_ms, _summary in decode_retries(entry.data):
        yield Retried(entry.at_s, task_id, attempt, not_before_ms - failed_at_ms)


def _changes(entry: Committed) -> Iterator[Event]:
    for op, name, definition, next_ms, at_ms in decode_schedule_changes(entry.data):
        yield ScheduleChanged(entry.at_s, name, op, definition, next_ms, at_ms)


def _fires(entry: Committed) -> Iterator[Event]:
    for name, moment_ms, what, missed, next_ms, call in decode_firings(entry.data):
        yield MomentFired(entry.at_s, name, moment_ms, what, missed, next_ms, call, entry.leader_ms)
        if call is not None:
            yield Accepted(entry.at_s, call[0])


def _backfills(entry: Committed) -> Iterator[Event]:
    for name, moments in decode_backfills(entry.data):
        yield BackfillWanted(entry.at_s, name, moments, entry.leader_ms)


def _nothing(entry: Committed) -> Iterator[Event]:
    return iter(())


READERS: dict[int, Callable[[Committed], Iterator[Event]]] = {
    EntryKind.NOOP: _nothing,
    EntryKind.CONFIG: _nothing,
    EntryKind.ACCEPT: _accepts,
    EntryKind.OUTCOME: _ends,
    EntryKind.RELEASE: _releases,
    EntryKind.ATTEMPT: _attempts,
    EntryKind.RETRY: _retries,
    EntryKind.RECORD: _records,
    EntryKind.EXPIRE: _expiries,
    EntryKind.DEAD: _deaths,
    EntryKind.REQUEUE: _requeues,
    EntryKind.DISCARD: _discards,
    EntryKind.QUEUES: _nothing,
    EntryKind.ALTER: _alters,
    EntryKind.HELD: _holds,
    EntryKind.SCHEDULE: _changes,
    EntryKind.FIRING: _fires,
    EntryKind.BACKFILL: _backfills,
}


def events_of(entry: Committed) -> Iterator[Event]:
    """In the order of the entry. Raises KeyError for a kind that has no row: what it promises would go unseen."""
    return READERS[entry.kind](entry)
