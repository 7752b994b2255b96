"""What a leader makes of tasks that wait for others: their slots are free, and what they wait for is next."""

from __future__ import annotations

import pytest

from core.scheduling.test_dispatch import admit, make, numbers
from paceline.core.scheduling.credits import SPARE_TIME_US
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import EXPECTED_TASKS, LiveTasks, Misplaced
from paceline.core.state.task import Task
from paceline_protocol.messages.records import TaskEnd


def cluster(slots: int = 1) -> tuple[LiveTasks, Dispatcher]:
    live = LiveTasks()
    live.settle()
    live.enrol("a", slots, ["add"])
    return live, Dispatcher(live)


def lasting(live: LiveTasks, count: int) -> tuple[Dispatcher, list[Task]]:
    """Tasks that last, so that a node is given no spare one."""
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("add", 1_000_000)
    return dispatcher, admit(live, count)


def park(live: LiveTasks, *pairs: tuple[Task, bytes]) -> None:
    live.park("a", {task.id: waits_for for task, waits_for in pairs})
    live.check()


def test_the_slot_of_a_task_that_waits_is_given_to_what_it_waits_for() -> None:
    live, _ = cluster()
    dispatcher, tasks = lasting(live, 4)
    assert numbers(dispatcher) == {"a": [0]}
    assert numbers(dispatcher) == {}
    park(live, (tasks[0], tasks[3].id))
    assert numbers(dispatcher) == {"a": [3]}
    assert numbers(dispatcher) == {}
    live.check()


def test_what_is_waited_for_is_next_of_those_of_its_priority_and_the_latest_first() -> None:
    live, _ = cluster(slots=2)
    dispatcher, tasks = lasting(live, 6)
    numbers(dispatcher)
    park(live, (tasks[0], tasks[4].id), (tasks[1], tasks[5].id))
    waiting = [task for lanes in live.queues.lanes for task in lanes.tasks()]
    assert [tasks.index(task) for task in waiting] == [5, 4, 2, 3]
    live.check()


def test_what_goes_on_takes_its_slot_before_its_node_can_say_so() -> None:
    live, _ = cluster()
    dispatcher, tasks = lasting(live, 4)
    numbers(dispatcher)
    park(live, (tasks[0], tasks[3].id))
    numbers(dispatcher)
    live.finish(tasks[3].id, TaskEnd.SUCCEEDED)
    assert numbers(dispatcher) == {}, "the parent goes on, and has the slot"
    park(live, (tasks[0], tasks[3].id))
    assert numbers(dispatcher) == {}, "what its node had said before is over"
    live.finish(tasks[0].id, TaskEnd.SUCCEEDED)
    assert numbers(dispatcher) == {"a": [1]}
    live.check()


def test_a_slot_is_free_only_once_what_its_task_waits_for_has_come() -> None:
    live, _ = cluster()
    dispatcher, tasks = lasting(live, 3)
    numbers(dispatcher)
    coming = make(999)
    park(live, (tasks[0], coming.id))
    assert numbers(dispatcher) == {}, "another task would have it"
    live.admit(coming, 0.0)
    assert numbers(dispatcher) == {"a": [999]}
    live.check()


def test_what_never_comes_is_remembered_within_bounds() -> None:
    live, _ = cluster()
    dispatcher, tasks = lasting(live, 1)
    numbers(dispatcher)
    for number in range(EXPECTED_TASKS + 10):
        live.park("a", {tasks[0].id: (10_000 + number).to_bytes(16, "big")})
    assert len(live._expected) == EXPECTED_TASKS


def test_short_tasks_still_travel_together_while_one_waits_for_them() -> None:
    live, dispatcher = cluster()
    tasks = admit(live, 1)
    numbers(dispatcher)
    for _ in range(60):
        dispatcher.durations.observe("add", 20)
    others = admit(live, 1_000)
    park(live, (tasks[0], others[100].id))
    given = numbers(dispatcher)["a"]
    assert given[:2] == [101, 1]
    assert len(given) == SPARE_TIME_US // dispatcher.cost_us("add", 1)


def test_only_what_a_node_has_can_be_parked_there() -> None:
    live, _ = cluster()
    dispatcher, tasks = lasting(live, 4)
    numbers(dispatcher)
    park(live, (tasks[3], tasks[2].id))
    assert live.ledgers["a"].parked == {}
    live.park("nobody", {tasks[0].id: tasks[2].id})
    live.check()


def test_what_is_counted_wrongly_is_noticed() -> None:
    live, _ = cluster()
    dispatcher, tasks = lasting(live, 4)
    numbers(dispatcher)
    park(live, (tasks[0], tasks[2].id))
    live.ledgers["a"].parked_cost_us += 1
    with pytest.raises(Misplaced, match="of parked tasks"):
        live.check()
    live.ledgers["a"].parked_cost_us -= 1
    live.ledgers["a"].parked[b"elsewhere"] = tasks[2].id
    with pytest.raises(Misplaced, match="not all of them are there"):
        live.check()
