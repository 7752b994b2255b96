"""Dead tasks: listing, looking at, requeueing and discarding them, whoever submitted them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from paceline.client.future import Future, error_of
from paceline.client.questions import NO_ANSWER, unpacked
from paceline.client.targets import TaskId, task_id_of
from paceline.client.task_record import losses_of
from paceline.errors import ConfigError, NotAllowed, ResultUnknown
from paceline.options import check_seconds
from paceline_protocol.errors import PayloadError
from paceline_protocol.forms import read_reference
from paceline_protocol.limits import MAX_NAME_CHARS, MAX_REQUEST_TASKS, MAX_STRING_CHARS
from paceline_protocol.messages.client import DeadChanges, DeadState
from paceline_protocol.messages.records import Options
from paceline_protocol.moments import datetime_of
from paceline_protocol.payload import pack_args, unpack_args, unpack_value
from paceline_protocol.requeued import requeued_id

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver

AnyTask: TypeAlias = "Future[Any] | DeadRecord | TaskId"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRecord:
    """One dead task that is kept. Moments are in UTC, by the wall clock of the leader that heard of its end.

    ``end``: ``failed``, ``lost`` or ``timed_out``. ``error_type``: the exception as a traceback names it; ``error``:
    the exception in a line. ``attempt``: the number of its last one; ``failed_attempts`` and ``lost_attempts``: how
    many failed, and how many ended with their worker or node. ``node``: that had the last one. ``requeued_from``: the
    dead task in whose place it was, None for none. ``size_bytes``: what it takes of the cluster's limit.
    """

    task_id: bytes
    name: str
    end: str
    error_type: str
    error: str
    priority: int
    attempt: int
    failed_attempts: int
    lost_attempts: int
    node: str
    started_at: datetime | None
    died_at: datetime
    kept_until: datetime
    requeued_from: bytes | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadDetails:
    """All of one dead task. ``args``, ``kwargs``: what it was called with; a value of a class is a
    ``paceline.codecs.CodedValue``, of which no class is needed. ``exception``: what its future raised, with the
    worker's traceback. ``failures``: the first and the last three of those that it was tried again after, each
    (attempt, when, the exception in a line). ``losses``: the last eight of those that were lost, each (attempt, on
    which node and how), as far as is known. ``options``: what its call asked for, as it travelled."""

    record: DeadRecord
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    exception: Exception
    failures: tuple[tuple[int, datetime, str], ...]
    options: Options
    losses: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadGroup:
    """How many dead tasks there are of one name and one type of error, and when the first and the last of them died."""

    name: str
    error_type: str
    count: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued:
    """What became of a dead task that was to be requeued. ``state``: ``requeued``; ``requeued_before``, by somebody
    else, or by a request of which the answer was lost; ``unknown``, as it is no dead task, or none any more,
    as ``detail`` says with what to do; ``refused``, for the reason in ``detail``, and it stays. ``new_id``: the task
    that has taken its place, None if none has."""

    state: str
    new_id: bytes | None
    detail: str


class DeadTaskQuestions:
    """The part of a Client that asks for dead tasks, and has them requeued and discarded."""

    _driver: Driver

    def dead_groups(self, name: str | None = None, error: str | None = None, timeout: float = 5.0) -> list[DeadGroup]:
        """The dead tasks that are kept, counted by name and type of error; those with most first, a few hundred at
        most. Of all names and errors, or of these alone, as :meth:`dead_tasks`, which says what it raises."""
        return [_group_of(row) for row in self._dead_page(name, error, 0, timeout)["groups"]]

    def dead_tasks(
        self, name: str | None = None, error: str | None = None, timeout: float = 30.0
    ) -> Iterator[DeadRecord]:
        """The dead tasks that are kept, those that died first in front: of all names and errors, or of these alone.
        ``error``: the type of an exception, as ``ValueError`` or ``requests.exceptions.Timeout``.

        Lazy: it asks for 200 at a time. What dies, is requeued or discarded meanwhile may be missing. Raises
        ConfigError for what can be no name, as an empty one, and TimeoutError if the leader does not answer in time,
        ``timeout`` seconds for each question.
        """
        skip = 0
        while True:
            page = self._dead_page(name, error, skip, timeout)
            rows = page["tasks"]
            yield from map(_record_of, rows)
            skip += len(rows)
            if not rows or not page["more_tasks"]:
                return

    def dead_task(self, task: AnyTask, timeout: float = 30.0) -> DeadDetails:
        """All of one dead task, with its arguments and its exception.

        Raises ResultUnknown if it is no dead task, or none any more; NotAllowed to an observer; ValueError for what is
        no id; TimeoutError if the leader does not answer in time.
        """
        check_seconds("timeout", timeout)
        task_id = _id_of(task)
        reply = self._driver.dead_task(task_id, timeout)
        if reply is None:
            raise TimeoutError(NO_ANSWER.format(timeout))
        if reply.refused:
            raise NotAllowed(reply.refused)
        found: dict[str, Any] = unpack_value(reply.body)
        if not found["found"]:
            raise ResultUnknown(not_dead(task_id, found["requeued_as"]))
        return _details_of(found)

    def requeue(
        self,
        tasks: Iterable[AnyTask] | AnyTask,
        timeout: float = 30.0,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Requeued]:
        """Run dead tasks once more: for each a new task takes its place, with its name, arguments and options, but
        without its ``delay``, ``eta``, ``expires``, ``deadline`` and ``on_client_lost``. It has another id, which
        :meth:`task` makes a future of. Of one dead task there is one new one, whoever asks for it, and however often.

        ``args``, ``kwargs``: what to call the function with instead, of one task alone; the other of the two stays.

        Returns what became of each, by its id. Raises NotAllowed to an observer, ValueError for what is no id,
        ConfigError for ``args`` that are no list, UnserializableValue and PayloadTooLarge for such arguments, and
        TimeoutError if it is not known in time; what was asked for may be done then.
        """
        check_seconds("timeout", timeout)
        ids = _ids_of(tasks)
        packed = b"" if args is None and kwargs is None else self._changed_args(ids, args, kwargs, timeout)
        deadline_s = time.monotonic() + timeout
        found: dict[str, Requeued] = {}
        for some in _in_requests(ids):
            changes = self._driver.requeue(some, packed, max(0.0, deadline_s - time.monotonic()))
            for task_id, state, detail in _states_of(changes, timeout):
                is_requeued = state in (DeadState.REQUEUED, DeadState.REQUEUED_BEFORE)
                new_id = requeued_id(task_id) if is_requeued else None
                why = not_dead(task_id) if state == DeadState.UNKNOWN else detail
                found[task_id.hex()] = Requeued(state=DeadState(state).name.lower(), new_id=new_id, detail=why)
        return {task_id.hex(): found[task_id.hex()] for task_id in ids}

    def discard(self, tasks: Iterable[AnyTask] | AnyTask, timeout: float = 30.0) -> dict[str, str]:
        """Keep dead tasks no longer. Returns what became of each, by its id: ``discarded``; ``requeued_before``, in the
        same moment; ``unknown``, as it is no dead task, or none any more, perhaps since a leader that has discarded it
        died before it could say so; ``refused``, as too much waits for the log. Raises as :meth:`requeue` does."""
        check_seconds("timeout", timeout)
        ids = _ids_of(tasks)
        deadline_s = time.monotonic() + timeout
        found: dict[str, str] = {}
        for some in _in_requests(ids):
            changes = self._driver.discard(some, max(0.0, deadline_s - time.monotonic()))
            for task_id, state, _detail in _states_of(changes, timeout):
                found[task_id.hex()] = DeadState(state).name.lower()
        return {task_id.hex(): found[task_id.hex()] for task_id in ids}

    def requeue_all(
        self,
        name: str | None = None,
        error: str | None = None,
        timeout: float = 60.0,
        *,
        all_names: bool = False,
    ) -> dict[str, int]:
        """Requeue the dead tasks of this name, of this type of error, or of both; or, with ``all_names`` alone, all
        that there are: as many as there are when this begins.

        Returns how many came to which state of :class:`Requeued`. Raises ConfigError if nothing says which are meant,
        or an empty name or error does, and else as :meth:`requeue` and :meth:`dead_tasks` do; what was requeued until
        then stays so."""

        def change(ids: tuple[bytes, ...], left_s: float) -> DeadChanges | None:
            return self._driver.requeue(ids, b"", left_s)

        return self._change_all("requeue", name, error, all_names, timeout, change)

    def discard_all(
        self,
        name: str | None = None,
        error: str | None = None,
        timeout: float = 60.0,
        *,
        all_names: bool = False,
    ) -> dict[str, int]:
        """Discard the dead tasks of this name, of this type of error, or of both; or, with ``all_names`` alone, all
        that there are: as many as there are when this begins. Returns how many came to which state of :meth:`discard`,
        and raises as :meth:`requeue_all` does."""
        return self._change_all("discard", name, error, all_names, timeout, self._driver.discard)

    def _change_all(
        self, what: str, name: str | None, error: str | None, all_names: bool, timeout_s: float, change: Any
    ) -> dict[str, int]:
        if (name is None and error is None) is not all_names:
            raise ConfigError(
                f"which dead tasks to {what} has to be said: name='shop.charge', error='ValueError', or both; or "
                "all_names=True alone, for all of them"
            )
        check_seconds("timeout", timeout_s)
        deadline_s = time.monotonic() + timeout_s
        counts: Counter[str] = Counter()
        ids = [record.task_id for record in self.dead_tasks(name, error, timeout_s)]
        for some in _in_requests(ids):
            changes = change(some, max(0.0, deadline_s - time.monotonic()))
            counts.update(DeadState(state).name.lower() for _, state, _ in _states_of(changes, timeout_s))
        return dict(counts)

    def _changed_args(
        self, ids: Sequence[bytes], args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, timeout_s: float
    ) -> bytes:
        if len(ids) != 1:
            raise ConfigError(f"{len(ids)} tasks can't be requeued with the same arguments; requeue one at a time")
        is_list = isinstance(args, Sequence) and not isinstance(args, str | bytes | bytearray)
        if (args is not None and not is_list) or not isinstance(kwargs, Mapping | None):
            raise ConfigError("args is a list of arguments, as ['order-7'], and kwargs a dict of them by name")
        if args is None or kwargs is None:
            before = self.dead_task(ids[0], timeout_s)
            args = before.args if args is None else args
            kwargs = before.kwargs if kwargs is None else kwargs
        return pack_args(args, kwargs, self._driver.session.payload_limit_bytes)

    def _dead_page(self, name: str | None, error: str | None, skip: int, timeout_s: float) -> dict[str, Any]:
        check_seconds("timeout", timeout_s)
        for what, value, limit in (("name", name, MAX_NAME_CHARS), ("error", error, MAX_STRING_CHARS)):
            if value is not None and (not isinstance(value, str) or not 0 < len(value) <= limit):
                raise ConfigError(f"{what} is a string of 1 to {limit} characters; leave it out for all dead tasks")
        return unpacked(self._driver.dead_tasks(name or "", error or "", skip, timeout_s), timeout_s)


def not_dead(task_id: bytes, requeued_as: bytes | None = None) -> str:
    """Why there is nothing to say of a dead task."""
    if requeued_as is not None:
        return f"{task_id.hex()}: it was requeued, as {requeued_as.hex()}"
    return (
        f"{task_id.hex()}: no dead task of this id is kept: its call has no keep_dead, or it has not died, or it was "
        "discarded, or its time is over. `paceline dead ls` shows what is kept, `paceline tasks show ID` what is known "
        "of it"
    )


def _id_of(task: AnyTask) -> bytes:
    return task.task_id if isinstance(task, Future | DeadRecord) else task_id_of(task)


def _ids_of(tasks: Iterable[AnyTask] | AnyTask) -> list[bytes]:
    """Each of them once."""
    if isinstance(tasks, Future | DeadRecord | str | bytes) or not isinstance(tasks, Iterable):
        return [_id_of(tasks)]
    return list(dict.fromkeys(map(_id_of, tasks)))


def _in_requests(ids: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    for start in range(0, len(ids), MAX_REQUEST_TASKS):
        yield tuple(ids[start : start + MAX_REQUEST_TASKS])


def _states_of(changes: DeadChanges | None, timeout_s: float) -> tuple[tuple[bytes, int, str], ...]:
    if changes is None:
        raise TimeoutError(NO_ANSWER.format(timeout_s))
    if changes.refused:
        raise NotAllowed(changes.refused)
    return changes.states


_MOMENTS: Final = {"started_at": "started_ms", "died_at": "ended_ms", "kept_until": "kept_until_ms"}
_PLAIN: Final = (
    "name",
    "end",
    "error_type",
    "error",
    "priority",
    "attempt",
    "failed_attempts",
    "lost_attempts",
    "node",
)


def _record_of(row: Mapping[str, Any]) -> DeadRecord:
    moments: dict[str, Any] = {
        name: None if row[key] is None else datetime_of(row[key]) for name, key in _MOMENTS.items()
    }
    requeued_from = row["requeued_from"]
    return DeadRecord(
        task_id=row["id"],
        requeued_from=None if requeued_from is None else bytes.fromhex(requeued_from),
        size_bytes=row["bytes"],
        **{name: row[name] for name in _PLAIN},
        **moments,
    )


def _details_of(found: Mapping[str, Any]) -> DeadDetails:
    args, kwargs = unpack_args(found["args"], put=read_reference)
    return DeadDetails(
        record=_record_of(found),
        args=tuple(args),
        kwargs=kwargs,
        exception=_exception_of(found["end_number"], found["payload"]),
        failures=tuple((attempt, datetime_of(at_ms), summary) for attempt, at_ms, summary in found["failures"]),
        options=found["options"],
        losses=losses_of(found),
    )


def _exception_of(end: int, payload: bytes) -> Exception:
    try:
        return error_of(end, payload)
    except PayloadError as error:  # its worker has made it
        return error


def _group_of(row: Mapping[str, Any]) -> DeadGroup:
    return DeadGroup(
        name=row["name"],
        error_type=row["error"],
        count=row["count"],
        oldest=datetime_of(row["oldest_ms"]),
        newest=datetime_of(row["newest_ms"]),
    )
