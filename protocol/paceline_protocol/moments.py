"""Moments as users write them, and as a call carries them: whole milliseconds since 1970, UTC, of the wall clock.

A user writes a moment as a ``datetime`` with a time zone, or as seconds or a ``timedelta`` from now on. A call carries
the second form as a negative number of milliseconds, and the leader that admits the call makes a moment of it, by its
own wall clock (:func:`at_admission`): what the client's clock shows does not matter then, and the log holds moments
alone. This module reads no clock: the caller says what time it is.

What falls between two milliseconds counts as the later one, so that nothing begins before its moment.

Whatever can't be used raises ValueError. Its text is the end of a sentence that begins with the name of an option:
"eta 2026-12-01 02:00:00 can't be used: it has no time zone; ...".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

MOMENT_MAX_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, which is the last that a ``datetime`` can be."""
FROM_NOW_MAX_DAYS: Final = 36_525
"""How far ahead a moment may be that is given relative to now: a century."""
FROM_NOW_MAX_MS: Final = FROM_NOW_MAX_DAYS * 86_400_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PART: Final = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PARTS: Final = re.compile(rf"(?:{_PART})+", re.ASCII)
_NO_ZONE: Final = (
    "it has no time zone, so it means another moment on each machine; give it one, as in datetime(2026, 12, 1, 2, 0, "
    'tzinfo=ZoneInfo("Europe/Berlin")), or that of this machine with .astimezone()'
)


def at_admission(carried_ms: int, now_ms: int) -> int:
    """The moment that a call carries, for a call that is admitted at ``now_ms``."""
    return carried_ms if carried_ms >= 0 else min(max(0, now_ms) - carried_ms, MOMENT_MAX_MS)


def from_now(value: int | float | timedelta) -> int:
    """Seconds, or a timedelta, from now on, as a call carries them: from -FROM_NOW_MAX_MS to -1. Raises ValueError if
    they are negative or beyond FROM_NOW_MAX_DAYS."""
    try:
        ahead = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (OverflowError, ValueError):  # infinite, no number, or more than a timedelta holds
        ahead = timedelta.max
    if not timedelta(0) <= ahead <= timedelta(days=FROM_NOW_MAX_DAYS):
        raise ValueError(f"it is a time from 0 seconds to {FROM_NOW_MAX_DAYS} days")
    return -max(1, _ceil_ms(ahead))


def span_ms(value: int | float | timedelta) -> int:
    """Seconds, or a timedelta, in milliseconds. Raises ValueError as :func:`from_now` does."""
    return -from_now(value)


def moment_ms(value: datetime) -> int:
    """The moment of a datetime. Raises ValueError if it has no time zone, or is before 1970."""
    if value.utcoffset() is None:
        raise ValueError(_NO_ZONE)
    ms = _ceil_ms(value - _EPOCH)
    if ms == MOMENT_MAX_MS + 1 and value.microsecond:
        ms = MOMENT_MAX_MS  # datetime.max is within the last millisecond
    if not 0 <= ms <= MOMENT_MAX_MS:
        raise ValueError("it is a moment from 1970 to 9999, UTC")
    return max(1, ms)  # 0 on the wire is no moment


def datetime_of(ms: int) -> datetime:
    """A moment for a person to read, in UTC. ``ms`` is 0 to MOMENT_MAX_MS."""
    return _EPOCH + ms * _MILLISECOND


def shown(moment: datetime) -> str:
    """A moment as lines and messages have it, to the millisecond, with its zone."""
    return moment.isoformat(sep=" ", timespec="milliseconds")


def read_time(text: str) -> timedelta:
    """A time as it is written on a command line: ``30`` and ``0.5`` are seconds, others have units, as ``5m``,
    ``1h30m``, ``2d``, ``250ms``. Raises ValueError."""
    text = text.strip()
    try:
        if _NUMBER.fullmatch(text):
            return timedelta(seconds=float(text))
        if _PARTS.fullmatch(text):
            parts = (float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
            return sum(parts, timedelta(0))
    except OverflowError:
        raise ValueError(f"it is a time from 0 seconds to {FROM_NOW_MAX_DAYS} days") from None
    raise ValueError("write seconds, as 30, or units of ms, s, m, h and d, as 5m or 1h30m")


def read_moment(text: str) -> datetime:
    """A moment as it is written on a command line: ISO 8601 with an offset. Raises ValueError."""
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("write a date, a time and an offset from UTC, as 2026-12-01T02:00+01:00") from None
    if value.utcoffset() is None:
        example = value.isoformat(timespec="minutes")
        raise ValueError(f"it has no time zone; add its offset from UTC, as {example}+01:00, or Z for UTC itself")
    return value


def is_time(text: str) -> bool:
    """Whether a text is meant as one for :func:`read_time`, and not for :func:`read_moment`."""
    return bool(_NUMBER.fullmatch(text.strip()) or _PARTS.fullmatch(text.strip()))


def _ceil_ms(span: timedelta) -> int:
    return -(-span // _MILLISECOND)
