"""How calls become Submits, in virtual time: windows, batches, limits."""

from __future__ import annotations

from client.session_rig import Rig, call, ids_of, succeeded, task_id
from paceline.client.session.session import OUTSTANDING_LIMIT_TASKS
from paceline.client.session.submits import BUSY_FROM_TASKS, BUSY_INTERVAL_S, WINDOW_SUBMITS
from paceline_protocol.messages.client import Failure, Refusal


def test_a_submit_leaves_at_once_until_the_window_is_full_then_calls_pile_up() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, 31))
    submits = rig.submits()
    assert [submit.seq for submit in submits] == list(range(1, WINDOW_SUBMITS + 1))
    assert [submit.prompt for submit in submits] == [False] * (WINDOW_SUBMITS - 1) + [True]
    rig.now += BUSY_INTERVAL_S
    rig.update(1, accepted=[1])
    [batch] = rig.submits()
    assert ids_of(batch) == list(range(WINDOW_SUBMITS + 1, 31))


def busy() -> Rig:
    """Many tasks are outstanding, and all of them accepted."""
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, BUSY_FROM_TASKS + 1))
    rig.session.press_all(rig.now)
    rig.update(1, accepted=[submit.seq for submit in rig.submits()])
    rig.now += 1.0
    return rig


def test_calls_that_come_fast_travel_together_if_many_are_outstanding() -> None:
    rig = busy()
    rig.submit(101, 102, 103, 104)
    submits = rig.submits()
    assert [ids_of(submit) for submit in submits] == [[101], [102]]
    assert [submit.prompt for submit in submits] == [False, True]
    rig.update(2, accepted=[submits[0].seq])
    [together] = rig.submits()
    assert ids_of(together) == [103, 104]
    assert together.prompt


def test_calls_that_come_slowly_leave_at_once_however_many_are_outstanding() -> None:
    rig = busy()
    for number in range(101, 101 + WINDOW_SUBMITS):
        rig.submit(number)
        rig.now += BUSY_INTERVAL_S
    assert [ids_of(submit) for submit in rig.submits()] == [[number] for number in range(101, 101 + WINDOW_SUBMITS)]


def test_a_full_batch_leaves_although_the_window_is_full() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, WINDOW_SUBMITS + 257))
    assert len(ids_of(rig.submits()[-1])) == 256
    rig.session.submit(call(1000, bytes(300 * 1024)), rig.now)
    assert [ids_of(submit) for submit in rig.submits()] == [[1000]]


def test_a_result_implies_acceptance_and_frees_its_place() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, WINDOW_SUBMITS + 2))
    rig.submits()
    rig.update(1, results=[succeeded(1)])
    assert [ids_of(submit) for submit in rig.submits()] == [[WINDOW_SUBMITS + 1]]
    assert rig.session.ledger.is_accepted(task_id(1))
    assert not rig.session.ledger.is_accepted(task_id(2))


def test_calls_that_wait_behind_what_is_refused_as_a_whole_leave() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, WINDOW_SUBMITS + 2))
    rig.submits()
    rig.hear("a:1", Failure(Refusal.BAD_REQUEST, "malformed"))
    assert [ids_of(submit) for submit in rig.submits()] == [[WINDOW_SUBMITS + 1]]


def test_what_is_submitted_to_the_next_leader_is_to_be_accepted_at_once() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    rig.submit(1, 2)
    assert not any(submit.prompt for submit in rig.submits())
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.attach("b:1", term=2)
    [again] = rig.submits()
    assert ids_of(again) == [1, 2]
    assert again.prompt


def test_pressing_sends_what_piled_up_and_asks_for_prompt_acceptance() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(*range(1, WINDOW_SUBMITS + 2))
    rig.submits()
    rig.session.press(task_id(WINDOW_SUBMITS + 1), rig.now)
    [submit] = rig.submits()
    assert submit.prompt


def test_there_is_no_room_past_the_limits() -> None:
    rig = Rig(outstanding_limit_tasks=3)
    rig.attach()
    rig.submit(1, 2)
    assert rig.session.has_room
    rig.submit(3)
    assert not rig.session.has_room
    rig.update(1, results=[succeeded(1)])
    assert rig.session.has_room
    assert OUTSTANDING_LIMIT_TASKS == 200_000


def test_unaccepted_bytes_are_bounded_and_counted_back() -> None:
    rig = Rig()
    big = bytes(15 * 1024 * 1024)
    for number in range(1, 19):
        assert rig.session.has_room
        rig.session.submit(call(number, big), rig.now)
    assert not rig.session.has_room
    rig.attach()
    rig.update(1, accepted=range(1, 10), results=[succeeded(number) for number in range(10, 19)])
    assert rig.session.ledger.unaccepted_bytes == 0


def test_calls_that_are_submitted_together_travel_in_one_submit_and_in_full_ones_if_they_are_many() -> None:
    rig = Rig()
    rig.attach()
    rig.session.submit_together([call(number) for number in range(1, 101)], rig.now)
    [submit] = rig.submits()
    assert ids_of(submit) == list(range(1, 101))
    rig.session.submit_together([call(number) for number in range(101, 701)], rig.now)
    assert [len(ids_of(submit)) for submit in rig.submits()] == [256, 256, 88]


def test_a_call_whose_input_is_over_goes_back_to_the_shell_and_waits_here_no_longer() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.submits()
    rig.update(1, refused=[(task_id(1), Refusal.INPUT_OVER, "it is over")])
    assert rig.session.output.over == [(call(1), "it is over")]
    assert task_id(1) not in rig.session.ledger
    assert rig.session.output.failed == []
