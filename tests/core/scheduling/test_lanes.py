"""The order in which ready tasks leave."""

from __future__ import annotations

from random import Random

import pytest

from modes import source_only
from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.lanes import Lane, Lanes
from paceline.core.state.task import State, Task


def task(age: int, name: str = "add", priority: int = 4) -> Task:
    made = Task((age.to_bytes(16, "big"), name, priority, b"", None))
    made.age = age
    return made


def nodes(**names: str) -> dict[str, NodeLedger]:
    """Nodes of one slot each, which run these tasks."""
    return {node_id: NodeLedger(node_id, 1, frozenset(known.split())) for node_id, known in names.items()}


def serve(lanes: Lanes, ledgers: dict[str, NodeLedger]) -> None:
    """These are the nodes from now on."""
    lanes.serve(lanes.runners.serve(ledgers))


def ages(lane: Lane) -> list[int]:
    """What leaves the lane, in order."""
    left = []
    while (head := lane.head()) is not None:
        left.append(head.age)
        lane.pop(head)
    return left


def test_higher_priority_leaves_first_then_age() -> None:
    queues = Lanes()
    serve(queues, nodes(a="add"))
    for age, priority in enumerate([4, 0, 9, 4, 9]):
        queues.put(task(age, priority=priority))
    (lane,) = queues.served
    assert ages(lane) == [2, 4, 0, 3, 1]


def test_a_task_that_is_put_back_leaves_before_those_that_came_later() -> None:
    queues = Lanes()
    serve(queues, nodes(a="add"))
    for age in (3, 4):
        queues.put(task(age))
    for age in (1, 2, 0):
        queues.put(task(age))
    (lane,) = queues.served
    assert ages(lane) == [0, 1, 2, 3, 4]


class Watched(Task):
    """A task that counts, for all together, how often somebody looks how old it is."""

    looks = 0

    def __getattribute__(self, name: str) -> object:
        if name == "age":
            Watched.looks += 1
        return super().__getattribute__(name)


@source_only
@pytest.mark.parametrize("waits_at", ["the front", "the middle", "the end"])
def test_a_task_that_is_put_back_among_a_backlog_of_other_names_finds_its_place_in_a_few_looks(waits_at: str) -> None:
    queues, count = Lanes(), 10_000
    serve(queues, nodes(a="gpu cpu"))
    for number in range(count):
        waiting = Watched((number.to_bytes(16, "big"), "gpu", 4, b"", None))
        waiting.age = 10 + number + (number >= count // 2)
        queues.put(waiting)
    age = {"the front": 5, "the middle": 10 + count // 2, "the end": 10 + count + 1}[waits_at]
    youngest = task(20 + count, "cpu")
    queues.put(youngest)
    queues.take(youngest)
    youngest.state = State.SUCCEEDED
    Watched.looks = 0
    queues.put(task(age, "cpu"))
    assert Watched.looks <= 32
    (lane,) = queues.served
    left = ages(lane)
    assert left == sorted(left)
    assert age in left


def test_a_task_that_ended_while_it_waited_is_skipped() -> None:
    queues = Lanes()
    serve(queues, nodes(a="add"))
    waiting = [task(age) for age in range(4)]
    for each in waiting:
        queues.put(each)
    queues.take(waiting[0])
    waiting[0].state = State.CANCELLED
    queues.take(waiting[2])
    waiting[2].state = State.SUCCEEDED
    (lane,) = queues.served
    assert ages(lane) == [1, 3]


def test_names_that_the_same_nodes_run_share_a_lane() -> None:
    queues = Lanes()
    serve(queues, nodes(a="add sub gpu", b="add sub"))
    for age, name in enumerate(["add", "gpu", "sub"]):
        queues.put(task(age, name))
    assert [(lane.nodes, ages(lane)) for lane in queues.served] == [
        (frozenset({"a", "b"}), [0, 2]),
        (frozenset({"a"}), [1]),
    ]


def test_who_runs_a_name_follows_nodes_that_come_change_and_go() -> None:
    rng, names = Random(1), ["add", "sub", "gpu", "map"]
    queues, serving = Lanes(), dict[str, NodeLedger]()
    for _ in range(300):
        node_id = rng.choice("abcd")
        known = frozenset(rng.sample(names, rng.randrange(4)))
        if rng.random() < 0.3:
            serving.pop(node_id, None)
        else:
            serving[node_id] = NodeLedger(node_id, 1, known)
        serve(queues, dict(serving))
        for name in names:
            assert queues.served_by(name) == {each for each, ledger in serving.items() if name in ledger.names}
        assert queues.runners.known_names() == sorted({name for ledger in serving.values() for name in ledger.names})


def test_a_name_that_no_node_runs_waits_in_no_lane_of_a_node_until_one_comes() -> None:
    queues = Lanes()
    queues.put(task(0, "new"))
    assert queues.served == []
    assert queues.served_by("new") == frozenset()
    serve(queues, nodes(a="new"))
    assert queues.served_by("new") == {"a"}
    assert [ages(lane) for lane in queues.served] == [[0]]


def test_when_other_nodes_run_the_same_names_their_tasks_stay_where_they_are() -> None:
    queues = Lanes()
    serve(queues, nodes(a="add sub"))
    for age, name in enumerate(["add", "sub", "add"]):
        queues.put(task(age, name))
    (lane,) = queues.served
    serve(queues, nodes(a="add sub", b="add sub"))
    assert queues.served == [lane]
    assert lane.nodes == {"a", "b"}
    serve(queues, {})
    assert (queues.served, lane.row.next(1)) == ([], None)
    serve(queues, nodes(b="add sub"))
    assert queues.served == [lane]
    assert ages(lane) == [0, 1, 2]


def test_when_a_node_comes_that_runs_some_names_of_a_lane_they_part_and_keep_their_order() -> None:
    queues = Lanes()
    serve(queues, nodes(a="add sub"))
    for age in range(6):
        queues.put(task(age, "add" if age % 2 else "sub", priority=4 + age // 4))
    serve(queues, nodes(a="add sub", b="sub"))
    assert {lane.nodes: ages(lane) for lane in queues.served} == {
        frozenset({"a"}): [5, 1, 3],
        frozenset({"a", "b"}): [4, 0, 2],
    }
    assert queues.runners.known_names() == ["add", "sub"]


def test_a_lane_that_is_empty_when_the_nodes_change_is_forgotten() -> None:
    queues = Lanes()
    for age, known in enumerate(["add", "sub", "mul"]):
        serve(queues, nodes(a=known))
        queues.put(task(age, known))
        ages(queues.served[0])
    serve(queues, nodes(a="add sub mul"))
    assert queues.served == []
    for age, known in enumerate(["add", "sub", "mul"]):
        queues.put(task(age, known))
    (lane,) = queues.served
    assert ages(lane) == [0, 1, 2]


def test_a_name_that_no_node_runs_is_forgotten_with_the_last_task_of_it_that_waits() -> None:
    queues = Lanes()
    first, second = task(1, "invented"), task(2, "invented")
    for each in (first, second, task(3, "other")):
        queues.put(each)
    for left, each in ((2, first), (1, second)):
        queues.take(each)
        each.state = State.CANCELLED
        assert queues.name_count == left
    queues.put(task(4, "invented"))
    assert queues.waiting_by_name(9) == {"other": 1, "invented": 1}
    serve(queues, nodes(a="invented other"))
    (lane,) = queues.served
    assert ages(lane) == [3, 4]
    assert queues.name_count == 2, "of what nodes run there is a bounded number, and it comes and goes all the time"


@source_only
def test_what_a_node_comes_to_run_is_looked_up_and_no_other_name_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Lanes()
    looked_up: list[str] = []
    for age in range(1_000):
        queues.put(task(age, f"invented{age}"))
    queues.put(task(1_000, "add"))
    served_by = Lanes.served_by

    def look_up(lanes: Lanes, name: str) -> frozenset[str]:
        looked_up.append(name)
        return served_by(lanes, name)

    monkeypatch.setattr(Lanes, "served_by", look_up)
    for ran in ("add", "add mul", "mul"):
        serve(queues, nodes(a=ran))
    assert looked_up == ["add", "add"]
    assert queues.waiting_unserved(2_000) == {"add": 1, **{f"invented{age}": 1 for age in range(1_000)}}
