"""Schedules: having tasks run at moments of the wall clock, and what has become of these."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from paceline.client.future import Future
from paceline.client.questions import NO_ANSWER, unpacked
from paceline.client.targets import Target, parts_of
from paceline.errors import ConfigError, NotAllowed, RequestRefused, UnknownSchedule
from paceline.options import check_seconds, shown
from paceline.parameters import parameters_of, with_parameters
from paceline.schedules import Timetable
from paceline_protocol.codec import encode_definition
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages import schedules as wire
from paceline_protocol.messages.records import TASK_ID_BYTES
from paceline_protocol.messages.schedules import ScheduleAnswer, ScheduleDefinition, ScheduleOp, ScheduleReply
from paceline_protocol.moments import datetime_of
from paceline_protocol.payload import pack_args

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver

Misfire: TypeAlias = Literal["skip", "once", "all"]
Overlap: TypeAlias = Literal["allow", "skip", "queue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledTask:
    """One schedule, as its leader told it. Moments are in UTC, by the wall clock of leaders.

    ``task``: the name of the task that it makes. ``when``: at which moments. ``next``: the next one, None if it is
    paused, or over. ``last``: the last one of which a task was made, ``last_task_id``: that task, ``last_state``: where
    it is, or how it ended; ``ended`` if that is known no more. ``waiting``: how many moments wait for the task of an
    earlier one. ``fired``, ``missed``, ``overlapped``: how many moments had a task, were missed, or fell into the time
    of an earlier task. ``why``: why a moment that is due has no task yet, "" if there is none such.
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
    why: str

    def moments(self) -> Iterator[datetime]:
        """The next moments, the first of which is ``next``; none if it is paused. Raises BadSchedule if this machine
        does not know its zone."""
        if self.next is not None:
            yield self.next
            yield from self.when.after(self.next)


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

        Raises ConfigError for what can't be used, RequestRefused with the reason if the cluster does not take it,
        NotAllowed to an observer, TimeoutError if that is not known in time: then it may be there.
        """
        check_seconds("timeout", timeout)
        if not isinstance(when, Timetable):
            raise ConfigError(f"when is {shown(when)}; write cron(...), every(...) or at(...)")
        if isinstance(args, str | bytes | bytearray) or not isinstance(args, Sequence):
            raise ConfigError("args is a list of arguments, as ['2026-11'], and kwargs a dict of them by name")
        if type(misfire_limit) is not int or not 1 <= misfire_limit <= wire.MISFIRES_MAX:
            raise ConfigError(f"misfire_limit is {shown(misfire_limit)}, and has to be 1 to {wire.MISFIRES_MAX}")
        task, priority, _ = parts_of(target)
        options = {} if isinstance(target, str) else target.wire_options  # and no deadline of who says so
        options = with_parameters(parameters_of(target), options, args, kwargs or {})
        definition = ScheduleDefinition(
            task,
            pack_args(args, kwargs or {}, self._driver.session.payload_limit_bytes),
            priority,
            options,
            when.wire,
            _number_of("misfire", misfire, _MISFIRES),
            misfire_limit,
            _number_of("overlap", overlap, _OVERLAPS),
        )
        reply = self._driver.put_schedule(_checked(name), encode_definition(definition), timeout)
        return _answer_of(reply, name, timeout) == ScheduleAnswer.DONE

    def remove_schedule(self, name: str, timeout: float = 30.0) -> None:
        """Have no schedule of this name any more; tasks that it has made stay. Raises UnknownSchedule if there is none,
        perhaps since a leader that has removed it died before it could say so, and else as :meth:`add_schedule`."""
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
        _answer_of(self._driver.trigger_schedule(_checked(name), task_id, timeout), name, timeout)
        return self._driver.read(task_id, waits=False)

    def schedules(self, name: str | None = None, timeout: float = 30.0) -> Iterator[ScheduledTask]:
        """The schedules that there are, in the order of their names. ``name``: only such, in which each ``*`` stands
        for any number of characters. Lazy: it asks for 200 at a time. Raises ConfigError for what can be no name, and
        TimeoutError if the leader does not answer in time, ``timeout`` seconds for each question."""
        check_seconds("timeout", timeout)
        after, pattern = "", "*" if name is None else _checked(name)
        while True:
            page = unpacked(self._driver.schedules(pattern, after, timeout), timeout)
            for row in page["schedules"]:
                yield _scheduled(row)
                after = row["name"]
            if not page["schedules"] or not page["more"]:
                return

    def _change(self, name: str, op: ScheduleOp, timeout_s: float) -> bool:
        check_seconds("timeout", timeout_s)
        reply = self._driver.change_schedule(_checked(name), int(op), timeout_s)
        return _answer_of(reply, name, timeout_s) == ScheduleAnswer.DONE


_MISFIRES: Final = {each.name.lower(): int(each) for each in wire.Misfire}
_OVERLAPS: Final = {each.name.lower(): int(each) for each in wire.Overlap}


def _number_of(what: str, word: object, words: Mapping[str, int]) -> int:
    number = words.get(word) if isinstance(word, str) else None
    if number is None:
        raise ConfigError(f"{what} is {shown(word)}, and has to be one of {', '.join(words)}")
    return number


def _checked(name: object) -> str:
    if isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS:
        try:
            name.encode()
        except UnicodeEncodeError:
            pass  # a lone surrogate, as of a name that was read from bytes
        else:
            return name
    raise ConfigError(
        f"{shown(name)} can't name a schedule: a name is a string of 1 to {MAX_NAME_CHARS} characters that UTF-8 has"
    )


def _answer_of(reply: ScheduleReply | None, name: str, timeout_s: float) -> int:
    """DONE or UNCHANGED."""
    if reply is None:
        raise TimeoutError(NO_ANSWER.format(timeout_s))
    if reply.refused:
        raise NotAllowed(reply.refused)
    if reply.answer == ScheduleAnswer.UNKNOWN:
        raise UnknownSchedule(name)
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
        **{key: row[key] for key in _PLAIN},
    )
