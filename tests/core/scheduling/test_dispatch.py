"""Which task goes to which node, and what its ledger says."""

from __future__ import annotations

from paceline.core.measures.durations import HOP_US
from paceline.core.scheduling.credits import SPARE_TIME_US
from paceline.core.scheduling.dispatch import SWEEP_TASKS, TOGETHER_US, Dispatcher
from paceline.core.state.task import Event, State, Task


def make(number: int, name: str = "add", priority: int = 4) -> Task:
    return Task((number.to_bytes(16, "big"), name, priority, b"", None))


def admit(dispatcher: Dispatcher, count: int, name: str = "add") -> list[Task]:
    first = len(dispatcher.live)
    tasks = [make(first + number, name) for number in range(count)]
    for task in tasks:
        dispatcher.admit(task)
    return tasks


def numbers(dispatcher: Dispatcher) -> dict[str, list[int]]:
    """One round of dispatch, as task numbers by node."""
    return {
        node_id: [int.from_bytes(assignment[0], "big") for assignment in given]
        for node_id, given in sorted(dispatcher.dispatch().items())
    }


def waiting_in_lanes(dispatcher: Dispatcher) -> int:
    return sum(
        task.state is State.READY for lane in dispatcher.ready._lanes for queue in lane._queues for task in queue
    )


def test_a_node_holds_its_slots_and_half_as_many_spare_tasks_of_unknown_length() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 4, ["add"])
    admit(dispatcher, 10)
    assert numbers(dispatcher) == {"a": [0, 1, 2, 3, 4, 5]}
    assert numbers(dispatcher) == {}
    assert dispatcher.ready_tasks == 4


def test_short_tasks_travel_in_batches_up_to_the_spare_time() -> None:
    dispatcher = Dispatcher()
    dispatcher.durations.observe("add", 80)
    dispatcher.enrol("a", 1, ["add"])
    admit(dispatcher, 100)
    assert len(numbers(dispatcher)["a"]) == SPARE_TIME_US // (80 + HOP_US)


def test_the_least_loaded_node_is_given_the_next_task_and_ties_go_by_id() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("b", 2, ["add"])
    dispatcher.enrol("a", 4, ["add"])
    admit(dispatcher, 6)
    assert numbers(dispatcher) == {"a": [0, 2, 3, 5], "b": [1, 4]}


def test_short_tasks_are_dealt_out_in_shares_and_long_ones_one_by_one() -> None:
    dispatcher = Dispatcher()
    dispatcher.durations.observe("short", 250)
    for node_id, slots in (("a", 1), ("b", 2), ("c", 1)):
        dispatcher.enrol(node_id, slots, ["short", "long"])
    admit(dispatcher, 8, "short")
    assert numbers(dispatcher) == {"a": [0, 1], "b": [2, 3, 4, 5], "c": [6, 7]}
    for number in range(8):
        dispatcher.finish(number.to_bytes(16, "big"), Event.SUCCEED)
    admit(dispatcher, 6, "long")
    assert numbers(dispatcher) == {"a": [0, 4], "b": [1, 3, 5], "c": [2]}


def test_what_takes_no_longer_than_a_hop_goes_to_one_node() -> None:
    dispatcher = Dispatcher()
    dispatcher.durations.observe("short", TOGETHER_US // 4 - HOP_US)
    for node_id in ("a", "b"):
        dispatcher.enrol(node_id, 1, ["short"])
    admit(dispatcher, 5, "short")
    assert numbers(dispatcher) == {"a": [0, 1, 2, 3], "b": [4]}


def test_a_task_goes_only_to_nodes_that_know_its_name() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 1, ["add"])
    dispatcher.enrol("b", 1, ["gpu"])
    admit(dispatcher, 1, "gpu")
    assert numbers(dispatcher) == {"b": [0]}


def test_a_full_lane_does_not_hold_up_another() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 1, ["gpu"])
    dispatcher.enrol("b", 1, ["add"])
    admit(dispatcher, 4, "gpu")
    admit(dispatcher, 1, "add")
    assert numbers(dispatcher) == {"a": [0, 1], "b": [4]}


def test_of_two_lanes_of_one_node_the_older_task_goes_first() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 2, ["add", "gpu"])
    dispatcher.enrol("b", 1, ["add"])
    for number, name in enumerate(["gpu", "add", "gpu", "add", "gpu"]):
        dispatcher.admit(make(number, name))
    assert numbers(dispatcher) == {"a": [0, 2, 3], "b": [1]}


def test_a_node_without_workers_is_given_nothing() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 0, ["add"])
    admit(dispatcher, 1)
    assert numbers(dispatcher) == {}
    dispatcher.enrol("a", 1, ["add"])
    assert numbers(dispatcher) == {"a": [0]}


def test_a_task_that_lost_an_attempt_is_charged_as_a_long_one() -> None:
    dispatcher = Dispatcher()
    dispatcher.durations.observe("add", 1)
    dispatcher.enrol("a", 1, ["add"])
    tasks = admit(dispatcher, 3)
    dispatcher.dispatch()
    dispatcher.lost_attempt(tasks[0], 5)
    assert numbers(dispatcher) == {}, "the node still has two short ones"
    for task in tasks[1:]:
        dispatcher.finish(task.id, Event.SUCCEED)
    assert numbers(dispatcher) == {"a": [0]}


def test_an_ended_task_gives_its_credit_back() -> None:
    dispatcher = Dispatcher()
    ledger = dispatcher.enrol("a", 1, ["add"])
    tasks = admit(dispatcher, 3)
    dispatcher.dispatch()
    dispatcher.finish(tasks[0].id, Event.SUCCEED)
    assert numbers(dispatcher) == {"a": [2]}
    dispatcher.finish(tasks[1].id, Event.FAIL)
    dispatcher.finish(tasks[2].id, Event.SUCCEED)
    assert (ledger.cost_us, ledger.held, dispatcher.live, dispatcher.live_bytes) == (0, {}, {}, 0)
    assert dispatcher.finish(tasks[0].id, Event.SUCCEED) is None


def test_a_task_that_is_given_back_keeps_its_attempt_and_its_place() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 1, ["add"])
    tasks = admit(dispatcher, 3)
    dispatcher.dispatch()
    dispatcher.give_back(tasks[0])
    assert tasks[0].attempt == 1
    assert numbers(dispatcher) == {"a": [0]}


def test_the_last_attempt_that_is_lost_is_not_made_ready_again() -> None:
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 1, ["add"])
    (task,) = admit(dispatcher, 1)
    dispatcher.dispatch()
    assert dispatcher.lost_attempt(task, 2)
    assert task.attempt == 2
    dispatcher.dispatch()
    assert not dispatcher.lost_attempt(task, 2)
    dispatcher.finish(task.id, Event.GIVE_UP)
    assert task.state is State.LOST
    assert not dispatcher.ledgers["a"].held


def test_a_recovered_task_waits_until_a_node_claims_it_or_all_have_spoken() -> None:
    dispatcher = Dispatcher()
    recovered = [make(0), make(1)]
    for task in recovered:
        dispatcher.recover(task)
    dispatcher.enrol("a", 2, ["add"])
    assert numbers(dispatcher) == {}
    dispatcher.adopt(recovered[1], "a", 3)
    assert (recovered[1].state, recovered[1].attempt) == (State.DISPATCHED, 3)
    dispatcher.settle()
    assert dispatcher.ready_tasks == 1
    assert numbers(dispatcher) == {"a": [0]}


def test_recovered_tasks_run_before_those_that_were_admitted_meanwhile() -> None:
    dispatcher = Dispatcher()
    dispatcher.recover(make(0))
    dispatcher.admit(make(1))
    dispatcher.settle()
    dispatcher.enrol("a", 2, ["add"])
    assert numbers(dispatcher) == {"a": [0, 1]}
    dispatcher = Dispatcher()
    dispatcher.enrol("a", 2, ["add"])
    dispatcher.recover(make(0))
    dispatcher.admit(make(1))
    dispatcher.settle()
    assert numbers(dispatcher) == {"a": [0, 1]}


def test_a_recovered_task_brings_nothing_along_from_an_earlier_term() -> None:
    task = make(0)
    task.move(Event.DISPATCH)
    task.node, task.sent_seq, task.attempt = "a", 70, 9
    dispatcher = Dispatcher()
    dispatcher.recover(task, lost_attempts=1)
    assert (task.state, task.node, task.sent_seq, task.attempt) == (State.RECOVERED, "", 0, 2)


def test_an_old_attempt_that_is_adopted_does_not_start_the_count_anew() -> None:
    dispatcher = Dispatcher()
    task = make(0)
    dispatcher.recover(task, lost_attempts=3)
    dispatcher.enrol("a", 1, ["add"])
    dispatcher.adopt(task, "a", 1)
    assert task.attempt == 1
    assert dispatcher.lost_attempt(task, 5)
    assert task.attempt == 4, "it was one of the three"


def test_tasks_that_end_while_they_wait_do_not_pile_up_behind_one_that_stays() -> None:
    dispatcher = Dispatcher()
    admit(dispatcher, 1)
    for number in range(3 * SWEEP_TASKS):
        task = make(1_000_000 + number)
        dispatcher.admit(task)
        dispatcher.finish(task.id, Event.CANCEL)
    lanes = dispatcher.ready._lanes
    assert sum(len(queue) for lane in lanes for queue in lane._queues) <= SWEEP_TASKS + 1
    assert waiting_in_lanes(dispatcher) == dispatcher.ready_tasks == 1


def test_of_equally_loaded_nodes_the_leaders_own_comes_first_then_the_others_by_id() -> None:
    dispatcher = Dispatcher(own_id="b")
    for node_id in ("a", "b", "c"):
        dispatcher.enrol(node_id, 1, ["add"])
    admit(dispatcher, 3)
    given = dispatcher.dispatch()
    assert [int.from_bytes(given[node_id][0][0], "big") for node_id in ("b", "a", "c")] == [0, 1, 2]
