"""What a section gets by having a row, and what an older version makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from modes import COMPILED
from paceline.core.feature_levels import NodeTooOld
from paceline.core.state.section import Section
from paceline.core.state.snapshots import digests_of, restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import encode_calls
from paceline_protocol.messages.consensus import EntryKind

if COMPILED:
    pytest.skip("has subclasses of what is compiled", allow_module_level=True)


class Notes(Section):
    """A section such as a later version may have: a name and a text for each entry of its own kind."""

    KIND = 77

    def __init__(self) -> None:
        super().__init__("notes", (self.KIND,))
        self.notes: dict[str, bytes] = {}

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        self.notes[f"note {len(self.notes)}"] = data

    def captured(self) -> list[Any]:
        return list(self.notes.items())

    def read(self, items: Iterable[Any]) -> None:
        self.notes.update(items)

    def take_from(self, other: Any) -> None:
        self.notes = other.notes


class LaterTable(TaskTable):
    def __init__(self) -> None:
        super().__init__()
        self.notes = self._with(Notes())

    def aside(self) -> TaskTable:
        return LaterTable()


def test_a_section_that_has_a_row_gets_its_entries_and_is_in_snapshots_and_digests() -> None:
    table, restored = LaterTable(), LaterTable()
    table.apply(Notes.KIND, b"buy milk")
    restore(restored, snapshot_of(table))
    assert restored.notes.notes == {"note 0": b"buy milk"}
    assert digests_of(restored) == digests_of(table)


def test_an_older_node_reads_the_snapshot_of_a_newer_one_as_long_as_nothing_new_is_in_use() -> None:
    newer = LaterTable()
    newer.apply(EntryKind.ACCEPT, encode_calls([(b"1" * 16, "add", 4, b"", None)]))
    older = TaskTable()
    restore(older, snapshot_of(newer))
    assert digests_of(older).items() <= digests_of(newer).items()
    newer.apply(Notes.KIND, b"buy milk")
    with pytest.raises(NodeTooOld, match="unknown section 'notes'"):
        restore(older, snapshot_of(newer))
