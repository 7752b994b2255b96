"""Tasks of a name and a state are cancelled page by page, of a leader that names a few ids at a time."""

from __future__ import annotations

from typing import Any

import pytest

from modes import source_only
from paceline.client import questions
from paceline.client.driver.driver import Driver
from paceline.client.questions import TaskQuestions
from paceline.client.session.sweep import PageRequest
from paceline.errors import ConfigError, RequestRefused
from paceline_protocol.codec import encode
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.client import Cancel, CancelState, FindRequest
from paceline_protocol.messages.live import LiveState
from paceline_protocol.payload import pack_value

pytestmark = source_only

WAITING, DELAYED, RUNNING = int(LiveState.WAITING), int(LiveState.DELAYED), int(LiveState.RUNNING)
NOTHING = {"cancelled": 0, "stopping": 0, "running": 0, "ended": 0}


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Leader(Driver):
    """Has tasks, of which it names some at a time, and cancels whatever it is asked for in a request that can be
    sent. ``becomes``: what else becomes of one."""

    def __init__(self, count: int = 0, page: int = 3, becomes: dict[int, CancelState] | None = None) -> None:
        self.ids = [tid(number) for number in range(count)]
        self.late: list[bytes] = []  # that it names in its second pass
        self.becomes = {tid(number): state for number, state in (becomes or {}).items()}
        self.term = 5
        self.early = 0  # so often it does not know yet
        self.silent_after = 1_000_000  # finds
        self.asked: list[PageRequest] = []
        self.cancelled: list[int] = []
        self._page = page

    def find(self, page: PageRequest, timeout_s: float) -> bytes | None:
        encode(FindRequest(1, page.name, page.states, page.term, page.until, *page.cursor))
        if len(self.asked) >= self.silent_after:
            return None
        self.asked.append(page)
        if self.early:
            self.early -= 1
            return self._answer((), page.cursor, is_settled=False)
        at = page.cursor[2]
        some = self.ids[at : at + self._page]
        stays = sum(self._stays(task_id) for task_id in some)
        is_end = at + self._page >= len(self.ids)
        if is_end:
            self.ids, self.late = self.ids + self.late, []
        return self._answer(tuple(some), None if is_end else (2, 0, at + stays))

    def _answer(
        self, ids: tuple[bytes, ...], following: tuple[int, int, int] | None, *, is_settled: bool = True
    ) -> bytes:
        body: dict[str, Any] = {"term": self.term, "until": 77, "ids": ids, "next": following, "is_settled": is_settled}
        return pack_value(body)

    def _stays(self, task_id: bytes) -> bool:
        return self.becomes.get(task_id) in (CancelState.STOPPING, CancelState.RUNNING)

    def cancel_tasks(self, ids: tuple[bytes, ...], timeout_s: float) -> dict[bytes, int] | None:
        encode(Cancel(1, ids))
        self.cancelled.append(len(ids))
        self.ids = [each for each in self.ids if each not in ids or self._stays(each)]
        return {each: self.becomes.get(each, CancelState.CANCELLED) for each in ids}


class Asking(TaskQuestions):
    def __init__(self, leader: Leader) -> None:
        self._driver = leader


def test_passes_are_made_until_one_finds_nothing_new() -> None:
    states = {4: CancelState.STOPPING, 8: CancelState.FINISHED, 11: CancelState.UNKNOWN, 19: CancelState.RUNNING}
    leader = Leader(20, becomes=states)
    leader.late = [tid(50)]
    counts = Asking(leader).cancel_where("old.*", state=("waiting", "running"))
    assert counts == {"cancelled": 17, "stopping": 1, "running": 1, "ended": 2}
    assert {each[:2] for each in leader.asked} == {("old.*", (WAITING, RUNNING))}
    assert leader.asked[0][2:] == (0, 0, (0, 0, 0), "", 0, None, "")
    assert {each[2:4] for each in leader.asked[1:]} == {(5, 77)}
    assert [each.cursor for each in leader.asked].count((0, 0, 0)) >= 3
    assert sum(leader.cancelled) == 21, "none is asked for twice"


def test_nothing_that_is_found_is_nothing_to_cancel() -> None:
    leader = Leader()
    assert Asking(leader).cancel_where("old") == NOTHING
    assert (len(leader.asked), leader.cancelled) == (1, [])
    assert leader.asked[0].states == (DELAYED, WAITING)


def test_a_leader_that_does_not_know_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    leader = Leader(2)
    leader.early = 3
    assert Asking(leader).cancel_where(all_names=True, state="waiting") == NOTHING | {"cancelled": 2}
    assert waited == [questions.SETTLES_S] * 3
    assert {each.name for each in leader.asked} == {"*"}


def test_if_another_leads_meanwhile_it_is_said_how_far_this_came() -> None:
    leader = Leader(10)

    def change(page: PageRequest, timeout_s: float) -> bytes | None:
        leader.term += len(leader.asked) == 2
        return Leader.find(leader, page, timeout_s)

    leader.find = change  # type: ignore[method-assign]
    with pytest.raises(RequestRefused, match=r"another node leads now, .*ask again; until then: 6 cancelled"):
        Asking(leader).cancel_where("old")
    assert len(leader.ids) == 4


def test_without_an_answer_in_time_it_is_said_how_far_this_came() -> None:
    leader = Leader(10)
    leader.silent_after = 1
    with pytest.raises(TimeoutError, match=r"no answer within 60 s; .*until then: 3 cancelled"):
        Asking(leader).cancel_where("old")


@pytest.mark.parametrize(
    ("name", "more"),
    [
        (None, {}),
        ("", {}),
        ("*", {}),
        ("**", {}),
        ("old", {"all_names": True}),
        (7, {}),
        ("a" * 256, {}),
        ("*a" * 9, {}),
        ("old", {"state": "ended"}),
        ("old", {"state": ()}),
        ("old", {"state": ("waiting", "asleep")}),
    ],
)
def test_what_would_be_everybodys_or_can_not_be_looked_for_is_refused(name: Any, more: dict[str, Any]) -> None:
    leader = Leader(3)
    with pytest.raises(ConfigError):
        Asking(leader).cancel_where(name, **more)
    assert (leader.asked, len(leader.ids)) == ([], 3)


@pytest.mark.parametrize("count", [MAX_REQUEST_TASKS, MAX_REQUEST_TASKS + 1, 5_000])
def test_however_many_tasks_are_cancelled_each_request_can_be_sent(count: int) -> None:
    leader = Leader()
    ids = [tid(number).hex() for number in range(count)]
    assert Asking(leader).cancel_tasks(ids) == dict.fromkeys(ids, "cancelled")
    assert (sum(leader.cancelled), max(leader.cancelled)) == (count, MAX_REQUEST_TASKS)
    leader = Leader(count, page=1_000)
    assert Asking(leader).cancel_where("old")["cancelled"] == count
    assert (sum(leader.cancelled), max(leader.cancelled)) == (count, MAX_REQUEST_TASKS)
