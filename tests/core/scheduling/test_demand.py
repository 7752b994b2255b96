"""How many slots the cluster has use for."""

from __future__ import annotations

import pytest

from core.cluster_stories import node
from core.node_scenarios import NodeScenario
from core.scheduling.test_async_ledgers import cluster as with_async
from core.scheduling.test_dispatch import make
from core.scheduling.test_leader import TERM, Lead
from paceline.core.measures.durations import Durations
from paceline.core.scheduling.demand import TARGET_WAIT_S, more_wanted, slots_wanted
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import NAMES_LOOKED_AT, LiveTasks
from paceline.core.scheduling.nodes import DEMAND_S
from paceline_protocol.messages.work import Demand, DemandQuery


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


# --- what a node is told that asks


def told(lead: Lead, node_id: str, term: int = TERM) -> list[int]:
    """A node asks."""
    nodes = lead.leader.nodes
    nodes.outbox.clear()
    nodes.on_demand_query(node_id, DemandQuery(term), lead.now)
    assert all(each == node_id and isinstance(demand, Demand) for each, demand in nodes.outbox)
    return [demand.workers for _, demand in nodes.outbox if isinstance(demand, Demand)]


def test_a_node_is_told_how_many_more_workers_what_waits_has_use_for_that_it_can_run() -> None:
    live = LiveTasks()
    live.settle()
    durations = Durations()
    for name in ("add", "sub"):
        durations.observe(name, int(TARGET_WAIT_S * 1e6))
    live.enrol("a", 1, ["add"])
    live.enrol("b", 1, ["add", "sub"])
    for number in range(3):
        live.admit(make(number), 0.0)
    for number in range(3, 8):
        live.admit(make(number, name="sub"), 0.0)
    assert [more_wanted(live, durations, node_id) for node_id in ("a", "b", "c")] == [3, 8, 0]


def test_names_that_no_node_runs_hide_nothing_however_many_tasks_wait_under_them() -> None:
    queue = Queue(None, TARGET_WAIT_S)
    for number in range(NAMES_LOOKED_AT):
        queue.come(1, name=f"unserved_{number}")
    queue.live.enrol("a", 1, ["add"])
    queue.come(1 + 3)
    queue.live.enrol("b", 0, ["add"])
    assert [more_wanted(queue.live, queue.dispatcher.durations, node_id) for node_id in "ab"] == [3, 0]
    assert queue.wanted == 1 + 3


def test_a_task_that_runs_alone_wants_a_worker_though_others_of_its_name_run_beside_each_other() -> None:
    live, _dispatcher = with_async(async_slots=1)
    crashing = make(1, name="nap")
    crashing.runs_alone = True
    live.admit(crashing, 0.0)
    assert more_wanted(live, Durations(), next(iter(live.ledgers))) == 1


def test_what_an_earlier_leader_had_given_out_wants_no_worker_before_the_nodes_have_said_who_has_it() -> None:
    live, durations = LiveTasks(), Durations()
    durations.observe("add", int(TARGET_WAIT_S * 1e6))
    for number in range(3):
        live.recover(make(number), 0, 0.0)
    live.enrol("a", 1, ["add"])
    assert more_wanted(live, durations, "a") == 0
    live.settle()
    assert more_wanted(live, durations, "a") == 3


def test_who_asks_is_told_and_not_again_at_once() -> None:
    lead = Lead()
    session = lead.client()
    lead.submit(session, *range(20))
    lead.commit()
    lead.enrol("a", slots=1)
    lead.dispatched()
    waiting = lead.leader.tasks.waiting
    assert waiting
    (wanted,) = told(lead, "a")
    assert 1 <= wanted <= waiting
    assert told(lead, "a") == []
    lead.now += DEMAND_S
    assert told(lead, "a", TERM - 1) == []
    assert told(lead, "b") == [], "it has given no account"
    assert told(lead, "a") == [wanted]


def test_a_node_asks_its_leader_which_may_be_in_the_same_process_and_keeps_what_it_says() -> None:
    story = NodeScenario()
    story.run(
        "start abc expect=3\nuntil a leads\nadvance 1\nworker a w ready add\nworker b v ready add\n"
        "client c hello a\nclient c submit 1 2 3 4 5 6 7 8 9\nadvance 0.5"
    )
    for node_id in "ab":
        asking = node(story, node_id)
        asking.on_all_busy()
        story.run("advance 0.2")
        assert asking.leader_link.more_wanted == 1, "of what nothing is known several share a worker"
