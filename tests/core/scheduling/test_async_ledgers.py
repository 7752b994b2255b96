"""What a leader gives to nodes that run many tasks at once in a worker: as many as those have places for, of each kind
whatever it gives of the other."""

from __future__ import annotations

from core.scheduling.test_dispatch import admit, make, numbers
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import ALONE_AFTER_LOSSES, LiveTasks
from paceline.core.state.task import Task
from paceline_protocol.messages.records import TaskEnd

NAMES = ["add", "nap"]
LIMIT = 5


def cluster(async_slots: int = 3, slots: int = 1) -> tuple[LiveTasks, Dispatcher]:
    live = LiveTasks()
    live.settle()
    live.enrol("a", slots, NAMES, async_slots=async_slots, async_names=["nap"])
    return live, Dispatcher(live)


def lose(live: LiveTasks, task: Task) -> None:
    assert live.lose_attempt(task, LIMIT, 1.0)
    live.check()


def test_a_node_holds_as_many_as_its_workers_run_at_once_and_none_that_stands_by() -> None:
    live, dispatcher = cluster()
    for _ in range(20):
        dispatcher.durations.observe("nap", 5)  # however short they are
    naps = admit(live, 10, "nap")
    assert numbers(dispatcher) == {"a async": [0, 1, 2]}
    assert numbers(dispatcher) == {}
    live.finish(naps[1].id, TaskEnd.SUCCEEDED)
    assert numbers(dispatcher) == {"a async": [3]}
    live.check()


def test_a_flood_of_one_kind_leaves_the_other_its_slots() -> None:
    for flood, other, expected in (("nap", "add", {"a": [1000]}), ("add", "nap", {"a async": [1000, 1001, 1002]})):
        live, dispatcher = cluster()
        admit(live, 1_000, flood)
        numbers(dispatcher)
        admit(live, 3, other)
        assert numbers(dispatcher) == expected
        live.check()


def test_names_that_another_node_runs_one_at_a_time_go_to_both() -> None:
    live, dispatcher = cluster()
    live.enrol("b", 1, ["nap"])
    admit(live, 10, "nap")
    given = numbers(dispatcher)
    assert (len(given["a async"]), len(given["b"])) == (3, 1)


def test_tasks_wait_while_the_worker_for_them_is_replaced_and_the_name_is_known() -> None:
    live, dispatcher = cluster(async_slots=0)
    admit(live, 2, "nap")
    assert (numbers(dispatcher), live.is_unknown("nap"), live.unserved_by_name()) == ({}, False, {})
    live.enrol("a", 1, NAMES, async_slots=3, async_names=["nap"])
    assert numbers(dispatcher) == {"a async": [0, 1]}


def test_a_node_that_goes_takes_both_kinds_with_it() -> None:
    live, dispatcher = cluster()
    tasks = [*admit(live, 1, "nap"), *admit(live, 1, "add")]
    numbers(dispatcher)
    assert sorted(ledger.key for ledger in live.ledgers_of("a") if ledger.held) == ["a", "a async"]
    for task in tasks:
        live.give_back(task, 1.0)
    live.remove_node("a")
    assert (live.all_ledgers(), numbers(dispatcher)) == ([], {})
    live.check()


def test_what_a_node_already_has_is_put_where_it_runs() -> None:
    live, _dispatcher = cluster()
    nap, add = make(1, "nap"), make(2, "add")
    for task in (nap, add):
        live.recover(task, 0, 0.0)
        live.adopt(task, "a", 1, 10)
    assert ({*live.async_ledgers["a"].held}, {*live.ledgers["a"].held}) == ({nap.id}, {add.id})
    live.check()


def test_what_has_lost_several_attempts_runs_alone_in_the_slot_of_another_task() -> None:
    live, dispatcher = cluster()
    (nap,) = admit(live, 1, "nap")
    for losses in range(1, ALONE_AFTER_LOSSES + 2):
        (where,) = numbers(dispatcher)
        assert where == ("a async" if losses <= ALONE_AFTER_LOSSES else "a")
        lose(live, nap)
    assert (live.waiting_of("nap"), live.dispatchable, live.waiting) == (1, 1, 1)
    live.finish(nap.id, TaskEnd.CANCELLED)
    live.check()


def test_so_does_what_a_leader_before_knew_to_have_lost_them() -> None:
    live, dispatcher = cluster()
    waits, runs = make(1, "nap"), make(2, "nap")
    for task in (waits, runs):
        live.recover(task, ALONE_AFTER_LOSSES, 0.0)
    live.check()
    live.adopt(runs, "a", ALONE_AFTER_LOSSES + 1, 10)
    assert {*live.ledgers["a"].held} == {runs.id}
    live.finish(runs.id, TaskEnd.SUCCEEDED)
    assert numbers(dispatcher) == {"a": [1]}
    live.check()
