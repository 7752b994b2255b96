"""Moments that messages give, as a call carries them: whole milliseconds since 1970, UTC."""

from __future__ import annotations

import math

from paceline_bridge.message import UnsupportedMessage
from paceline_protocol.moments import MOMENT_MAX_MS


def carried_ms(field: str, ms: float) -> int:
    """The millisecond, or the later one of two. What is before 1970 is as long past as its first one, and what is after
    9999 as far ahead as the last one of that year. Raises UnsupportedMessage for what is no number."""
    if ms != ms:  # not a number
        raise UnsupportedMessage("bad-body", f"{field} is {ms!r}, and not a moment")
    return math.ceil(max(1, min(ms, MOMENT_MAX_MS)))


def options_of(not_before_ms: int | None, expires_ms: int | None, now: float) -> tuple[dict[str, int], bool]:
    """(TaskCall.options, TaskCall.is_late). ``now``: seconds since the epoch. A moment to start that has passed asks
    for nothing."""
    options: dict[str, int] = {}
    if not_before_ms is not None and not_before_ms > now * 1e3:
        options["not_before"] = not_before_ms
    if expires_ms is not None:
        options["expires"] = expires_ms
    return options, expires_ms is not None and expires_ms <= now * 1e3
