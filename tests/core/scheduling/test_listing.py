"""Live tasks are listed a page at a time, in an order that says something, and at a bounded cost."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_finding import ALL, DELAYED, RUNNING, WAITING, crowd
from core.scheduling.test_leader import TERM, Lead, recovering, running, tid
from modes import source_only
from paceline.core.reports.listed import listed
from paceline.core.scheduling import listing
from paceline.core.scheduling.listing import ROWS_LIMIT
from paceline_protocol.errors import LimitExceeded
from paceline_protocol.messages.live import TasksRequest
from paceline_protocol.messages.work import Revoked


def page(
    lead: Lead,
    name: str = "*",
    states: tuple[int, ...] = ALL,
    before: dict[str, Any] | None = None,
    *,
    node: str = "",
    limit: int = 1_000,
) -> dict[str, Any]:
    """The page behind this one, or the first."""
    place = (0, 0, 0, 0) if before is None else (before["term"], *before["next"])
    return listed(lead.leader, TasksRequest(1, name, states, node, limit, *place), lead.now)


def numbers(answer: dict[str, Any]) -> list[int]:
    return [int.from_bytes(row["id"], "big") for row in answer["tasks"]]


def all_pages(lead: Lead, *args: Any, **kwargs: Any) -> list[int]:
    answer = page(lead, *args, **kwargs)
    found = numbers(answer)
    for _ in range(1_000):
        if answer["next"] is None:
            return found
        answer = page(lead, *args, before=answer, **kwargs)
        found += numbers(answer)
    raise AssertionError("it does not come to an end")


SHOP = [1, 2, *range(10, 25), *range(40, 44)]


@pytest.mark.parametrize(
    ("name", "states", "expected"),
    [
        ("shop.pay", (WAITING,), [*range(10, 20)]),
        ("shop.*", (WAITING,), [*range(10, 25)]),
        ("*.pay", (WAITING, DELAYED), [*range(10, 20), *range(40, 44)]),
        ("shop.*", (RUNNING,), [1, 2]),
        ("*", ALL, [1, 2, *range(10, 25), *range(30, 35), *range(40, 48)]),
        ("shop", ALL, []),
    ],
)
def test_what_runs_is_listed_first_then_what_waits_and_then_what_is_delayed(
    name: str, states: tuple[int, ...], expected: list[int]
) -> None:
    answer = page(crowd(), name, states)
    assert (numbers(answer), answer["next"]) == (expected, None)
    assert (answer["running"], answer["waiting"], answer["delayed"], answer["is_settled"]) == (2, 20, 8, True)


def test_what_waits_is_listed_as_it_goes_out_whatever_its_lane_and_what_is_delayed_as_it_comes_due() -> None:
    lead = Clocked()
    session = lead.client()
    lead.submit(session, 1, 2, name="add")
    lead.submit(session, 3, name="sub", seq=2)
    lead.submit(session, 4, name="nobody's", seq=3)
    lead.submit(session, 5, name="add", seq=4)
    lead.enrol("a", slots=1, names=("add",))
    lead.enrol("b", slots=1, names=("sub",))
    for number, at_s in ((6, 90.0), (7, 30.0), (8, 60.0)):
        lead.submit(session, number, seq=number, not_before=ms(at_s))
    assert numbers(page(lead)) == [1, 2, 3, 4, 5, 7, 8, 6]
    assert [row["not_before_ms"] for row in page(lead)["tasks"]][-3:] == [ms(30.0), ms(60.0), ms(90.0)]


@source_only
@pytest.mark.parametrize("limit", [1, 3, 1_000])
@pytest.mark.parametrize("looks", [2, 3, 7, 1_000])
@pytest.mark.parametrize("sorted_tasks", [0, 1_000])
def test_pages_of_any_size_have_every_task_once_and_look_at_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch, looks: int, limit: int, sorted_tasks: int
) -> None:
    monkeypatch.setattr(listing, "PAGE_TASKS", looks)
    monkeypatch.setattr(listing, "SORTED_TASKS", sorted_tasks)
    assert all_pages(crowd(), limit=limit) == [*range(1, 3), *range(10, 25), *range(30, 35), *range(40, 48)]
    assert all_pages(crowd(), "shop.*", limit=limit) == SHOP
    assert all_pages(crowd(), "mail.send", (DELAYED,), limit=limit) == [*range(44, 48)]


def test_what_waits_is_listed_once_though_tasks_come_and_go_between_two_pages() -> None:
    lead = crowd()
    answer = page(lead, states=(WAITING,), limit=5)
    assert numbers(answer) == [*range(10, 15)]
    operator = lead.client(b"operator")
    lead.cancel(operator, 1, 10, 12, 16)
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (tid(1),), ()), lead.now)
    lead.submit(operator, 99, seq=1, name="shop.pay")
    answer = page(lead, states=(WAITING,), before=answer)
    assert numbers(answer) == [15, *range(17, 25), *range(30, 35), 99]


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_what_its_node_did_not_run_after_all_is_listed_once_by_the_leader_that_had_found_it_there(limit: int) -> None:
    lead = recovering(1, 2, 3)
    lead.enrol("a", {2: 1})
    lead.enrol("a", {})
    assert all_pages(lead, limit=limit) == [1, 2, 3]


def test_only_what_a_node_was_given_is_listed_if_one_is_named() -> None:
    lead, _ = running(1, 2)
    lead.enrol("b", slots=2)
    lead.submit(lead.client(b"d"), 3, 4)
    lead.dispatched()
    assert numbers(page(lead, node="a")) == [1, 2]
    assert numbers(page(lead, node="b")) == [3, 4]
    assert numbers(page(lead, node="b", states=(WAITING, DELAYED))) == []
    assert numbers(page(lead, node="nobody")) == []
    lead.now += 2.5
    row = page(lead, node="a")["tasks"][0]
    assert row == {
        "id": tid(1),
        "name": "add",
        "state": "running",
        "priority": 4,
        "attempt": 1,
        "failed_attempts": 0,
        "lost_attempts": 0,
        "node": "a",
        "since_s": 2.5,
        "not_before_ms": None,
        "stopping": False,
    }


def test_a_page_is_bounded_and_a_cursor_of_another_leader_is_worth_nothing() -> None:
    lead = Lead()
    lead.submit(lead.client(), *range(1, ROWS_LIMIT + 2))
    answer = page(lead, limit=10**9)
    assert len(answer["tasks"]) == ROWS_LIMIT
    answer["term"] -= 1
    assert page(lead, before=answer)["tasks"] == []
    with pytest.raises(LimitExceeded, match="stars"):
        page(lead, "*" * 9)


@pytest.mark.parametrize(
    "cursor", [(1, 0, 2**63 - 1), (2, 2**63 - 1, 2**63 - 1), (3, 2**63 - 1, 0), (9, 0, 0), (2, 0, 9)]
)
def test_a_cursor_that_no_leader_gave_costs_nothing(cursor: tuple[int, int, int]) -> None:
    answer = page(crowd()) | {"next": cursor}
    page(crowd(), before=answer)
