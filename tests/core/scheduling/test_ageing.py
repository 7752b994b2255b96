"""Ageing: however many tasks of higher priorities come, those of a low one are given, by a bound in tasks."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scheduling.test_fairness import Fair
from modes import source_only
from paceline.core.scheduling.ageing import AGED_EVERY, Ageing
from paceline.core.scheduling.lanes import Lane
from paceline.core.state.task import Task
from paceline_protocol.messages.records import NO_LOG, TaskEnd


class Aged(Fair):
    """Tasks of any priority, of each of which is known how many were older when it came, and are given by then."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.given = 0
        self.came: dict[bytes, tuple[int, int]] = {}

    def admit(self, key: str, count: int = 1, name: str = "add", priority: int = 4, **options: int) -> None:
        for _ in range(count):
            super().admit(key, 1, name, priority, **options)
            self.came[self.waiting[-1].id] = (self.given, len(self.waiting) - 1)

    def give(self) -> Task:
        ((task,),) = self.dispatcher.dispatch(0.0).by_ledger.values()
        self.waiting.remove(task)
        self.given += 1
        since, older = self.came[task.id]
        behind = self.given - since
        assert behind <= AGED_EVERY * (older + 1), f"{behind} were given, and {older} were older"
        self.live.finish(task.id, TaskEnd.SUCCEEDED)
        return task


@given(random=st.randoms(use_true_random=False), names=st.integers(1, 3))
def test_no_task_waits_for_more_than_its_bound_whatever_comes_after_it(random: Random, names: int) -> None:
    come_and_go(random, names)


def come_and_go(random: Random, names: int) -> None:
    known = [f"task{number}" for number in range(names)]
    aged = Aged(*known)
    highest = random.randrange(1, 10)
    for _ in range(150):
        match random.randrange(4):
            case 0:
                aged.admit(
                    "", 1, random.choice(known), random.randrange(10), **random.choice([{}, {"durability": NO_LOG}])
                )
            case 1:
                aged.admit("", 2, random.choice(known), highest)
            case 2 if aged.waiting and not random.randrange(8):
                aged.cancel(random.choice(aged.waiting))
            case _ if aged.waiting:
                aged.give()
        aged.live.check()
    while aged.waiting:
        aged.give()


def come_and_go_often() -> None:
    for seed in range(50):
        come_and_go(Random(seed), 1)


@pytest.mark.parametrize("planted", ["nothing ages", "the youngest is given"])
@source_only
def test_the_property_finds_tasks_that_are_starved(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted == "nothing ages":
        monkeypatch.setattr(Ageing, "given", lambda ageing: None)
    else:
        monkeypatch.setattr(Lane, "_oldest", lambda lane, found: found)
    with pytest.raises(AssertionError, match="were older"):
        come_and_go_often()


@pytest.mark.parametrize("names", [(), ("add", "sub")], ids=["one lane", "two lanes"])
def test_one_in_so_many_is_the_oldest_while_others_of_a_higher_priority_go_on_coming(names: tuple[str, ...]) -> None:
    aged = Aged(*names)
    aged.admit("", 2, priority=0)
    order = []
    for _ in range(2 * AGED_EVERY):
        aged.admit("", 2, names[-1] if names else "add", 9)
        order.append(aged.give().priority)
    assert order == ([9] * (AGED_EVERY - 1) + [0]) * 2


def test_tasks_of_one_priority_do_not_age() -> None:
    aged = Aged()
    aged.admit("", 100)
    for _ in range(100):
        aged.give()
    assert not aged.live.queues.default.ageing.is_due


def test_a_low_priority_of_one_key_ages_while_keys_take_turns() -> None:
    fair = Fair()
    fair.admit("low", 3, priority=0)
    fair.admit("a", 100, priority=9)
    fair.admit("b", 100, priority=9)
    given_out = []
    for _ in range(3 * (AGED_EVERY + 1)):
        ((task,),) = fair.dispatcher.dispatch(0.0).by_ledger.values()
        assert task.options is not None
        given_out.append(task.options.fair_key)
        fair.live.finish(task.id, TaskEnd.SUCCEEDED)
    assert given_out.count("low") == 3
    assert abs(given_out.count("a") - given_out.count("b")) <= 1
    fair.live.check()
