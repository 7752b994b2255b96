"""Calls that are handed to their function together: which go together, how long the first waits, and what they take of
a node."""

from __future__ import annotations

from collections import Counter
from itertools import count
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scheduling.test_leader import TERM, Lead, tid
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.credits import OVERDUE_S
from paceline.core.scheduling.dispatch import Dispatcher, Given
from paceline.core.scheduling.live_tasks import ALONE_AFTER_LOSSES, LiveTasks
from paceline.core.scheduling.placement import PLACEMENTS_LIMIT
from paceline.core.state.task import Task
from paceline_protocol.codec import encode_held
from paceline_protocol.limits import BATCHED_BYTES
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import AT_MOST_ONCE, TaskEnd
from paceline_protocol.messages.work import Dispatch, Enrol
from paceline_protocol.options import announced as announced_of
from paceline_protocol.options import by_name, completed, together


class Cluster:
    """Live tasks and a dispatcher, in which each task is told by its number."""

    def __init__(self, **slots: int) -> None:
        self.live = LiveTasks()
        self.dispatcher = Dispatcher(self.live)
        self.live.settle()
        self.now = 0.0
        self._numbers = count()
        for node, number in slots.items():
            self.live.enrol(node, number, ["embed", "add"])

    def admit(self, number: int = 1, *, name: str = "embed", args: bytes = b"", **options: Any) -> list[int]:
        numbers = [next(self._numbers) for _ in range(number)]
        for each in numbers:
            self.live.admit(Task((tid(each), name, 4, args, options or None)), self.now)
        return numbers

    def dispatch(self) -> Given:
        given = self.dispatcher.dispatch(self.now)
        self.live.check()
        return given

    def given(self) -> dict[str, list[int]]:
        """One round: node -> tasks, in their order."""
        given = self.dispatch()
        return {node: [int.from_bytes(task.id, "big") for task in tasks] for node, tasks in given.by_ledger.items()}

    def ends(self, *numbers: int) -> None:
        for number in numbers:
            self.live.finish(tid(number), TaskEnd.SUCCEEDED)
        self.live.check()


def test_up_to_so_many_that_wait_go_together_and_take_one_slot() -> None:
    cluster = Cluster(a=1)
    cluster.admit(7, batch=3)
    assert cluster.given() == {"a": [0, 1, 2]}  # what is expected to be long leaves no room for a spare one
    assert cluster.given() == {}
    assert (cluster.live.ledgers["a"].busy, cluster.live.ledgers["a"].riding) == (1, 2)
    cluster.ends(0, 1, 2)
    assert cluster.given() == {"a": [3, 4, 5]}


def test_each_slot_has_its_own() -> None:
    cluster = Cluster(a=2, b=2)
    cluster.admit(10, batch=3)
    assert sorted(cluster.given().items()) == [("a", [0, 1, 2, 6, 7, 8]), ("b", [3, 4, 5, 9])]


def test_calls_of_another_name_or_other_options_do_not_go_together() -> None:
    cluster = Cluster(a=8)
    cluster.live.enrol("a", 8, ["embed", "other"])
    cluster.admit(2, batch=8)
    cluster.admit(2, batch=8, time_limit=1_000)
    cluster.admit(2, name="other", batch=8)
    cluster.admit(2, batch=9)
    cluster.dispatch()
    assert (cluster.live.ledgers["a"].busy, len(cluster.live.ledgers["a"].held)) == (4, 8)


def test_what_is_of_one_call_or_of_where_it_waits_does_not_keep_it_from_others() -> None:
    cluster = Cluster(a=8)
    cluster.admit(batch=8, deadline=10**13)
    cluster.admit(batch=8, deadline=10**13 + 1, idempotency_key="k", fair_key="acme", trace=1)
    cluster.admit(batch=8, expires=10**13, affinity="")
    cluster.dispatch()
    assert cluster.live.ledgers["a"].busy == 1
    assert together({"batch": 8, "deadline": 5, "queue": "q", "retries": 2}) == (("batch", 8), ("retries", 2))
    assert together({"retries": 2}) == together({"batch": 1}) == ()


def test_without_a_window_nothing_waits() -> None:
    cluster = Cluster(a=2)
    cluster.admit(batch=8)
    assert cluster.given() == {"a": [0]}
    cluster.admit(batch=8)
    assert cluster.given() == {"a": [1]}
    assert cluster.dispatcher.opens_at == inf


def test_the_first_waits_for_others_for_the_window_and_no_longer() -> None:
    cluster = Cluster(a=2)
    cluster.admit(batch=3, batch_window=500)
    cluster.admit(name="add")
    assert cluster.given() == {"a": [1]}  # nothing stands behind what waits for others
    assert cluster.dispatcher.opens_at == 0.5
    cluster.now = 0.4
    cluster.admit(batch=3, batch_window=500)
    assert (cluster.given(), cluster.dispatcher.opens_at) == ({}, 0.5)
    cluster.now = 0.5
    assert cluster.given() == {"a": [0, 2]}
    assert cluster.dispatcher.opens_at == inf


def test_as_many_as_go_together_do_not_wait() -> None:
    cluster = Cluster(a=1, b=1)
    cluster.admit(4, batch=3, batch_window=500)
    assert cluster.given() == {"a": [0, 1, 2]}
    assert cluster.dispatcher.opens_at == 0.5  # for the fourth


def test_one_that_comes_back_has_waited() -> None:
    cluster = Cluster(a=1)
    cluster.admit(batch=3, batch_window=500)
    cluster.now = 0.5
    assert cluster.given() == {"a": [0]}
    cluster.live.give_back(cluster.live.live[tid(0)], cluster.now)
    cluster.admit(batch=3, batch_window=500)
    assert cluster.given() == {"a": [0, 1]}


def test_large_arguments_do_not_all_go_together() -> None:
    cluster = Cluster(a=4)
    cluster.admit(3, batch=8, args=bytes(BATCHED_BYTES // 2))
    cluster.admit(1, batch=8, args=bytes(BATCHED_BYTES + 1))
    cluster.dispatcher.dispatch(cluster.now)
    assert cluster.live.ledgers["a"].busy == 3


def test_one_that_has_lost_several_attempts_goes_alone_and_says_so() -> None:
    lead = Lead()
    session = lead.client()
    lead.enrol("a", slots=4, names=("embed",))
    lead.submit(session, 0, 1, name="embed", batch=8)
    for attempt in range(1, ALONE_AFTER_LOSSES + 1):
        assert sorted(lead.dispatched()["a"]) == [(0, attempt), (1, attempt)]
        assert lead.leader.tasks.ledgers["a"].busy == 1
        lost = [(tid(number), attempt, int(TaskEnd.LOST), b"", 0) for number in range(2)]
        lead.leader.nodes.on_outcomes("a", TERM, attempt, lost, lead.now)
        lead.commit()
    lead.leader.nodes.outbox.clear()
    lead.leader.dispatch(lead.now)
    sent = [message for _, message in lead.leader.nodes.outbox if isinstance(message, Dispatch)]
    assert [[each[4] for each in message.tasks] for message in sent] == [[{"batch": 8, "alone": 1}] * 2]
    assert lead.leader.tasks.ledgers["a"].busy == 2
    lead.leader.tasks.check()


def test_of_those_that_start_once_each_start_is_logged_and_they_go_together() -> None:
    cluster = Cluster(a=2)
    cluster.admit(3, batch=8, delivery=AT_MOST_ONCE)
    given = cluster.dispatch()
    assert (len(given.starting), cluster.live.ledgers["a"].busy) == (3, 1)


def test_a_new_leader_takes_as_many_for_one_call_as_may_have_been() -> None:
    numbers = range(7)
    lead = Lead(settled=False)
    lead.leader.tasks.enrol("a", 4, ["embed"])
    for number in numbers:
        task = Task((tid(number), "embed", 4, b"", {"batch": 3}))
        lead.leader.tasks.recover(task, 0, 0.0)
    lead.leader.nodes.beat(["a"], 0.0)
    held = encode_held([(tid(number), 1) for number in numbers])
    lead.leader.nodes.on_enrol("a", Enrol(TERM, 1, 0, 0, 4, ("embed",), held, True), 0.0)
    assert (lead.leader.tasks.ledgers["a"].busy, lead.leader.tasks.ledgers["a"].riding) == (3, 4)
    lead.leader.tasks.check()


def test_what_goes_together_is_overdue_as_one() -> None:
    cluster = Cluster(a=1)
    cluster.admit(5, batch=5)
    cluster.dispatch()
    cluster.now = 2 * OVERDUE_S
    assert cluster.live.ledgers["a"].overdue(cluster.now) == []


def test_why_says_how_many_are_there_and_how_long_it_waits() -> None:
    lead = Lead()
    session = lead.client()
    lead.enrol("a", slots=1, names=("embed",))
    lead.submit(session, 0, 1, name="embed", batch=8, batch_window=500)
    lead.now = 0.1
    assert lead.dispatched() == {}
    assert whereabouts(lead.leader, tid(0), lead.now)["why"] == (
        "it waits for others that its function is to be called with, 0.400 s more at most: 2 are there, of 8"
    )


def test_how_many_different_calls_may_wait_is_bounded() -> None:
    lead = Lead()
    session = lead.client()
    lead.enrol("a", slots=0, names=tuple(f"embed{number}" for number in range(PLACEMENTS_LIMIT + 1)))
    for number in range(PLACEMENTS_LIMIT):
        lead.submit(session, number, seq=number + 1, name=f"embed{number}", batch=8)
    refused = lead.leader.admission.refusal(
        (tid(PLACEMENTS_LIMIT), f"embed{PLACEMENTS_LIMIT}", 4, b"", {"batch": 8}), 0.0
    )
    assert refused is not None
    assert (refused[0], "go together" in refused[1]) == (Refusal.QUEUE_FULL, True)
    assert lead.leader.admission.refusal((tid(5_000), "embed0", 4, b"", {"batch": 8}), 0.0) is None


@given(seed=st.integers(0, 10_000))
def test_whatever_comes_and_ends_no_call_is_for_more_than_may_go_together(seed: int) -> None:
    rng = Random(seed)
    cluster = Cluster(a=rng.randint(1, 3), b=rng.randint(1, 3))
    options = [{"batch": 3}, {"batch": 4, "batch_window": 300}, {"batch": 3, "retries": 1}]
    at_node: dict[str, list[int]] = {"a": [], "b": []}
    for _ in range(40):
        cluster.now += rng.choice((0.0, 0.1, 0.3))
        cluster.admit(rng.randint(0, 5), **rng.choice(options))
        before = {node: (ledger.busy, len(ledger.held)) for node, ledger in cluster.live.ledgers.items()}
        for node, tasks in cluster.given().items():
            ledger = cluster.live.ledgers[node]
            calls = ledger.busy - before[node][0]
            asked = [cluster.live.live[tid(number)].options for number in tasks]
            kinds = Counter(str(each.wire) for each in asked if each is not None)
            assert sum(-(-number // 4) for number in kinds.values()) <= calls <= len(tasks)
            assert ledger.busy <= ledger.slots + (ledger.slots + 1) // 2
            at_node[node] += tasks
        for node, tasks in at_node.items():
            if tasks and rng.random() < 0.5:
                ended = rng.sample(tasks, rng.randint(1, len(tasks)))
                cluster.ends(*ended)
                at_node[node] = [number for number in tasks if number not in ended]
    cluster.now += 1.0
    for _ in range(1_000):
        cluster.dispatch()
        for ledger in cluster.live.ledgers.values():
            for task_id in list(ledger.held):
                cluster.live.finish(task_id, TaskEnd.SUCCEEDED)
        cluster.now += 0.3
        if not cluster.live.live:
            return
    pytest.fail("tasks are left that nobody is given")


def test_a_call_by_name_as_a_bridge_makes_it_goes_together_by_what_its_nodes_announce() -> None:
    announced = announced_of({"batch": 8, "batch_window": 500, "on_client_lost": 1})
    said = completed(by_name({"retries": 3}), announced)
    assert said == {"batch": 8, "batch_window": 500, "retries": 3}
    assert together(said or {}) == (("batch", 8), ("batch_window", 500), ("retries", 3))
