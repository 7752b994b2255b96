"""How many slots the cluster has use for."""

from __future__ import annotations

import pytest

from core.scheduling.test_async_ledgers import cluster as with_async
from core.scheduling.test_dispatch import make
from paceline.core.measures.durations import Durations
from paceline.core.reports.demand import TARGET_WAIT_S, slots_wanted
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import LiveTasks


class Queue:
    """A leader's tasks. ``slots``: of its one node, which runs "add"; None: there is no node."""

    def __init__(self, slots: int | None, seconds: float | None = None) -> None:
        """``seconds``: what a task takes that is "add", if that is known."""
        self.live = LiveTasks()
        self.dispatcher = Dispatcher(self.live)
        if seconds is not None:
            self.dispatcher.durations.observe("add", int(seconds * 1e6))
        if slots is not None:
            self.live.enrol("a", slots, ["add"])
        self.live.settle()
        self._count = 0

    def come(self, count: int, name: str = "add") -> None:
        for _ in range(count):
            self.live.admit(make(self._count, name=name), 0.0)
            self._count += 1
        self.dispatcher.dispatch(0.0)

    @property
    def wanted(self) -> int:
        return slots_wanted(self.live, self.dispatcher.durations)


@pytest.mark.parametrize(
    ("seconds", "count", "wanted"),
    [
        (60.0, 10, 10),  # each has to begin before any has ended
        (TARGET_WAIT_S, 10, 10),
        (0.99, 12, 2 + 1),  # of the ten that wait, one slot runs all within the time
        (0.99, 102, 2 + 10),
        (0.001, 102, 2 + 1),
        (1.0, 2, 2),
        (1.0, 0, 0),
        (None, 102, 2 + 11),  # nothing is known of them: they count as long, and with what it costs to hand them out
    ],
)
def test_what_waits_is_to_begin_soon_and_short_tasks_share_a_slot(
    seconds: float | None, count: int, wanted: int
) -> None:
    queue = Queue(2, seconds)
    queue.come(count)
    assert queue.wanted == wanted


def test_from_no_node_on_tasks_want_one() -> None:
    queue = Queue(None, 1.0)
    queue.come(3)
    assert queue.wanted == 1
    queue.live.enrol("a", 1, ["add"])
    queue.dispatcher.dispatch(0.0)
    assert queue.wanted == 2


def test_more_of_the_same_nodes_would_not_help_a_name_that_none_runs() -> None:
    queue = Queue(1, 60.0)
    queue.come(5, name="old")
    assert queue.wanted == 0
    queue.come(1)
    assert queue.wanted == 1


def test_tasks_that_run_many_at_once_have_slots_of_their_own() -> None:
    live, dispatcher = with_async(async_slots=1)
    for number in range(20):
        live.admit(make(number, name="nap"), 0.0)
    dispatcher.dispatch(0.0)
    assert slots_wanted(live, Durations()) == 0
    live.admit(make(100, name="add"), 0.0)
    dispatcher.dispatch(0.0)
    assert slots_wanted(live, Durations()) == 1
