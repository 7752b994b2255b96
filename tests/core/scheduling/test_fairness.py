"""Tasks with fair keys: within a queue, keys take turns."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scheduling.test_leader import Lead, tid
from modes import source_only
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling import fair_lines
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.fair_lines import FairTurns
from paceline.core.scheduling.finding import Page, find
from paceline.core.scheduling.listing import Listing, fill
from paceline.core.scheduling.live_tasks import FIRST_AGE, LiveTasks
from paceline.core.state.task import Task
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.live import LiveState
from paceline_protocol.messages.records import NO_LOG, Options, TaskEnd
from paceline_protocol.name_patterns import NamePattern


class Fair:
    """Live tasks of one queue, given one by one; and what each key has had beside each other one while both waited.
    Each name has a lane of its own: but for the first, a node that is busy runs it, too."""

    def __init__(self, *names: str) -> None:
        self.live = LiveTasks()
        self.dispatcher = Dispatcher(self.live)
        for number, name in enumerate(names[1:]):
            self.live.enrol(f"busy{number}", 1, [name])
            self.live.admit(Task((bytes([255, number] * 8), name, 4, b"", None)), 0.0)
            assert len(self.dispatcher.dispatch(0.0).by_ledger) == 1
        self.live.enrol("a", 1, names or ["add"])
        self.waiting: list[Task] = []
        self.ahead = Counter[tuple[str, str, int]]()
        self.order: list[str] = []

    def admit(self, key: str, count: int = 1, name: str = "add", priority: int = 4, **options: int) -> None:
        asked: Options | None = {**options, **({"fair_key": key} if key else {})} or None
        for _ in range(count):
            task = Task((self.live.next_age.to_bytes(16, "big"), name, priority, b"", asked))
            if not any(each.priority == priority and key_of(each) == key for each in self.waiting):
                self._begin_anew(key, priority)
            self.live.admit(task, 0.0)
            self.waiting.append(task)

    def _begin_anew(self, key: str, priority: int) -> None:
        for one, other, at in list(self.ahead):
            if at == priority and key in (one, other):
                del self.ahead[one, other, at]

    def give(self) -> Task:
        """The next task, which ends at once."""
        ((task,),) = self.dispatcher.dispatch(0.0).by_ledger.values()
        self.waiting.remove(task)
        key, priority = key_of(task), task.priority
        self.order.append(key)
        for other in {key_of(each) for each in self.waiting if each.priority == priority} - {key}:
            self.ahead[key, other, priority] += 1
            self.ahead[other, key, priority] -= 1
            assert self.ahead[key, other, priority] <= 1, f"{key} is ahead of {other}: {self.order}"
        self.live.finish(task.id, TaskEnd.SUCCEEDED)
        return task

    def cancel(self, task: Task) -> None:
        self.waiting.remove(task)
        self.live.finish(task.id, TaskEnd.CANCELLED)


def key_of(task: Task) -> str:
    return "" if task.options is None else task.options.fair_key


@given(random=st.randoms(use_true_random=False), names=st.integers(1, 3))
def test_at_every_moment_each_key_has_had_as_much_as_any_other_to_within_one_task(random: Random, names: int) -> None:
    come_and_go(random, names)


def come_and_go(random: Random, names: int) -> None:
    known = [f"task{number}" for number in range(names)]
    fair = Fair(*known)
    for _ in range(150):
        match random.randrange(5):
            case 0:
                some = random.choice([1, 1, 1, 20])
                fair.admit(random.choice(["", "a", "b", "c"]), some, random.choice(known), random.choice([4, 4, 4, 9]))
            case 1:
                fair.admit(random.choice("ab"), 1, random.choice(known), durability=NO_LOG)
            case 2 if fair.waiting:
                fair.cancel(random.choice(fair.waiting))
            case _ if fair.waiting:
                fair.give()
        fair.live.check()
    while fair.waiting:
        fair.give()
    fair.live.check()
    assert not fair.live.queues.default.fair.keys, "what is empty is forgotten"


def come_and_go_often() -> None:
    for seed in range(50):
        come_and_go(Random(seed), 1)


@pytest.mark.parametrize("planted", ["a key that comes is first", "a key that was given a task stays first"])
@source_only
def test_the_property_finds_keys_that_are_given_more_than_their_share(
    planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = FairTurns.wait

    def wrong(turns: FairTurns, turn: fair_lines.KeyTurn) -> None:
        if (planted == "a key that comes is first") == (turn.turn == 0):
            turn.turn = min(1, turn.turn)
        else:
            wait(turns, turn)

    monkeypatch.setattr(FairTurns, "wait", wrong)
    with pytest.raises(AssertionError, match="is ahead of"):
        come_and_go_often()


def test_a_flood_of_one_key_does_not_hold_up_another() -> None:
    fair = Fair()
    fair.admit("flood", 1_000)
    assert [key_of(fair.give()) for _ in range(3)] == ["flood"] * 3
    fair.admit("other", 2)
    assert [key_of(fair.give()) for _ in range(5)] == ["flood", "other", "flood", "other", "flood"]


def test_a_flood_does_not_hold_up_another_key_in_another_lane_of_the_queue() -> None:
    fair = Fair("add", "sub")
    fair.admit("flood", 100, "add")
    fair.admit("other", 3, "sub")
    assert len(fair.live.queues.default.ready.served) == 2
    assert [key_of(fair.give()) for _ in range(7)] == ["flood", "other", "flood", "other", "flood", "other", "flood"]


def test_tasks_that_name_no_key_are_one_key_of_their_own() -> None:
    fair = Fair()
    fair.admit("", 10)
    fair.admit("a", 10)
    fair.admit("b", 10)
    assert Counter(key_of(fair.give()) for _ in range(15)) == {"": 5, "a": 5, "b": 5}


def test_within_a_key_and_where_no_task_names_one_the_oldest_is_first() -> None:
    fair = Fair()
    fair.admit("a", 3)
    fair.admit("", 3)
    fair.admit("a", 3)
    given_out = [fair.give() for _ in range(9)]
    assert [task.age - FIRST_AGE for task in given_out if key_of(task) == "a"] == [0, 1, 2, 6, 7, 8]
    fair.admit("", 5)
    assert [fair.give().age - FIRST_AGE for _ in range(5)] == [9, 10, 11, 12, 13]


def test_a_key_saves_nothing_up_while_no_node_can_run_its_tasks() -> None:
    fair = Fair("add")
    fair.admit("away", 50, "sub")
    fair.admit("here", 200)
    for _ in range(100):
        ((task,),) = fair.dispatcher.dispatch(0.0).by_ledger.values()
        assert key_of(task) == "here"
        fair.waiting.remove(task)
        fair.live.finish(task.id, TaskEnd.SUCCEEDED)
    fair.live.enrol("a", 1, ["add", "sub"])
    fair.live.check()
    assert Counter(key_of(fair.give()) for _ in range(40))["away"] == 20


def test_tasks_of_keys_are_found_listed_and_swept_as_others() -> None:
    fair = Fair()
    for key in ("", "a", "b", "a", ""):
        fair.admit(key, 300)
    page = Page(NamePattern("add"), fair.live.next_age)
    cursor = find(fair.live, page, {LiveState.WAITING}, (0, 0, 0))
    found = list(page.ids)
    while cursor is not None:
        page = Page(NamePattern("add"), fair.live.next_age)
        cursor = find(fair.live, page, {LiveState.WAITING}, cursor)
        found += page.ids
    assert sorted(found) == [task.id for task in fair.waiting]
    listing = Listing("add", "", 200)
    assert fill(fair.live, listing, {LiveState.WAITING}, (0, 0, 0)) is not None
    assert [task.age - FIRST_AGE for task in listing.tasks] == list(range(200))
    while len(fair.waiting) > 100:
        fair.cancel(fair.waiting[len(fair.waiting) // 2])
    fair.live.check()
    assert {fair.give().age - FIRST_AGE for _ in range(100)} == {*range(50), *range(1_450, 1_500)}
    fair.live.check()


def test_keys_are_bounded_and_tasks_of_further_ones_wait_with_those_without() -> None:
    fair = Fair()
    for number in range(fair_lines.MAX_FAIR_KEYS):
        task = Task((number.to_bytes(16, "big"), "add", 4, b"", {"fair_key": f"k{number}"}))
        fair.live.admit(task, 0.0)
    turns = fair.live.queues.default.fair
    for key in ("late", "later"):
        fair.live.admit(Task((fair.live.next_age.to_bytes(16, "big"), "add", 4, b"", {"fair_key": key})), 0.0)
    assert turns.keys == fair_lines.MAX_FAIR_KEYS
    fair.live.check()
    order = []
    for _ in range(fair_lines.MAX_FAIR_KEYS + 2):
        ((task,),) = fair.dispatcher.dispatch(0.0).by_ledger.values()
        order.append(key_of(task))
        fair.live.finish(task.id, TaskEnd.SUCCEEDED)
    assert order[-2:] == ["late", "later"]
    assert turns.keys == 0


def test_a_task_that_its_node_gives_back_waits_in_front_of_its_key() -> None:
    lead = Lead()
    lead.enrol("a", slots=2)
    session = lead.client()
    lead.submit(session, 1, fair_key="a")
    lead.submit(session, 2, seq=2, fair_key="a")
    lead.submit(session, 3, seq=3, fair_key="a")
    lead.submit(session, 4, seq=4, fair_key="b")
    assert lead.dispatched() == {"a": [(1, 1), (4, 1)]}
    for number in (4, 1):
        lead.leader.tasks.give_back(lead.leader.tasks.live[tid(number)], lead.now)
    lead.leader.tasks.check()
    heads = []
    (lane,) = lead.leader.tasks.queues.default.ready.lanes
    while (head := lane.head()) is not None:
        heads.append(head.id)
        lane.pop(head)
    assert heads == [tid(1), tid(4), tid(2), tid(3)]


def test_an_older_cluster_refuses_a_fair_key() -> None:
    lead = Lead()
    lead.leader.admission.cluster_level = type(lead.leader.admission.cluster_level)(18)
    lead.submit(lead.client(), 1, fair_key="a")
    assert lead.refusals() == {1: Refusal.LEVEL_TOO_LOW}
    assert whereabouts(lead.leader, tid(1), lead.now)["state"] == "unknown"


class Watched(Task):
    """A task that counts, for all together, how often somebody looks at it."""

    looks = 0

    def __getattribute__(self, name: str) -> object:
        if name in ("state", "age", "options"):
            Watched.looks += 1
        return super().__getattribute__(name)


@source_only
@pytest.mark.parametrize("key", ["", "flood"])
def test_a_task_of_another_queue_or_key_is_given_in_as_many_steps_with_any_number_waiting(key: str) -> None:
    looks = []
    for count in (100, 20_000):
        fair = Fair()
        options: Options = {"queue": "one", **({"fair_key": key} if key else {})}
        for number in range(count):
            fair.live.admit(Watched((number.to_bytes(16, "big"), "add", 4, b"", options)), 0.0)
        other = Task((b"o" * 16, "add", 4, b"", {"queue": "two", "fair_key": "other"}))
        fair.live.admit(other, 0.0)
        Watched.looks = 0
        for _ in range(2):
            ((task,),) = fair.dispatcher.dispatch(0.0).by_ledger.values()
            fair.live.finish(task.id, TaskEnd.SUCCEEDED)
        assert other.has_ended
        looks.append(Watched.looks)
    assert looks[0] == looks[1]
