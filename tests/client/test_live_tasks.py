"""Live tasks are listed page by page, of a leader that names a few at a time, and have to wait no longer."""

from __future__ import annotations

from typing import Any

import pytest

from modes import source_only
from paceline.client import live_tasks
from paceline.client.driver.driver import Driver
from paceline.client.live_tasks import LiveTaskQuestions
from paceline.client.session.listing import ListRequest
from paceline.errors import ConfigError, NotAllowed, RequestRefused
from paceline_protocol.codec import encode
from paceline_protocol.messages.graphs import TasksOfGraphRequest
from paceline_protocol.messages.live import LiveState, RunNow, RunNowReply, RunNowState, TasksRequest
from paceline_protocol.payload import pack_value

pytestmark = source_only


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def row(number: int) -> dict[str, Any]:
    return {
        "id": tid(number),
        "name": "add",
        "state": "delayed",
        "priority": 4,
        "attempt": 1,
        "failed_attempts": 0,
        "lost_attempts": 0,
        "node": "",
        "since_s": 1.5,
        "not_before_ms": 1_000,
        "stopping": False,
    }


class Leader(Driver):
    """Has tasks, of which it names three at a time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.term = 5
        self.silent_after = 1_000
        self.asked: list[ListRequest] = []
        self.early = 0
        self.refused = ""

    def live_tasks(self, page: ListRequest, timeout_s: float) -> bytes | None:
        encode(TasksOfGraphRequest(1, *page) if page.graph else TasksRequest(1, *page[:-1]))
        if len(self.asked) >= self.silent_after:
            return None
        self.asked.append(page)
        end = min(page.at + min(3, page.limit), self.count)
        following = (int(LiveState.DELAYED), 0, end) if end < self.count else None
        return pack_value(
            {
                "term": self.term,
                "tasks": [row(number) for number in range(page.at, end)],
                "next": following,
                "is_settled": True,
                "running": 0,
                "waiting": 0,
                "delayed": self.count,
            }
        )

    def run_now(self, ids: tuple[bytes, ...], timeout_s: float) -> RunNowReply | None:
        encode(RunNow(1, ids))
        state = RunNowState.NOT_YET if self.early else RunNowState.DUE
        self.early = max(0, self.early - 1)
        return RunNowReply(1, self.refused, tuple((task_id, int(state)) for task_id in ids))


class Asking(LiveTaskQuestions):
    def __init__(self, leader: Leader) -> None:
        self._driver = leader


@pytest.mark.parametrize(("count", "limit", "pages"), [(0, 5, 1), (7, 5, 2), (7, 100, 3), (6, 6, 2), (7, 6, 2)])
def test_pages_are_asked_for_until_there_are_enough(count: int, limit: int, pages: int) -> None:
    leader = Leader(count)
    page = Asking(leader).live_tasks(limit=limit)
    assert [task.task_id for task in page.tasks] == [tid(number) for number in range(min(count, limit))]
    assert (page.next is None, page.delayed, len(leader.asked)) == (count <= limit, count, pages)
    assert [task.not_before is not None for task in page.tasks] == [True] * len(page.tasks)


def test_whoever_names_the_place_where_a_list_ended_gets_what_is_behind_it_of_the_same_leader() -> None:
    leader = Leader(7)
    asking = Asking(leader)
    page = asking.live_tasks(limit=4)
    assert [task.task_id for task in asking.live_tasks(limit=4, after=page.next).tasks] == [tid(4), tid(5), tid(6)]
    leader.term += 1
    with pytest.raises(RequestRefused, match="another node leads now"):
        asking.live_tasks(limit=4, after=page.next)


def test_what_was_found_is_told_when_the_leader_falls_silent_and_that_it_did_if_nothing_was() -> None:
    leader = Leader(9)
    leader.silent_after = 1
    page = Asking(leader).live_tasks()
    assert (len(page.tasks), page.next) == (3, "5.1.0.3")
    with pytest.raises(TimeoutError, match="no answer within"):
        Asking(leader).live_tasks()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 256},
        {"name": "*" * 9},
        {"state": ()},
        {"state": "asleep"},
        {"node": ""},
        {"limit": 0},
        {"limit": True},
        {"after": ""},
        {"after": "1.2.3"},
        {"after": "1.2.3.x"},
        {"after": "1.2.3.\u0663"},
    ],
)
def test_what_can_not_be_looked_for_is_refused_before_anybody_is_asked(wrong: dict[str, Any]) -> None:
    leader = Leader(3)
    with pytest.raises(ConfigError):
        Asking(leader).live_tasks(**wrong)
    assert leader.asked == []


def test_tasks_run_now_once_the_leader_knows_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tasks, "SETTLES_S", 0.0)
    leader = Leader(0)
    leader.early = 3
    assert Asking(leader).run_now([tid(1), tid(1).hex()]) == {tid(1).hex(): "due"}
    leader.early = 10**9
    assert Asking(leader).run_now(tid(1), timeout=0.01) == {tid(1).hex(): "not_yet"}
    leader.refused = "an observer may not do that"
    with pytest.raises(NotAllowed, match="an observer"):
        Asking(leader).run_now(tid(1))
    with pytest.raises(ValueError, match="no id of a task"):
        Asking(leader).run_now("0f")
