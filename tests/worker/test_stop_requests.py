"""Requests to stop the task that a worker runs: they reach that one, in the way that it asks for, and no other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from paceline import current_task
from paceline.client.targets import parts_of
from paceline.stop_signal import STOP_SIGNAL
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.messages.children import Done, Run, WorkerReady
from paceline_protocol.messages.records import MAY_RETRY, Options, TaskEnd
from paceline_protocol.moments import datetime_of
from paceline_protocol.options import by_name
from paceline_protocol.payload import unpack_error, unpack_value
from worker.played_node import SAMPLE_TASKS, PlayedNode

RAISES: Options = {"cancel_raises": 1}


@pytest.fixture(scope="module")
def node() -> Iterator[PlayedNode]:
    """One whose worker is given nothing but what these tests count."""
    started = PlayedNode(str(SAMPLE_TASKS))
    started.receive(WorkerReady)
    yield started
    started.close()


def test_a_task_knows_which_it_is_and_outside_of_one_there_is_none(node: PlayedNode) -> None:
    number = node._given + 1
    state, payload = node.run("sample_tasks.tell_current")
    task_id, *rest = unpack_value(payload)
    assert (state, rest) == (TaskEnd.SUCCEEDED, ["sample_tasks.tell_current", 1, False])
    assert len(task_id) == 32
    assert int(task_id, 16) >= number
    assert current_task() is None


def test_of_tasks_that_came_together_each_knows_itself(node: PlayedNode) -> None:
    run = [node.assignment("sample_tasks.tell_current") for _ in range(3)]
    node.send(Run(tuple(run)))
    node._given += 3
    told: list[str] = []
    while len(told) < 3:
        told += [unpack_value(outcome[3])[0] for outcome in node.receive(Done).outcomes]
    assert told == [task_id.hex() for task_id, *_ in run]


def test_a_task_that_looks_sees_it_and_what_it_returns_counts(node: PlayedNode) -> None:
    node.stop(node.begin("sample_tasks.look", 20.0))
    state, payload = node.ended()
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, True)


@pytest.mark.parametrize("how", ["sleeps", "spins"])
def test_one_that_asks_for_it_is_interrupted_whatever_it_does(node: PlayedNode, how: str) -> None:
    node.stop(node.begin("sample_tasks.last_until_cancelled", how, options=RAISES | {"retries": 3}))
    assert node.ended() == (TaskEnd.CANCELLED, STOPPED)
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_one_that_catches_it_may_finish(node: PlayedNode) -> None:
    node.stop(node.begin("sample_tasks.last_until_cancelled", "returns", options=RAISES))
    state, payload = node.ended()
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, "in part")


def test_with_a_soft_limit_both_strike(node: PlayedNode) -> None:
    node.stop(node.begin("sample_tasks.last_until_cancelled", "sleeps", options=RAISES | {"soft_time_limit": 60_000}))
    assert node.ended()[0] == TaskEnd.CANCELLED
    state, payload = node.run("sample_tasks.last", "sleeps", options=RAISES | {"soft_time_limit": 50})
    assert (state, unpack_error(payload).type_name) == (TaskEnd.FAILED, "SoftTimeLimitExceeded")


@pytest.mark.parametrize("how", ["awaits", "blocks"])
@pytest.mark.parametrize("options", [None, {"soft_time_limit": 60_000}], ids=["plain", "limited"])
def test_an_async_task_is_cancelled_at_its_await(node: PlayedNode, how: str, options: Options | None) -> None:
    node.stop(node.begin("sample_tasks.await_until_cancelled", how, options=options))
    assert node.ended() == (TaskEnd.CANCELLED, STOPPED)
    assert node.result("sample_tasks.add", 2, 3) == 5


@pytest.mark.parametrize(
    ("name", "how", "options"),
    [("await_until_cancelled", "awaits", None), ("last_until_cancelled", "sleeps", RAISES)],
)
def test_a_signal_that_makes_nobody_look_is_followed_by_another_and_one_that_does_is_not(
    node: PlayedNode, monkeypatch: pytest.MonkeyPatch, name: str, how: str, options: Options | None
) -> None:
    """As one that comes just before the task begins to wait. Its node asks again with each Beat."""
    kill, signals = os.kill, []

    def signal_to(pid: int, number: int) -> None:
        signals.append(number)
        if len(signals) > 1:  # the first is lost
            kill(pid, number)

    monkeypatch.setattr(os, "kill", signal_to)
    number = node.begin(f"sample_tasks.{name}", how, options=options)
    node.stop(number)
    node.stop(number)
    assert node.ended() == (TaskEnd.CANCELLED, STOPPED)
    sent = len(signals)
    node.stop(number)
    assert (sent >= 2, len(signals)) == (True, sent), "it has seen one"
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_an_async_task_may_return_or_fail_all_the_same(node: PlayedNode) -> None:
    node.stop(node.begin("sample_tasks.await_until_cancelled", "returns"))
    state, payload = node.ended()
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, "in part")
    node.stop(node.begin("sample_tasks.await_until_cancelled", "raises"))
    state, payload = node.ended()
    assert (state, unpack_error(payload).type_name) == (TaskEnd.FAILED, "OSError")


def test_one_that_has_not_begun_is_passed_over(node: PlayedNode) -> None:
    node.stop(node._given + 1)
    assert node.run("sample_tasks.look", 0.0, options=RAISES) == (TaskEnd.CANCELLED, b"")
    assert node.result("sample_tasks.look", 0.0) is False


@pytest.mark.parametrize("options", [None, RAISES], ids=["plain", "raises"])
def test_a_request_that_comes_late_is_for_no_other_task(node: PlayedNode, options: Options | None) -> None:
    assert node.result("sample_tasks.add", 2, 3) == 5
    node.stop(node._given)
    state, payload = node.run("sample_tasks.look", 0.05, options=options)
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, False)
    number = node.begin("sample_tasks.look", 0.2, options=options)
    node.stop(number - 1)
    os.kill(node.child.pid, STOP_SIGNAL)
    state, payload = node.ended()
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, False)


def test_a_task_that_stops_though_nobody_asked_has_failed(node: PlayedNode) -> None:
    state, payload = node.run("sample_tasks.stop_by_itself", options={"retries": 3})
    assert (state, unpack_error(payload).type_name) == (TaskEnd.FAILED, "Cancelled")


def test_what_fails_by_itself_says_so_whether_it_is_asked_or_not(node: PlayedNode) -> None:
    """Its node knows whether it was asked, and tries it no more."""
    node.stop(node.begin("sample_tasks.await_until_cancelled", "raises", options={"retries": 3}))
    assert node.ended()[0] == MAY_RETRY


def test_what_a_task_submits_has_its_deadline_unless_its_own_is_earlier(node: PlayedNode) -> None:
    deadline_ms = time.time_ns() // 1_000_000 + 60_000
    options: Options = {"deadline": deadline_ms, "time_left": 60_000}
    state, payload = node.run("sample_tasks.tell_deadline", options=options)
    by_it = by_name({"deadline": deadline_ms})
    told = [datetime_of(deadline_ms), by_it, by_it, by_it, by_name({"deadline": -1}), {"deadline": deadline_ms}]
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, told)
    state, payload = node.run("sample_tasks.tell_deadline")
    without = [None, {}, {}, by_name({"deadline": -3_600_000}), by_name({"deadline": -1}), None]
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, without)
    assert parts_of("other")[2] == {}, "no task runs in this process"
