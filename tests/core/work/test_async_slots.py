"""A node's async workers: what they are given, what becomes of the others when one task ends them."""

from __future__ import annotations

import pytest

from core.work.test_limits import given, task, tid
from paceline.core.settings import Settings
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.limits import ASYNC_GRACE_S
from paceline.core.work.slots import ASYNC_START_S, Slots
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.messages.records import AT_MOST_ONCE, MAY_RETRY, Assignment, Options, TaskEnd
from paceline_protocol.messages.work import Beat, Dispatch, EnrolWithAsync, EnrolWithDefaults
from paceline_protocol.options import ASYNC_LEVEL

DONE, CANCELLED = int(TaskEnd.SUCCEEDED), int(TaskEnd.CANCELLED)
NAMES, ROOM = ("add", "nap"), 3


def nap(number: int, options: Options | None = None) -> Assignment:
    return task(number, options, "nap")


def slots_with(*workers: bytes, room: int = ROOM, max_tasks: int = 0) -> Slots:
    """The first worker runs one task at a time, the next many; for that a first async task has come, and gone."""
    slots = Slots(async_slots=room, worker_max_tasks=max_tasks)
    slots.learn_async(NAMES, ("nap",))
    slots.worker_ready(b"v", NAMES)
    slots.take([nap(99)], 0.0)
    slots.revoke([tid(99)])
    for worker in workers:
        slots.worker_ready(worker, NAMES)
    return slots


def test_the_first_async_task_has_a_worker_started_and_waits_for_it_and_no_other_does() -> None:
    slots = Slots(async_slots=ROOM)
    slots.learn_async(NAMES, ("nap",))
    slots.worker_ready(b"v", NAMES)
    assert (slots.lacks_async_workers, slots.serving, slots.async_serving) == (False, 1, ROOM)
    slots.take([nap(1), task(2)], 0.0)
    assert (slots.lacks_async_workers, given(slots, 0.0)) == (True, {b"v": [2]})
    slots.worker_ready(b"w", NAMES)
    assert (slots.serving, slots.async_serving, given(slots, 0.1)) == (1, ROOM, {b"w": [1]})
    slots.worker_ready(b"x", NAMES)
    assert (slots.serving, slots.async_serving) == (2, ROOM), "one is enough"


def test_what_waits_for_a_first_worker_that_does_not_come_goes_to_other_nodes() -> None:
    slots = slots_with()
    slots.take([nap(1)], 0.0)
    slots.review(ASYNC_START_S - 0.1)
    assert slots.held.attempts == {tid(1): 1}
    slots.review(ASYNC_START_S)
    assert (slots.held.attempts, slots.async_serving) == ({}, 0)
    slots.take([nap(2)], ASYNC_START_S)
    assert slots.held.attempts == {}
    assert slots.has_dropped, "so the leader is told"


def test_an_async_worker_has_as_many_as_it_has_room_for_and_the_others_none_of_them() -> None:
    slots = slots_with(b"w")
    slots.take([nap(number) for number in range(5)] + [task(10), task(11)], 0.0)
    assert given(slots, 0.0) == {b"w": [0, 1, 2], b"v": [10]}
    slots.done(b"w", [(tid(1), 1, DONE, b"", 10)], 0.1)
    assert given(slots, 0.1) == {b"w": [3]}
    slots.done(b"v", [(tid(10), 1, DONE, b"", 10)], 0.1)
    assert given(slots, 0.1) == {b"v": [11]}, "nothing of the other kind stands before it"


def test_with_one_slot_async_tasks_run_as_others() -> None:
    slots = Slots(async_slots=1)
    slots.learn_async(NAMES, ("nap",))
    slots.worker_ready(b"v", NAMES)
    slots.take([nap(1)], 0.0)
    assert (slots.has_async_tasks, given(slots, 0.0)) == (False, {b"v": [1]})


def test_one_that_is_to_run_alone_does_so_in_a_plain_worker() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1, {"alone": 1}), nap(2)], 0.0)
    assert given(slots, 0.0) == {b"v": [1], b"w": [2]}


def test_when_an_async_worker_dies_what_it_had_begun_is_lost_and_the_rest_waits_again() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1), nap(2), nap(3)], 0.0)
    given(slots, 0.0)
    slots.done(b"w", [(tid(1), 1, DONE, b"", 10)], 0.1)
    slots.worker_ready(b"x", NAMES, in_place_of=b"w")
    assert slots.worker_lost(b"w", begun=2) == [(tid(2), 1)]
    assert given(slots, 0.2) == {b"x": [3]}


def test_if_it_ended_just_as_one_ran_that_one_is_lost_and_the_others_begin_again_as_the_same_attempt() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1), nap(2), nap(3, {"delivery": AT_MOST_ONCE})], 0.0)
    given(slots, 0.0)
    slots.worker_ready(b"x", NAMES, in_place_of=b"w")
    assert slots.worker_lost(b"w", begun=3, blamed=2) == [(tid(2), 1), (tid(3), 1)], "the last may start only once"
    assert slots.assign(0.2) == [(b"x", (nap(1),))]


@pytest.mark.parametrize("blamed", [0, 1, 7, 1 << 63])
def test_whoever_else_is_blamed_all_that_it_had_begun_is_lost(blamed: int) -> None:
    """Number 1 has ended. Whatever a worker says, it runs user code."""
    slots = slots_with(b"w")
    slots.take([nap(1), nap(2), nap(3)], 0.0)
    given(slots, 0.0)
    slots.done(b"w", [(tid(1), 1, DONE, b"", 10)], 0.1)
    assert slots.worker_lost(b"w", begun=3, blamed=blamed) == [(tid(2), 1), (tid(3), 1)]


def test_arguments_are_kept_up_to_a_bound_and_what_is_beyond_it_loses_an_attempt() -> None:
    large = 40 << 20
    slots = slots_with(b"w")
    slots.take([(tid(number), 1, "nap", bytes(large), None) for number in (1, 2)], 0.0)
    given(slots, 0.0)
    assert slots.async_workers[b"w"].kept_bytes == large
    slots.take([nap(3)], 0.0)
    given(slots, 0.0)
    slots.worker_ready(b"x", NAMES, in_place_of=b"w")
    assert slots.worker_lost(b"w", begun=3, blamed=3) == [(tid(2), 1), (tid(3), 1)]
    assert given(slots, 0.1) == {b"x": [1]}
    slots.done(b"x", [(tid(1), 1, DONE, b"", 10)], 0.2)
    assert slots.async_workers[b"x"].kept_bytes == 0


def test_with_its_last_async_worker_a_node_gives_up_what_waits_for_one_and_nothing_else() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1), nap(2), nap(3), nap(4), task(10), task(11)], 0.0)
    given(slots, 0.0)
    slots.worker_lost(b"w", begun=3)
    assert slots.held.attempts.keys() == {tid(1), tid(2), tid(3), tid(10), tid(11)}
    assert (slots.serving, slots.async_serving, slots.waiting) == (1, 0, 1)


def test_what_is_over_its_limit_is_cancelled_first_and_has_timed_out_though_the_worker_lives() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1, {"time_limit": 500}), nap(2)], 0.0)
    given(slots, 0.0)
    assert (slots.take_over_limit(0.5), slots.to_cancel) == ([], [(b"w", tid(1))])
    ((_, _, end, _, _),) = slots.done(b"w", [(tid(1), 1, CANCELLED, STOPPED, 10)], 0.6)
    assert (end, slots.accused, slots.limits.next_at) == (TaskEnd.TIMED_OUT, {}, float("inf"))


@pytest.mark.parametrize(("options", "answer", "end"), [
    ({}, (DONE, b"value"), DONE),
    ({}, (int(TaskEnd.FAILED), b"error"), int(TaskEnd.TIMED_OUT)),
    ({"retries": 1}, (CANCELLED, STOPPED), MAY_RETRY),
])  # fmt: skip
def test_a_value_counts_that_it_returned_all_the_same_and_nothing_else(
    options: Options, answer: tuple[int, bytes], end: int
) -> None:
    slots = slots_with(b"w")
    slots.take([nap(1, {"time_limit": 500, **options})], 0.0)
    given(slots, 0.0)
    slots.take_over_limit(0.5)
    assert [each[2] for each in slots.done(b"w", [(tid(1), 1, *answer, 10)], 0.6)] == [end]


def test_one_that_goes_on_has_its_worker_killed_and_the_others_begin_again_as_the_same_attempt() -> None:
    slots = slots_with(b"w")
    once: Options = {"delivery": AT_MOST_ONCE}
    slots.take([nap(1, {"time_limit": 500}), nap(2), nap(3, once)], 0.0)
    given(slots, 0.0)
    slots.take_over_limit(0.5)
    over_at = 0.5 + ASYNC_GRACE_S
    assert slots.take_over_limit(over_at - 0.01) == []
    ((worker_id, limited),) = slots.take_over_limit(over_at)
    assert (worker_id, limited.task_id, "time_limit" in limited.why) == (b"w", tid(1), True)
    killed = slots.limits.worker_lost(b"w")
    assert killed is limited
    slots.worker_ready(b"x", NAMES, in_place_of=b"w")
    assert slots.worker_lost(b"w", 3, limited.outcome(over_at), over_at) == [(tid(3), 1)], "that may start only once"
    assert [each[:3] for each in slots.ended] == [(tid(1), 1, TaskEnd.TIMED_OUT)]
    assert slots.assign(over_at) == [(b"x", (nap(2),))]


def test_one_worker_is_killed_once_and_of_two_over_their_limits_neither_is_lost() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1, {"time_limit": 500}), nap(2, {"time_limit": 500})], 0.0)
    given(slots, 0.0)
    slots.take_over_limit(0.5)
    over_at = 0.5 + ASYNC_GRACE_S
    ((_, limited),) = slots.take_over_limit(over_at)
    assert slots.worker_lost(b"w", 2, limited.outcome(over_at), over_at) == []
    assert sorted(each[:3] for each in slots.ended) == [(tid(n), 1, TaskEnd.TIMED_OUT) for n in (1, 2)]


def test_a_request_to_stop_names_one_task_and_is_made_once() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1), nap(2)], 0.0)
    given(slots, 0.0)
    for _ in range(2):
        assert slots.stop([(tid(2), 1)], 0.1) == ((), (tid(2),))
        slots.review(0.2)
    assert (slots.to_cancel, slots.to_stop) == ([(b"w", tid(2))], [])
    assert [each[2] for each in slots.done(b"w", [(tid(2), 1, CANCELLED, STOPPED, 10)], 0.3)] == [CANCELLED]
    slots.done(b"w", [(tid(1), 1, CANCELLED, STOPPED, 10)], 0.3)
    assert slots.accused, "nobody had asked the other one to stop"


def test_a_worker_that_leaves_is_given_nothing_has_a_successor_at_once_and_goes_when_all_is_done() -> None:
    slots = slots_with(b"w", max_tasks=2)
    slots.take([nap(1), nap(2), nap(3)], 0.0)
    assert (given(slots, 0.0), slots.async_serving) == ({b"w": [1, 2]}, 2)
    assert (slots.to_succeed(), slots.take_left()) == ([b"w"], [])
    slots.worker_ready(b"x", NAMES)
    assert (given(slots, 0.1), slots.async_serving) == ({b"x": [3]}, 2 + ROOM)
    slots.done(b"w", [(tid(2), 1, DONE, b"", 10), (tid(1), 1, DONE, b"", 10)], 0.2)
    assert [worker for worker, _ in slots.take_left()] == [b"w"]


def test_a_later_attempt_waits_for_the_end_of_the_one_that_runs_and_keeps_nobody() -> None:
    """The node was not heard for a while, so that its leader counted the first attempt as lost."""
    slots = slots_with(b"w")
    slots.take([nap(1)], 0.0)
    given(slots, 0.0)
    slots.take([(tid(1), 2, "nap", b"", None), nap(2)], 1.0)
    assert given(slots, 1.0) == {b"w": [2]}
    ended = slots.done(b"w", [(tid(1), 1, DONE, b"", 10)], 1.1)
    assert ([each[:3] for each in ended], slots.accused) == ([(tid(1), 1, DONE)], {})
    assert slots.assign(1.2) == [(b"w", ((tid(1), 2, "nap", b"", None),))]


def reloaded(names: tuple[str, ...], async_names: tuple[str, ...]) -> Slots:
    """The plain worker has these names by now, and the async one those of before."""
    slots = slots_with(b"w")
    slots.take([nap(1)], 0.0)
    given(slots, 0.0)
    slots.learn_async(names, async_names)
    slots.worker_ready(b"y", names)
    slots.leave(b"v", "the modules are reloaded")
    assert [worker for worker, _ in slots.take_left()] == [b"v"]
    slots.leave(b"w", "the modules are reloaded")
    return slots


def test_a_task_of_a_name_that_the_modules_have_no_more_keeps_no_other_waiting_and_goes_back() -> None:
    slots = reloaded(("add", "doze"), ("doze",))
    slots.worker_ready(b"x", ("add", "doze"))
    slots.take([nap(2), task(3, None, "doze")], 0.1)
    assert given(slots, 0.1) == {b"x": [3]}
    assert slots.has_dropped, "the next account says so"
    assert tid(2) not in slots.held.attempts
    slots.done(b"w", [(tid(1), 1, DONE, b"", 10)], 0.2)
    assert [worker for worker, _ in slots.take_left()] == [b"w"]
    assert (given(slots, 0.3), slots.given_back) == ({}, [])


def test_the_last_async_worker_goes_once_no_name_is_async_any_more_and_what_waits_runs_as_others() -> None:
    slots = slots_with(b"w")
    slots.take([nap(number) for number in range(4)], 0.0)
    given(slots, 0.0)
    slots.learn_async(NAMES, ())
    slots.leave(b"w", "the modules are reloaded")
    assert given(slots, 0.1) == {b"v": [3]}
    slots.done(b"w", [(tid(number), 1, DONE, b"", 10) for number in range(3)], 0.2)
    assert [worker for worker, _ in slots.take_left()] == [b"w"]
    assert slots.serving == 1


def test_an_async_worker_can_not_keep_others_waiting_by_saying_that_it_cleans_up() -> None:
    slots = slots_with(b"w")
    slots.take([nap(1)], 0.0)
    given(slots, 0.0)
    assert slots.cleans_up(b"w", [(tid(1), 1, DONE, b"", 10)], 0.1) == []
    assert slots.accused.keys() == {b"w"}


@pytest.mark.parametrize("level", [ASYNC_LEVEL - 1, ASYNC_LEVEL])
def test_an_older_leader_is_told_of_the_slots_alone(level: int) -> None:
    link = LeaderLink(Settings(cluster_name="test", async_slots=ROOM), 1, own_id="b")
    link.level_of = lambda node_id: level
    link.slots.learn_async(NAMES, ("nap",))
    link.worker_ready(b"v", NAMES)
    link.on_beat("a", Beat(1, 0, 0, 0), 0.0)
    *_, account = [each for each in link.outbox if isinstance(each, EnrolWithDefaults | EnrolWithAsync)]
    assert (account.slots, account.names) == (1, NAMES)
    if level < ASYNC_LEVEL:
        assert isinstance(account, EnrolWithDefaults)
    else:
        assert isinstance(account, EnrolWithAsync)
        assert (account.async_slots, account.async_names) == (ROOM, ("nap",))


def test_a_task_that_ends_its_async_worker_is_told_as_lost_with_all_that_it_had_begun() -> None:
    link = LeaderLink(Settings(cluster_name="test", async_slots=ROOM), 1, own_id="b")
    link.slots.learn_async(NAMES, ("nap",))
    link.worker_ready(b"v", NAMES)
    link.on_beat("a", Beat(1, 0, 0, 0), 0.0)
    link.slots.take([nap(1), nap(2)], 0.0)
    link.worker_ready(b"w", NAMES)
    link.assign(0.0)
    link.outbox.clear()
    link.worker_lost(b"w", "killed by SIGSEGV", 1.0, begun=2)
    ended = [outcome for each in link.outbox if isinstance(each, UnrecordedBatch) for outcome in each.items]
    assert [each[:4] for each in ended] == [(tid(n), 1, TaskEnd.LOST, b"killed by SIGSEGV") for n in (1, 2)]


def test_while_no_async_worker_is_there_the_leader_is_told_once_more_of_each_task_for_one_and_of_no_other() -> None:
    link = LeaderLink(Settings(cluster_name="test", async_slots=ROOM), 1, own_id="b")
    link.slots.learn_async(NAMES, ("nap",))
    link.worker_ready(b"v", NAMES)
    link.on_beat("a", Beat(1, 0, 0, 0), 0.0)
    link.slots.take([nap(1)], 0.0)
    link.worker_ready(b"w", NAMES)
    link.worker_lost(b"w", "signal 9", 0.1, begun=0)
    seq, link.outbox = link._dispatch_seq, []
    link.on_dispatch("a", Dispatch(1, seq + 1, (task(2),)), 0.2)
    assert link.outbox == []
    link.on_dispatch("a", Dispatch(1, seq + 2, (nap(3),)), 0.2)
    assert len(link.outbox) == 1
    assert link.slots.held.attempts.keys() == {tid(2)}
