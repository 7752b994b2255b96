"""What the nodes have on disk, read while they run and nothing is on its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from integration.conftest import wait_until
from paceline.core.raft.log import Entry
from paceline.core.state.table import TaskTable
from paceline.runtime.journal.recovery import Recovered, read_journal
from paceline_protocol.codec import decode_outcomes
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.payload import unpack_args


def check_logs(directories: Sequence[Path], commit_index: int) -> None:
    """Up to ``commit_index`` the logs of all nodes are one, its terms never fall, and no task is recorded twice."""
    journals: list[Recovered] = []

    def complete() -> bool:
        # What two disks hold is committed; the third may be a moment behind.
        journals[:] = [read_journal(directory / "journal") for directory in directories]
        return all(found.entries and found.entries[-1].index >= commit_index for found in journals)

    wait_until(complete, f"every node has the log up to {commit_index} on disk")
    committed = [[entry for entry in found.entries if entry.index <= commit_index] for found in journals]
    first = max(entries[0].index for entries in committed)  # the logs may be compacted up to different entries
    common = [[entry for entry in entries if entry.index >= first] for entries in committed]
    assert common[0], "the logs have committed entries in common"
    contents = [[(entry.index, entry.term, entry.kind, entry.data) for entry in entries] for entries in common]
    assert all(content == contents[0] for content in contents), "the committed logs differ"
    for entries in committed:
        assert all(entry.term <= following.term for entry, following in pairwise(entries))
        twice = {number: count for number, count in recorded(entries).items() if count > 1}
        assert twice == {}, "these tasks have two recorded outcomes"


def recorded(committed: Iterable[Entry]) -> Counter[int]:
    """How often an outcome was recorded for each number that was submitted, whatever ids it was submitted under.

    Of a log whose beginning was compacted away, tasks that were accepted there are left out.
    """
    table = TaskTable()
    counts: Counter[int] = Counter()
    for entry in committed:
        if entry.kind == EntryKind.OUTCOME:
            # The first outcome of an accepted task counts; the table drops what comes later.
            ended = {outcome[0] for outcome in decode_outcomes(entry.data)}
            counts.update(number_of(table.tasks[task_id].args) for task_id in ended if task_id in table.tasks)
        table.apply(entry.kind, entry.data)
    return counts


def number_of(packed_args: bytes) -> int:
    """Every task of these tests has its number as the last argument."""
    args, _ = unpack_args(packed_args)
    number: int = args[-1]
    return number
