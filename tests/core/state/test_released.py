"""The ids of tasks that are over."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from paceline.core.state.released import Released
from paceline.core.state.snapshots import restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import encode_calls, encode_outcomes, join_ids
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TaskEnd


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


@given(st.lists(st.integers(0, 300)), st.integers(1, 100))
def test_it_remembers_what_one_ordered_dict_would(numbers: list[int], limit: int) -> None:
    released, model = Released(limit), OrderedDict[bytes, None]()
    for number in numbers:
        released.add(id_of(number))
        model.setdefault(id_of(number))
        if len(model) > limit:
            model.popitem(last=False)
        assert len(released) == len(model)
    assert list(released) == list(model)
    assert [id_of(number) in released for number in range(301)] == [id_of(number) in model for number in range(301)]


def test_a_restored_table_forgets_at_its_own_limit() -> None:
    full, restored = (TaskTable(released_limit_tasks=2) for _ in range(2))
    ids = [id_of(number) for number in (1, 2, 3)]
    full.apply(EntryKind.ACCEPT, encode_calls([(task_id, "add", 4, b"", None) for task_id in ids]))
    full.apply(EntryKind.OUTCOME, encode_outcomes([(task_id, 1, TaskEnd.SUCCEEDED, b"", 1) for task_id in ids]))
    full.apply(EntryKind.RELEASE, join_ids(ids[:2]))
    restore(restored, snapshot_of(full))
    restored.apply(EntryKind.RELEASE, join_ids(ids[2:]))
    assert list(restored.released) == ids[1:]
