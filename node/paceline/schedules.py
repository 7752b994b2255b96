"""When a task is to be run, as users write it: ``cron("0 2 * * *", tz="Europe/Berlin")``, ``every(minutes=5)``,
``at(moment)``; with ``Schedule(...)``, what ``@task(schedule=...)`` says beside that. What can't be used is refused
here, where it is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from paceline.errors import BadSchedule, ConfigError
from paceline.options import shown
from paceline.parameters import Parameter, Parameters, with_parameters
from paceline_protocol import when as whens
from paceline_protocol.codec import encode_own_schedules
from paceline_protocol.errors import LimitExceeded
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages import schedules as wire
from paceline_protocol.messages.records import Options
from paceline_protocol.messages.schedules import OwnSchedule, ScheduleDefinition, When, WhenKind
from paceline_protocol.moments import datetime_of, moment_ms
from paceline_protocol.options import why_not_scheduled
from paceline_protocol.payload import pack_args

__all__ = ["Schedule", "Timetable", "at", "cron", "every"]

Misfire: TypeAlias = Literal["skip", "once", "all"]
Overlap: TypeAlias = Literal["allow", "skip", "queue"]

_MILLISECOND: Final = timedelta(milliseconds=1)


class Timetable:
    """When something is to be done. ``wire``: as it travels."""

    __slots__ = ("wire",)

    def __init__(self, wire: When) -> None:
        try:
            whens.check(wire)
        except whens.ScheduleError as error:
            raise BadSchedule(str(error)) from error
        self.wire: Final = wire

    @classmethod
    def told(cls, wire: When) -> Timetable:
        """One that a cluster has, whose zone this machine need not know."""
        timetable = cls.__new__(cls)
        object.__setattr__(timetable, "wire", wire)
        return timetable

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The moments behind this one, in UTC, the next one first; without an end, unless it fires once. An interval
        without a beginning of its own counts from ``moment``. Raises BadSchedule for one without a time zone."""
        after_ms = moment_of("the moment", moment)
        wire = anchored(self.wire, after_ms)
        try:
            while after_ms := whens.next_after(wire, after_ms):
                yield datetime_of(after_ms)
        except whens.ScheduleError as error:
            raise BadSchedule(str(error)) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timetable) and other.wire == self.wire

    def __hash__(self) -> int:
        return hash(self.wire)

    def __str__(self) -> str:
        return whens.shown(self.wire)

    def __repr__(self) -> str:
        return f"<timetable {self}>"


class Schedule:
    """A timetable of ``@task(schedule=...)`` with what else a schedule says: its name, and what
    :meth:`Client.add_schedule` takes. ``name``: that of the task, unless given. Raises ConfigError."""

    __slots__ = ("args", "kwargs", "misfire", "misfire_limit", "name", "overlap", "when")

    def __init__(
        self,
        when: Timetable,
        *,
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        misfire: Misfire = "once",
        misfire_limit: int = 100,
        overlap: Overlap = "allow",
    ) -> None:
        self.when: Final = when
        self.name: Final = None if name is None else checked_name(name)
        self.args: Final = args
        self.kwargs: Final = kwargs
        self.misfire: Final = misfire
        self.misfire_limit: Final = misfire_limit
        self.overlap: Final = overlap
        self.definition("checked.now", 0, None, None)

    def definition(
        self,
        task: str,
        priority: int,
        options: Options | None,
        parameters: dict[str, Parameter | Parameters] | None,
        owner: str = "",
        limit_bytes: int | None = None,
    ) -> ScheduleDefinition:
        """As it travels. ``limit_bytes``: of its arguments. Raises ConfigError for what can't be used."""
        if not isinstance(self.when, Timetable):
            raise ConfigError(f"when is {shown(self.when)}; write cron(...), every(...) or at(...)")
        if isinstance(self.args, str | bytes | bytearray) or not isinstance(self.args, Sequence):
            raise ConfigError("args is a list of arguments, as ['2026-11'], and kwargs a dict of them by name")
        limit, kwargs = self.misfire_limit, self.kwargs or {}
        if type(limit) is not int or not 1 <= limit <= wire.MISFIRES_MAX:
            raise ConfigError(f"misfire_limit is {shown(limit)}, and has to be 1 to {wire.MISFIRES_MAX}")
        return ScheduleDefinition(
            task,
            pack_args(self.args, kwargs, limit_bytes),
            priority,
            with_parameters(parameters, options, self.args, kwargs),
            self.when.wire,
            _number_of("misfire", self.misfire, _MISFIRES),
            limit,
            _number_of("overlap", self.overlap, _OVERLAPS),
            owner,
        )

    def __repr__(self) -> str:
        return f"<schedule {self.name or ''} {self.when}>"


_MISFIRES: Final = {each.name.lower(): int(each) for each in wire.Misfire}
_OVERLAPS: Final = {each.name.lower(): int(each) for each in wire.Overlap}


def _number_of(what: str, word: object, words: Mapping[str, int]) -> int:
    number = words.get(word) if isinstance(word, str) else None
    if number is None:
        raise ConfigError(f"{what} is {shown(word)}, and has to be one of {', '.join(words)}")
    return number


def checked_name(name: object) -> str:
    """The name of a schedule, if it can be one. Raises ConfigError."""
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


Schedules: TypeAlias = Timetable | Schedule | Sequence[Timetable | Schedule]
"""What ``@task(schedule=...)`` takes."""


def of_task(
    given: object,
    function: Callable[..., Any],
    task: str,
    owner: str,
    priority: int,
    options: Options | None,
    parameters: dict[str, Parameter | Parameters] | None,
) -> tuple[OwnSchedule, ...]:
    """The schedules that a task comes with. The first without a name of its own has that of the task, the second that
    with ``#2``, and so on. Raises BadSchedule."""
    each = given if isinstance(given, list | tuple) else [given]
    found: list[OwnSchedule] = []
    for number, one in enumerate(each, start=1):
        schedule = Schedule(one) if isinstance(one, Timetable) else one
        if not isinstance(schedule, Schedule):
            raise BadSchedule(
                f"schedule is {shown(one)}; write cron(...), every(...), at(...) or Schedule(...), or a list of these"
            )
        unfit = why_not_scheduled(options or {}) or _why_not_called(function, schedule)
        if unfit:
            raise BadSchedule(f"{task} can't have a schedule: {unfit}")
        name = schedule.name or (task if number == 1 else f"{task}#{number}")
        if name in [known for known, _ in found]:
            raise BadSchedule(f"{task} has two schedules named {name!r}; give one of them another name")
        found.append((name, schedule.definition(task, priority, options, parameters, owner)))
    try:
        encode_own_schedules(found)
    except LimitExceeded as error:
        raise BadSchedule(f"the schedules of {task} are too large: {error}") from None
    return tuple(found)


def _why_not_called(function: Callable[..., Any], schedule: Schedule) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return ""
    try:
        signature.bind(*schedule.args, **(schedule.kwargs or {}))
    except TypeError as error:
        return f"{error}; say with what it is called: Schedule({schedule.when}, args=[...])"
    return ""


def cron(expression: str, *, tz: str = "UTC") -> Timetable:
    """At the moments of a cron expression, as clocks in the zone ``tz`` show them: five fields, ``"30 2 * * MON-FRI"``,
    six with seconds in front, or ``@daily`` and the like.

    Where the zone puts its clocks forward, times of the day that it skips fire once, as they end; where it puts them
    back, those that it has twice fire once, the first time. An expression that fires in every hour goes on in real
    time. Raises BadSchedule for what can't be read, never fires, or is no zone.
    """
    for what, value in (("the expression", expression), ("tz", tz)):
        if not isinstance(value, str):
            raise BadSchedule(f'{what} is {shown(value)}, and has to be a string, as in cron("0 2 * * *", tz="UTC")')
    return Timetable(When(WhenKind.CRON, expression, tz))


def every(
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    start: datetime | None = None,
) -> Timetable:
    """Every so often, counted from ``start``, so that it never drifts; without it from the moment at which the cluster
    takes it in. A second at least. Raises BadSchedule."""
    try:
        span = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (OverflowError, ValueError):  # infinite, or no number
        span = timedelta.max
    except TypeError as error:
        raise BadSchedule(f"an interval is of numbers, as every(minutes=5): {error}") from None
    return Timetable(
        When(WhenKind.EVERY, every_ms=span // _MILLISECOND, from_ms=0 if start is None else moment_of("start", start))
    )


def at(moment: datetime) -> Timetable:
    """Once, at this moment, which has a time zone. Raises BadSchedule."""
    return Timetable(When(WhenKind.ONCE, from_ms=moment_of("the moment", moment)))


def anchored(wire: When, now_ms: int) -> When:
    """An interval without a beginning of its own counts from now."""
    return wire._replace(from_ms=now_ms) if wire.kind == WhenKind.EVERY and not wire.from_ms else wire


def moment_of(what: str, moment: object) -> int:
    if not isinstance(moment, datetime):
        raise BadSchedule(f"{what} is {shown(moment)}, and has to be a datetime with a time zone")
    try:
        return moment_ms(moment)
    except ValueError as error:
        raise BadSchedule(f"{what} {moment} can't be used: {error}") from None
