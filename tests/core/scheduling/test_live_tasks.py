"""Every live task is in one place, and what is wrong with that is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import paceline
from core.scheduling.test_dispatch import admit, make
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import LiveTasks, Misplaced
from paceline.core.state.task import STATE_NAMES, State, Task
from paceline_protocol.messages.records import AT_MOST_ONCE, TaskEnd

CORE = Path(paceline.__file__).parent / "core"


def one_of_each() -> tuple[LiveTasks, dict[int, Task]]:
    """A task in each state of a live task."""
    live = LiveTasks()
    live.enrol("a", 2, ["add"])
    live.recover(make(0), 0, 0.0)
    dispatched = make(1)
    starting = Task((b"s" * 16, "add", 4, b"", {"delivery": AT_MOST_ONCE}))
    for task in (dispatched, starting):
        live.admit(task, 0.0)
    Dispatcher(live).dispatch(0.0)
    (ready,) = admit(live, 1)
    recovered = next(task for task in live.live.values() if task.is_recovered)
    return live, {
        State.READY: ready,
        State.DISPATCHED: dispatched,
        State.STARTING: starting,
        State.RECOVERED: recovered,
    }


def test_a_task_of_each_state_is_counted_in_its_place() -> None:
    live, tasks = one_of_each()
    live.check()
    assert {state: task.state for state, task in tasks.items()} == {state: state for state in tasks}
    assert {state: live.count(state) for state in STATE_NAMES} == {state: int(state in tasks) for state in STATE_NAMES}
    assert (live.waiting, live.at_nodes, live.dispatchable) == (2, 2, 1)
    assert sum(live.waiting_by_priority()) == 2
    live.settle()
    assert live.dispatchable == 2


@pytest.mark.parametrize("state", [State.READY, State.STARTING, State.RECOVERED])
def test_whatever_no_node_was_sent_can_be_cancelled_and_leaves_its_place(state: int) -> None:
    live, tasks = one_of_each()
    live.settle()
    assert not live.may_be_at_a_node(tasks[state])
    assert live.finish(tasks[state].id, TaskEnd.CANCELLED) is tasks[state]
    assert tasks[state].has_ended
    live.check()
    assert live.count(state) == 0
    assert len(live.live) == 3


def test_a_node_may_have_what_it_was_sent_and_until_it_has_told_what_is_recovered() -> None:
    live, tasks = one_of_each()
    assert {state for state, task in tasks.items() if live.may_be_at_a_node(task)} == {
        State.DISPATCHED,
        State.RECOVERED,
    }
    live.settle()
    assert {state for state, task in tasks.items() if live.may_be_at_a_node(task)} == {State.DISPATCHED}


def test_a_move_that_the_table_does_not_have_raises_and_changes_nothing() -> None:
    live, tasks = one_of_each()
    with pytest.raises(KeyError, match="give_back of a task that is ready"):
        live.give_back(tasks[State.READY], 0.0)
    live.check()
    assert tasks[State.READY].state == State.READY


def test_a_task_whose_start_is_logged_after_it_was_cancelled_stays_ended() -> None:
    live, tasks = one_of_each()
    live.finish(tasks[State.STARTING].id, TaskEnd.CANCELLED)
    assert not live.start(tasks[State.STARTING])
    live.check()


def _lose(live: LiveTasks, tasks: dict[int, Task]) -> None:
    del live.live[tasks[State.READY].id]


def _add(live: LiveTasks, tasks: dict[int, Task]) -> None:
    live.live[b"x" * 16] = make(7)


def _move_unseen(live: LiveTasks, tasks: dict[int, Task]) -> None:
    tasks[State.READY].state = State.DISPATCHED


def _double(live: LiveTasks, tasks: dict[int, Task]) -> None:
    live.queues.default.ready.put(tasks[State.READY])


def _leave_in_ledger(live: LiveTasks, tasks: dict[int, Task]) -> None:
    tasks[State.DISPATCHED].state = State.READY


def _name_another_node(live: LiveTasks, tasks: dict[int, Task]) -> None:
    tasks[State.DISPATCHED].node = "b"


def _charge_wrongly(live: LiveTasks, tasks: dict[int, Task]) -> None:
    live.ledgers["a"].cost_us += 1


def _count_wrongly(live: LiveTasks, tasks: dict[int, Task]) -> None:
    live.queues.default.ready.by_priority[4] -= 1


def _weigh_wrongly(live: LiveTasks, tasks: dict[int, Task]) -> None:
    live.live_bytes += 1


@pytest.mark.parametrize(
    "broken",
    [
        _lose,
        _add,
        _move_unseen,
        _double,
        _leave_in_ledger,
        _name_another_node,
        _charge_wrongly,
        _count_wrongly,
        _weigh_wrongly,
    ],
    ids=lambda broken: broken.__name__.strip("_"),
)
def test_check_finds_what_is_wrong(broken: Callable[[LiveTasks, dict[int, Task]], None]) -> None:
    live, tasks = one_of_each()
    broken(live, tasks)
    with pytest.raises(Misplaced):
        live.check()


def test_nobody_but_live_tasks_and_its_places_asks_for_the_state_of_a_task() -> None:
    asking = {
        path.name
        for path in CORE.rglob("*.py")
        if re.search(r"core\.state\.task import [^\n]*\bState\b|\btask\.state\b", path.read_text())
    }
    assert asking == {"live_tasks.py", "live_graphs.py", "lanes.py", "places.py", "queues.py"}
