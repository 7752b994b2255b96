"""Moments and times that messages give, as a call carries them: whole milliseconds, of moments since 1970, UTC."""

from __future__ import annotations

import math

from paceline_bridge.message import UnsupportedMessage
from paceline_bridge.texts import quoted
from paceline_protocol.moments import FROM_NOW_MAX_DAYS, FROM_NOW_MAX_MS, MOMENT_MAX_MS


def carried_ms(field: str, ms: float) -> int:
    """The millisecond, or the later one of two. What is before 1970 is as long past as its first one, and what is after
    9999 as far ahead as the last one of that year. Raises UnsupportedMessage for what is no number."""
    if ms != ms:  # not a number
        raise UnsupportedMessage("bad-body", f"{field} is {ms!r}, and not a moment")
    return math.ceil(max(1, min(ms, MOMENT_MAX_MS)))


def options_of(not_before_ms: int | None, expires_ms: int | None, now: float) -> tuple[dict[str, int], bool]:
    """(TaskCall.options, TaskCall.is_late). ``now``: seconds since the epoch. After a moment to start that has passed
    the task may start at once, whatever its nodes announce."""
    options: dict[str, int] = {}
    if not_before_ms is not None:
        options["not_before"] = not_before_ms if not_before_ms > now * 1e3 else 0
    if expires_ms is not None:
        options["expires"] = expires_ms
    return options, expires_ms is not None and expires_ms <= now * 1e3


def span_ms(value: object, unit_ms: int = 1) -> int | None:
    """A time that is given in such units, at least a millisecond. None if it is none, or more than a call can carry."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value * unit_ms <= FROM_NOW_MAX_MS:
        return None  # so is what is not a number
    return math.ceil(value * unit_ms)


def limit_ms(field: str, value: object, unit_ms: int) -> int:
    """A time limit, which a message has in this field and in such units. Raises UnsupportedMessage for what is none."""
    found_ms = span_ms(value, unit_ms)
    if found_ms is None:
        unit = "seconds" if unit_ms == 1_000 else "milliseconds"
        raise UnsupportedMessage(
            "time-limit",
            f"{field} is {quoted(value)}; give {unit} above 0, of {FROM_NOW_MAX_DAYS} days at most, or none",
        )
    return found_ms
