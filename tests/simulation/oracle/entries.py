"""What a log entry says of tasks. A kind of entries that is new has its row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from paceline_protocol.codec import decode_calls, decode_outcomes, split_ids
from paceline_protocol.messages.consensus import EntryKind
from simulation.oracle.events import Accepted, AttemptUsed, Committed, Ended, Event, Released


def _accepts(entry: Committed) -> Iterator[Event]:
    for call in decode_calls(entry.data):
        yield Accepted(entry.at_s, call[0])


def _ends(entry: Committed) -> Iterator[Event]:
    for task_id, attempt, end, payload, _duration_us in decode_outcomes(entry.data):
        yield Ended(entry.at_s, task_id, attempt, end, payload, entry.leader_ms)


def _releases(entry: Committed) -> Iterator[Event]:
    for task_id in split_ids(entry.data):
        yield Released(entry.at_s, task_id)


def _attempts(entry: Committed) -> Iterator[Event]:
    for task_id in split_ids(entry.data):
        yield AttemptUsed(entry.at_s, task_id)


def _nothing(entry: Committed) -> Iterator[Event]:
    return iter(())


READERS: dict[int, Callable[[Committed], Iterator[Event]]] = {
    EntryKind.NOOP: _nothing,
    EntryKind.CONFIG: _nothing,
    EntryKind.ACCEPT: _accepts,
    EntryKind.OUTCOME: _ends,
    EntryKind.RELEASE: _releases,
    EntryKind.ATTEMPT: _attempts,
}


def events_of(entry: Committed) -> Iterator[Event]:
    """In the order of the entry. Raises KeyError for a kind that has no row: what it promises would go unseen."""
    return READERS[entry.kind](entry)
