"""gather and wait: several futures together."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import namedtuple
from typing import Any

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from paceline.client import Client
from paceline.errors import ConfigError
from paceline_protocol.messages.records import TaskEnd

Pair = namedtuple("Pair", "left right")


def test_results_come_in_the_shape_in_which_futures_are_given(client: Client) -> None:
    one, two = client.submit("echo", 1), client.submit("echo", "two")
    assert client.gather(one) == 1
    assert client.gather([one, two, one]) == [1, "two", 1]
    nested = {"a": [one, (two,)], "b": {one, two}, "c": "no future", "d": Pair(one, [None])}
    assert client.gather(nested) == {"a": [1, ("two",)], "b": {1, "two"}, "c": "no future", "d": Pair(1, [None])}
    assert client.gather([]) == []


def test_the_first_exception_is_raised_while_others_go_on(node: FakeNode, client: Client) -> None:
    node.hold = True
    waits, fails = client.submit("echo", 1), client.submit("echo", 2)
    node.wait_for(lambda: len(node._held) == 2)
    node.end(fails.task_id, TaskEnd.CANCELLED)
    with pytest.raises(Exception, match="cancelled"):
        client.gather([waits, fails], timeout=DEADLINE_S)
    assert not waits.done()
    node.release()
    assert waits.result(DEADLINE_S) == 1


def test_exceptions_are_gathered_as_results_on_request(client: Client) -> None:
    one, error = client.gather([client.submit("echo", 1), client.submit("fail", "mine")], return_exceptions=True)
    assert one == 1
    assert isinstance(error, ValueError)


def test_gather_has_a_timeout_and_cancels_nothing(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("echo", 1)
    with pytest.raises(TimeoutError, match="1 of 1 tasks"):
        client.gather({"one": future}, timeout=0.05)
    node.release()
    assert client.gather(future) == 1


def test_what_is_in_itself_is_refused(client: Client) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="level by level"):
        client.gather(cycle)


def test_wait_returns_what_has_ended_and_what_has_not(node: FakeNode, client: Client) -> None:
    node.hold = True
    first, second = client.submit("echo", 1), client.submit("echo", 2)
    node.wait_for(lambda: len(node._held) == 2)
    assert client.wait([first, second], timeout=0.01) == (set(), {first, second})
    node.release(1)
    done, not_done = client.wait([first, second], return_when=concurrent.futures.FIRST_COMPLETED)
    assert (done, not_done) == ({first}, {second})
    assert client.wait([first, second], return_when=asyncio.FIRST_COMPLETED).done == {first}
    node.release()
    assert client.wait([first, second, first]) == ({first, second}, set())
    assert client.wait([]) == (set(), set())


def test_wait_ends_with_the_first_exception_if_that_is_asked_for(node: FakeNode, client: Client) -> None:
    good = client.submit("echo", 1)
    good.result(DEADLINE_S)
    node.hold = True
    waits, fails = client.submit("echo", 2), client.submit("echo", 3)
    node.wait_for(lambda: len(node._held) == 2)
    node.end(fails.task_id, TaskEnd.CANCELLED)
    for _ in range(2):  # whether it had failed before or not
        done, not_done = client.wait([good, waits, fails], DEADLINE_S, "FIRST_EXCEPTION")
        assert (done, not_done) == ({good, fails}, {waits})


def test_what_is_no_future_of_the_client_is_refused(node: FakeNode, client: Client) -> None:
    with Client(node.address) as other:
        future = other.submit("echo", 1)
        for ask in (client.wait, client.gather, lambda futures: list(client.as_completed(futures))):
            with pytest.raises(TypeError, match="of another client"):
                ask([future])
    with pytest.raises(TypeError, match="no future"):
        client.wait([1])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="return_when"):
        client.wait([], return_when="SOON")  # type: ignore[arg-type]
