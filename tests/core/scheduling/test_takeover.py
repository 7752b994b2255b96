"""A new leader takes over what was accepted before it, however much that is."""

from __future__ import annotations

from math import inf

import pytest

from core.cluster_stories import node
from core.node_scenarios import NodeScenario
from paceline.core.deadlines import Moments
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import FIRST_AGE
from paceline.core.scheduling.takeover import SLICE_TASKS, Takeover
from paceline.core.settings import Settings
from paceline.core.state.table import TaskTable
from paceline.core.state.task import State, Task
from paceline.core.wall_clock import WallClock

SETTINGS = Settings(cluster_name="test")


def fill(table: TaskTable, count: int) -> None:
    for number in range(count):
        task = Task((number.to_bytes(16, "big"), "add", 4, b"", None))
        task.state, task.node = State.DISPATCHED, "gone"  # as an earlier lead of this node left it
        table.tasks[task.id] = task


def test_tasks_are_taken_over_in_slices_and_in_the_order_in_which_they_came() -> None:
    table = TaskTable()
    fill(table, 10)
    table.lost_attempts[(3).to_bytes(16, "big")] = 2
    takeover = Takeover(table, term=2, applied_index=5, due=DueTasks(WallClock(), Moments()))
    assert [takeover.step(0.0, 4), takeover.step(0.0, 4), takeover.step(0.0, 4)] == [False, False, True]
    tasks = takeover.tasks
    assert (tasks.count(State.RECOVERED), tasks.dispatchable, len(tasks.live)) == (10, 0, 10)
    assert [task.age - FIRST_AGE for task in table.tasks.values()] == list(range(10))
    assert [task.attempt for task in table.tasks.values()] == [1, 1, 1, 3, 1, 1, 1, 1, 1, 1]
    assert {(task.state, task.node) for task in table.tasks.values()} == {(State.RECOVERED, "")}


@pytest.mark.parametrize("slices", range(3, 9))  # the last of them in each place where one is taken
def test_a_node_with_very_many_tasks_leads_after_some_turns_and_sends_heartbeats_meanwhile(slices: int) -> None:
    story = NodeScenario()
    story.run("start ab expect=2\nadvance 3")
    core = node(story, "a")
    assert core.leader is not None
    count = slices * SLICE_TASKS
    fill(core.table, count)
    core.role.leader = None  # as if it had just been elected
    now = story._now
    turns = heartbeats = 0
    while core.leader is None:
        now += core.settings.timing.heartbeat_interval_s
        turns += 1
        core.tick(now)
        assert core.leader is not None or core.next_deadline() == -inf, "it goes on at once"
        heartbeats += len(core.take_effects(now).to_peers)
        core.persisted(1_000_000)
    assert 1 < turns <= slices
    assert heartbeats >= turns - 1
    assert core.leader.tasks.count(State.RECOVERED) == count


def test_a_takeover_is_given_up_with_the_lead() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nadvance 3")
    core = node(story, "a")
    fill(core.table, 10 * SLICE_TASKS)
    core.role.leader = None
    core.tick(story._now + 0.05)
    assert core.role.takeover is not None
    core.tick(story._now + 10.0)  # nobody was heard for so long: it does not lead any more
    assert (core.role.takeover, core.leader) == (None, None)
    core.take_effects(story._now + 10.0)
    assert core.next_deadline() > -inf
