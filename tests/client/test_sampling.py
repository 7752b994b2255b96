"""Which calls are traced, and how the two parts of a trace come together."""

from __future__ import annotations

import pytest

from client.session_rig import Rig, task_id
from paceline.client.client import Client
from paceline.client.session.sampling import TRACES_LIMIT_TASKS, Sampler
from paceline.errors import ConfigError
from paceline_protocol.messages.trace import Stage, Trace
from paceline_protocol.options import completed, is_by_name

AT_LEADER = ((int(Stage.LEADER_IN), 20), (int(Stage.LEADER_BACK), 30))


def sampled(every: int, calls: int) -> list[int]:
    """The numbers of the calls that are traced, as a driver that numbers them from 1 finds out."""
    sampler, numbers = Sampler(every), []
    for number in range(1, calls + 1):
        if number == sampler.next_serial:
            sampler.sample(task_id(number), None, 0)
            numbers.append(number)
    return numbers


def test_the_first_call_is_sampled_and_then_every_so_many() -> None:
    assert sampled(1, 4) == [1, 2, 3, 4]
    assert sampled(3, 10) == [1, 4, 7, 10]
    assert sampled(0, 1000) == []


def test_a_sampled_call_keeps_its_options() -> None:
    options = {"max_attempts": 2}
    assert Sampler(1).sample(task_id(1), options, 0) == {"max_attempts": 2, "trace": 1}
    assert options == {"max_attempts": 2}


@pytest.mark.parametrize("told_first", [True, False])
def test_a_trace_is_whole_once_both_parts_are_there_and_is_taken_once(told_first: bool) -> None:
    sampler = Sampler(1)
    sampler.sample(task_id(1), None, 10)
    assert sampler.take() == {}
    if told_first:
        sampler.tell([Trace(task_id(1), AT_LEADER)])
        assert sampler.take() == {}
        sampler.came_back(task_id(1), 40)
    else:
        sampler.came_back(task_id(1), 40)
        assert sampler.take() == {}
        sampler.tell([Trace(task_id(1), AT_LEADER)])
    assert list(sampler.take()[task_id(1)].items()) == [
        (Stage.SUBMITTED, 10),
        (Stage.LEADER_IN, 20),
        (Stage.LEADER_BACK, 30),
        (Stage.CLIENT_BACK, 40),
    ]
    assert sampler.take() == {}


def test_of_too_many_that_nobody_takes_the_oldest_are_dropped() -> None:
    sampler = Sampler(1)
    for number in range(TRACES_LIMIT_TASKS + 3):
        sampler.sample(task_id(number), None, 10)
        sampler.tell([Trace(task_id(number), AT_LEADER)])
        sampler.came_back(task_id(number), 40)
    assert list(sampler.take()) == [task_id(number) for number in range(3, TRACES_LIMIT_TASKS + 3)]
    assert sampler.under_way == {}


def test_a_session_keeps_what_the_leader_tells_and_no_more_than_its_bound() -> None:
    rig = Rig("a:1")
    rig.attach()
    for number in range(TRACES_LIMIT_TASKS + 2):
        rig.hear("a:1", Trace(task_id(number), AT_LEADER))
    assert len(rig.session.output.traces) == TRACES_LIMIT_TASKS
    assert rig.session.output.traces[-1] == Trace(task_id(TRACES_LIMIT_TASKS + 1), AT_LEADER)
    assert rig.session.output.malformed_frames == 0


def test_a_negative_rate_is_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match="or none with 0"):
        Client("127.0.0.1:1", trace_every=-1)


def test_a_call_by_name_that_is_sampled_is_still_one() -> None:
    sampler = Sampler(1)
    for options in ({}, {"durability": 0, "retries": 3}, {"durability": 1, "confirm": 0}):
        traced = sampler.sample(b"i" * 16, options, 0)
        assert is_by_name(traced)
        assert completed(traced, {"time_limit": 5}) == completed(options, {"time_limit": 5}) | {"trace": 1}
    for whole in (None, {"retries": 3}, {"durability": 1}):
        assert not is_by_name(sampler.sample(b"i" * 16, whole, 0))
