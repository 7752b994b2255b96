"""That a task which is recorded twice would be found. Needs no network."""

from __future__ import annotations

from hosts.logs import recorded
from paceline.core.raft.log import Entry
from paceline_protocol.codec import encode_calls, encode_outcomes
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import PRIORITY_DEFAULT, Call, Outcome, TaskEnd
from paceline_protocol.payload import pack_args

ONE, TWO = b"1" * 16, b"2" * 16


def accept(index: int, task_id: bytes, number: int) -> Entry:
    call: Call = (task_id, "host_tasks.note", PRIORITY_DEFAULT, pack_args(("runs", number), {}), None)
    return Entry(index, 1, EntryKind.ACCEPT, encode_calls([call]))


def end(index: int, task_id: bytes) -> Entry:
    outcome: Outcome = (task_id, 1, TaskEnd.SUCCEEDED, b"", 0)
    return Entry(index, 1, EntryKind.OUTCOME, encode_outcomes([outcome]))


def test_a_second_outcome_of_one_id_is_not_recorded() -> None:
    assert recorded([accept(1, ONE, 7), end(2, ONE), end(3, ONE)]) == {7: 1}


def test_one_number_under_two_ids_is_recorded_twice() -> None:
    assert recorded([accept(1, ONE, 7), end(2, ONE), accept(3, TWO, 7), end(4, TWO)]) == {7: 2}
