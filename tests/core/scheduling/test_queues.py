"""Queues: their tasks take turns by weight, and wait while a queue is paused."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_leader import Lead, tid
from paceline.core.reports.queues import ROWS, queues
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.queue_requests import OPEN_REQUESTS
from paceline.core.scheduling.queues import SWEEP_QUEUES
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline_protocol.limits import MAX_QUEUES, MAX_WEIGHT
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.queues import Pausing, SetQueue, SetQueueReply
from paceline_protocol.messages.records import TaskEnd

LEAVE, PAUSE, RESUME = Pausing


def admit(live: LiveTasks, queue: str, count: int, priority: int = 4) -> None:
    for _ in range(count):
        number = live.next_age
        live.admit(Task((number.to_bytes(16, "big"), "add", priority, b"", {"queue": queue})), 0.0)


def given_one_by_one(live: LiveTasks, dispatcher: Dispatcher, count: int) -> list[str]:
    """The queues of so many tasks, of which each ends before the next begins."""
    order: list[str] = []
    while len(order) < count:
        tasks = [task for some in dispatcher.dispatch(0.0).by_ledger.values() for task in some]
        assert tasks, "a slot is free, and tasks wait"
        for task in tasks:
            assert task.options is not None
            order.append(task.options.queue)
            live.finish(task.id, TaskEnd.SUCCEEDED)
    return order


@given(
    weights=st.lists(st.integers(1, 50), min_size=2, max_size=6),
    came=st.randoms(use_true_random=False),
)
def test_at_every_moment_each_queue_has_had_its_share_to_within_one_task(weights: list[int], came: Random) -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    waiting = [number for number in range(len(weights)) for _ in range(120)]
    came.shuffle(waiting)
    for number in waiting:
        admit(live, f"q{number}", 1)
    for number, weight in enumerate(weights):
        live.queues.set(f"q{number}", is_paused=False, weight=weight)
    had = Counter[str]()
    for count, queue in enumerate(given_one_by_one(live, dispatcher, 100), start=1):
        had[queue] += 1
        for number, weight in enumerate(weights):
            share = count * weight / sum(weights)
            assert abs(had[f"q{number}"] - share) <= 1
    live.check()


def test_a_queue_that_was_empty_has_saved_nothing_up() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    admit(live, "one", 200)
    admit(live, "two", 50)
    assert Counter(given_one_by_one(live, dispatcher, 150)) == {"one": 100, "two": 50}
    admit(live, "two", 100)
    assert abs(Counter(given_one_by_one(live, dispatcher, 40))["one"] - 20) <= 1


def test_a_queue_of_whose_tasks_no_node_has_a_slot_free_holds_up_no_other_and_saves_nothing_up() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"], queues=["one"])
    admit(live, "two", 50)
    admit(live, "one", 150)
    assert set(given_one_by_one(live, dispatcher, 100)) == {"one"}
    live.enrol("a", 1, ["add"])
    assert abs(Counter(given_one_by_one(live, dispatcher, 40))["one"] - 20) <= 1
    live.check()


def test_within_a_queue_the_order_is_that_of_priority_and_age_and_between_queues_neither_counts() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    admit(live, "low", 1, priority=0)
    admit(live, "high", 4, priority=9)
    admit(live, "low", 1, priority=3)
    order = []
    for _ in range(4):
        ((task,),) = dispatcher.dispatch(0.0).by_ledger.values()
        assert task.options is not None
        order.append((task.options.queue, task.priority))
        live.finish(task.id, TaskEnd.SUCCEEDED)
    assert [each for each in order if each[0] == "low"] == [("low", 3), ("low", 0)]
    assert [queue for queue, _ in order] in (["low", "high", "low", "high"], ["high", "low", "high", "low"])


def test_a_node_takes_tasks_of_its_queues_alone_and_others_those_of_all() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 2, ["add"], queues=["video"])
    live.enrol("b", 2, ["add"])
    admit(live, "video", 3)
    admit(live, "mail", 5)
    given_out = dispatcher.dispatch(0.0).by_ledger
    assert {task.options.queue for task in given_out["a"] if task.options} == {"video"}
    live.enrol("b", 2, ["add"], queues=["video"])
    assert live.nodes_that_take("mail") == 0
    live.check()


# --- paused -------------------------------------------------------------------------------------------------------


def change(lead: Lead, queue: str, pausing: Pausing = LEAVE, weight: int = 0, number: int = 1) -> list[SetQueueReply]:
    """What is replied at once."""
    lead.leader.queues.set(b"c", SetQueue(number, queue, pausing, weight))
    return replies(lead)


def replies(lead: Lead) -> list[SetQueueReply]:
    told, lead.leader.queues.replies = lead.leader.queues.replies, []
    return [reply for _, reply in told]


def test_a_pause_is_answered_once_the_log_has_it_and_from_then_on_nothing_of_the_queue_is_handed_out() -> None:
    lead = Lead()
    lead.enrol("a", slots=9)
    session = lead.client()
    lead.submit(session, 1, queue="video")
    assert change(lead, "video", PAUSE) == []
    assert lead.dispatched() == {"a": [(1, 1)]}, "nobody was told that it is paused"
    lead.commit()
    assert replies(lead) == [SetQueueReply(1, "", True, 1)]
    lead.submit(session, 2, seq=2, queue="video")
    lead.submit(session, 3, seq=3)
    assert lead.dispatched() == {"a": [(3, 1)]}
    assert whereabouts(lead.leader, tid(2), lead.now)["why"] == (
        "its queue is paused; `paceline queues resume video` lets it go on"
    )
    assert change(lead, "video", RESUME, number=2) == []
    lead.commit()
    assert replies(lead) == [SetQueueReply(2, "", False, 1)]
    assert lead.leader.goes_on(), "whoever waits for nothing else is dispatched"
    assert lead.dispatched() == {"a": [(2, 1)]}
    assert lead.table.queues == {}, "it is as usual"


def test_the_next_leader_goes_on_with_what_the_log_says_of_queues() -> None:
    before = Lead()
    change(before, "video", PAUSE)
    change(before, "mail", weight=7, number=2)
    before.submit(before.client(), 1, queue="video")
    before.commit()
    lead = Lead(before.table)
    lead.enrol("a", slots=9)
    assert lead.dispatched() == {}
    rows = {row["name"]: row for row in queues(lead.leader, lead.now)["queues"]}
    assert (rows["video"]["paused"], rows["video"]["waiting"], rows["mail"]["weight"]) == (True, 1, 7)


def test_a_snapshot_has_what_is_said_of_queues() -> None:
    table = TaskTable()
    table.apply(EntryKind.QUEUES, b"", [("video", True, 1), ("mail", False, 7), ("none", False, 1)])
    (section,) = [each for each in table.sections if each.name == "queues"]
    other = TaskTable()
    (into,) = [each for each in other.sections if each.name == "queues"]
    into.read(tuple(section.packed(each)[0] for each in section.captured()))
    assert other.queues == table.queues == {"video": (True, 1), "mail": (False, 7)}


def test_two_who_change_the_same_queue_at_once_are_told_what_is_the_case_in_the_end() -> None:
    lead = Lead()
    change(lead, "video", PAUSE, number=1)
    change(lead, "video", weight=3, number=2)
    change(lead, "video", RESUME, number=3)
    lead.commit()
    assert replies(lead) == [SetQueueReply(number, "", False, 3) for number in (1, 2, 3)]
    assert change(lead, "video", RESUME, number=4) == [SetQueueReply(4, "", False, 3)], "nothing is to be logged"
    assert lead.table.queues == {"video": (False, 3)}


def test_a_copy_of_a_request_that_comes_late_changes_nothing() -> None:
    lead = Lead()
    assert change(lead, "video", RESUME, number=1) == [SetQueueReply(1, "", False, 1)]
    assert change(lead, "video", PAUSE, number=2) + change(lead, "video", PAUSE, number=2) == []
    lead.commit()
    assert replies(lead) == [SetQueueReply(2, "", True, 1)]
    assert change(lead, "video", RESUME, number=1) == [SetQueueReply(1, "", True, 1)]
    lead.commit()
    assert lead.table.queues == {"video": (True, 1)}


def test_a_delayed_task_of_a_paused_queue_comes_due_and_waits_and_expires_when_it_should() -> None:
    lead = Clocked()
    lead.enrol("a")
    change(lead, "video", PAUSE)
    lead.submit(lead.client(), 1, queue="video", not_before=ms(5.0), expires=ms(9.0))
    lead.commit()
    lead.at(6.0)
    assert lead.dispatched() == {}
    lead.at(9.0)
    lead.commit()
    assert lead.table.results[tid(1)][0] == TaskEnd.EXPIRED
    lead.leader.tasks.check()


@pytest.mark.parametrize(
    ("weight", "why"),
    [(MAX_WEIGHT + 1, "a weight is 1000000 at most; what counts is how many times that of another queue it is")],
)
def test_what_can_not_be_is_refused_with_what_is_the_case(weight: int, why: str) -> None:
    assert change(Lead(), "video", weight=weight) == [SetQueueReply(1, why, False, 1)]


def test_requests_that_wait_for_the_log_are_bounded() -> None:
    lead = Lead()
    for number in range(OPEN_REQUESTS):
        assert change(lead, f"q{number % 500}", PAUSE, number=number) == []
    (refused,) = change(lead, "more", PAUSE, number=OPEN_REQUESTS)
    assert "ask again in a moment" in refused.refused


# --- how many -----------------------------------------------------------------------------------------------------


def test_so_many_queues_may_have_tasks_and_one_whose_tasks_have_ended_makes_room() -> None:
    lead = Lead()
    lead.enrol("a", slots=MAX_QUEUES)
    session = lead.client()
    for number in range(MAX_QUEUES - 1):  # and the default one
        lead.submit(session, number, seq=number + 1, queue=f"q{number}", not_before=10**13 if number % 2 else 0)
    lead.submit(session, 5_000, seq=5_000, queue="one-more")
    assert lead.refusals() == {5_000: Refusal.QUEUE_FULL}
    (refused,) = change(lead, "one-more", PAUSE)
    assert "which is the most" in refused.refused
    assert lead.dispatched()
    lead.commit()
    lead.outcomes("a", 1, 0)
    lead.submit(session, 5_001, seq=5_001, queue="one-more")
    assert lead.refusals() == {}
    lead.leader.tasks.check()
    answer = queues(lead.leader, lead.now)
    assert (len(answer["queues"]), answer["more_queues"]) == (ROWS, MAX_QUEUES - ROWS)


def test_queues_of_which_nothing_is_known_any_more_are_let_go() -> None:
    live = LiveTasks()
    dispatcher = Dispatcher(live)
    live.enrol("a", 1, ["add"])
    for number in range(10 * SWEEP_QUEUES):
        admit(live, f"q{number}", 1)
        given_one_by_one(live, dispatcher, 1)
    assert len(live.queues.by_name) <= SWEEP_QUEUES + 1
    assert len(live.queues.lanes) == 5 * len(live.queues.by_name)


def test_an_older_cluster_refuses_a_call_that_names_a_queue() -> None:
    lead = Lead()
    lead.leader.admission.cluster_level = type(lead.leader.admission.cluster_level)(15)
    lead.submit(lead.client(), 1, queue="video")
    assert lead.refusals() == {1: Refusal.LEVEL_TOO_LOW}
