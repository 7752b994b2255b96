"""What a node tells of itself and its cluster, and that telling it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.cluster_stories import node
from core.node_scenarios import NodeScenario, run_file
from core.raft.test_consensus import member
from core.scheduling.test_dispatch import admit, make
from modes import source_only
from paceline.core.measures.histogram import Histogram
from paceline.core.measures.tally import Tally
from paceline.core.reports.metrics import metrics
from paceline.core.scheduling.credits import LONG_US
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.lanes import STALE_SKIPPED
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.task import State
from paceline_protocol.messages.consensus import Append
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import pack_value, unpack_value

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios" / "node").glob("*.txt"))
THREE = "start abc expect=3\nuntil a leads\nadvance 1\nworker a w ready add\nworker b v ready add\nclient c hello a\n"

ENDS = [end.name.lower() for end in TaskEnd]


def told(story: NodeScenario, node_id: str) -> dict[str, Any]:
    body = metrics(node(story, node_id), story._now)
    assert unpack_value(pack_value(body)) == body, "it travels as it is"
    return body


def ran(body: dict[str, Any]) -> dict[str, Any]:
    """Per task name: how its attempts ended, and for how many microseconds they ran."""
    return {
        name: ({end: count for end, count in row["ended"].items() if count}, row["run_us"])
        for name, row in body["by_name"].items()
    }


def test_every_task_is_counted_once_in_the_sum_over_all_nodes() -> None:
    story = NodeScenario()
    story.run(THREE + "client c submit 1 2\nadvance 0.1\nworker a w done 1\nworker b v done 2=failed\nadvance 0.1")
    bodies = [told(story, node_id) for node_id in "abc"]
    assert [body["submitted"] for body in bodies] == [2, 0, 0]
    assert [body["accepted"] for body in bodies] == [2, 0, 0]
    assert bodies[0]["finished"] == dict.fromkeys(ENDS, 0) | {"succeeded": 1, "failed": 1}
    assert ran(bodies[0]) == {"add": ({"succeeded": 1}, 1_000)}
    assert ran(bodies[1]) == {"add": ({"failed": 1}, 1_000)}
    assert sum(bodies[0]["queue_wait"]["counts"]) == 2
    # Each was given out at once, came back 0.1 s later, and says that it ran for 1 ms.
    assert sum(bodies[0]["dispatch_latency"]["counts"]) == 2
    assert 197_000 <= bodies[0]["dispatch_latency"]["sum_us"] <= 198_001


def test_only_the_leader_tells_of_the_cluster() -> None:
    story = NodeScenario()
    story.run(THREE)
    assert told(story, "b")["leading"] is None
    led = told(story, "a")["leading"]
    assert led["nodes"] == {"leader": [1, 0], "voter": [2, 0], "learner": [0, 0], "worker": [0, 0]}
    assert led["fault_tolerance"] == 1
    assert sorted(led["peers"]) == ["b", "c"]
    assert all(age_s < 1.0 and lag == 0 for age_s, lag in led["peers"].values())


def test_tasks_that_wait_are_told_by_priority_with_the_age_of_the_oldest() -> None:
    story = NodeScenario()
    story.run("start a\nuntil a leads\nadvance 1\nclient c hello a\nclient c submit 1 2 name=add priority=7\nadvance 2")
    story.run("client c submit 3 name=add priority=2\nadvance 1")
    led = told(story, "a")["leading"]
    assert {priority: count for priority, count in led["waiting"].items() if count} == {"7": 2, "2": 1}
    assert led["dispatched"] == 0
    assert 2.9 <= led["oldest_s"] <= 3.1
    story.run("worker a w ready add\nadvance 0.1\nclient c cancel 1 2 3\nadvance 0.1")
    led = told(story, "a")["leading"]
    assert sum(led["waiting"].values()) + led["dispatched"] <= 2, "what a node already has runs on"


def test_a_refused_call_is_counted_by_its_reason() -> None:
    story = NodeScenario()
    story.run(
        "start a\nuntil a leads\nadvance 1\nworker a w ready add\nadvance 0.1\n"
        "client c hello a\nclient c submit 1 name=sub"
    )
    assert {why: count for why, count in told(story, "a")["refused"].items() if count} == {"unknown_task": 1}


def test_an_attempt_lost_with_its_worker_is_redelivered_and_counted_by_name() -> None:
    story = NodeScenario()
    story.run(
        THREE + "client c submit 1\nadvance 0.1\nworker a w lost killed\nadvance 0.1\nworker b v done 1\nadvance 0.1"
    )
    body = told(story, "a")
    assert body["redelivered"] == 1
    assert ran(body) == {"add": ({"lost": 1}, 0)}
    assert sum(body["queue_wait"]["counts"]) == 1, "a second attempt has not waited since the task arrived"


def waits(live: LiveTasks) -> tuple[int, int]:
    """How often a task left the queue for the first time, and after how many microseconds in all."""
    told = live.tally.queue_wait.as_dict()
    return sum(told["counts"]), told["sum_us"]


def test_the_wait_of_a_task_that_a_node_gave_back_is_counted_once() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    task = make(0)
    live.admit(task, 1.0)
    dispatcher.dispatch(3.0)
    live.give_back(task, 3.0)
    assert dispatcher.dispatch(9.0).by_ledger
    assert waits(live) == (1, 2_000_000)


def test_a_task_that_was_at_its_node_when_the_leader_came_waits_from_when_it_comes_back() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    task = make(0)
    live.recover(task, 0, 1.0)
    live.enrol("a", 1, ["add"])
    live.adopt(task, "a", 1, 1)
    live.settle()
    assert live.lose_attempt(task, 5, 3_600.0)
    assert dispatcher.dispatch(3_601.0).by_ledger
    assert waits(live) == (1, 1_000_000)


def test_a_node_that_is_gone_takes_its_series_with_it() -> None:
    story = NodeScenario()
    story.run("start abcd expect=4\nadvance 5\nstop d\nadvance 90")
    leader_id = next(each for each in "abc" if node(story, each).leader is not None)
    assert "d" not in told(story, leader_id)["leading"]["peers"]


def test_a_node_without_a_leader_is_not_ready_and_says_why() -> None:
    story = NodeScenario()
    story.run("start abc expect=3")
    assert told(story, "a")["not_ready"]
    story.run("advance 2")
    assert [told(story, each)["not_ready"] for each in "abc"] == [[], [], []]
    story.run("cut a\nadvance 6")
    (reason,) = told(story, "a")["not_ready"]
    assert reason.startswith("no leader is known: 1 of 3 voters are here, of 2 that are needed")
    assert told(story, "a")["leader_known"] is False


def test_a_node_that_its_leader_does_not_hear_is_not_ready_though_it_hears_its_leader() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nuntil a leads\nadvance 2")
    assert told(story, "b")["not_ready"] == []
    send, deaf_to_b = story._send, [True]
    story._send = lambda sender, batches: None if sender == "b" and deaf_to_b else send(sender, batches)  # type: ignore[method-assign]
    story.run("advance 3")
    assert told(story, "b")["leader_known"]
    assert told(story, "b")["not_ready"] == ["the leader does not hear it, or has not yet, and counts it for nothing"]
    assert [told(story, each)["not_ready"] for each in "ac"] == [[], []]
    deaf_to_b.clear()
    story.run("advance 1")
    assert told(story, "b")["not_ready"] == []


def test_a_change_of_leaders_is_counted_by_every_node() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nuntil a leads\nadvance 1\nstop a\nadvance 3")
    bodies = [told(story, node_id) for node_id in "bc"]
    assert [body["leader_changes"] for body in bodies] == [2, 2]
    assert sum(body["elections_won"] for body in bodies) == 1


def test_a_node_that_has_just_gone_silent_is_still_listed_to_be_scraped_and_found_down() -> None:
    story = NodeScenario()
    story.run("start abc expect=3")
    for each in "abc":
        node(story, each).peering.directory.own_metrics_address = f"{each}:9077"
    story.run("until a leads\nadvance 5\nstop c\nadvance 10")
    assert [row[:3] for row in told(story, "a")["targets"]] == [[each, each, f"{each}:9077"] for each in "abc"]
    story.run("advance 60")
    assert [row[0] for row in told(story, "a")["targets"]] == ["a", "b"]


class Uncounted(dict[Any, Any]):
    """The tasks of a leader, none of which may be looked at."""

    def __iter__(self) -> Any:
        raise AssertionError("somebody walks through all tasks")

    values = items = keys = __iter__  # type: ignore[assignment]


def test_what_is_told_costs_the_same_however_many_tasks_wait() -> None:
    story = NodeScenario()
    story.run("start a\nuntil a leads\nadvance 1\nclient c hello a\nclient c submit 1 2 3\nadvance 1")
    core = node(story, "a")
    assert core.leader is not None
    core.leader.tasks.live = Uncounted(core.leader.tasks.live)
    core.table._tasks.by_id = Uncounted(core.table.tasks)
    assert sum(told(story, "a")["leading"]["waiting"].values()) == 3


def test_looking_for_the_oldest_skips_what_ended_while_it_waited_and_no_more_than_so_many_at_a_time() -> None:
    live = LiveTasks()
    ended = admit(live, STALE_SKIPPED + 10, now=1.0)
    live.admit(make(STALE_SKIPPED + 10), 2.0)
    for task in ended:
        task.state = State.CANCELLED  # as a late outcome would, with no sweep yet
    assert live.oldest_arrived_at() == 1.0
    assert live.oldest_arrived_at() == 2.0


def test_what_waits_is_counted_through_every_way_that_leads_out_of_the_queue() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    dispatcher.durations.observe("add", LONG_US // 2)
    live.enrol("a", 1, ["add"])
    tasks = admit(live, 4)
    dispatcher.dispatch(0.0)
    assert live.waiting_by_priority()[4] == 2
    live.give_back(tasks[0], 0.0)
    assert live.waiting_by_priority()[4] == 3
    live.finish(tasks[3].id, TaskEnd.CANCELLED)
    live.finish(tasks[1].id, TaskEnd.SUCCEEDED)
    assert live.waiting_by_priority()[4] == 2
    dispatcher.dispatch(0.0)
    live.recover(make(9), 0, 0.0)
    assert sum(live.waiting_by_priority()) == 1


@source_only
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_nothing_depends_on_what_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_file(path)
    monkeypatch.setattr(Histogram, "observe", lambda *_: None)
    for name in ("executed", "refuse", "leader_known"):
        monkeypatch.setattr(Tally, name, lambda *_: None)
    assert run_file(path) == expected


def test_a_replica_whose_log_must_come_by_a_snapshot_knows_that_it_is_behind() -> None:
    core = member()
    core.step("b", Append(2, 90_000, 2, 80_000, ()), 0.0)  # (term, index and term before, committed, entries)
    assert core.heard_commit_index == 80_000
    assert core.commit_index < core.heard_commit_index
