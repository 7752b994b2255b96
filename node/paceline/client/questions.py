"""Where tasks are, what waits by name, and how it is cancelled, whoever submitted it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.client.future import Future
from paceline.client.targets import task_id_of
from paceline.errors import ConfigError
from paceline.options import check_seconds
from paceline_protocol.limits import MAX_NAME_CHARS, MAX_REQUEST_TASKS
from paceline_protocol.messages.client import CancelState
from paceline_protocol.payload import unpack_value

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver

NO_ANSWER: Final = "no answer within {:g} s; `paceline status` shows whether somebody leads"


class TaskQuestions:
    """The part of a Client that asks for single tasks, and for what waits by name, and cancels tasks of others."""

    _driver: Driver

    def where_is(self, task: Future[Any] | str, timeout: float = 5.0) -> dict[str, Any]:
        """Where a task is, and in a sentence why it does not run: ``state``, ``why`` and what else docs/protocol.md
        lists for a TaskReply. ``task``: a future, or the id of a task that anybody submitted, in hexadecimal digits.

        Raises ValueError for what is no id, TimeoutError if the leader does not answer in time.
        """
        check_seconds("timeout", timeout)
        task_id = task.task_id if isinstance(task, Future) else task_id_of(task)
        return _unpacked(self._driver.where_is(task_id, timeout), timeout)

    def waiting(self, name: str = "", timeout: float = 5.0, *, skip: int = 0) -> dict[str, Any]:
        """How many tasks wait, by name, and how many nodes run each name: what docs/protocol.md lists for a
        WaitingReply. ``name``: only that one, with ids of its tasks; ``skip``: what an answer said for more of them.

        Raises ConfigError for what can't name a task, TimeoutError if the leader does not answer in time.
        """
        check_seconds("timeout", timeout)
        if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
            raise ConfigError(f"a name of a task has at most {MAX_NAME_CHARS} characters; `client.waiting()` shows all")
        return _unpacked(self._driver.waiting(name, skip, timeout), timeout)

    def cancel_tasks(self, tasks: Iterable[Future[Any] | str], timeout: float = 30.0) -> dict[str, str]:
        """Cancel tasks that anybody submitted and that have not started: futures, or ids in hexadecimal digits.

        Returns what became of each, by id: ``cancelled``, ``running``, ``finished`` or ``unknown``. Raises ValueError
        for what is no id, TimeoutError if the leader does not answer in time; what it was asked may be done then.
        """
        check_seconds("timeout", timeout)
        ids = [task.task_id if isinstance(task, Future) else task_id_of(task) for task in tasks]
        states = self._cancel(list(dict.fromkeys(ids)), time.monotonic() + timeout, timeout)
        return {task_id.hex(): CancelState(state).name.lower() for task_id, state in states.items()}

    def cancel_waiting(self, name: str, timeout: float = 60.0) -> dict[str, int]:
        """Cancel the tasks of this name that wait, also for their moment, and that no node has been given: as many as
        there are when this begins. Returns how many were ``cancelled``, and how many had started or ended by then.

        Raises ConfigError and TimeoutError as :meth:`waiting` does; what was cancelled until then stays so.
        """
        check_seconds("timeout", timeout)
        deadline_s = time.monotonic() + timeout
        ends: Counter[str] = Counter()
        answer = self.waiting(name, timeout)
        open_count = sum(row["waiting"] + row["delayed"] for row in answer["names"] if row["name"] == name)
        is_any_found = False
        while open_count > 0:
            ids = answer["ids"][:open_count]
            open_count -= len(ids)
            is_any_found = is_any_found or bool(ids)
            states = self._cancel(ids, deadline_s, timeout).values()
            ends.update(CancelState(state).name.lower() for state in states)
            skip = answer["skip"]
            if skip is None:  # these were the last; those that moved up meanwhile are found from the beginning
                if not is_any_found:
                    break
                skip, is_any_found = 0, False
            skip = max(0, skip - len(ids))  # which wait no more, so that the others have moved up
            answer = self.waiting(name, max(0.0, deadline_s - time.monotonic()), skip=skip)
        cancelled = ends.pop("cancelled", 0)
        return {"cancelled": cancelled, "started": ends.total()}

    def _cancel(self, ids: list[bytes], deadline_s: float, timeout_s: float) -> dict[bytes, int]:
        states: dict[bytes, int] = {}
        for start in range(0, len(ids), MAX_REQUEST_TASKS):
            some = tuple(ids[start : start + MAX_REQUEST_TASKS])
            found = self._driver.cancel_tasks(some, max(0.0, deadline_s - time.monotonic()))
            if found is None:
                raise TimeoutError(NO_ANSWER.format(timeout_s))
            states.update(found)
        return states


def _unpacked(body: bytes | None, timeout_s: float) -> dict[str, Any]:
    """The body of an answer. Raises TimeoutError if there is none."""
    if body is None:
        raise TimeoutError(NO_ANSWER.format(timeout_s))
    answer: dict[str, Any] = unpack_value(body)
    return answer
