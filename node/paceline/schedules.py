"""When a task is to be run, as users write it: ``cron("0 2 * * *", tz="Europe/Berlin")``, ``every(minutes=5)``,
``at(moment)``. What can't be used is refused here, where it is written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from paceline.errors import BadSchedule
from paceline.options import shown
from paceline_protocol import when as whens
from paceline_protocol.messages.schedules import When, WhenKind
from paceline_protocol.moments import datetime_of, moment_ms

__all__ = ["Timetable", "at", "cron", "every"]

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
        after_ms = _moment_ms("the moment", moment)
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
        When(WhenKind.EVERY, every_ms=span // _MILLISECOND, from_ms=0 if start is None else _moment_ms("start", start))
    )


def at(moment: datetime) -> Timetable:
    """Once, at this moment, which has a time zone. Raises BadSchedule."""
    return Timetable(When(WhenKind.ONCE, from_ms=_moment_ms("the moment", moment)))


def anchored(wire: When, now_ms: int) -> When:
    """An interval without a beginning of its own counts from now."""
    return wire._replace(from_ms=now_ms) if wire.kind == WhenKind.EVERY and not wire.from_ms else wire


def _moment_ms(what: str, moment: object) -> int:
    if not isinstance(moment, datetime):
        raise BadSchedule(f"{what} is {shown(moment)}, and has to be a datetime with a time zone")
    try:
        return moment_ms(moment)
    except ValueError as error:
        raise BadSchedule(f"{what} {moment} can't be used: {error}") from None
