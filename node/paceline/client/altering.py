"""Tasks that wait: held, released, moved to another queue, and given another priority, whoever submitted them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from paceline.client.future import Future
from paceline.client.live_tasks import ids_of
from paceline.client.questions import NO_ANSWER, SETTLES_S, unpacked
from paceline.client.session.sweep import Sweep
from paceline.client.targets import TaskId
from paceline.errors import ConfigError, NotAllowed, RequestRefused
from paceline.options import check_graph, check_queue, check_seconds, shown
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.queues import AlterState, Holding
from paceline_protocol.moments import span_ms
from paceline_protocol.options import PRIORITY

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver

STATES_THAT_WAIT: Final = ("waiting", "delayed")
_COUNTED: Final[dict[int, str]] = {
    AlterState.DONE: "done",
    AlterState.RUNNING: "running",
    AlterState.ENDED: "ended",
    AlterState.UNKNOWN: "ended",
    AlterState.NOT_YET: "not_yet",
    AlterState.UNLOGGED: "unlogged",
    AlterState.FULL: "full",
    AlterState.DEPENDS: "depends",
}
_STAY: Final = frozenset(
    (
        AlterState.DONE,
        AlterState.RUNNING,
        AlterState.NOT_YET,
        AlterState.UNLOGGED,
        AlterState.FULL,
        AlterState.DEPENDS,
    )
)


class Alteration(NamedTuple):
    """What becomes of tasks, as an AlterTasks has it."""

    holding: Holding = Holding.LEAVE
    queue: str = ""
    priority: int = 0


Tasks = Iterable[Future[Any] | TaskId] | Future[Any] | TaskId


class AlterQuestions:
    """The part of a Client that alters tasks that wait.

    What is to be altered is given as ids or futures, or by a filter: ``name``, in which each ``*`` stands for any
    number of characters, ``queue``, ``graph``, ``older_than``, for so many seconds at this leader, ``state``, or
    ``all_names``. With ids a method returns what became of each: ``done``, it is so for any leader from now on;
    ``running``, a node has been given it, or it may start once and has, and it is left as it is; ``ended``;
    ``unknown``; ``unlogged``, as its durability is "none"; ``depends``, on other tasks; ``full``, there are too
    many queues; ``not_yet``, if a new leader did not know in time where it is. With a filter it returns how many
    came to which of these; none is altered that is accepted later.

    Each raises ConfigError for what can't be looked for or used, ValueError for what is no id, NotAllowed to an
    observer, RequestRefused if nodes are older, or, with a filter, if another leads meanwhile, and TimeoutError if the
    leader does not answer in time. What was altered by then stays so.
    """

    _driver: Driver

    def hold(self, tasks: Tasks, timeout: float = 30.0) -> dict[str, str]:
        """Let tasks that wait not start before they are released. They expire and are cancelled as others, and hold up
        nobody."""
        return self._alter(tasks, Alteration(Holding.HOLD), timeout)

    def unhold(self, tasks: Tasks, timeout: float = 30.0) -> dict[str, str]:
        """Release tasks that are held: they wait behind all that wait by now, or for their moments."""
        return self._alter(tasks, Alteration(Holding.RELEASE), timeout)

    def move(self, tasks: Tasks, to: str, timeout: float = 30.0) -> dict[str, str]:
        """Have tasks that wait do so in another queue, behind all that wait there by now."""
        check_queue(to)
        return self._alter(tasks, Alteration(queue=to), timeout)

    def prioritise(self, tasks: Tasks, priority: int, timeout: float = 30.0) -> dict[str, str]:
        """Give tasks that wait another priority: they are behind all that have it by now."""
        return self._alter(tasks, Alteration(priority=_checked_priority(priority)), timeout)

    def hold_where(
        self,
        name: str | None = None,
        *,
        queue: str | None = None,
        graph: str | None = None,
        older_than: float | timedelta = 0,
        state: str | Iterable[str] = STATES_THAT_WAIT,
        all_names: bool = False,
        timeout: float = 60.0,
    ) -> dict[str, int]:
        """:meth:`hold` what matches."""
        return self._alter_where(Alteration(Holding.HOLD), name, queue, graph, older_than, state, all_names, timeout)

    def unhold_where(
        self,
        name: str | None = None,
        *,
        queue: str | None = None,
        graph: str | None = None,
        older_than: float | timedelta = 0,
        all_names: bool = False,
        timeout: float = 60.0,
    ) -> dict[str, int]:
        """:meth:`unhold` what matches and is held."""
        return self._alter_where(
            Alteration(Holding.RELEASE), name, queue, graph, older_than, ("delayed",), all_names, timeout
        )

    def move_where(
        self,
        name: str | None = None,
        *,
        to: str,
        queue: str | None = None,
        graph: str | None = None,
        older_than: float | timedelta = 0,
        state: str | Iterable[str] = STATES_THAT_WAIT,
        all_names: bool = False,
        timeout: float = 60.0,
    ) -> dict[str, int]:
        """:meth:`move` what matches: ``client.move_where(queue="video", to="slow")``."""
        check_queue(to)
        return self._alter_where(Alteration(queue=to), name, queue, graph, older_than, state, all_names, timeout)

    def prioritise_where(
        self,
        name: str | None = None,
        *,
        priority: int,
        queue: str | None = None,
        graph: str | None = None,
        older_than: float | timedelta = 0,
        state: str | Iterable[str] = STATES_THAT_WAIT,
        all_names: bool = False,
        timeout: float = 60.0,
    ) -> dict[str, int]:
        """:meth:`prioritise` what matches."""
        change = Alteration(priority=_checked_priority(priority))
        return self._alter_where(change, name, queue, graph, older_than, state, all_names, timeout)

    def _alter(self, tasks: Tasks, change: Alteration, timeout: float) -> dict[str, str]:
        check_seconds("timeout", timeout)
        ids = ids_of(tasks)
        states = self._altered(ids, change, time.monotonic() + timeout, timeout)
        return {task_id.hex(): AlterState(states[task_id]).name.lower() for task_id in ids}

    def _altered(self, ids: list[bytes], change: Alteration, deadline_s: float, timeout: float) -> dict[bytes, int]:
        states: dict[bytes, int] = {}
        left = ids
        while left:
            for start in range(0, len(left), MAX_REQUEST_TASKS):
                some = tuple(left[start : start + MAX_REQUEST_TASKS])
                reply = self._driver.alter(some, change, max(0.0, deadline_s - time.monotonic()))
                if reply is None:
                    raise TimeoutError(NO_ANSWER.format(timeout))
                if reply.refused:
                    raise (RequestRefused if "feature level" in reply.refused else NotAllowed)(reply.refused)
                states.update(reply.states)
            left = [task_id for task_id in left if states[task_id] == AlterState.NOT_YET]
            if left and time.monotonic() + SETTLES_S >= deadline_s:
                break
            if left:
                time.sleep(SETTLES_S)
        return states

    def _alter_where(
        self,
        change: Alteration,
        name: str | None,
        queue: str | None,
        graph: str | None,
        older_than: float | timedelta,
        state: str | Iterable[str],
        all_names: bool,
        timeout: float,
    ) -> dict[str, int]:
        check_seconds("timeout", timeout)
        if queue is not None:
            check_queue(queue)
        if graph is not None:
            check_graph(graph)
        sweep = Sweep(name, state, all_names=all_names, queue=queue, graph=graph, counted=_COUNTED, stay=_STAY)
        if not set(sweep.next.states) <= {1, 2}:
            raise ConfigError(f"only tasks that wait are altered; the states are {', '.join(STATES_THAT_WAIT)}")
        sweep.next = sweep.next._replace(older_than_ms=_checked_age(older_than), change=change)
        deadline_s = time.monotonic() + timeout
        try:
            while not sweep.is_over:
                left_s = max(0.0, deadline_s - time.monotonic())
                ids = sweep.found(unpacked(self._driver.find(sweep.next, left_s), timeout))
                sweep.became(self._altered(ids, change, deadline_s, timeout))
                if sweep.is_early:
                    time.sleep(min(SETTLES_S, left_s))
        except (TimeoutError, RequestRefused) as error:
            raise type(error)(f"{error}; until then: {sweep.told}") from None
        return dict(sweep.counts)


def _checked_priority(priority: int) -> int:
    """With 1 added, as it travels."""
    try:
        PRIORITY.type.to_wire(priority)
    except ValueError as error:
        raise ConfigError(f"priority {shown(priority)} can't be used: {error}") from None
    return priority + 1


def _checked_age(age: float | timedelta) -> int:
    """In milliseconds."""
    if not age:
        return 0
    try:
        return span_ms(age)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"older_than {shown(age)} can't be used: {error}") from None
