"""The log by itself: what it holds, cuts, compacts, and when something of it counts as durable."""

from __future__ import annotations

import pytest

from paceline.core.raft.configuration import ConfigHistory, changed_servers, normal
from paceline.core.raft.log import ConsensusViolation, Entry, Log
from paceline_protocol.messages.consensus import Config, EntryKind


def entries(first_index: int, *terms: int, data: bytes = b"") -> list[Entry]:
    return [Entry(index, term, EntryKind.ACCEPT, data) for index, term in enumerate(terms, first_index)]


def wire(*terms: int) -> tuple[tuple[int, int, bytes], ...]:
    return tuple((term, int(EntryKind.ACCEPT), b"") for term in terms)


def test_an_empty_log_agrees_with_any_other_at_index_zero() -> None:
    log = Log()
    assert (log.first_index, log.last_index, log.last_term, log.term_at(0), log.term_at(1)) == (1, 0, 0, 0, None)


def test_a_log_knows_terms_from_its_snapshot_point_to_its_end() -> None:
    log = Log(4, 2, entries(5, 2, 3))
    assert [log.term_at(index) for index in range(3, 8)] == [None, 2, 2, 3, None]
    assert (log.commit_index, log.applied_index, log.durable_index) == (4, 4, 6)


def test_a_persisted_log_with_a_gap_is_refused() -> None:
    with pytest.raises(ConsensusViolation):
        Log(4, 2, entries(6, 2))


@pytest.mark.parametrize(("index", "term"), [(3, 1), (2, 1), (1, 1)])
def test_entries_follow_each_other_without_gap_and_never_back_in_term(index: int, term: int) -> None:
    log = Log(0, 0, entries(1, 2))
    with pytest.raises(ConsensusViolation):
        log.append(entries(index, term))


def test_a_batch_is_bounded_by_count_and_bytes_and_holds_at_least_one_entry() -> None:
    log = Log(0, 0, entries(1, 1, 1, 1, 1, data=b"x" * 84))
    assert [entry.index for entry in log.entries(2, limit_entries=2)] == [2, 3]
    assert [entry.index for entry in log.entries(2, limit_bytes=200)] == [2, 3]
    assert [entry.index for entry in log.entries(2, limit_bytes=1)] == [2]
    assert log.entries(5) == []


def test_a_conflict_is_the_first_entry_of_another_term() -> None:
    log = Log(2, 1, entries(3, 1, 2, 2))
    assert log.first_conflict(2, wire(1, 2)) is None
    assert log.first_conflict(2, wire(1, 3)) == 4
    assert log.first_conflict(5, wire(3)) == 6
    assert log.first_conflict(5, wire()) is None
    assert log.first_conflict(0, wire(1, 1, 1, 2, 2, 2)) == 6


def test_a_hint_skips_terms_that_the_other_log_can_not_have() -> None:
    log = Log(2, 1, entries(3, 1, 1, 4, 4, 5))
    assert log.last_agreeing(7, 5) == 7
    assert log.last_agreeing(9, 4) == 6
    assert log.last_agreeing(7, 3) == 4
    assert log.last_agreeing(5, 1) == 4
    assert log.last_agreeing(1, 1) == 1


def test_a_cut_at_or_below_the_commit_index_stops_the_node() -> None:
    log = Log(0, 0, entries(1, 1, 1, 1))
    log.commit_to(2)
    with pytest.raises(ConsensusViolation):
        log.truncate_from(2)
    log.truncate_from(3)
    assert log.last_index == 2


def test_a_commit_beyond_the_end_stops_the_node() -> None:
    with pytest.raises(ConsensusViolation):
        Log().commit_to(1)


def test_committed_entries_are_handed_out_once() -> None:
    log = Log(0, 0, entries(1, 1, 1, 1))
    log.commit_to(2)
    assert [entry.index for entry in log.take_committed()] == [1, 2]
    assert log.take_committed() == []
    log.commit_to(1)
    assert log.commit_index == 2


def test_compaction_keeps_the_term_of_its_last_entry_and_stays_behind_what_is_applied() -> None:
    log = Log(0, 0, entries(1, 1, 2, 2))
    log.commit_to(2)
    with pytest.raises(ConsensusViolation):
        log.compact(2)
    log.take_committed()
    log.compact(2)
    assert (log.snapshot_index, log.snapshot_term, log.first_index, log.last_index) == (2, 2, 3, 3)
    log.compact(1)
    assert log.snapshot_index == 2
    with pytest.raises(ConsensusViolation):
        log.entries(2)


def test_compaction_stays_behind_what_is_durable() -> None:
    log = Log()
    log.append(entries(1, 1, 1))
    log.take_unsaved(1)
    log.commit_to(2)
    log.take_committed()
    log.compact(2)
    assert log.snapshot_index == 0
    log.saved(1)
    log.compact(2)
    assert log.snapshot_index == 2


def test_each_change_is_handed_to_the_disk_once_and_durable_when_saved() -> None:
    log = Log()
    log.append(entries(1, 1, 1))
    cut_from, unsaved = log.take_unsaved(1)
    assert (cut_from, [entry.index for entry in unsaved], log.durable_index) == (None, [1, 2], 0)
    assert not log.has_unsaved()
    log.append(entries(3, 1))
    log.take_unsaved(2)
    log.saved(1)
    assert log.durable_index == 2
    log.saved(2)
    assert log.durable_index == 3


def test_what_was_never_written_need_not_be_cut() -> None:
    log = Log()
    log.append(entries(1, 1, 1, 1))
    log.truncate_from(2)
    log.append(entries(2, 2))
    cut_from, unsaved = log.take_unsaved(1)
    assert cut_from is None
    assert [(entry.index, entry.term) for entry in unsaved] == [(1, 1), (2, 2)]


def test_an_entry_that_went_and_came_back_is_durable_only_after_its_last_write() -> None:
    log = Log()
    log.append(entries(1, 1, 1))
    log.take_unsaved(1)
    log.truncate_from(2)
    log.append(entries(2, 2))
    assert log.take_unsaved(2)[0] == 2
    log.truncate_from(2)
    log.append(entries(2, 3))
    assert log.take_unsaved(3)[0] == 2
    durable = []
    for seq in (1, 2, 3):
        log.saved(seq)
        durable.append(log.durable_index)
    assert durable == [1, 1, 2]


def test_a_snapshot_replaces_everything_and_counts_once_it_is_saved() -> None:
    log = Log(0, 0, entries(1, 1, 1))
    log.restore(9, 3)
    assert (log.first_index, log.last_index, log.last_term, log.commit_index, log.applied_index) == (10, 9, 3, 9, 9)
    assert log.durable_index == 0
    assert log.take_unsaved(1) == (None, [])
    log.saved(1)
    assert log.durable_index == 9


def test_a_snapshot_never_undoes_a_commit() -> None:
    log = Log(0, 0, entries(1, 1, 1))
    log.commit_to(2)
    with pytest.raises(ConsensusViolation):
        log.restore(2, 2)


def test_a_configuration_goes_back_when_its_entry_is_cut() -> None:
    one, two, three = Config(("a",)), Config(("a", "b")), Config(("a", "b", "c"))
    history = ConfigHistory(1, one)
    history.append(4, two)
    history.append(6, three)
    assert (history.current, history.previous, history.at(5), history.at(3)) == (three, two, two, one)
    history.truncate_from(5)
    assert (history.current, history.index) == (two, 4)
    history.truncate_from(1)
    assert history.current == one


def test_compaction_keeps_the_configuration_in_force() -> None:
    history = ConfigHistory(0, Config())
    history.append(2, Config(("a",)))
    history.append(5, Config(("a", "b")))
    history.compact(4)
    assert (history.previous, history.at(4)) == (Config(("a",)), Config(("a",)))
    history.compact(9)
    assert (history.previous, history.current) == (None, Config(("a", "b")))


def test_a_promotion_is_one_change() -> None:
    old = Config(("a", "b"), ("c",))
    assert changed_servers(old, Config(("a", "b", "c"))) == {"c"}
    assert changed_servers(old, Config(("a", "c"), ("b",))) == {"b", "c"}
    assert changed_servers(old, old) == set()


def test_a_configuration_is_sorted_and_has_a_voter_and_nobody_twice() -> None:
    assert normal(Config(("b", "a", "b"), ("d", "c"))) == Config(("a", "b"), ("c", "d"))
    with pytest.raises(ValueError, match="at least one voter"):
        normal(Config((), ("a",)))
    with pytest.raises(ValueError, match="both voter and learner"):
        normal(Config(("a",), ("a",)))
