"""How much of the log stays in memory behind what is applied."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from core.raft.test_consensus import elected, replicating, run
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.replication import IN_FLIGHT_LIMIT_BYTES
from paceline.core.settings import Settings
from paceline.core.state import applied
from paceline.core.state.applied import ENTRY_BYTES, Applied
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import encode_calls
from paceline_protocol.messages.consensus import (
    AppendResponse,
    Confirm,
    Confirmed,
    EntryKind,
    SnapshotChunk,
    SnapshotResponse,
)

KEEP, MOST = 10, 50
SETTINGS = Settings(cluster_name="test", log_keep_entries=KEEP, snapshot_log_entries=MOST, voter_timeout_s=0.6)


class Leading:
    """A leader of three, whose peer c is always up to date. It keeps a journal, whose snapshots are never done."""

    def __init__(self, core: Consensus | None = None) -> None:
        self.core = core or replicating()
        self.applied = Applied(SETTINGS, self.core, TaskTable(), journaled=True)
        self.now = 0.0

    def commit(self, entries: int, *, b_answers: bool, data: bytes = b"") -> int:
        """So many entries more, 10 ms apart; ``b_answers`` that it follows, and not that it has written anything.
        Returns the most that were held."""
        core, most = self.core, 0
        for _ in range(entries):
            self.now += 0.01
            core.propose(EntryKind.NOOP, data)
            core.tick(self.now)
            ready = run(core)
            for to, message in ready.send_now:
                if isinstance(message, Confirm) and (to == "c" or b_answers):
                    core.step(to, Confirmed(message.term, message.number), self.now)
            core.step("c", AppendResponse(core.term, True, core.log.last_index), self.now)
            self.applied.apply(None, [*ready.committed, *run(core).committed])
            most = max(most, core.log.last_index - core.log.first_index + 1)
        assert core.is_leader
        return most


def test_a_follower_that_is_brought_up_finds_the_log_behind_its_snapshot() -> None:
    leading = Leading()
    has = leading.core.match_of("b")
    leading.commit(MOST - 5, b_answers=True)
    assert leading.core.log.snapshot_index == has


def test_what_the_snapshot_covers_that_a_follower_is_sent_is_not_held_for_it() -> None:
    core = elected()
    leading = Leading(core)
    leading.commit(1, b_answers=True)
    core.compact(core.applied_index)
    core.step("b", AppendResponse(core.term, False, core.log.snapshot_index), leading.now)  # it is new: it has nothing
    assert run(core).snapshots_wanted == ["b"]
    leading.commit(2 * KEEP, b_answers=True)
    behind = core.log.applied_index
    core.snapshot_for("b", core.snapshot(b"all"))
    leading.commit(MOST - 5, b_answers=True)
    assert core.log.snapshot_index == behind


SNAPSHOT = bytes(4 * IN_FLIGHT_LIMIT_BYTES)
DATA = bytes(20_000)


def sending() -> tuple[Leading, int]:
    """A leader that begins to send b a snapshot, and the entry up to which that reaches."""
    core = elected()
    leading = Leading(core)
    leading.commit(1, b_answers=True)
    core.compact(core.applied_index)
    core.step("b", AppendResponse(core.term, False, core.log.snapshot_index), leading.now)  # it is new: it has nothing
    assert run(core).snapshots_wanted == ["b"]
    core.snapshot_for("b", core.snapshot(SNAPSHOT))
    return leading, core.log.applied_index


def test_the_log_behind_a_snapshot_is_held_while_it_is_sent_until_it_is_as_large_itself() -> None:
    leading, behind = sending()
    log, most = leading.core.log, len(SNAPSHOT) // (len(DATA) + ENTRY_BYTES)
    assert leading.commit(most - 1, b_answers=True, data=DATA) > 3 * MOST
    assert log.snapshot_index == behind
    assert leading.commit(most, b_answers=True, data=DATA) <= most + 2
    assert log.snapshot_index > behind, "another snapshot is less to send by now"


def test_the_log_behind_a_snapshot_is_held_until_its_follower_has_caught_up_and_not_longer() -> None:
    leading, behind = sending()
    core = leading.core
    leading.commit(5 * MOST, b_answers=True, data=DATA)
    core.step("b", SnapshotResponse(core.term, behind, len(SNAPSHOT)), leading.now)
    leading.commit(MOST // 2, b_answers=True, data=DATA)
    assert core.log.snapshot_index == behind, "it has the snapshot, and was not sent all that came since"
    while core.match_of("b") < core.log.last_index:
        core.step(
            "b", AppendResponse(core.term, True, min(core.match_of("b") + MOST, core.log.last_index)), leading.now
        )
        run(core)
    assert core.log.snapshot_index == behind
    assert leading.commit(4 * MOST, b_answers=True, data=DATA) <= 5 * MOST, "it has caught up, and stands still since"
    assert core.log.snapshot_index > behind


def test_what_was_held_leaves_in_pieces_so_that_no_turn_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applied, "COMPACTED_AT_ONCE", 2 * KEEP)
    leading, behind = sending()
    core = leading.core
    leading.commit(3 * MOST, b_answers=True, data=DATA)
    core.step("b", SnapshotResponse(core.term, behind, len(SNAPSHOT)), leading.now)
    core.step("b", AppendResponse(core.term, True, core.log.last_index), leading.now)
    for _ in range(MOST):
        before = core.log.snapshot_index
        leading.commit(1, b_answers=True)
        core.step("b", AppendResponse(core.term, True, core.log.last_index), leading.now)
        assert core.log.snapshot_index - before <= 2 * KEEP
    assert core.log.last_index - core.log.snapshot_index <= 2 * KEEP + 2


def test_the_log_is_held_behind_a_snapshot_that_is_still_being_packed() -> None:
    settings = replace(SETTINGS, snapshot_log_entries=100_000, snapshot_log_bytes=20_000)
    core = elected()
    leading = Leading(core)
    applied = leading.applied = Applied(settings, core, TaskTable(), journaled=False)
    for number in range(40):
        call = (number.to_bytes(16, "big"), "add", 4, bytes(5_000), None)
        core.propose(EntryKind.ACCEPT, encode_calls([call]))
    leading.commit(1, b_answers=True)
    core.compact(core.applied_index)
    core.step("b", AppendResponse(core.term, False, core.log.snapshot_index), leading.now)
    applied.want(run(core).snapshots_wanted)
    applied.step()
    behind = core.applied_index
    for number in range(20):
        core.propose(
            EntryKind.ACCEPT, encode_calls([((100 + number).to_bytes(16, "big"), "add", 4, bytes(5_000), None)])
        )
        leading.commit(1, b_answers=True)
    assert core.log.snapshot_index <= behind
    while applied.is_busy:
        applied.step()
    assert any(isinstance(message, SnapshotChunk) for _, message in run(core).send_now), "it is sent that one"


def test_the_journal_gets_a_snapshot_once_the_log_has_grown_by_as_much_as_the_last_one_took() -> None:
    settings = Settings(cluster_name="test", snapshot_log_bytes=10_000)
    leading = Leading()
    applied = Applied(settings, leading.core, TaskTable(), journaled=True)
    sizes: list[int] = []
    for number in range(1, 200):
        call = (number.to_bytes(16, "big"), "add", 4, bytes(1_000), None)
        leading.core.propose(EntryKind.ACCEPT, encode_calls([call]))
        run(leading.core)
        leading.core.step("c", AppendResponse(leading.core.term, True, leading.core.log.last_index), leading.now)
        applied.apply(None, run(leading.core).committed)
        while applied.is_busy:
            applied.step()
        if applied.to_save is not None:
            sizes.append(len(applied.to_save.data))
            applied.to_save = None
    assert 10_000 < sizes[0] < 12_000
    assert all(later > 1.9 * earlier for earlier, later in pairwise(sizes))
    assert len(sizes) == 5


def test_one_that_never_gets_there_does_not_hold_it_for_ever() -> None:
    assert MOST <= Leading().commit(4 * MOST, b_answers=True) <= MOST + 2


def test_one_that_is_restarted_finds_the_log_where_it_was() -> None:
    leading = Leading()
    core = leading.core
    leading.commit(KEEP, b_answers=True)
    core.step("b", AppendResponse(core.term, True, core.log.last_index), leading.now)
    has = core.match_of("b")
    leading.commit(2 * KEEP, b_answers=False)
    assert core.log.snapshot_index == has


def test_for_one_that_is_silent_for_long_and_for_a_snapshot_of_the_journal_s_nothing_is_held() -> None:
    leading = Leading()
    leading.commit(2 * MOST, b_answers=False)  # in this time b falls silent
    assert leading.commit(4 * MOST, b_answers=False) <= 2 * KEEP + 2
