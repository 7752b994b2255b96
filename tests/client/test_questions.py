"""What waits by name is cancelled page by page, of a leader that answers a few ids at a time."""

from __future__ import annotations

from typing import Any

from paceline.client.questions import TaskQuestions
from paceline_protocol.messages import CancelState

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
