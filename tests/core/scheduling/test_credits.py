"""Which of the nodes of a lane is given the next task, however many they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.core.scheduling.credits import SPARE_TIME_US, WINDOW_PARTS, NodeLedger, Row
from paceline.core.state.task import Task

NAMES = frozenset({"add"})
LONG_US = 50 * SPARE_TIME_US  # not so long that nothing is to stand behind it


def make(number: int) -> Task:
    return Task((number.to_bytes(16, "big"), "add", 4, b"args", None))


def give(ledger: NodeLedger, number: int, cost_us: int) -> None:
    ledger.give(make(number), cost_us)
    ledger.moved()
    ledger.sent(number, 4)


def fill(row: Row, count: int, cost_us: int) -> str:
    """Give so many tasks away; the nodes that got them."""
    given_to = ""
    for number in range(count):
        ledger = row.next(cost_us)
        if ledger is None:
            break
        give(ledger, len(ledger.held) + 100 * number, cost_us)
        given_to += ledger.node_id
    return given_to


def test_the_least_loaded_comes_first_and_of_equal_ones_the_first_of_the_row() -> None:
    row = Row([NodeLedger("b", 2, NAMES), NodeLedger("a", 4, NAMES)])
    assert fill(row, 20, LONG_US) == "baabaabaa"


def test_what_is_left_to_short_tasks_goes_to_whoever_has_most_time_for_them() -> None:
    first, second = NodeLedger("a", 1, NAMES), NodeLedger("b", 1, NAMES)
    row = Row([first, second])
    for ledger, cost_us in ((first, SPARE_TIME_US // 2), (second, SPARE_TIME_US // 4)):
        for number in range(2):
            give(ledger, number, cost_us // 2)
    assert row.next(SPARE_TIME_US // 4) is second
    assert row.next(LONG_US) is None
    second.take(second.held[make(0).id])
    assert row.next(LONG_US) is second


def test_a_node_that_left_the_row_is_given_nothing_and_moves_nothing() -> None:
    ledger = NodeLedger("a", 1, NAMES)
    row = Row([ledger])
    row.leave()
    assert row.next(1) is None
    give(ledger, 1, 1)
    assert ledger.seats == []


@pytest.mark.parametrize("size_bytes", [0, 1, 10, 200])
def test_of_a_node_that_names_no_dispatch_a_bounded_number_is_remembered(size_bytes: int) -> None:
    """It may report ends of tasks all the while, and so be given more of small ones without end."""
    window_bytes = 100 * WINDOW_PARTS
    ledger = NodeLedger("a", 1, NAMES, window_bytes)
    number = sent_bytes = 0
    while number < 10_000 and ledger.on_way_bytes < window_bytes:
        number += 1
        task = Task((number.to_bytes(16, "big"), "add", 4, bytes(size_bytes), None))
        ledger.give(task, 1)
        ledger.sent(number, size_bytes)
        ledger.take(task)
        sent_bytes += size_bytes
        assert len(ledger._sent) <= 2 * WINDOW_PARTS
        assert ledger.on_way_bytes == ledger.sent_bytes() == sent_bytes
    for named in range(number):
        ledger.arrived(named)
        not_there = (number - named) * size_bytes
        assert not_there <= ledger.on_way_bytes < not_there + max(size_bytes, window_bytes // WINDOW_PARTS)
    ledger.arrived(number)
    assert ledger.on_way_bytes == 0


@given(
    slots=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    steps=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 6), st.sampled_from([30, 700, LONG_US])), max_size=80),
)
def test_the_first_of_the_row_is_the_one_that_a_search_finds(
    slots: list[int], steps: list[tuple[int, int, int]]
) -> None:
    ledgers = [NodeLedger(f"n{number:02}", count, NAMES, 12) for number, count in enumerate(slots)]
    row = Row(ledgers)
    for number, (place, action, cost_us) in enumerate(steps):
        found = min(ledgers, key=lambda ledger: (ledger.rank, ledger.node_id))
        is_any_free = any(ledger.has_credit(cost_us) for ledger in ledgers)
        assert row.next(cost_us) is (found if is_any_free else None)
        assert row.slots == sum(ledger.slots for ledger in ledgers)
        ledger = ledgers[place % len(ledgers)]
        if action == 0:
            ledger.resize((ledger.slots + 1) % 4, NAMES)
        elif action < 3 and ledger.held:
            ledger.take(next(iter(ledger.held.values())))
        elif action == 3:
            ledger.arrived(number - 5)
        else:
            give(ledger, number, cost_us)
