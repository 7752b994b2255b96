"""Live tasks, which have not ended: listing them, and letting them wait no longer, whoever submitted them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from paceline.client.future import Future
from paceline.client.questions import NO_ANSWER, SETTLES_S, unpacked
from paceline.client.session.listing import ALL_STATES, list_request
from paceline.client.targets import TaskId, task_id_of
from paceline.errors import NotAllowed
from paceline.options import check_seconds
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.live import RunNowState
from paceline_protocol.moments import datetime_of

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask:
    """One task that has not ended, as its leader told it.

    ``state``: ``running``, a node has been given it: it runs, or is about to; ``waiting``, for a node; ``delayed``, for
    its moment. ``since_s``: for how many seconds it is so, of one that is delayed since it was accepted, as far as this
    leader knows; None if it does not. ``node``: that has it, "" for none. ``attempt``: the number of the one that is
    under way or comes next; ``failed_attempts`` and ``lost_attempts`` of those before it. ``not_before``: the moment
    that it waits for, in UTC. ``stopping``: whether its worker is asked to stop it.
    """

    task_id: bytes
    name: str
    state: str
    priority: int
    attempt: int
    failed_attempts: int
    lost_attempts: int
    node: str
    since_s: float | None
    not_before: datetime | None
    stopping: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePage:
    """Some of the live tasks. ``next``: what to ask with for those behind them; None if these were the last.
    ``running``, ``waiting`` and ``delayed``: how many there are in all, of whatever name."""

    tasks: tuple[LiveTask, ...]
    next: str | None
    running: int
    waiting: int
    delayed: int


class LiveTaskQuestions:
    """The part of a Client that lists live tasks, and lets them wait no longer."""

    _driver: Driver

    def live_tasks(
        self,
        name: str | None = None,
        *,
        state: str | Iterable[str] = ALL_STATES,
        node: str | None = None,
        graph: str | None = None,
        limit: int = 100,
        after: str | None = None,
        timeout: float = 30.0,
    ) -> LivePage:
        """The tasks that have not ended, ``limit`` at most: first what runs, node by node, with what each has had for
        longest in front; then what waits, in the order in which it goes out; then what is delayed, those that come due
        first in front if there are no more than 2,000.

        ``name``: only such, in which each ``*`` stands for any number of characters. ``state``: only those in one of
        these. ``node``: only those that this node, by its whole id, was given. ``graph``: only those of it. ``after``:
        what the page before has as ``next``. What comes, moves or ends between two pages may be missing, or be listed
        twice.

        If the leader has much to look through, fewer are returned when ``timeout`` seconds are over, with ``next``.
        Raises ConfigError for what can't be looked for, RequestRefused if another node leads than when ``after`` was
        told, and TimeoutError if the leader does not answer in time.
        """
        check_seconds("timeout", timeout)
        request = list_request(name, state, node, limit, after, graph)
        deadline_s = time.monotonic() + timeout
        found: list[LiveTask] = []
        answer: dict[str, Any] | None = None
        while True:
            left_s = deadline_s - time.monotonic()
            if answer is not None and left_s <= 0:
                break
            body = self._driver.live_tasks(request, max(0.0, left_s))
            if body is None and answer is not None:
                break
            answer = unpacked(body, timeout)
            found += map(_task_of, answer["tasks"])
            following = request.behind(answer, limit - len(found))
            if following is None:
                return _page(found, None, answer)
            request = following
            if len(found) >= limit:
                break
        return _page(found, request.cursor, answer)

    def run_now(
        self, tasks: Iterable[Future[Any] | TaskId] | Future[Any] | TaskId, timeout: float = 30.0
    ) -> dict[str, str]:
        """Let tasks wait for their moments no longer: delayed ones, and those that have failed and wait to be tried
        again. How often they are tried does not change. A leader that dies before such a task has started leaves it to
        the next one as it was; then ask again.

        Returns what has become of each, by its id: ``due``, it waits for its moment no longer; ``waiting``, it waits
        for a node, and waited for no moment; ``running``; ``ended``; ``dead``, which :meth:`requeue` is for;
        ``unknown``; ``not_yet``, if a new leader did not know in time where it is. Raises NotAllowed to an observer,
        ValueError for what is no id, TimeoutError if the leader does not answer in time.
        """
        check_seconds("timeout", timeout)
        ids = ids_of(tasks)
        deadline_s = time.monotonic() + timeout
        states: dict[bytes, int] = {}
        left = ids
        while left:
            for start in range(0, len(left), MAX_REQUEST_TASKS):
                some = tuple(left[start : start + MAX_REQUEST_TASKS])
                reply = self._driver.run_now(some, max(0.0, deadline_s - time.monotonic()))
                if reply is None:
                    raise TimeoutError(NO_ANSWER.format(timeout))
                if reply.refused:
                    raise NotAllowed(reply.refused)
                states.update(reply.states)
            left = [task_id for task_id in left if states[task_id] == RunNowState.NOT_YET]
            if left and time.monotonic() + SETTLES_S >= deadline_s:
                break
            if left:
                time.sleep(SETTLES_S)
        return {task_id.hex(): RunNowState(states[task_id]).name.lower() for task_id in ids}


def ids_of(tasks: Iterable[Future[Any] | TaskId] | Future[Any] | TaskId) -> list[bytes]:
    """Each of them once."""
    if isinstance(tasks, Future | str | bytes) or not isinstance(tasks, Iterable):
        tasks = [tasks]
    ids = [task.task_id if isinstance(task, Future) else task_id_of(task) for task in tasks]
    return list(dict.fromkeys(ids))


def _page(tasks: list[LiveTask], following: str | None, answer: Mapping[str, Any]) -> LivePage:
    return LivePage(
        tasks=tuple(tasks),
        next=following,
        running=answer["running"],
        waiting=answer["waiting"],
        delayed=answer["delayed"],
    )


def _task_of(row: Mapping[str, Any]) -> LiveTask:
    not_before_ms = row["not_before_ms"]
    plain = ("name", "state", "priority", "attempt", "failed_attempts", "lost_attempts", "node", "since_s", "stopping")
    return LiveTask(
        task_id=row["id"],
        not_before=None if not_before_ms is None else datetime_of(not_before_ms),
        **{key: row[key] for key in plain},
    )
