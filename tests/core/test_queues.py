"""The order in which ready tasks leave."""

from __future__ import annotations

from paceline.core.queues import Lane, ReadyQueues
from paceline.core.task import Event, Task


def task(age: int, name: str = "add", priority: int = 4) -> Task:
    made = Task((age.to_bytes(16, "big"), name, priority, b"", None))
    made.age = age
    return made


def ages(lane: Lane) -> list[int]:
    """What leaves the lane, in order."""
    left = []
    while (head := lane.head()) is not None:
        left.append(head.age)
        lane.pop()
    return left


def test_higher_priority_leaves_first_then_age() -> None:
    queues = ReadyQueues()
    queues.serve({"a": frozenset({"add"})})
    for age, priority in enumerate([4, 0, 9, 4, 9]):
        queues.push(task(age, priority=priority))
    (lane,) = queues.served
    assert ages(lane) == [2, 4, 0, 3, 1]


def test_a_task_that_is_put_back_leaves_before_those_that_came_later() -> None:
    queues = ReadyQueues()
    queues.serve({"a": frozenset({"add"})})
    queues.push(task(2))
    queues.push_front(task(1))
    (lane,) = queues.served
    assert ages(lane) == [1, 2]


def test_a_task_that_ended_while_it_waited_is_skipped() -> None:
    queues = ReadyQueues()
    queues.serve({"a": frozenset({"add"})})
    waiting = [task(age) for age in range(4)]
    for each in waiting:
        queues.push(each)
    waiting[0].move(Event.CANCEL)
    waiting[2].move(Event.SUCCEED)
    (lane,) = queues.served
    assert ages(lane) == [1, 3]


def test_names_that_the_same_nodes_run_share_a_lane() -> None:
    queues = ReadyQueues()
    queues.serve({"a": frozenset({"add", "sub", "gpu"}), "b": frozenset({"add", "sub"})})
    for age, name in enumerate(["add", "gpu", "sub"]):
        queues.push(task(age, name))
    assert [(lane.nodes, ages(lane)) for lane in queues.served] == [
        (frozenset({"a", "b"}), [0, 2]),
        (frozenset({"a"}), [1]),
    ]


def test_a_name_that_no_node_runs_waits_in_no_lane_of_a_node_until_one_comes() -> None:
    queues = ReadyQueues()
    queues.push(task(0, "new"))
    assert queues.served == []
    assert queues.served_by("new") == frozenset()
    queues.serve({"a": frozenset({"new"})})
    assert queues.served_by("new") == {"a"}
    assert [ages(lane) for lane in queues.served] == [[0]]


def test_when_the_nodes_change_the_waiting_tasks_keep_their_order_by_age() -> None:
    queues = ReadyQueues()
    queues.serve({"a": frozenset({"add"}), "b": frozenset({"sub"})})
    for age in range(6):
        queues.push(task(age, "add" if age % 2 else "sub"))
    queues.serve({"a": frozenset({"add", "sub"})})
    (lane,) = queues.served
    assert ages(lane) == [0, 1, 2, 3, 4, 5]
    assert queues.known_names() == ["add", "sub"]
