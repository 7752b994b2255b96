"""What waits by name is cancelled page by page, of a leader that answers a few ids at a time."""

from __future__ import annotations

from typing import Any

import pytest

from modes import source_only
from paceline.client.driver.driver import Driver
from paceline.client.questions import TaskQuestions
from paceline_protocol.codec import encode
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.client import Cancel, CancelState

PAGE = 3


class Asking(TaskQuestions):
    """Asks a played leader, at which these tasks wait. ``started``: those that had started when they were cancelled."""

    def __init__(self, waiting: int, started: set[int] | None = None) -> None:
        self._ids = [number.to_bytes(16, "big") for number in range(waiting)]
        self._started = {number.to_bytes(16, "big") for number in started or ()}
        self.asked: list[int] = []

    def waiting(self, name: str = "", timeout: float = 5.0, *, skip: int = 0) -> dict[str, Any]:
        self.asked.append(skip)
        ids = self._ids[skip : skip + PAGE]
        row = {"name": name, "waiting": len(self._ids), "delayed": 0, "nodes": 0}
        is_end = skip + PAGE >= len(self._ids)
        return {"names": [row], "more_names": 0, "ids": ids, "skip": None if is_end else skip + PAGE}

    def _cancel(self, ids: list[bytes], deadline_s: float, timeout_s: float) -> dict[bytes, int]:
        self._ids = [task_id for task_id in self._ids if task_id not in ids]
        return {each: CancelState.RUNNING if each in self._started else CancelState.CANCELLED for each in ids}


def test_all_that_waits_is_cancelled_and_no_page_is_asked_for_twice() -> None:
    asking = Asking(20, started={4, 19})
    assert asking.cancel_waiting("old") == {"cancelled": 18, "started": 2}
    assert asking.asked == [0] * 8


def test_nothing_that_waits_is_nothing_to_cancel() -> None:
    asking = Asking(0)
    assert asking.cancel_waiting("old") == {"cancelled": 0, "started": 0}
    assert asking.asked == [0]


class Leader(Driver):
    """Cancels whatever it is asked for in a request that can be sent."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def cancel_tasks(self, ids: tuple[bytes, ...], timeout_s: float) -> dict[bytes, int] | None:
        encode(Cancel(1, ids))
        self.asked.append(len(ids))
        return dict.fromkeys(ids, CancelState.CANCELLED)


class AskingByPages(TaskQuestions):
    """Cancels with real requests. ``page``: how many ids the leader names in one answer of what waits."""

    def __init__(self, waiting: int, page: int) -> None:
        self._count, self._page = waiting, page
        self._driver = self.leader = Leader()

    def waiting(self, name: str = "", timeout: float = 5.0, *, skip: int = 0) -> dict[str, Any]:
        left = self._count - sum(self.leader.asked)
        ids = [number.to_bytes(16, "big") for number in range(left)][: self._page]
        row = {"name": name, "waiting": left, "delayed": 0, "nodes": 0}
        return {"names": [row], "more_names": 0, "ids": ids, "skip": None if left <= self._page else self._page}


@source_only
@pytest.mark.parametrize("count", [MAX_REQUEST_TASKS, MAX_REQUEST_TASKS + 1, 5_000])
def test_however_many_tasks_are_cancelled_each_request_can_be_sent(count: int) -> None:
    asking = AskingByPages(count, page=1_000)
    ids = [number.to_bytes(16, "big").hex() for number in range(count)]
    assert asking.cancel_tasks(ids) == dict.fromkeys(ids, "cancelled")
    assert (sum(asking.leader.asked), max(asking.leader.asked)) == (count, MAX_REQUEST_TASKS)
    asking = AskingByPages(count, page=1_000)
    assert asking.cancel_waiting("old") == {"cancelled": count, "started": 0}
    assert (sum(asking.leader.asked), max(asking.leader.asked)) == (count, MAX_REQUEST_TASKS)
