"""The state table of a task, and the replicated table of tasks."""

from __future__ import annotations

import pytest

from paceline.core.state.snapshots import restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline.core.state.task import (
    END_EVENTS,
    EVENT_NAMES,
    LIVE,
    STATE_NAMES,
    TRANSITIONS,
    Event,
    State,
    Task,
    next_state,
)
from paceline_protocol.codec import encode_calls, encode_outcomes, join_ids
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import Call, Outcome, TaskEnd


def task_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def call(number: int, args: bytes = b"", options: dict[str, int] | None = None) -> Call:
    return (task_id(number), "add", 4, args, options)


def outcome(number: int, end: TaskEnd = TaskEnd.SUCCEEDED, payload: bytes = b"value") -> Outcome:
    return (task_id(number), 1, int(end), payload, 10)


def table_of(*numbers: int, released_limit_tasks: int = 100) -> TaskTable:
    table = TaskTable(released_limit_tasks)
    if numbers:
        table.apply(EntryKind.ACCEPT, encode_calls([call(number) for number in numbers]))
    return table


def record(table: TaskTable, *outcomes: Outcome) -> None:
    table.apply(EntryKind.OUTCOME, encode_outcomes(outcomes))


def test_every_state_that_is_not_final_can_be_left_and_no_final_one_can() -> None:
    live = {State.READY, State.RECOVERED, State.STARTING, State.DISPATCHED, State.DELAYED, State.WAITING, State.LIMITED}
    assert live == LIVE
    assert {state for state, _ in TRANSITIONS} == live
    assert set(TRANSITIONS.values()) | live == set(STATE_NAMES)
    to_delayed = {event for (_, event), state in TRANSITIONS.items() if state == State.DELAYED}
    assert to_delayed == {Event.POSTPONE}, "a task begins with it, and waits again for a retry alone"


@pytest.mark.parametrize("end", [TaskEnd.SUCCEEDED, TaskEnd.FAILED, TaskEnd.CANCELLED, TaskEnd.TIMED_OUT])
def test_whatever_a_node_says_of_a_live_task_ends_it(end: TaskEnd) -> None:
    for state in LIVE:
        assert next_state(state, END_EVENTS[end]) not in LIVE


def test_every_end_on_the_wire_has_an_event_that_some_live_state_takes() -> None:
    for end in TaskEnd:
        assert any((state, END_EVENTS[end]) in TRANSITIONS for state in STATE_NAMES)


def test_states_and_events_are_numbered_without_a_gap() -> None:
    for names in (STATE_NAMES, EVENT_NAMES):
        assert sorted(names) == list(range(len(names)))


@pytest.mark.parametrize("state", STATE_NAMES)
@pytest.mark.parametrize("event", EVENT_NAMES)
def test_an_event_leads_where_the_table_says_and_nowhere_else(state: int, event: int) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) == TRANSITIONS[state, event]
    else:
        with pytest.raises(KeyError, match=f"{EVENT_NAMES[event]} of a task that is {STATE_NAMES[state]}"):
            next_state(state, event)


def test_max_attempts_of_a_call_goes_before_the_clusters_limit() -> None:
    assert Task(call(1)).attempt_limit(5) == 5
    assert Task(call(1, options={"max_attempts": 2})).attempt_limit(5) == 2


def test_the_first_outcome_of_a_task_is_recorded_and_later_ones_are_counted() -> None:
    table = table_of(1)
    record(table, outcome(1, payload=b"first"))
    record(table, outcome(1, TaskEnd.FAILED, b"second"))
    assert table.results == {task_id(1): (TaskEnd.SUCCEEDED, b"first")}
    assert (table.recorded, table.totals.duplicates) == (1, 1)


def test_a_task_is_accepted_once_whether_it_is_live_ended_or_released() -> None:
    table = table_of(1)
    for entry in (
        (EntryKind.NOOP, b""),
        (EntryKind.OUTCOME, encode_outcomes([outcome(1)])),
        (EntryKind.RELEASE, join_ids([task_id(1)])),
    ):
        table.apply(*entry)
        table.apply(EntryKind.ACCEPT, encode_calls([call(1)]))
        assert table.totals.accepted == 1
    assert not table.tasks


def test_a_release_of_what_has_not_ended_is_ignored() -> None:
    table = table_of(1)
    table.apply(EntryKind.RELEASE, join_ids([task_id(1), task_id(2)]))
    assert task_id(1) in table.tasks
    assert not table.released


def test_a_result_is_kept_until_the_log_says_otherwise_and_its_id_is_known_afterwards() -> None:
    table = table_of(1, 2, 3)
    record(table, outcome(1), outcome(2), outcome(3))
    assert (len(table.results), table.result_bytes) == (3, 15)
    table.apply(EntryKind.RELEASE, join_ids([task_id(1)]))
    assert list(table.results) == [task_id(2), task_id(3)]
    assert table.result_bytes == 10
    assert table.knows(task_id(1))


def test_released_ids_are_bounded_and_the_oldest_are_forgotten_first() -> None:
    table = table_of(1, 2, 3, released_limit_tasks=2)
    record(table, outcome(1), outcome(2), outcome(3))
    table.apply(EntryKind.RELEASE, join_ids([task_id(1), task_id(2), task_id(3)]))
    assert list(table.released) == [task_id(2), task_id(3)]
    assert (table.results, table.result_bytes) == ({}, 0)


def test_a_lost_attempt_is_counted_while_the_task_lives() -> None:
    table = table_of(1)
    table.apply(EntryKind.ATTEMPT, join_ids([task_id(1), task_id(2)]))
    assert table.lost_attempts == {task_id(1): 1}


def test_what_the_proposer_parsed_gives_the_same_state_as_the_bytes() -> None:
    calls = [call(number, args=b"x" * number) for number in (1, 2, 3)]
    from_bytes, from_objects = table_of(), table_of()
    from_bytes.apply(EntryKind.ACCEPT, encode_calls(calls))
    from_objects.apply(EntryKind.ACCEPT, encode_calls(calls), [Task(each) for each in calls])
    outcomes = [outcome(2), outcome(9)]
    from_bytes.apply(EntryKind.OUTCOME, encode_outcomes(outcomes))
    from_objects.apply(EntryKind.OUTCOME, encode_outcomes(outcomes), outcomes)
    assert snapshot_of(from_bytes) == snapshot_of(from_objects)


def test_where_a_task_is_at_its_leader_does_not_change_the_snapshot() -> None:
    table = table_of(1)
    before = snapshot_of(table)
    task = table.tasks[task_id(1)]
    task.state = State.DISPATCHED
    task.attempt, task.node, task.sent_seq = 3, "a", 7
    assert snapshot_of(table) == before


def test_a_restored_table_is_equal_and_goes_on_alike() -> None:
    table = table_of(1, 2, 3, 4)
    table.apply(EntryKind.ATTEMPT, join_ids([task_id(4)]))
    record(table, outcome(1), outcome(2), outcome(9))
    table.apply(EntryKind.RELEASE, join_ids([task_id(1)]))
    restored = table_of(7)
    restore(restored, snapshot_of(table))
    assert snapshot_of(restored) == snapshot_of(table)
    assert restored.result_bytes == table.result_bytes
    for each in (table, restored):
        record(each, outcome(3, TaskEnd.FAILED), outcome(1))
    assert snapshot_of(restored) == snapshot_of(table)
