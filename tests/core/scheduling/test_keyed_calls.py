"""Calls with a key: those of one name and one key are one task, until the key is free again."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_dead_tasks import dead, discard, kept, requeue
from core.scheduling.test_leader import Lead, tid
from core.scheduling.test_reading_clients import told
from core.scheduling.test_retention import acknowledge, clock, ended, next_leader, pass_to, refusals
from paceline.core.feature_levels import ClusterLevel
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.admission import KEY_IS_HELD
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.options import KEYS_LEVEL, UNIQUE_FOR_S
from paceline_protocol.requeued import requeued_id

UNIQUE_MS = 10_000
KEYED: dict[str, Any] = {"idempotency_key": "order 42", "unique_for": UNIQUE_MS}
OK, FAILED = TaskEnd.SUCCEEDED, TaskEnd.FAILED


def again(lead: Lead, key: bytes = b"d", number: int = 1, **options: Any) -> dict[str, list[tuple[int, int]]]:
    """Another client submits the same; what is handed out then."""
    lead.enrol("a", slots=8)
    lead.submit(lead.client(key), number, **(options or KEYED))
    lead.commit()
    return lead.dispatched()


def runs(lead: Lead, seq: int) -> None:
    """The task that was handed out ends, and whoever has it takes the result."""
    lead.now += 2.0
    lead.outcomes("a", seq, 1)
    lead.commit()


def test_a_call_with_the_key_of_a_task_that_lives_is_that_task_and_both_are_told() -> None:
    lead = Lead(clock=clock())
    assert again(lead, b"c") == {"a": [(1, 1)]}
    assert again(lead, b"d") == {}
    runs(lead, 1)
    assert told(lead) == {b"c": [OK], b"d": [OK]}
    assert lead.table.totals.accepted == 1


def test_nobody_is_told_before_it_is_committed() -> None:
    lead = Lead(clock=clock())
    again(lead, b"c")
    lead.now += 2.0
    lead.outcomes("a", 1, 1)
    assert told(lead) == {}
    lead.commit()
    assert told(lead) == {b"c": [OK]}


def test_a_call_with_the_key_of_a_task_that_has_ended_is_told_how_and_does_not_run() -> None:
    lead = ended(**KEYED)
    pass_to(lead, 11.9)
    for key in (b"d", b"c", b"e"):
        assert again(lead, key) == {}
        assert told(lead) == {key: [OK]}
        acknowledge(lead, key)
        lead.now = 11.9
    assert lead.table.totals.accepted == 1


def test_the_time_after_which_a_key_is_free_is_a_minute_unless_the_call_says_so() -> None:
    lead = ended(idempotency_key="k")
    pass_to(lead, 2.0 + UNIQUE_FOR_S - 0.1)
    assert again(lead, idempotency_key="k") == {}
    pass_to(lead, 2.0 + UNIQUE_FOR_S)
    assert again(lead, idempotency_key="k") == {"a": [(1, 1)]}


def test_a_longer_result_ttl_holds_the_key_too() -> None:
    lead = ended(**KEYED, result_ttl=3 * UNIQUE_MS)
    pass_to(lead, 31.9)
    assert again(lead) == {}
    pass_to(lead, 32.0)
    assert again(lead) == {"a": [(1, 1)]}


def test_once_the_key_is_free_the_next_call_is_a_new_task_that_holds_it_again() -> None:
    lead = ended(**KEYED)
    for round_ in range(1, 4):
        pass_to(lead, lead.now + UNIQUE_MS / 1_000)
        assert refusals(lead, 1) == {1: Refusal.RESULT_EXPIRED}
        told(lead)
        assert again(lead) == {"a": [(1, 1)]}
        assert whereabouts(lead.leader, tid(1), lead.now)["state"] == "dispatched"
        assert again(lead, b"e") == {}
        runs(lead, round_ + 1)
        assert told(lead) == {b"d": [OK], b"e": [OK]}
        assert again(lead, b"f") == {}
        assert told(lead) == {b"f": [OK]}
    assert lead.table.totals.accepted == 4


@pytest.mark.parametrize("is_over", [False, True])
def test_the_next_leader_holds_a_key_for_as_long(is_over: bool) -> None:
    lead = ended(**KEYED)
    following = next_leader(lead)
    pass_to(following, 10.0 if is_over else 9.9)  # of its own, as long as the whole time at most
    assert again(following) == ({"a": [(1, 1)]} if is_over else {})
    if not is_over:
        assert told(following) == {b"d": [OK]}
        return
    last = next_leader(following)  # which has a live task of an id that has expired before
    assert again(last, b"e") == {"a": [(1, 1)]}, "no node has it, and it is the one that was accepted"
    assert last.table.totals.accepted == 2
    runs(last, 1)
    assert told(last) == {b"e": [OK]}


def test_a_result_that_was_dropped_past_the_limits_holds_its_key_and_is_not_run_again() -> None:
    lead = ended(Lead(clock=clock(), result_limit_tasks=1), 1, 2, **KEYED)
    lead.commit()
    assert tid(1) in lead.table.released
    assert again(lead) == {}
    ((update,),) = ([update for update in lead.updates() if update.refused],)
    assert update.refused == ((tid(1), Refusal.UNKNOWN_ID, KEY_IS_HELD),)


def test_a_dead_task_holds_its_key_until_it_is_discarded_and_its_time_is_over() -> None:
    lead = dead(**KEYED, keep_dead=3 * UNIQUE_MS)
    pass_to(lead, 20.0)
    assert not lead.table.results
    assert again(lead) == {}
    assert told(lead) == {b"d": [FAILED]}
    discard(lead, 1)
    lead.commit()
    assert kept(lead) == []
    assert again(lead, b"e") == {"a": [(1, 1)]}


def test_a_dead_task_that_is_discarded_holds_its_key_for_its_time() -> None:
    lead = dead(**KEYED, keep_dead=3 * UNIQUE_MS)
    discard(lead, 1)
    lead.commit()
    assert again(lead) == {}
    assert told(lead) == {b"d": [FAILED]}
    pass_to(lead, 12.0)
    assert again(lead, b"e") == {"a": [(1, 1)]}


def test_what_takes_the_place_of_a_dead_task_has_no_key() -> None:
    lead = dead(**KEYED)
    requeue(lead, 1)
    lead.commit()
    new = lead.table.tasks[requeued_id(tid(1))]
    assert new.options is not None
    assert not new.options.is_keyed
    assert again(lead) != {"a": [(1, 1)]}
    assert told(lead) == {b"d": [FAILED]}


def test_a_call_without_the_key_is_not_run_in_the_place_of_one_that_is_over() -> None:
    lead = ended(**KEYED)
    pass_to(lead, 12.0)
    assert again(lead, result_ttl=1_000) == {}
    assert lead.refusals() == {1: Refusal.RESULT_EXPIRED}


def test_a_key_needs_nodes_that_know_of_keys() -> None:
    lead = Lead(clock=clock())
    lead.leader.admission.cluster_level = ClusterLevel(KEYS_LEVEL - 1)
    assert again(lead) == {}
    assert lead.refusals() == {1: Refusal.LEVEL_TOO_LOW}


def test_a_task_without_a_key_has_nothing_of_it_in_the_log() -> None:
    plain = ended(result_ttl=UNIQUE_MS, unique_for=3 * UNIQUE_MS)  # which does nothing without a key
    ((record),) = plain.table.records.values()
    assert record.kept_until_ms - record.ended_ms == UNIQUE_MS, (
        "a time for which a key is held does nothing without one"
    )
    assert not ended(unique_for=1_000).table.records
