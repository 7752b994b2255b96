"""How much of the log stays in memory behind what is applied."""

from __future__ import annotations

from itertools import pairwise

from core.raft.test_consensus import elected, replicating, run
from paceline.core.raft.consensus import Consensus
from paceline.core.settings import Settings
from paceline.core.state.applied import Applied
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import encode_calls
from paceline_protocol.messages import AppendResponse, Confirm, Confirmed, EntryKind

KEEP, MOST = 10, 50
SETTINGS = Settings(cluster_name="test", log_keep_entries=KEEP, snapshot_log_entries=MOST, voter_timeout_s=0.6)


class Leading:
    """A leader of three, whose peer c is always up to date. It keeps a journal, whose snapshots are never done."""

    def __init__(self, core: Consensus | None = None) -> None:
        self.core = core or replicating()
        self.applied = Applied(SETTINGS, self.core, TaskTable(SETTINGS), journaled=True)
        self.now = 0.0

    def commit(self, entries: int, *, b_answers: bool) -> int:
        """So many entries more, 10 ms apart; ``b_answers`` that it follows, and not that it has written anything.
        Returns the most that were held."""
        core, most = self.core, 0
        for _ in range(entries):
            self.now += 0.01
            core.propose(EntryKind.NOOP, b"")
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


def test_the_journal_gets_a_snapshot_once_the_log_has_grown_by_as_much_as_the_last_one_took() -> None:
    settings = Settings(cluster_name="test", snapshot_log_bytes=10_000)
    leading = Leading()
    applied = Applied(settings, leading.core, TaskTable(settings), journaled=True)
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
