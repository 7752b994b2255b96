"""Schedules: having tasks run at moments of the wall clock, and what has become of these."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from paceline.client.future import Future
from paceline.client.questions import NO_ANSWER, unpacked
from paceline.client.targets import Target, parts_of
from paceline.errors import NotAllowed, RequestRefused, ScheduleOwned, UnknownSchedule
from paceline.options import check_seconds
from paceline.parameters import parameters_of
from paceline.schedules import Misfire, Overlap, Schedule, Timetable, checked_name, moment_of
from paceline_protocol.codec import encode_definition
from paceline_protocol.messages import schedules as wire
from paceline_protocol.messages.records import TASK_ID_BYTES
from paceline_protocol.messages.schedules import BackfillReply, ScheduleAnswer, ScheduleOp, ScheduleReply
from paceline_protocol.moments import datetime_of

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledTask:
    """One schedule, as its leader told it. Moments are in UTC, by the wall clock of leaders.

    ``task``: the name of the task that it makes. ``when``: at which moments. ``next``: the next one, None if it is
    paused, or over. ``last``: the last one of which a task was made, ``last_task_id``: that task, ``last_state``: where
    it is, or how it ended; ``ended`` if that is known no more. ``waiting``: how many moments wait for the task of an
    earlier one. ``fired``, ``missed``, ``overlapped``: how many moments had a task, were missed, or fell into the time
    of an earlier task. ``backfill``: how many past moments are to have their tasks. ``why``: why a moment that is due
    has no task yet, "" if there is none such.
    """

    name: str
    task: str
    when: Timetable
    priority: int
    misfire: str
    misfire_limit: int
    overlap: str
    owner: str
    paused: bool
    next: datetime | None
    last: datetime | None
    last_task_id: bytes | None
    last_state: str | None
    waiting: int
    fired: int
    missed: int
    overlapped: int
    backfill: int
    why: str

    def moments(self) -> Iterator[datetime]:
        """The next moments, the first of which is ``next``; none if it is paused. Raises BadSchedule if this machine
        does not know its zone."""
        if self.next is not None:
            yield self.next
            yield from self.when.after(self.next)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """What a backfill came to. ``waiting``: of how many moments the tasks are made now. ``made``: how many had theirs
    before."""

    waiting: int
    made: int


class ScheduleQuestions:
    """The part of a Client that has tasks run at moments of the wall clock."""

    _driver: Driver

    def add_schedule(
        self,
        name: str,
        when: Timetable,
        target: Target,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        misfire: Misfire = "once",
        misfire_limit: int = 100,
        overlap: Overlap = "allow",
        timeout: float = 30.0,
    ) -> bool:
        """Have a task run whenever ``when`` says: ``client.add_schedule("nightly", cron("0 2 * * *"), report)``. It
        takes the place of a schedule of that name. Returns once that is in the log; False if it was so before.

        ``target``: what :meth:`submit` takes; what it asks for counts from each firing on. ``misfire``: what becomes of
        moments at which nobody could fire: nothing ("skip"), the last one is made up for ("once"), or the last
        ``misfire_limit`` are ("all"). ``overlap``: what becomes of a moment while a task of an earlier one has not
        ended: it fires all the same ("allow"), not at all ("skip"), or then ("queue").

        Raises ConfigError for what can't be used, ScheduleOwned if one of that name comes with a module, RequestRefused
        with the reason if the cluster does not take it, NotAllowed to an observer, TimeoutError if that is not known in
        time: then it may be there.
        """
        check_seconds("timeout", timeout)
        task, priority, _ = parts_of(target)
        options = {} if isinstance(target, str) else target.wire_options  # and no deadline of who says so
        schedule = Schedule(
            when, args=args, kwargs=kwargs, misfire=misfire, misfire_limit=misfire_limit, overlap=overlap
        )
        limit_bytes = self._driver.session.payload_limit_bytes
        definition = schedule.definition(task, priority, options, parameters_of(target), limit_bytes=limit_bytes)
        reply = self._driver.put_schedule(checked_name(name), encode_definition(definition), timeout)
        return _answer_of(reply, name, timeout) == ScheduleAnswer.DONE

    def remove_schedule(self, name: str, timeout: float = 30.0) -> None:
        """Have no schedule of this name any more; tasks that it has made stay. Raises UnknownSchedule if there is none,
        perhaps since a leader that has removed it died before it could say so, ScheduleOwned if it comes with a module
        that a node has, and else as :meth:`add_schedule`."""
        self._change(name, ScheduleOp.REMOVE, timeout)

    def pause_schedule(self, name: str, timeout: float = 30.0) -> bool:
        """Let a schedule fire no more until it is resumed. Returns False if it was paused before. Raises as
        :meth:`remove_schedule`."""
        return self._change(name, ScheduleOp.PAUSE, timeout)

    def resume_schedule(self, name: str, timeout: float = 30.0) -> bool:
        """Let a schedule fire again, from its next moment on: what was in between is over. Returns False if it was not
        paused. Raises as :meth:`remove_schedule`."""
        return self._change(name, ScheduleOp.RESUME, timeout)

    def trigger_schedule(self, name: str, timeout: float = 30.0) -> Future[Any]:
        """Have the task of a schedule run now, beside its moments and whatever runs. Returns its future, as
        :meth:`task` does. Raises as :meth:`remove_schedule`."""
        check_seconds("timeout", timeout)
        task_id = os.urandom(TASK_ID_BYTES)
        _answer_of(self._driver.trigger_schedule(checked_name(name), task_id, timeout), name, timeout)
        return self._driver.read(task_id, waits=False)

    def backfill_schedule(self, name: str, begin: datetime, end: datetime, timeout: float = 30.0) -> Backfilled:
        """Have the tasks of those moments of a schedule, from ``begin`` to ``end``, that are over and have had none:
        each once, under the id of its moment, in their order; one at a time, unless ``overlap`` is "allow". Returns
        once that is in the log: then it goes on, whoever leads. 1,000 moments at most, for each time that it is asked
        for, and of one schedule at a time. A moment whose task the cluster has forgotten gets another one. A change of
        the schedule ends it, and while that is paused it waits.

        Raises ConfigError for moments without a time zone, RequestRefused for more of them, and else as
        :meth:`remove_schedule`."""
        check_seconds("timeout", timeout)
        from_ms, to_ms = (max(0, moment_of(what, given)) for what, given in (("begin", begin), ("end", end)))
        reply = self._driver.backfill_schedule(checked_name(name), from_ms, to_ms, timeout)
        _answer_of(reply, name, timeout)
        assert reply is not None, "or _answer_of would have raised"
        return Backfilled(waiting=reply.waiting, made=reply.made)

    def schedules(self, name: str | None = None, timeout: float = 30.0) -> Iterator[ScheduledTask]:
        """The schedules that there are, in the order of their names. ``name``: only such, in which each ``*`` stands
        for any number of characters. Lazy: it asks for 200 at a time. Raises ConfigError for what can be no name, and
        TimeoutError if the leader does not answer in time, ``timeout`` seconds for each question."""
        check_seconds("timeout", timeout)
        after, pattern = "", "*" if name is None else checked_name(name)
        while True:
            page = unpacked(self._driver.schedules(pattern, after, timeout), timeout)
            for row in page["schedules"]:
                yield _scheduled(row)
                after = row["name"]
            if not page["schedules"] or not page["more"]:
                return

    def _change(self, name: str, op: ScheduleOp, timeout_s: float) -> bool:
        check_seconds("timeout", timeout_s)
        reply = self._driver.change_schedule(checked_name(name), int(op), timeout_s)
        return _answer_of(reply, name, timeout_s) == ScheduleAnswer.DONE


def _answer_of(reply: ScheduleReply | BackfillReply | None, name: str, timeout_s: float) -> int:
    """DONE or UNCHANGED."""
    if reply is None:
        raise TimeoutError(NO_ANSWER.format(timeout_s))
    if reply.refused:
        raise NotAllowed(reply.refused)
    if reply.answer == ScheduleAnswer.UNKNOWN:
        raise UnknownSchedule(name)
    if reply.answer == ScheduleAnswer.OWNED:
        raise ScheduleOwned(name, reply.detail)
    if reply.answer == ScheduleAnswer.REFUSED:
        raise RequestRefused(reply.detail)
    return reply.answer


_PLAIN: Final = (
    "name",
    "task",
    "priority",
    "misfire",
    "misfire_limit",
    "overlap",
    "owner",
    "paused",
    "last_state",
    "waiting",
    "fired",
    "missed",
    "overlapped",
    "why",
)


def _scheduled(row: Mapping[str, Any]) -> ScheduledTask:
    return ScheduledTask(
        when=Timetable.told(wire.When(*row["when"])),
        next=None if row["next_ms"] is None else datetime_of(row["next_ms"]),
        last=None if row["last_ms"] is None else datetime_of(row["last_ms"]),
        last_task_id=row["last_id"],
        backfill=row.get("backfill", 0),  # an older leader has none
        **{key: row[key] for key in _PLAIN},
    )
