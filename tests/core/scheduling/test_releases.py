"""Which results the cluster keeps, and that the log alone says so."""

from __future__ import annotations

from itertools import chain

from core.scheduling.test_leader import Lead, running, tid
from paceline.core.scheduling.releases import RELEASE_AT_ONCE_TASKS, RELEASE_TASKS, Releases
from paceline.core.scheduling.retention import Retention
from paceline.core.settings import Settings
from paceline.core.state.snapshots import snapshot_of
from paceline.core.state.table import TaskTable
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import encode_calls, encode_outcomes, split_ids
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TaskEnd

SETTINGS = Settings(cluster_name="test", release_interval_s=1.0)
MANY = 2 * RELEASE_AT_ONCE_TASKS + 1


def test_results_that_the_client_has_are_released_together_a_little_later() -> None:
    lead, session = running(1, 2)
    lead.outcomes("a", 1, 1, 2)
    lead.updates()
    lead.leader.admission.acknowledge(session, 99, 1.0)
    due = 1.0 + lead.settings.release_interval_s
    assert lead.leader.due == due
    lead.leader.log(1.1)
    assert EntryKind.RELEASE not in lead.kinds()
    lead.leader.log(due)
    assert lead.entries[-1][:2] == (EntryKind.RELEASE, tid(1) + tid(2))
    assert lead.leader.due == float("inf")


def test_many_results_are_released_with_whatever_is_logged_next() -> None:
    lead, session = running(*range(1, RELEASE_TASKS + 1))
    lead.outcomes("a", 1, *range(1, RELEASE_TASKS + 1))
    lead.updates()
    lead.leader.admission.acknowledge(session, 99, 1.0)
    lead.leader.log(1.0)
    assert EntryKind.RELEASE in lead.kinds()
    assert lead.leader.due == 1.0 + lead.settings.release_interval_s, "it finds nothing left then"
    lead.leader.log(lead.leader.due)
    assert lead.kinds().count(EntryKind.RELEASE) == 1


def test_very_many_results_are_released_in_several_turns_that_follow_at_once() -> None:
    releases: list[list[bytes]] = []

    def propose(_kind: int, data: bytes, _decoded: object) -> int:
        releases.append(split_ids(data))
        return 0

    each = Releases(SETTINGS, TaskTable(), propose, Retention(WallClock()))
    ids = [tid(number) for number in range(2 * RELEASE_AT_ONCE_TASKS + 1)]
    each.add(ids, 0.0)
    while each.due <= 0.0 or not releases:
        each.propose(0.0)
        each.find_due(True)
    assert list(map(len, releases)) == [RELEASE_AT_ONCE_TASKS, RELEASE_AT_ONCE_TASKS, 1]
    assert list(chain.from_iterable(releases)) == ids
    assert each.due == float("inf")


def ended(*numbers: int, payload: bytes = b"") -> TaskTable:
    """A table in which these tasks have ended, and nobody has their results."""
    table = TaskTable()
    table.apply(EntryKind.ACCEPT, encode_calls([(tid(number), "add", 4, b"", None) for number in numbers]))
    outcomes = [(tid(number), 1, int(TaskEnd.SUCCEEDED), payload, 1) for number in numbers]
    table.apply(EntryKind.OUTCOME, encode_outcomes(outcomes))
    return table


def released(lead: Lead) -> list[list[int]]:
    """The tasks of each RELEASE that was proposed."""
    return [
        [int.from_bytes(each, "big") for each in split_ids(data)]
        for kind, data, _ in lead.entries
        if kind == EntryKind.RELEASE
    ]


def test_past_the_limits_of_the_leader_the_oldest_results_are_dropped_at_once_and_the_log_says_which() -> None:
    lead, _ = running(1, 2, 3, 4, result_limit_tasks=2)
    lead.outcomes("a", 1, 1, 2, 3)
    lead.commit()
    assert list(lead.table.results) == [tid(1), tid(2), tid(3)], "only what the log says is dropped"
    assert lead.leader.due < lead.now
    lead.commit()
    assert released(lead) == [[1]]
    assert list(lead.table.results) == [tid(2), tid(3)]
    assert lead.table.knows(tid(1))
    assert lead.leader.due == float("inf")
    lead.outcomes("a", 2, 4)
    lead.commit()
    lead.commit()
    assert released(lead) == [[1], [2]]


def test_the_bytes_of_results_have_a_limit_too() -> None:
    lead = Lead(ended(1, 2, 3, payload=bytes(10)), result_limit_bytes=15)
    lead.leader.applied(0, lead.now)
    lead.commit()
    assert released(lead) == [[1, 2]]
    assert lead.table.result_bytes == 10


def test_what_is_to_be_dropped_is_not_counted_any_more_and_dropped_once() -> None:
    lead = Lead(ended(1, 2, 3, 4), result_limit_tasks=2)
    lead.leader.applied(0, lead.now)
    lead.leader.log(lead.now)
    lead.leader.log(lead.now)
    assert released(lead) == [[1, 2]]
    lead.table.apply(EntryKind.ACCEPT, encode_calls([(tid(5), "add", 4, b"", None)]))
    lead.table.apply(EntryKind.OUTCOME, encode_outcomes([(tid(5), 1, int(TaskEnd.SUCCEEDED), b"", 1)]))
    lead.leader.applied(0, lead.now)  # the log is slow: none of it is dropped yet
    lead.leader.log(lead.now)
    assert released(lead) == [[1, 2], [3]]
    lead.commit()
    assert list(lead.table.results) == [tid(4), tid(5)]


def test_a_leader_that_keeps_far_less_than_the_one_before_it_drops_a_part_in_each_turn() -> None:
    lead = Lead(ended(*range(MANY)), result_limit_tasks=0)
    lead.leader.applied(0, lead.now)
    while lead.leader.due <= lead.now:
        lead.leader.log(lead.now)
    assert list(map(len, released(lead))) == [RELEASE_AT_ONCE_TASKS, RELEASE_AT_ONCE_TASKS, 1]
    assert list(chain.from_iterable(released(lead))) == list(range(MANY))


def test_while_another_takes_over_nothing_is_dropped() -> None:
    lead = Lead(ended(1, 2), result_limit_tasks=1)
    lead.leader.set_logging(False, lead.now)
    lead.leader.applied(0, lead.now)
    lead.leader.set_logging(False, lead.now)
    assert lead.leader.due == float("inf")
    lead.leader.set_logging(True, lead.now)
    assert lead.leader.due < lead.now
    lead.commit()
    assert released(lead) == [[1]]


def test_a_replica_holds_what_the_log_says_whoever_led_with_whichever_limits() -> None:
    table, follower = ended(*range(10)), ended(*range(10))
    for limit in (7, 100, 3):
        lead = Lead(table, result_limit_tasks=limit)
        lead.leader.applied(0, lead.now)
        lead.commit()
        for kind, data, _ in lead.entries:
            follower.apply(kind, data)
        assert snapshot_of(follower) == snapshot_of(table)
    assert list(follower.results) == [tid(7), tid(8), tid(9)]
