"""Tasks are found by name and state, a page at a time, while they come, leave and move."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_leader import TERM, Lead, tid
from modes import source_only
from paceline.core.reports.found import found
from paceline.core.scheduling import finding
from paceline_protocol.errors import LimitExceeded
from paceline_protocol.messages.client import FindRequest
from paceline_protocol.messages.live import LiveState
from paceline_protocol.messages.work import Revoked

WAITING, DELAYED, RUNNING = int(LiveState.WAITING), int(LiveState.DELAYED), int(LiveState.RUNNING)
ALL = (DELAYED, WAITING, RUNNING)


def page(lead: Lead, name: str, states: tuple[int, ...], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """The page behind this one, or the first."""
    if before is None:
        return found(lead.leader, FindRequest(1, name, states, 0, 0, 0, 0, 0), lead.now)
    return found(lead.leader, FindRequest(1, name, states, before["term"], before["until"], *before["next"]), lead.now)


def numbers(answer: dict[str, Any]) -> list[int]:
    return [int.from_bytes(task_id, "big") for task_id in answer["ids"]]


def crowd(**limits: Any) -> Clocked:
    """Tasks of three names that wait, are delayed, and run."""
    lead = Clocked(**limits)
    session = lead.client()
    lead.submit(session, 1, 2, name="shop.pay")
    lead.commit()
    lead.enrol("a", slots=2, names=("shop.pay", "shop.ship", "mail.send"))
    assert set(lead.dispatched()) == {"a"}
    lead.submit(session, *range(10, 20), seq=2, name="shop.pay")
    lead.submit(session, *range(20, 25), seq=3, name="shop.ship")
    lead.submit(session, *range(30, 35), seq=4, name="mail.send")
    lead.submit(session, *range(40, 44), seq=5, name="shop.pay", not_before=ms(60.0))
    lead.submit(session, *range(44, 48), seq=6, name="mail.send", not_before=ms(60.0))
    return lead


@pytest.mark.parametrize(
    ("name", "states", "expected"),
    [
        ("shop.pay", (WAITING,), {*range(10, 20)}),
        ("shop.*", (WAITING,), {*range(10, 25)}),
        ("*.pay", (WAITING, DELAYED), {*range(10, 20), *range(40, 44)}),
        ("shop.*", (RUNNING,), {1, 2}),
        ("*", ALL, {1, 2, *range(10, 25), *range(30, 35), *range(40, 48)}),
        ("shop", ALL, set()),
    ],
)
def test_tasks_are_found_by_name_and_state(name: str, states: tuple[int, ...], expected: set[int]) -> None:
    answer = page(crowd(), name, states)
    assert (set(numbers(answer)), answer["next"]) == (expected, None)
    assert len(answer["ids"]) == len(expected)


@source_only
@pytest.mark.parametrize("looks", [2, 3, 7])
@pytest.mark.parametrize("ids", [1, 4, 1_000])
def test_a_page_looks_at_a_bounded_number_of_tasks_and_names(
    monkeypatch: pytest.MonkeyPatch, looks: int, ids: int
) -> None:
    monkeypatch.setattr(finding, "PAGE_TASKS", looks)
    monkeypatch.setattr(finding, "PAGE_IDS", ids)
    lead = crowd()
    answer: dict[str, Any] | None = None
    all_found: list[int] = []
    for _ in range(200):
        answer = page(lead, "shop.*", ALL, answer)
        assert len(answer["ids"]) <= min(looks, ids)
        all_found += numbers(answer)
        waiting = [number for number in numbers(answer) if number >= 10]
        lead.cancel(lead.client(b"operator"), *waiting)  # as whoever has asked for them does
        lead.leader.tasks.check()
        if answer["next"] is None:
            break
    assert sorted(all_found) == [1, 2, *range(10, 25), *range(40, 44)]


@source_only
def test_every_task_is_found_wherever_it_moves_and_none_that_came_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some come due, are handed out and given back between two pages, and others come."""
    monkeypatch.setattr(finding, "PAGE_TASKS", 5)
    lead = crowd()
    session = lead.client()
    wanted = {*range(10, 25), *range(40, 44), 1, 2}
    asked: set[int] = set()
    answer: dict[str, Any] | None = None
    is_any_new = False
    for turn in range(300):
        answer = page(lead, "shop.*", ALL, answer)
        new = set(numbers(answer)) - asked
        asked |= new
        is_any_new = is_any_new or bool(new)
        lead.cancel(lead.client(b"operator"), *new)
        lead.submit(session, 1_000 + turn, seq=100 + turn, name="shop.pay")
        lead.submit(session, 2_000 + turn, seq=1_000 + turn, name="shop.pay", not_before=ms(600.0))
        if turn == 1:
            lead.at(61.0)  # those come due that were to be found as delayed
        if turn == 3:
            lead.leader.nodes.on_revoked("a", Revoked(TERM, (tid(1),), ()), lead.now)
        if answer["next"] is None:
            if not is_any_new:
                break
            answer["next"], is_any_new = (0, 0, 0), False
    assert answer["next"] is None
    assert asked == wanted
    lead.leader.tasks.check()


def test_a_queue_is_looked_through_from_its_end_while_tasks_leave_it_in_front() -> None:
    lead = Lead()
    lead.submit(lead.client(), *range(1_200))
    first = page(lead, "add", (WAITING,))
    assert numbers(first) == [*reversed(range(200, 1_200))]
    lead.cancel(lead.client(b"operator"), *numbers(first))
    lead.enrol("a", slots=100)
    handed_out = {number for number, _ in lead.dispatched()["a"]}
    second = page(lead, "add", (WAITING,), first)
    assert (set(numbers(second)), second["next"]) == ({*range(200)} - handed_out, None)
    assert handed_out


def test_a_new_leader_finds_nothing_before_it_knows_what_the_nodes_hold() -> None:
    before = Lead()
    before.submit(before.client(), 1, 2)
    before.commit()
    lead = Lead(before.table, settled=False)
    early = page(lead, "add", (WAITING, RUNNING))
    assert (early["ids"], early["is_settled"], early["next"]) == ([], False, (0, 0, 0))
    lead.enrol("a", {1: 1})
    lead.leader.tick(0.5, ["a"])
    answer = page(lead, "add", (RUNNING,), early)
    assert (numbers(answer), answer["is_settled"], answer["next"]) == ([1], True, None)


def test_pages_of_another_leader_are_not_gone_on_with() -> None:
    answer = found(crowd().leader, FindRequest(1, "*", ALL, TERM - 1, 99, 0, 0, 0), 0.0)
    assert (answer["term"], answer["ids"], answer["next"]) == (TERM, [], None)


def test_delayed_tasks_of_any_number_of_names_are_found_though_names_come_and_go() -> None:
    lead = Clocked()
    session = lead.client()
    for number in range(12_000):
        lead.submit(session, number, seq=number + 1, name=f"shop.{number}", not_before=ms(60.0))
    assert len(lead.leader.tasks.delayed_names(0, 1 << 20)) == 12_000
    found: list[int] = []
    answer = page(lead, "shop.*9", (DELAYED,))
    while True:
        found += numbers(answer)
        lead.cancel(lead.client(b"operator"), *numbers(answer))
        if answer["next"] is None:
            break
        answer = page(lead, "shop.*9", (DELAYED,), answer)
    assert found == [number for number in range(12_000) if number % 10 == 9]
    lead.cancel(lead.client(b"operator"), *range(11_000))
    assert len(lead.leader.tasks.delayed_names(0, 1 << 20)) < 3_000, "names that are gone are forgotten"
    assert numbers(page(lead, "shop.11998", (DELAYED,))) == [11_998]


def test_what_a_pattern_costs_is_bounded() -> None:
    with pytest.raises(LimitExceeded, match="stars"):
        page(crowd(), "a*" * 9, ALL)


@pytest.mark.parametrize(
    "place", [(3, 0, (1 << 63) - 1), (2, (1 << 63) - 1, 1), (1, (1 << 63) - 1, (1 << 63) - 1), (9, 9, 9)]
)
def test_a_place_that_there_is_not_finds_nothing_and_harms_nobody(place: tuple[int, int, int]) -> None:
    lead = crowd()
    answer = page(lead, "none", ALL, {"term": TERM, "until": 1 << 40, "next": place})
    assert (answer["ids"], answer["next"]) == ([], None)
    lead.leader.tasks.check()
