"""Which task goes to which node, and what its ledger says."""

from __future__ import annotations

from paceline.core.measures.durations import HOP_US
from paceline.core.scheduling.credits import LONG_US, LOSSES_IN_A_ROW, OVERDUE_S, SPARE_TIME_US
from paceline.core.scheduling.dispatch import TOGETHER_US, Dispatcher
from paceline.core.scheduling.lanes import SWEEP_TASKS
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.task import State, Task
from paceline_protocol.messages.records import TaskEnd

SPARED_US = LONG_US // 2
"""Of tasks that are not short, and behind which a spare one may stand."""


def make(number: int, name: str = "add", priority: int = 4) -> Task:
    return Task((number.to_bytes(16, "big"), name, priority, b"", None))


def admit(live: LiveTasks, count: int, name: str = "add", now: float = 0.0) -> list[Task]:
    first = len(live.live)
    tasks = [make(first + number, name) for number in range(count)]
    for task in tasks:
        live.admit(task, now)
    return tasks


def numbers(dispatcher: Dispatcher) -> dict[str, list[int]]:
    """One round of dispatch, as task numbers by node."""
    return {
        node_id: [int.from_bytes(task.id, "big") for task in given]
        for node_id, given in sorted(dispatcher.dispatch(0.0).by_ledger.items())
    }


def test_a_node_holds_its_slots_and_half_as_many_spare_tasks() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("add", SPARED_US)
    live.enrol("a", 4, ["add"])
    admit(live, 10)
    assert numbers(dispatcher) == {"a": [0, 1, 2, 3, 4, 5]}
    assert numbers(dispatcher) == {}
    assert live.dispatchable == 4


def test_nothing_is_given_to_stand_behind_long_tasks_or_those_of_unknown_length() -> None:
    for known_us in (None, LONG_US, 100 * LONG_US):
        live = LiveTasks()
        dispatcher = Dispatcher(live)
        dispatcher.durations.observe("add", 5)
        if known_us is not None:
            dispatcher.durations.observe("long", known_us)
        for node_id in ("a", "b"):
            live.enrol(node_id, 2, ["add", "long"])
        admit(live, 3, "long")
        assert numbers(dispatcher) == {"a": [0, 2], "b": [1]}
        admit(live, 100, "add")
        given = numbers(dispatcher)
        assert list(given) == ["b"], "a has a long one in each slot"
        assert len(given["b"]) == 2, "and b a spare one beside those, as one of its workers is free for short ones"


def test_what_has_waited_at_its_node_too_long_is_overdue_and_the_node_gets_no_other_before_a_task_ends_there() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("add", 5)
    ledger = live.enrol("a", 2, ["add"])
    tasks = admit(live, 6)
    dispatcher.dispatch(1.0)
    assert len(ledger.held) == 6
    assert ledger.overdue(1.0 + OVERDUE_S / 2) == []
    assert ledger.overdue(1.0 + OVERDUE_S) == tasks, "which two its workers have begun is not known here"
    for task in tasks[2:]:
        live.give_back(task, 2.0)
    assert numbers(dispatcher) == {}
    live.finish(tasks[0].id, TaskEnd.SUCCEEDED)
    ledger.task_ended()
    assert numbers(dispatcher) == {"a": [2, 3, 4, 5]}
    live.check()


def test_short_tasks_travel_in_batches_up_to_the_spare_time() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("add", 80)
    live.enrol("a", 1, ["add"])
    admit(live, 100)
    assert len(numbers(dispatcher)["a"]) == SPARE_TIME_US // (80 + HOP_US)


def test_the_least_loaded_node_is_given_the_next_task_and_ties_go_by_id() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("b", 2, ["add"])
    live.enrol("a", 4, ["add"])
    admit(live, 6)
    assert numbers(dispatcher) == {"a": [0, 2, 3, 5], "b": [1, 4]}


def test_short_tasks_are_dealt_out_in_shares_and_long_ones_one_by_one() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("short", 250)
    for node_id, slots in (("a", 1), ("b", 2), ("c", 1)):
        live.enrol(node_id, slots, ["short", "long"])
    admit(live, 8, "short")
    assert numbers(dispatcher) == {"a": [0, 1], "b": [2, 3, 4, 5], "c": [6, 7]}
    for number in range(8):
        live.finish(number.to_bytes(16, "big"), TaskEnd.SUCCEEDED)
    dispatcher.durations.observe("long", SPARED_US)
    admit(live, 6, "long")
    assert numbers(dispatcher) == {"a": [0, 4], "b": [1, 3, 5], "c": [2]}


def test_what_takes_no_longer_than_a_hop_goes_to_one_node() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("short", TOGETHER_US // 4 - HOP_US)
    for node_id in ("a", "b"):
        live.enrol(node_id, 1, ["short"])
    admit(live, 5, "short")
    assert numbers(dispatcher) == {"a": [0, 1, 2, 3], "b": [4]}


def test_a_task_goes_only_to_nodes_that_know_its_name() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    live.enrol("b", 1, ["gpu"])
    admit(live, 1, "gpu")
    assert numbers(dispatcher) == {"b": [0]}


def test_a_full_lane_does_not_hold_up_another() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["gpu"])
    live.enrol("b", 1, ["add"])
    admit(live, 4, "gpu")
    admit(live, 1, "add")
    assert numbers(dispatcher) == {"a": [0], "b": [4]}


def test_of_two_lanes_of_one_node_the_older_task_goes_first() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 2, ["add", "gpu"])
    live.enrol("b", 1, ["add"])
    for number, name in enumerate(["gpu", "add", "gpu", "add", "gpu"]):
        live.admit(make(number, name), 0.0)
    assert numbers(dispatcher) == {"a": [0, 2], "b": [1]}


def test_a_node_without_workers_is_given_nothing() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 0, ["add"])
    admit(live, 1)
    assert numbers(dispatcher) == {}
    live.enrol("a", 1, ["add"])
    assert numbers(dispatcher) == {"a": [0]}


def test_a_task_that_lost_an_attempt_is_charged_as_a_long_one() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("add", 1)
    live.enrol("a", 1, ["add"])
    tasks = admit(live, 3)
    dispatcher.dispatch(0.0)
    live.lose_attempt(tasks[0], 5, 0.0)
    assert numbers(dispatcher) == {}, "the node still has two short ones"
    for task in tasks[1:]:
        live.finish(task.id, TaskEnd.SUCCEEDED)
    assert numbers(dispatcher) == {"a": [0]}


def test_an_ended_task_gives_its_credit_back() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("add", SPARED_US)
    ledger = live.enrol("a", 1, ["add"])
    tasks = admit(live, 3)
    dispatcher.dispatch(0.0)
    live.finish(tasks[0].id, TaskEnd.SUCCEEDED)
    assert numbers(dispatcher) == {"a": [2]}
    live.finish(tasks[1].id, TaskEnd.FAILED)
    live.finish(tasks[2].id, TaskEnd.SUCCEEDED)
    assert (ledger.cost_us, ledger.held, live.live, live.live_bytes) == (0, {}, {}, 0)
    assert live.finish(tasks[0].id, TaskEnd.SUCCEEDED) is None


def test_a_task_that_is_given_back_keeps_its_attempt_and_its_place() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    tasks = admit(live, 3)
    dispatcher.dispatch(0.0)
    live.give_back(tasks[0], 0.0)
    assert tasks[0].attempt == 1
    assert numbers(dispatcher) == {"a": [0]}


def test_what_loses_a_second_attempt_waits_behind_all_others() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    first, *_ = admit(live, 3)
    dispatcher.dispatch(0.0)
    assert live.lose_attempt(first, 5, 0.0)
    assert numbers(dispatcher) == {"a": [0]}, "it may have been an accident"
    assert live.lose_attempt(first, 5, 0.0)
    for number in (1, 2, 0):
        assert numbers(dispatcher) == {"a": [number]}
        live.finish(number.to_bytes(16, "big"), TaskEnd.SUCCEEDED)
    live.check()


def test_a_node_on_which_all_tasks_crash_is_given_one_only_if_no_other_has_credit() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    broken, _ = live.enrol("a", 1, ["add"]), live.enrol("b", 2, ["add"])
    for _ in range(LOSSES_IN_A_ROW):
        broken.task_ended(losses=1)
    admit(live, 3)
    assert numbers(dispatcher) == {"a": [2], "b": [0, 1]}
    live.finish((2).to_bytes(16, "big"), TaskEnd.SUCCEEDED)
    broken.task_ended()
    live.finish((0).to_bytes(16, "big"), TaskEnd.SUCCEEDED)
    admit(live, 1)
    assert list(numbers(dispatcher)) == ["a"]


def test_the_last_attempt_that_is_lost_is_not_made_ready_again() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    (task,) = admit(live, 1)
    dispatcher.dispatch(0.0)
    assert live.lose_attempt(task, 2, 0.0)
    assert task.attempt == 2
    dispatcher.dispatch(0.0)
    assert not live.lose_attempt(task, 2, 0.0)
    live.finish(task.id, TaskEnd.LOST)
    assert task.state == State.LOST
    assert not live.ledgers["a"].held


def test_a_recovered_task_waits_until_a_node_claims_it_or_all_have_spoken() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    recovered = [make(0), make(1)]
    for task in recovered:
        live.recover(task, 0, 0.0)
    live.enrol("a", 2, ["add"])
    assert numbers(dispatcher) == {}
    live.adopt(recovered[1], "a", 3, 1)
    assert (recovered[1].state, recovered[1].attempt) == (State.DISPATCHED, 3)
    live.settle()
    assert live.dispatchable == 1
    assert numbers(dispatcher) == {"a": [0]}


def test_recovered_tasks_run_before_those_that_were_admitted_meanwhile() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.recover(make(0), 0, 0.0)
    live.admit(make(1), 0.0)
    live.settle()
    live.enrol("a", 2, ["add"])
    assert numbers(dispatcher) == {"a": [0, 1]}
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 2, ["add"])
    live.recover(make(0), 0, 0.0)
    live.admit(make(1), 0.0)
    live.settle()
    assert numbers(dispatcher) == {"a": [0, 1]}


def test_a_recovered_task_brings_nothing_along_from_an_earlier_term() -> None:
    task = make(0)
    task.state = State.DISPATCHED
    task.node, task.sent_seq, task.attempt = "a", 70, 9
    live = LiveTasks()
    live.recover(task, 1, 0.0)
    assert (task.state, task.node, task.sent_seq, task.attempt) == (State.RECOVERED, "", 0, 2)


def test_an_old_attempt_that_is_adopted_does_not_start_the_count_anew() -> None:
    live = LiveTasks()
    task = make(0)
    live.recover(task, 3, 0.0)
    live.enrol("a", 1, ["add"])
    live.adopt(task, "a", 1, 1)
    assert task.attempt == 1
    assert live.lose_attempt(task, 5, 0.0)
    assert task.attempt == 4, "it was one of the three"


def test_tasks_that_end_while_they_wait_do_not_pile_up_behind_one_that_stays() -> None:
    live = LiveTasks()
    admit(live, 1)
    for number in range(3 * SWEEP_TASKS):
        task = make(1_000_000 + number)
        live.admit(task, 0.0)
        live.finish(task.id, TaskEnd.CANCELLED)
    live.check()
    lanes = live.queues.default.ready._lanes
    assert sum(len(queue) for lane in lanes for queue in lane._queues) <= SWEEP_TASKS + 1
    assert live.dispatchable == 1


def test_of_equally_loaded_nodes_the_leaders_own_comes_first_then_the_others_by_id() -> None:
    live = LiveTasks(own_id="b")
    dispatcher = Dispatcher(live)
    for node_id in ("a", "b", "c"):
        live.enrol(node_id, 1, ["add"])
    admit(live, 3)
    given = dispatcher.dispatch(0.0).by_ledger
    assert [int.from_bytes(given[node_id][0].id, "big") for node_id in ("b", "a", "c")] == [0, 1, 2]
