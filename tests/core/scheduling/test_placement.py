"""Tags and amounts: a task goes to a node that has what it asks for, and no node is given more than it declares."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scheduling.test_leader import TERM, Lead, tid
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.placement import KEEP_AFTER_S, PLACEMENTS_LIMIT
from paceline.core.scheduling.unserved import GRACE_S
from paceline.core.state.task import Task
from paceline_protocol.codec import encode_held
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.work import Availability, Enrol


class Cluster:
    """Live tasks and a dispatcher, in which each task is told by its number."""

    def __init__(self) -> None:
        self.live = LiveTasks()
        self.dispatcher = Dispatcher(self.live)
        self.live.settle()
        self.now = 0.0
        self._numbers = count()

    def admit(self, *, priority: int = 4, name: str = "add", **options: Any) -> int:
        number = next(self._numbers)
        self.live.admit(Task((tid(number), name, priority, b"", options or None)), self.now)
        return number

    def given(self) -> dict[int, str]:
        """One round: task -> node."""
        given = self.dispatcher.dispatch(self.now)
        self.check()
        tasks = [task for some in given.by_ledger.values() for task in some] + given.starting
        return {int.from_bytes(task.id, "big"): task.node for task in tasks}

    def ends(self, number: int) -> None:
        self.live.finish(tid(number), TaskEnd.SUCCEEDED)

    def check(self) -> None:
        self.live.check()
        for ledger in self.live.ledgers.values():
            for name, taken in ledger.room.taken.items():
                assert taken <= ledger.room.amounts[name], f"{ledger.node_id} is over-committed"


def test_a_task_goes_only_to_a_node_that_has_all_its_tags() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 4, ["add"], places=("ssd", ""))
    cluster.live.enrol("b", 4, ["add"], places=("ssd,zone-b", ""))
    both = [cluster.admit(tags="ssd,zone-b") for _ in range(4)]
    cluster.admit(tags="ssd,zone-b")
    assert cluster.given() == dict.fromkeys(both, "b")
    assert set(cluster.given()) == set()
    one = [cluster.admit(tags="ssd") for _ in range(2)]
    assert cluster.given() == dict.fromkeys(one, "a")


def test_a_node_is_given_no_more_than_it_declares_and_the_rest_waits() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 8, ["add"], places=("", "gpu=2"))
    cluster.live.enrol("b", 8, ["add"])
    first, second, third = [cluster.admit(needs="gpu=1") for _ in range(3)]
    assert cluster.given() == {first: "a", second: "a"}
    plain = cluster.admit()
    assert cluster.given() == {plain: "b"}
    cluster.ends(second)
    assert cluster.given() == {third: "a"}


def test_amounts_come_back_however_an_attempt_ends() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 1, ["add"], places=("", "gpu=1"))
    number = cluster.admit(needs="gpu=1")
    task = cluster.live.live[tid(number)]
    assert cluster.given() == {number: "a"}
    cluster.live.give_back(task, 1.0)
    cluster.check()
    assert cluster.given() == {number: "a"}
    assert cluster.live.lose_attempt(task, 5, 2.0)
    cluster.check()
    assert cluster.given() == {number: "a"}
    cluster.live.postpone(task)
    cluster.check()
    cluster.live.come_due(task, 3.0)
    assert cluster.given() == {number: "a"}
    cluster.live.finish(task.id, TaskEnd.LOST)
    assert cluster.live.ledgers["a"].room.taken == {}


def test_async_tasks_and_others_take_from_the_same_amounts() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 4, ["add", "nap"], async_slots=100, async_names=["nap"], places=("", "gpu=3"))
    for _ in range(2):
        cluster.admit(needs="gpu=1")
        cluster.admit(name="nap", needs="gpu=1")
    assert len(cluster.given()) == 3


def test_a_task_that_starts_at_most_once_takes_its_amounts_while_that_is_logged() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 4, ["add"], places=("", "gpu=1"))
    once = cluster.admit(needs="gpu=1", delivery=1)
    cluster.admit(needs="gpu=1")
    assert cluster.given() == {once: "a"}
    assert cluster.live.live[tid(once)].is_starting
    assert cluster.given() == {}


def test_a_task_that_needs_much_is_not_passed_for_ever_by_small_ones() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 8, ["add"], places=("", "gpu=4"))
    running = [cluster.admit(needs="gpu=1") for _ in range(4)]
    assert set(cluster.given()) == set(running)
    large = cluster.admit(needs="gpu=4")
    for _ in range(3):  # as long as nothing is kept for it, small ones pass
        cluster.admit(needs="gpu=1")
        cluster.ends(running.pop(0))
        running += cluster.given()
        assert large not in running
    cluster.now += KEEP_AFTER_S
    plain = cluster.admit()
    for number in running:
        cluster.admit(needs="gpu=1")
        assert set(cluster.given()) <= {plain}, "the node is kept for the large one, and runs what needs no amounts"
        cluster.ends(number)
    assert cluster.given() == {large: "a"}
    assert cluster.given() == {}
    cluster.ends(large)
    assert len(cluster.given()) == 4


def test_one_node_is_kept_for_one_lane_and_the_others_go_on() -> None:
    cluster = Cluster()
    for node_id in ("a", "b"):
        cluster.live.enrol(node_id, 8, ["add"], places=("", "gpu=2"))
    small = [cluster.admit(needs="gpu=1") for _ in range(4)]
    where = cluster.given()
    assert set(where) == set(small)
    large = cluster.admit(needs="gpu=2")
    cluster.given()
    cluster.now += KEEP_AFTER_S
    kept = cluster.live.ledgers[where[small[0]]].node_id
    cluster.ends(small[0])  # this node lacks least from now on, and is kept
    more = [cluster.admit(needs="gpu=1") for _ in range(2)]
    assert cluster.given() == {}
    other = next(number for number in small if where[number] != kept)
    cluster.ends(other)
    assert cluster.given() == {more[0]: where[other]}
    cluster.ends(next(number for number in small[1:] if where[number] == kept))
    assert cluster.given() == {large: kept}


def test_a_lane_whose_first_task_is_cancelled_keeps_no_node() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 8, ["add"], places=("", "gpu=2"))
    small = cluster.admit(needs="gpu=1")
    cluster.given()
    large = cluster.admit(needs="gpu=2")
    cluster.given()
    cluster.now += KEEP_AFTER_S
    waiting = cluster.admit(needs="gpu=1")
    assert cluster.given() == {}
    cluster.live.finish(tid(large), TaskEnd.CANCELLED)
    assert cluster.given() == {waiting: "a"}
    assert small in {int.from_bytes(task_id, "big") for task_id in cluster.live.live}


def test_plain_tasks_do_not_keep_a_node_from_those_that_need_something() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 2, ["add"], places=("", "gpu=1"))
    plain = [cluster.admit() for _ in range(20)]
    running = list(cluster.given())
    needs = cluster.admit(needs="gpu=1")
    for _ in range(len(plain)):
        cluster.ends(running.pop(0))
        running += cluster.given()
    assert needs in running


def test_what_a_node_declares_may_change_and_counts_from_then_on() -> None:
    cluster = Cluster()
    cluster.live.enrol("a", 4, ["add"], places=("", "gpu=2"))
    first, second = cluster.admit(needs="gpu=1"), cluster.admit(needs="gpu=1")
    assert set(cluster.given()) == {first, second}
    cluster.live.enrol("a", 4, ["add"], places=("", "gpu=1"))
    third = cluster.admit(needs="gpu=1")
    cluster.dispatcher.dispatch(0.0)
    assert cluster.live.live[tid(third)].waits_at_leader
    cluster.ends(first)
    assert cluster.given() == {}
    cluster.ends(second)
    assert cluster.given() == {third: "a"}
    cluster.live.enrol("a", 4, ["add"], places=None)  # as of one that is quiet
    cluster.ends(third)
    assert cluster.given() == {}
    assert cluster.live.ledgers["a"].room.amounts == {"gpu": 1}


PLACES = ["", "cpu=2", "cpu=4,gpu=1", "gpu=2", "cpu=1,gpu=4"]
TAGS = ["", "ssd", "ssd,zone-a", "zone-a"]
NEEDS = ["", "cpu=1", "cpu=2,gpu=1", "gpu=1", "gpu=2", "gpu=4", "cpu=4", "tape=1"]


@given(rng=st.randoms(use_true_random=False))
def test_whatever_comes_and_goes_no_node_is_over_committed_and_what_can_run_does(rng: Random) -> None:
    cluster = Cluster()
    nodes: dict[str, tuple[str, str]] = {}
    running: dict[int, str] = {}

    def remove(node_id: str) -> None:
        for number in [number for number, node in running.items() if node == node_id]:
            del running[number]
            if not cluster.live.lose_attempt(cluster.live.live[tid(number)], 100, cluster.now):
                raise AssertionError("it has attempts left")
        cluster.live.remove_node(node_id)
        del nodes[node_id]

    def run() -> None:
        for number, node_id in cluster.given().items():
            options = cluster.live.live[tid(number)].options
            tags = options.tags if options is not None else ""
            assert set(filter(None, tags.split(","))) <= set(nodes[node_id][0].split(","))
            running[number] = node_id

    for _ in range(60):
        cluster.now += rng.choice((0.0, 0.1, KEEP_AFTER_S))
        match rng.randrange(6):
            case 0 if len(nodes) < 4:
                node_id = rng.choice("abcd")
                if node_id not in nodes:
                    nodes[node_id] = (rng.choice(TAGS), rng.choice(PLACES))
                    cluster.live.enrol(node_id, rng.randint(1, 4), ["add"], places=nodes[node_id])
            case 1 if nodes and rng.random() < 0.3:
                remove(rng.choice(sorted(nodes)))
            case 2 if running:
                number = rng.choice(sorted(running))
                del running[number]
                cluster.ends(number)
            case 3 if running:
                number = rng.choice(sorted(running))
                del running[number]
                cluster.live.give_back(cluster.live.live[tid(number)], cluster.now)
            case _:
                asked = {"tags": rng.choice(TAGS), "needs": rng.choice(NEEDS), "queue": rng.choice(("default", "q"))}
                asked["affinity"] = rng.choice(("", "", "m", "n"))
                asked["fair_key"] = rng.choice(("", "", "k", "l"))
                cluster.admit(priority=rng.randrange(10), **{key: value for key, value in asked.items() if value})
        run()
    run()
    while running:  # all that some node can run does
        cluster.now += 0.3
        number = rng.choice(sorted(running))
        del running[number]
        cluster.ends(number)
        run()
    waiting = [task for task in cluster.live.live.values() if task.waits_at_leader]
    for task in waiting:
        assert not any(
            ledger.slots
            and (
                task.options is None or cluster.live.queues.placement_of(task.name, task.options).is_met_by(ledger.room)
            )
            for ledger in cluster.live.ledgers.values()
        ), f"{task.wire_options} waits though a node could run it"


# --- affinity


def of_three_nodes(slots: int = 4) -> Cluster:
    cluster = Cluster()
    for node_id in "abc":
        cluster.live.enrol(node_id, slots, ["add"])
    return cluster


def test_tasks_with_the_same_affinity_begin_on_the_same_node_as_long_as_it_has_room() -> None:
    cluster = of_three_nodes()
    where: dict[str, set[str]] = {}
    for number in range(60):
        key = f"model {number % 20}"
        ((task, node_id),) = [(cluster.admit(affinity=key), *cluster.given().values())]
        where.setdefault(key, set()).add(node_id)
        cluster.ends(task)
    assert all(len(nodes) == 1 for nodes in where.values())
    assert {node for nodes in where.values() for node in nodes} == set("abc")


def test_every_leader_finds_the_same_node_and_one_that_comes_moves_its_own_share_alone() -> None:
    keys = [f"model {number}" for number in range(200)]

    def nodes_of(names: str) -> dict[str, str]:
        cluster = Cluster()
        for node_id in names:
            cluster.live.enrol(node_id, 1_000, ["add"])
        numbers = {cluster.admit(affinity=key): key for key in keys}
        return {numbers[number]: node for number, node in cluster.given().items()}

    before, again, after = nodes_of("abc"), nodes_of("cab"), nodes_of("abcd")
    assert before == again
    moved = {key for key in keys if before[key] != after[key]}
    assert {after[key] for key in moved} == {"d"}
    assert 20 <= len(moved) <= 100
    assert all(30 <= list(before.values()).count(node) <= 110 for node in "abc")


def test_a_task_waits_for_its_node_no_longer_than_its_affinity_wait_and_nobody_waits_behind_it() -> None:
    cluster = of_three_nodes(slots=1)
    first = cluster.admit(affinity="model")
    ((_, node_id),) = cluster.given().items()
    second = cluster.admit(affinity="model", affinity_wait=5_000)
    plain = cluster.admit()
    assert set(cluster.given()) == {plain}
    cluster.now += 4.9
    assert cluster.given() == {}
    cluster.now += 0.2
    given = cluster.given()
    assert set(given) == {second}
    assert given[second] != node_id
    third = cluster.admit(affinity="model")
    assert cluster.given() == {}
    cluster.ends(first)
    assert cluster.given() == {third: node_id}


def test_a_task_that_waits_for_its_node_has_no_node_kept() -> None:
    cluster = Cluster()
    for node_id in "ab":
        cluster.live.enrol(node_id, 4, ["add"], places=("", "gpu=1"))
    first = cluster.admit(affinity="model", needs="gpu=1")
    ((_, node_id),) = cluster.given().items()
    cluster.admit(affinity="model", needs="gpu=1", affinity_wait=60_000)
    cluster.given()
    cluster.now += 2 * KEEP_AFTER_S
    other = cluster.admit(needs="gpu=1")
    ((number, where),) = cluster.given().items()
    assert (number, where != node_id) == (other, True)
    cluster.ends(first)
    assert set(cluster.given().values()) == {node_id}


def test_what_prefers_a_node_runs_where_what_it_needs_is() -> None:
    cluster = Cluster()
    for node_id in "abcdef":
        cluster.live.enrol(node_id, 10, ["add"], places=("ssd" if node_id == "d" else "", ""))
    numbers = [cluster.admit(affinity=f"model {number}", tags="ssd") for number in range(10)]
    assert cluster.given() == dict.fromkeys(numbers, "d")


def test_a_node_on_which_all_tasks_crash_is_preferred_by_none() -> None:
    cluster = of_three_nodes()
    number = cluster.admit(affinity="model")
    ((_, node_id),) = cluster.given().items()
    cluster.live.ledgers[node_id].task_ended(losses=3)
    cluster.ends(number)
    cluster.admit(affinity="model")
    assert node_id not in cluster.given().values()


# --- with the leader's other halves


class Placing(Lead):
    def enrols(
        self, node_id: str, places: tuple[str, str] | None, held: dict[int, int] | None = None, seq: int = 0
    ) -> None:
        """The node's next account."""
        self.leader.nodes.beat([node_id], self.now)
        version = self.versions[node_id] = self.versions.get(node_id, 0) + 1
        packed = encode_held((tid(number), attempt) for number, attempt in (held or {}).items())
        account = Enrol(TERM, version, seq, 0, 4, ("add",), packed)
        self.leader.nodes.on_enrol(node_id, account, self.now, places=places)

    def why(self, number: int) -> str:
        return str(whereabouts(self.leader, tid(number), self.now)["why"])


def test_a_new_leader_counts_what_it_adopts() -> None:
    before = Placing()
    before.enrols("a", ("", "gpu=2"))
    session = before.client()
    before.submit(session, 1, 2, 3, needs="gpu=1")
    before.commit()
    assert before.dispatched() == {"a": [(1, 1), (2, 1)]}
    lead = Placing(before.table, settled=False)
    lead.enrols("a", ("", "gpu=2"), held={1: 1, 2: 1})
    lead.leader.tick(0.0, ["a"])
    lead.leader.tasks.check()
    assert lead.leader.tasks.ledgers["a"].room.taken == {"gpu": 2}
    assert lead.dispatched() == {}
    lead.outcomes("a", 1, 1)
    assert lead.dispatched() == {"a": [(3, 1)]}


def test_a_node_that_gives_a_task_back_as_others_run_there_is_full_until_one_of_those_ends() -> None:
    lead = Placing()
    lead.enrols("a", ("", "gpu=1"))
    lead.submit(lead.client(), 1, needs="gpu=1")
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.enrols("a", ("", "gpu=1"), held={99: 1}, seq=1)  # an earlier leader had sent it
    assert lead.dispatched() == {}
    assert "none of the 1 nodes that have so much has it free" in lead.why(1)
    lead.outcomes("a", 1, 99)
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_a_lost_dispatch_makes_no_node_full() -> None:
    lead = Placing()
    lead.enrols("a", ("", "gpu=1"))
    lead.submit(lead.client(), 1, needs="gpu=1")
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.enrols("a", ("", "gpu=1"), seq=1)
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_whoever_asks_is_told_for_which_node_a_task_waits_and_how_long() -> None:
    lead = Placing()
    for node_id in "ab":
        lead.enrols(node_id, None)
    session = lead.client()
    lead.submit(session, *range(1, 6), affinity="model")
    (node_id,) = lead.dispatched()
    assert lead.why(5) == f"it waits for a place on node {node_id}, which is best by its affinity, 1.0 s more at most"
    assert lead.leader.tasks.unplaced() == {}
    lead.now += 1.0
    assert set(lead.dispatched()) == set("ab") - {node_id}


def test_what_no_node_has_is_accepted_and_said() -> None:
    lead = Placing()
    lead.enrols("a", ("ssd", "gpu=2"))
    lead.enrols("b", ("", "gpu=4"))
    session = lead.client()
    lead.submit(session, 1, needs="gpu=4", tags="ssd")
    lead.submit(session, 2, needs="gpu=2", seq=2)
    assert set(lead.dispatched()) == {"a"} or set(lead.dispatched()) == {"b"}
    lead.submit(session, 3, needs="gpu=8", seq=3)
    assert lead.refusals() == {}
    assert lead.why(1) == (
        "no node that runs add has what it asks for, tags ssd and needs gpu=4; node a comes closest and has 2 gpu of "
        "4. Start a node with --tag or --resource that has all of it"
    )
    assert lead.leader.tasks.unplaced() == {"add with tags ssd and needs gpu=4": 1, "add with needs gpu=8": 1}
    assert lead.leader.tasks.unserved_by_name() == {}
    lead.pass_time(GRACE_S + 2.0, heard="ab")
    assert [text for _, text in lead.notices] == [
        "no node has what 2 tasks ask for: add with needs gpu=8 (1), add with tags ssd and needs gpu=4 (1). Start a "
        "node that has it, with --tag or --resource; `paceline tasks why ID` says which comes closest"
    ]
    lead.enrols("c", ("ssd", "gpu=8"))
    assert lead.dispatched() == {"c": [(1, 1)]}
    assert lead.leader.tasks.unplaced() == {}
    assert lead.why(3) == (
        "it needs gpu=8, and none of the 1 nodes that have so much has it free; node c comes closest, with 4 of 8 gpu"
    )


def test_a_name_that_nobody_runs_is_said_to_be_that_and_nothing_else() -> None:
    lead = Placing()
    lead.submit(lead.client(), 1, needs="gpu=1")
    lead.enrols("a", ("", "gpu=1"))
    lead.submit(lead.client(b"d"), 2, name="add", needs="gpu=1")
    lead.leader.nodes.by_id["a"].availability = Availability.SERVES
    lead.leader.tasks.enrol("a", 4, ["other"], places=("", "gpu=1"))
    assert lead.leader.tasks.unserved_by_name() == {"add": 2}
    assert lead.leader.tasks.unplaced() == {}


def test_tasks_ask_for_a_bounded_number_of_different_things() -> None:
    lead = Lead()
    lead.enrol("a")
    session = lead.client()
    for number in range(PLACEMENTS_LIMIT):
        lead.submit(session, number, seq=number + 1, needs=f"gpu={number + 1}")
    lead.submit(session, 5_000, seq=5_000, needs="gpu=5000")
    lead.submit(session, 5_001, seq=5_001, needs="gpu=7")
    assert lead.refusals() == {5_000: Refusal.QUEUE_FULL}
    lead.cancel(session, 0)
    lead.submit(session, 5_002, seq=5_002, needs="gpu=5000")
    assert lead.refusals() == {}
    lead.leader.tasks.check()


@pytest.mark.parametrize("options", [{"tags": "ssd"}, {"needs": "gpu=1"}])
def test_a_task_that_waits_for_what_no_node_has_can_be_cancelled_and_found(options: dict[str, Any]) -> None:
    lead = Lead()
    lead.enrol("a")
    session = lead.client()
    lead.submit(session, 1, **options)
    tasks = lead.leader.tasks
    assert tasks.find_waiting("add", 0, 10, 10)[0] == [tid(1)]
    lead.cancel(session, 1)
    lead.commit()
    tasks.check()
    assert tasks.waiting == 0


def test_options_that_say_none_ask_for_nothing() -> None:
    """As a call by name may, of what its nodes announce."""
    cluster = Cluster()
    cluster.live.enrol("a", 4, ["add"])
    numbers = [cluster.admit(tags=0), cluster.admit(needs=0), cluster.admit(affinity=0), cluster.admit(tags=0, needs=0)]
    assert set(cluster.given()) == set(numbers)
