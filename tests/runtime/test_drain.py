"""When a node that was told to end is to end."""

from __future__ import annotations

import logging
import signal
from collections import deque
from types import SimpleNamespace
from typing import cast

import pytest

from paceline.core.node import NodeCore
from paceline.core.work.draining import Draining
from paceline.runtime.drain import AGAIN_S, FINISH_S, Drain, is_told_again
from paceline_protocol.messages.records import AT_MOST_ONCE
from paceline_protocol.messages.work import Availability


def test_whoever_closes_a_terminal_or_signals_a_process_and_its_group_tells_a_node_once_to_end() -> None:
    assert not is_told_again(signal.SIGHUP, 5.0)
    assert not is_told_again(signal.SIGTERM, AGAIN_S / 2)
    assert is_told_again(signal.SIGTERM, AGAIN_S)
    assert is_told_again(signal.SIGINT, 5.0)


def test_what_has_ended_here_is_waited_for_while_the_leader_is_heard_and_no_longer_than_the_drain() -> None:
    """As large results are, which take a while to arrive."""
    held = SimpleNamespace(unrecorded=deque(["a result"]))
    slots = SimpleNamespace(executed=0, running_tasks=0, held=held, draining=Draining())
    link = SimpleNamespace(slots=slots, heard_at=0.0)
    core = SimpleNamespace(leader_link=link, has_drained=lambda now: False, drain=lambda now, lasts_s: None)
    drain = Drain(cast("NodeCore", core), "SIGTERM", 30.0, 0.0)
    for now in range(30):
        link.heard_at = float(now)
        assert not drain.is_over(float(now) + 0.5)
    assert not drain.is_over(29.0 + FINISH_S - 0.1)
    assert drain.is_over(30.0 + FINISH_S), "its time is over"

    drain = Drain(cast("NodeCore", core), "SIGTERM", 30.0, 0.0)
    link.heard_at = 1.0
    assert not drain.is_over(1.5)
    assert not drain.is_over(1.0 + FINISH_S)
    assert drain.is_over(1.0 + 2 * FINISH_S), "nobody is heard who could have it"

    held.unrecorded.clear()
    drain = Drain(cast("NodeCore", core), "SIGTERM", 30.0, 0.0)
    link.heard_at = 2.0
    assert not drain.is_over(1.0)
    link.heard_at = 3.0
    assert drain.is_over(1.0 + FINISH_S), "nothing of it is left"


def test_a_node_that_ends_does_not_tell_again_what_a_drain_has_cost_from_which_it_took_tasks_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`paceline drain`, `paceline quiet --off`, and days later SIGTERM."""
    draining = Draining()
    draining.arrives(b"once", {"delivery": AT_MOST_ONCE}, (b"once",), 1)
    draining.change(Availability.DRAINS, 0.0, 1.0)
    draining.is_over = True
    assert draining.takes_back(b"long", "begin", is_given_up=False)
    assert not draining.takes_back(b"once", "once", is_given_up=False)
    draining.change(Availability.SERVES, 2.0, 0.0)
    assert not draining.takes_back(b"once", "once", is_given_up=True), "its worker was on its way out"
    slots = SimpleNamespace(executed=7, running_tasks=1, draining=draining)
    core = SimpleNamespace(leader_link=SimpleNamespace(slots=slots), drain=lambda now, lasts_s: None)
    with caplog.at_level(logging.WARNING):
        drain = Drain(cast("NodeCore", core), "SIGTERM", 30.0, 3.0)
        slots.executed += 1
        assert drain.end(is_cut_short=False) is None
    assert [record.getMessage() for record in caplog.records][1:] == ["drained: 1 task ended"]
    assert draining.given_back == 1, "the metric counts on"
