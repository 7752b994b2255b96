"""Where tasks are, what waits by name, and how it is cancelled, whoever submitted it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.client.future import Future, running_loop
from paceline.client.session.sweep import Sweep
from paceline.client.targets import TaskId, task_id_of
from paceline.client.task_record import TaskRecord, record_of
from paceline.errors import ConfigError, RequestRefused
from paceline.options import check_graph, check_queue, check_seconds
from paceline_protocol.limits import MAX_NAME_CHARS, MAX_REQUEST_TASKS
from paceline_protocol.messages.client import CancelState
from paceline_protocol.payload import unpack_value

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver

SETTLES_S: Final = 0.05
"""A new leader has heard in some tenths of a second what the nodes hold. Until then it is asked so often."""
NO_ANSWER: Final = "no answer within {:g} s; `paceline status` shows whether somebody leads"


class TaskQuestions:
    """The part of a Client that asks for single tasks, and for what waits by name, and cancels tasks of others."""

    _driver: Driver

    def task(self, task_id: TaskId) -> Future[Any]:
        """The future of a task that anybody submitted, made again from its id in any process: ``future.task_id``, or
        what `paceline submit` prints. It tells how the task ended, once that is recorded, and takes the result from
        nobody; asked twice, it tells it twice. To stop awaiting it does not cancel the task.

        It asks the leader, and returns once that has said whether the task has ended: so ``done()`` tells. Where an
        event loop runs it does not wait, which would stop the loop; await the future.

        Its ``result()`` raises ResultUnknown if the cluster does not know the task, or has its result no more. Raises
        ValueError and TypeError for what is no id, and what ``connect()`` raises.
        """
        return self._driver.read(task_id_of(task_id), waits=running_loop() is None)

    def record(self, task: Future[Any] | TaskId, timeout: float = 5.0) -> TaskRecord:
        """What the cluster knows of a task that anybody submitted: where it is, or how and when it ended, with its
        attempts. ``task``: a future, or an id. Of a task that has ended there is a whole record if it has a
        ``result_ttl``.

        Raises ResultUnknown for an id that the cluster does not know, ResultExpired once the task's ``result_ttl`` is
        over, ValueError for what is no id, TimeoutError if the leader does not answer in time.
        """
        task_id = task.task_id if isinstance(task, Future) else task_id_of(task)
        return record_of(task_id, self.where_is(task_id, timeout))

    def where_is(self, task: Future[Any] | TaskId, timeout: float = 5.0) -> dict[str, Any]:
        """Where a task is, and in a sentence why it does not run: ``state``, ``why`` and what else docs/protocol.md
        lists for a TaskReply. ``task``: a future, or the id of a task that anybody submitted, in hexadecimal digits.

        Raises ValueError for what is no id, TimeoutError if the leader does not answer in time.
        """
        check_seconds("timeout", timeout)
        task_id = task.task_id if isinstance(task, Future) else task_id_of(task)
        return unpacked(self._driver.where_is(task_id, timeout), timeout)

    def waiting(self, name: str | None = None, timeout: float = 5.0, *, skip: int = 0) -> dict[str, Any]:
        """How many tasks wait, by name, and how many nodes run each name: what docs/protocol.md lists for a
        WaitingReply. ``name``: only that one, with ids of its tasks; ``skip``: what an answer said for more of them.

        Raises ConfigError for what can't name a task, TimeoutError if the leader does not answer in time.
        """
        check_seconds("timeout", timeout)
        if name is not None and (not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS):
            raise ConfigError(f"a name of a task has 1 to {MAX_NAME_CHARS} characters; `client.waiting()` shows all")
        return unpacked(self._driver.waiting(name or "", skip, timeout), timeout)

    def cancel_tasks(self, tasks: Iterable[Future[Any] | TaskId], timeout: float = 30.0) -> dict[str, str]:
        """Cancel tasks that anybody submitted: futures, or ids in hexadecimal digits. What runs is asked to stop, and
        not waited for.

        Returns what has become of each, by id: ``cancelled``, ``stopping``, ``finished`` or ``unknown``; ``running`` if
        a node is of a version that stops nothing, or too many have asked for the same. Raises ValueError for
        what is no id, TimeoutError if the leader does not answer in time; what it was asked may be done then.
        """
        check_seconds("timeout", timeout)
        ids = [task.task_id if isinstance(task, Future) else task_id_of(task) for task in tasks]
        states = self._cancel(list(dict.fromkeys(ids)), time.monotonic() + timeout, timeout)
        return {task_id.hex(): CancelState(state).name.lower() for task_id, state in states.items()}

    def cancel_where(
        self,
        name: str | None = None,
        *,
        state: str | Iterable[str] = ("waiting", "delayed"),
        all_names: bool = False,
        queue: str | None = None,
        graph: str | None = None,
        timeout: float = 60.0,
    ) -> dict[str, int]:
        """Cancel the tasks of a name that are in one of these states, whoever submitted them: ``"waiting"``, no node
        has been given them; ``"delayed"``, they wait for their moment; ``"running"``, a node has been given them, and
        what runs is asked to stop. In ``name`` each ``*`` stands for any number of characters. None is cancelled that
        is accepted after this has begun. ``queue``, ``graph``: only those of it, and of any name if none is given.

        Returns how many were ``cancelled``, how many are ``stopping`` and not waited for, how many go on ``running``,
        as :meth:`cancel_tasks` says of such, and how many had ``ended`` by the time they were asked for.

        Raises ConfigError for a name that none or each has, unless it is to be ``all_names``, TimeoutError if that
        takes too long, and RequestRefused if another leads meanwhile. Either says how far it came, and what was
        cancelled stays so.
        """
        check_seconds("timeout", timeout)
        if queue is not None:
            check_queue(queue)
        if graph is not None:
            check_graph(graph)
        sweep = Sweep(name, state, all_names=all_names, queue=queue, graph=graph)
        deadline_s = time.monotonic() + timeout
        try:
            while not sweep.is_over:
                left_s = max(0.0, deadline_s - time.monotonic())
                ids = sweep.found(unpacked(self._driver.find(sweep.next, left_s), timeout))
                sweep.became(self._cancel(ids, deadline_s, timeout))
                if sweep.is_early:
                    time.sleep(min(SETTLES_S, left_s))
        except (TimeoutError, RequestRefused) as error:
            raise type(error)(f"{error}; until then: {sweep.told}") from None
        return dict(sweep.counts)

    def _cancel(self, ids: list[bytes], deadline_s: float, timeout_s: float) -> dict[bytes, int]:
        states: dict[bytes, int] = {}
        for start in range(0, len(ids), MAX_REQUEST_TASKS):
            some = tuple(ids[start : start + MAX_REQUEST_TASKS])
            found = self._driver.cancel_tasks(some, max(0.0, deadline_s - time.monotonic()))
            if found is None:
                raise TimeoutError(NO_ANSWER.format(timeout_s))
            states.update(found)
        return states


def unpacked(body: bytes | None, timeout_s: float) -> dict[str, Any]:
    """The body of an answer. Raises TimeoutError if there is none."""
    if body is None:
        raise TimeoutError(NO_ANSWER.format(timeout_s))
    answer: dict[str, Any] = unpack_value(body)
    return answer
