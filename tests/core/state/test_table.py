"""The table as a join of sections: dispatch by kind, digests, and what a new section gets by having a row."""

from __future__ import annotations

import pytest

from paceline.core.feature_levels import ENTRY_KINDS, NodeTooOld
from paceline.core.settings import Settings
from paceline.core.state.snapshots import digests_of, restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import (
    encode_calls,
    encode_kept,
    encode_outcomes,
    encode_queues,
    encode_retries,
    encode_schedule_changes,
    join_ids,
)
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import EndRecord, TaskEnd
from paceline_protocol.messages.schedules import ScheduleDefinition, When

SETTINGS = Settings(cluster_name="test")
ID, OTHER, KEPT, DEAD, IN_GRAPH = b"1" * 16, b"2" * 16, b"3" * 16, b"4" * 16, b"5" * 16
RECORD = EndRecord("add", 4, 2, 0, 1, "n1", 1_000, 2_000, 3_000, 4_000, ((1, 1_500, "ValueError: no"),))
DEFINITION = ScheduleDefinition("add", b"", 4, None, When(1, "@daily", "UTC"))
ENTRIES = {
    "tasks": (EntryKind.ACCEPT, encode_calls([(OTHER, "add", 4, b"", None)])),
    "attempts": (EntryKind.ATTEMPT, join_ids([ID])),
    "retries": (EntryKind.RETRY, encode_retries([(ID, 1, 2_000, 1_000, "ValueError: no")])),
    "results": (EntryKind.OUTCOME, encode_outcomes([(ID, 1, TaskEnd.SUCCEEDED, b"", 1)])),
    "records": (EntryKind.RECORD, encode_kept([((KEPT, 1, TaskEnd.SUCCEEDED, b"", 1), RECORD)])),
    "dead": (EntryKind.DEAD, encode_kept([((DEAD, 1, TaskEnd.FAILED, b"oops", 1), RECORD)])),
    "released": (EntryKind.RELEASE, join_ids([ID])),
    "expired": (EntryKind.EXPIRE, join_ids([KEPT])),
    "totals": (EntryKind.OUTCOME, encode_outcomes([(OTHER, 1, TaskEnd.SUCCEEDED, b"", 1)])),
    "queues": (EntryKind.QUEUES, encode_queues([("video", True, 3)])),
    "schedules": (EntryKind.SCHEDULE, encode_schedule_changes([(1, "nightly", DEFINITION, 2_000, 1_000)])),
    "held": (EntryKind.HELD, join_ids([DEAD])),
    "graphs": (EntryKind.ACCEPT, encode_calls([(IN_GRAPH, "add", 4, b"", {"graph": "nightly"})])),
}
"""For each section an entry that changes it, in an order in which they can be applied."""


def table_with_one_task() -> TaskTable:
    table = TaskTable()
    table.apply(EntryKind.ACCEPT, encode_calls([(ID, "add", 4, b"", None)]))
    return table


def table_with_tasks() -> TaskTable:
    table = table_with_one_task()
    table.apply(EntryKind.ACCEPT, encode_calls([(KEPT, "add", 4, b"", None), (DEAD, "add", 4, b"args", None)]))
    return table


def test_every_entry_kind_has_a_level_and_a_place() -> None:
    assert set(ENTRY_KINDS) == set(EntryKind)
    kinds = [kind for section in TaskTable().sections for kind in section.kinds]
    assert sorted([*kinds, EntryKind.NOOP, EntryKind.CONFIG]) == sorted(EntryKind)


def test_an_entry_of_an_unknown_kind_stops_the_node_and_says_that_it_is_older() -> None:
    with pytest.raises(NodeTooOld, match="unknown kind 99; this node is older"):
        TaskTable().apply(99, b"")


def test_every_section_is_in_the_digest_and_in_the_snapshot() -> None:
    """What is left out of either would let two tables differ unseen."""
    table = table_with_tasks()
    assert [section.name for section in table.sections] == list(ENTRIES)
    for name, entry in ENTRIES.items():
        digests, stream = digests_of(table), snapshot_of(table)
        table.apply(*entry)
        assert digests_of(table)[name] != digests[name]
        assert snapshot_of(table) != stream
        restored = TaskTable()
        restore(restored, snapshot_of(table))
        assert digests_of(restored) == digests_of(table)


def test_equal_tables_have_equal_digests_however_they_came_about() -> None:
    one, other = table_with_one_task(), TaskTable()
    other.apply(EntryKind.ACCEPT, encode_calls([(ID, "add", 4, b"", None), (ID, "add", 4, b"", None)]))
    assert digests_of(one) == digests_of(other)


def test_each_end_of_a_task_has_a_total_of_its_own() -> None:
    table = TaskTable()
    for number, end in enumerate(TaskEnd):
        task_id = bytes([number] * 16)
        table.apply(EntryKind.ACCEPT, encode_calls([(task_id, "add", 4, b"", None)]))
        table.apply(EntryKind.OUTCOME, encode_outcomes([(task_id, 1, int(end), b"", 1)]))
    totals = table.totals.by_name()
    assert [totals[end.name.lower()] for end in TaskEnd] == [1] * len(TaskEnd)
    assert (totals["accepted"], totals["duplicates"], table.recorded) == (len(TaskEnd), 0, len(TaskEnd))
