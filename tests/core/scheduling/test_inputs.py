"""Tasks that depend on tasks: when they start, what they are called with, how they end, and what is kept for them."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_leader import Lead, tid
from core.takeovers import taken_over
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.live_tasks import Misplaced
from paceline.core.state.snapshots import restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import encode_calls, split_ids
from paceline_protocol.errors import MalformedPayload
from paceline_protocol.inputs import envelope, open_envelope
from paceline_protocol.messages.client import Refusal, Submit
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.work import Dispatch
from paceline_protocol.payload import pack_error, unpack_error

OK, FAILED, UPSTREAM = TaskEnd.SUCCEEDED, TaskEnd.FAILED, TaskEnd.UPSTREAM_FAILED


def ids(*numbers: int) -> bytes:
    return b"".join(map(tid, numbers))


def lead_with(*numbers: int, **limits: Any) -> Lead:
    """Of these tasks, which ask for nothing and are committed, and a node for them."""
    lead = Lead(**limits)
    lead.enrol("a", slots=16)
    lead.submit(lead.client(), *numbers)
    lead.commit()
    return lead


def end(lead: Lead, seq: int, *numbers: int, end: TaskEnd = OK, payload: bytes = b"") -> None:
    """These tasks end, and the log has that."""
    lead.now += 0.5
    items = [(tid(number), 1, int(end), payload, 500) for number in numbers]
    lead.leader.nodes.on_outcomes("a", 3, seq, items, lead.now)
    lead.commit()
    lead.leader.tasks.check()


def acknowledge(lead: Lead) -> None:
    """The client has all that it was sent."""
    last = max([update.seq for update in lead.updates()], default=0)
    lead.leader.admission.acknowledge(lead.client(), last, lead.now)
    lead.now += 10.0
    lead.commit()


def envelopes(lead: Lead) -> dict[int, list[tuple[int, int, bytes]]]:
    """What tasks are called with that are handed out now: (input, end, payload)."""
    lead.leader.nodes.outbox.clear()
    lead.leader.dispatch(lead.now)
    found = {}
    for _, message in lead.leader.nodes.outbox:
        assert isinstance(message, Dispatch)
        for task_id, _attempt, _name, args, options in message.tasks:
            assert options is not None
            results = open_envelope(args)[1] if options.get("inputs") else []
            found[int.from_bytes(task_id)] = [(int.from_bytes(each[0]), each[1], each[2]) for each in results]
    return found


def released(lead: Lead) -> list[int]:
    entries = [data for kind, data, _ in lead.entries if kind == EntryKind.RELEASE]
    return [int.from_bytes(task_id) for data in entries for task_id in split_ids(data)]


def next_leader(lead: Lead) -> Lead:
    table = TaskTable()
    restore(table, snapshot_of(lead.table))
    return Lead(table)


def test_a_task_waits_until_the_log_has_the_ends_of_its_inputs_and_is_called_with_their_results() -> None:
    lead = lead_with(1, 2)
    lead.submit(lead.client(), 3, seq=2, inputs=ids(1, 2))
    lead.commit()
    assert lead.dispatched() == {"a": [(1, 1), (2, 1)]}
    end(lead, 1, 1, payload=b"one")
    assert lead.dispatched() == {}
    lead.outcomes("a", 2, 2)
    assert lead.dispatched() == {}, "its end is not in the log"
    assert whereabouts(lead.leader, tid(3), lead.now)["why"].endswith(f"have not ended: {tid(2).hex()}")
    lead.commit()
    assert envelopes(lead) == {3: [(1, OK, b"one"), (2, OK, b"")]}
    lead.leader.tasks.check()


def test_what_a_task_starts_after_is_not_sent() -> None:
    lead = lead_with(1)
    lead.submit(lead.client(), 2, seq=2, after=ids(1))
    assert lead.dispatched() == {"a": [(1, 1)]}
    end(lead, 1, 1, payload=b"one")
    assert envelopes(lead) == {2: []}


def test_a_task_whose_inputs_have_ended_starts_at_once() -> None:
    lead = lead_with(1)
    lead.dispatched()
    end(lead, 1, 1, payload=b"one")
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    assert envelopes(lead) == {2: [(1, OK, b"one")]}


def test_a_task_with_a_moment_waits_for_that_too() -> None:
    lead = lead_with(1)
    moment_ms = lead.clock.ms(lead.now) + 3_000
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1), not_before=moment_ms)
    lead.leader._due.settle()
    lead.dispatched()
    end(lead, 1, 1)
    assert lead.task(2).is_delayed
    lead.now = 3.5
    lead.leader.meet_moments(lead.now)
    assert list(envelopes(lead)) == [2]


@pytest.mark.parametrize("how", [FAILED, TaskEnd.TIMED_OUT])
def test_what_depends_on_a_task_that_does_not_succeed_ends_with_the_first_cause_and_so_does_what_depends_on_that(
    how: TaskEnd,
) -> None:
    lead = lead_with(1, 2)
    lead.submit(lead.client(), 3, seq=2, inputs=ids(2, 1))
    lead.submit(lead.client(), 4, seq=3, after=ids(3))
    lead.commit()
    lead.dispatched()
    lead.updates()
    cause = pack_error(ValueError("no"), "")
    end(lead, 1, 1, end=how, payload=cause)
    assert lead.results() == {1: how}, "the other is told once the log has it"
    lead.commit()
    lead.commit()
    assert lead.results() == {3: UPSTREAM, 4: UPSTREAM}
    for number in (3, 4):
        assert unpack_error(lead.table.results[tid(number)][1]).args == (tid(1).hex(), how, cause)
    assert lead.dispatched() == {}


def test_what_depends_on_a_task_that_is_cancelled_or_has_failed_before_ends_too() -> None:
    lead = lead_with()
    lead.submit(lead.client(), 1, seq=2)
    lead.submit(lead.client(), 2, seq=3, inputs=ids(1))
    lead.cancel(lead.client(), 1)
    lead.commit()
    lead.commit()
    lead.submit(lead.client(), 3, seq=4, inputs=ids(1))
    lead.commit()
    assert lead.results() == {1: TaskEnd.CANCELLED, 2: UPSTREAM, 3: UPSTREAM}


def test_with_allow_failed_inputs_a_task_is_called_with_the_error() -> None:
    lead = lead_with(1)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1), allow_failed_inputs=1)
    lead.dispatched()
    end(lead, 1, 1, end=FAILED, payload=b"oops")
    assert envelopes(lead) == {2: [(1, FAILED, b"oops")]}


def test_a_long_error_is_cut_for_each_that_ends_by_it() -> None:
    lead = lead_with(1)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.dispatched()
    end(lead, 1, 1, end=FAILED, payload=pack_error(ValueError("x" * 60_000), "y" * 60_000))
    lead.commit()
    end_of_2, payload = lead.table.results[tid(2)]
    assert (end_of_2, len(payload) < 12_000) == (UPSTREAM, True)


def test_a_result_is_kept_as_long_as_a_task_needs_it_and_released_then() -> None:
    lead = lead_with(1)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.submit(lead.client(), 3, seq=3, after=ids(2))
    lead.dispatched()
    end(lead, 1, 1, payload=b"one")
    acknowledge(lead)
    assert (released(lead), list(lead.table.held)) == ([], [tid(1)])
    assert lead.leader.queue_bytes == lead.leader.tasks.live_bytes + 3
    assert list(envelopes(lead)) == [2]
    end(lead, 2, 2)
    lead.commit()
    assert (released(lead), list(lead.table.held)) == ([1], [])


def test_the_next_leader_releases_what_was_held_once_nobody_needs_it_and_at_once_if_nobody_does() -> None:
    lead = lead_with(1)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.dispatched()
    end(lead, 1, 1)
    acknowledge(lead)
    second = next_leader(lead)
    second.commit()
    assert released(second) == []
    second.enrol("a", slots=4)
    assert list(envelopes(second)) == [2]
    second.now = 1.0
    second.outcomes("a", 1, 2)
    second.leader.log(second.now)
    assert [kind for kind, _, _ in second.entries] == [EntryKind.OUTCOME, EntryKind.RELEASE]
    second.table.apply(*second.entries[0])  # the leader dies before the log has the other
    third = next_leader(second)
    third.commit()
    assert released(third) == [1]
    assert (tid(1) in third.table.results, list(third.table.held)) == (False, [])


def test_a_result_that_has_expired_is_kept_for_a_task_too() -> None:
    lead = Lead()
    lead.enrol("a", slots=4)
    lead.submit(lead.client(), 1, result_ttl=1_000)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.commit()
    lead.dispatched()
    end(lead, 1, 1)
    lead.now = 5.0
    lead.leader.meet_moments(lead.now)
    lead.commit()
    assert tid(1) in lead.table.results
    envelopes(lead)
    end(lead, 2, 2)
    lead.commit()
    assert tid(1) in lead.table.expired


def test_results_that_tasks_need_are_not_dropped_past_the_limits() -> None:
    lead = lead_with(1, 2, 3, result_limit_tasks=0)
    lead.submit(lead.client(), 4, seq=2, inputs=ids(1))
    lead.submit(lead.client(), 5, seq=3, inputs=ids(1, 3))
    lead.dispatched()
    end(lead, 1, 1, 2)
    lead.commit()
    assert released(lead) == [2]


def test_a_call_that_depends_on_what_is_gone_is_refused_by_name() -> None:
    lead = lead_with(1)
    lead.dispatched()
    end(lead, 1, 1)
    acknowledge(lead)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.submit(lead.client(), 3, seq=3, after=ids(9))
    assert lead.refusals() == {2: Refusal.INPUT_OVER, 3: Refusal.INPUT_OVER}


def test_a_call_that_comes_while_a_release_is_under_way_is_refused_too() -> None:
    lead = lead_with(1)
    lead.dispatched()
    end(lead, 1, 1)
    last = max(update.seq for update in lead.updates())
    lead.leader.admission.acknowledge(lead.client(), last, lead.now)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.now += 10.0
    lead.leader.log(lead.now)
    assert released(lead) == [], "a task needs it"
    lead = lead_with(1)
    lead.dispatched()
    end(lead, 1, 1)
    last = max(update.seq for update in lead.updates())
    lead.leader.admission.acknowledge(lead.client(), last, lead.now)
    lead.now += 10.0
    lead.leader.log(lead.now)
    assert released(lead) == [1]
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    assert lead.refusals() == {2: Refusal.INPUT_OVER}


def test_what_is_not_logged_can_not_be_depended_on_nor_a_task_on_itself() -> None:
    lead = lead_with()
    lead.submit(lead.client(), 1, seq=2, durability=1)
    lead.submit(lead.client(), 2, seq=3, inputs=ids(1))
    lead.submit(lead.client(), 3, seq=4, inputs=ids(3))
    assert lead.refusals() == {2: Refusal.BAD_REQUEST, 3: Refusal.BAD_REQUEST}


def test_a_task_that_would_be_called_with_too_much_ends_by_name() -> None:
    lead = lead_with(1, 2, payload_limit_bytes=1_000)
    lead.submit(lead.client(), 3, seq=2, inputs=ids(1, 2))
    lead.dispatched()
    end(lead, 1, 1, 2, payload=bytes(600))
    lead.commit()
    found = lead.results()
    assert found[3] == FAILED
    assert lead.dispatched() == {}


def test_what_is_sent_counts_for_the_window_of_its_node() -> None:
    lead = lead_with(1)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.dispatched()
    end(lead, 1, 1, payload=bytes(5_000))
    envelopes(lead)
    assert lead.leader.tasks.ledgers["a"].on_way_bytes >= 5_000
    lead.leader.tasks.check()


def test_a_new_leader_has_tasks_wait_as_before_and_ends_what_was_to_end() -> None:
    lead = lead_with(1, 2)
    lead.submit(lead.client(), 3, 4, seq=2, inputs=ids(1, 2))
    lead.submit(lead.client(), 5, seq=3, inputs=ids(2))
    lead.commit()
    lead.dispatched()
    end(lead, 1, 2, payload=b"two")
    second = next_leader(lead)
    second.enrol("a", {1: 1}, slots=8)
    assert envelopes(second) == {5: [(2, OK, b"two")]}
    second.leader.tasks.check()
    second.now = 1.0
    second.outcomes("a", 1, 1, end=FAILED)
    for entry in second.entries:
        second.table.apply(*entry)
    second.leader.log(second.now)
    only_the_end = TaskTable()
    restore(only_the_end, snapshot_of(lead.table))
    only_the_end.apply(*second.entries[-1])
    third = Lead(only_the_end)
    third.commit()
    assert {only_the_end.results[tid(number)][0] for number in (3, 4)} == {UPSTREAM}


def test_what_waits_for_a_task_that_there_is_not_is_ended_by_a_new_leader() -> None:
    """No log has that; it would wait for ever."""
    table = TaskTable()
    table.apply(EntryKind.ACCEPT, encode_calls([(tid(2), "add", 4, b"", {"inputs": ids(1)})]))
    lead = Lead(table)
    lead.commit()
    assert table.results[tid(2)][0] == UPSTREAM


def test_wide_fan_in_and_diamonds() -> None:
    numbers = range(1, 200)
    lead = lead_with(*numbers)
    lead.submit(lead.client(), 500, seq=2, inputs=ids(*numbers))
    lead.submit(lead.client(), 501, 502, seq=3, inputs=ids(500))
    lead.submit(lead.client(), 503, seq=4, inputs=ids(501, 502), after=ids(500))
    for seq, level in enumerate((list(numbers), [500], [501, 502], [503]), start=1):
        while lead.dispatched():
            pass
        end(lead, seq, *level)
    assert not lead.leader.tasks.live
    assert lead.leader.tasks.inputs.needed == {}
    assert lead.leader.tasks.inputs.kept_bytes == 0


def test_a_count_that_is_wrong_is_found() -> None:
    lead = lead_with(1)
    lead.submit(lead.client(), 2, seq=2, inputs=ids(1))
    lead.leader.tasks.check()
    lead.leader.tasks.inputs.needed[tid(1)].clear()
    with pytest.raises(Misplaced, match="inputs"):
        lead.leader.tasks.check()


def test_an_envelope_is_opened_as_it_was_made_and_anything_else_is_refused() -> None:
    results = [(tid(1), 1, b"one"), (tid(2), 2, b"")]
    assert open_envelope(envelope(b"args", results)) == (b"args", results)
    for wrong in (b"", b"\x90", b"\xc1", b"\x92\xc4\x00\x91\x90", envelope(b"", [(b"short", 1, b"")])):
        with pytest.raises(MalformedPayload):
            open_envelope(wrong)


def test_a_takeover_of_many_is_done_in_slices() -> None:
    table = TaskTable()
    calls = [(tid(1), "add", 4, b"", None), *[(tid(n), "add", 4, b"", {"inputs": ids(1)}) for n in range(2, 9_000)]]
    table.apply(EntryKind.ACCEPT, encode_calls(calls))
    tasks, _due = taken_over(table, WallClock())
    assert len(tasks.inputs.needed[tid(1)]) == 8_998
    tasks.check()


def test_a_copy_of_a_submit_is_the_task_that_waits() -> None:
    lead = lead_with(1)
    calls = encode_calls([(tid(2), "add", 4, b"", {"inputs": ids(1)})])
    for seq in (2, 3):
        lead.leader.admission.submit(lead.client(), Submit(seq, 0, calls), lead.now)
    lead.commit()
    assert lead.table.totals.accepted == 2
