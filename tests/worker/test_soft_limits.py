"""The soft time limit of a task: an exception in it once it has run for so long, and in nothing else."""

from __future__ import annotations

import pytest

from paceline_protocol.messages.records import MAY_RETRY, TaskEnd
from paceline_protocol.payload import unpack_error, unpack_value
from worker.played_node import PlayedNode

SOON = {"soft_time_limit": 50}


@pytest.mark.parametrize("how", ["sleeps", "spins", "reads", "awaits"])
def test_whatever_a_task_does_it_is_struck(node: PlayedNode, how: str) -> None:
    state, payload = node.run("sample_tasks.last", how, options=SOON)
    error = unpack_error(payload)
    assert (state, error.module, error.type_name) == (TaskEnd.FAILED, "paceline.errors", "SoftTimeLimitExceeded")
    assert error.message == "the task has run for 0.05 s, which is its soft_time_limit"
    assert node.result("sample_tasks.add", 2, 3) == 5


@pytest.mark.parametrize("how", ["sleeps", "awaits"])
def test_a_task_may_catch_it_and_finish(node: PlayedNode, how: str) -> None:
    state, payload = node.run("sample_tasks.last_and_finish", how, options=SOON)
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, "in part")


def test_a_task_that_ends_in_time_is_not_struck_nor_is_the_next_one(node: PlayedNode) -> None:
    for _ in range(20):
        state, payload = node.run("sample_tasks.add", 2, 3, options=SOON)
        assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, 5)
    assert node.result("sample_tasks.sleep_for", 0.2) == "slept"


def test_a_task_with_retries_is_tried_again(node: PlayedNode) -> None:
    state, _ = node.run("sample_tasks.last", "sleeps", options=SOON | {"retries": 1})
    assert state == MAY_RETRY


def test_a_timeout_of_the_tasks_own_is_its_own(node: PlayedNode) -> None:
    state, payload = node.run("sample_tasks.times_out_by_itself", options={"soft_time_limit": 10_000})
    assert (state, unpack_error(payload).type_name) == (TaskEnd.FAILED, "TimeoutError")


def test_a_timeout_that_the_task_raises_as_it_is_struck_is_its_own(node: PlayedNode) -> None:
    state, payload = node.run("sample_tasks.times_out_as_it_ends", options=SOON)
    error = unpack_error(payload)
    assert (state, error.type_name, error.message) == (TaskEnd.FAILED, "TimeoutError", "the database did not answer")


def test_where_an_async_task_was_struck_is_shown(node: PlayedNode) -> None:
    _, payload = node.run("sample_tasks.last", "awaits", options=SOON)
    assert "in _await_long" in unpack_error(payload).traceback


def test_a_strike_that_a_task_has_held_up_is_none_for_the_next_one(node: PlayedNode) -> None:
    state, _ = node.run("sample_tasks.block_signals_for", 0.2, options=SOON)
    assert state == TaskEnd.SUCCEEDED
    state, payload = node.run("sample_tasks.unblock_signals", options={"soft_time_limit": 60_000})
    assert (state, unpack_value(payload)) == (TaskEnd.SUCCEEDED, "not struck")
