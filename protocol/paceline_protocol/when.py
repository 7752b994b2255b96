"""When a schedule fires: what a user wrote, as it travels, and the moments that follow from it.

No clock is read here: every function is told from which moment on. A moment is one of the wall clock, in whole
milliseconds since 1970, as everywhere (``moments.py``). ``cronsim`` knows cron expressions; what a change of the clocks
in a zone does to them is decided here, so that there is one rule, whatever the fields look like:

- An expression that fires in every hour is a **rhythm**. It goes on in real time: ``*/15 * * * *`` fires every quarter
  of an hour, also through the hour that a zone has twice, and misses nothing through the one that it skips.
- Any other names **times of the day**. One that a zone skips fires once, when the skipped time ends, together with all
  others that were skipped; one that it has twice fires once, the first time.

The rules of a zone come from the files of the machine, which are not the same everywhere: so moments are computed by
clients, for people, and by the leader, and never while an entry of the log is applied.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from paceline_protocol.errors import CopyableError
from paceline_protocol.limits import EVERY_MAX_MS, EXPRESSION_CHARS, ZONE_CHARS
from paceline_protocol.messages.schedules import When, WhenKind
from paceline_protocol.moments import MOMENT_MAX_MS, datetime_of

EVERY_MIN_MS: Final = 1_000
_DAY_MS: Final = 86_400_000
NEVER: Final = 0
"""In place of a moment: there is none."""

SHORT: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SOME_MOMENT_MS: Final = 1_767_225_600_000
"""2026-01-01. From here on it is tried whether an expression ever fires; any other moment would do."""
_SECOND: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_CHANGES_APART: Final = timedelta(hours=3)
"""More than any zone puts its clocks back by, and less than there is between two changes."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_WINDOW_MS: Final = 60_000


class ScheduleError(CopyableError, ValueError):
    """This can't say when something is to be done; the message says what can."""


class BadCron(ScheduleError):
    """A cron expression that can't be read."""

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        super().__init__(
            f"{text[:80]!r} is no cron expression ({why}): write five fields, minute, hour, day of the month, month, "
            f"day of the week, as '30 2 * * MON-FRI'; or six, with seconds in front; or one of {', '.join(SHORT)}"
        )


class NeverFires(ScheduleError):
    """A cron expression of a day that no calendar has, or a moment that is over."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"{text[:80]!r} never fires: no day within 50 years is as it says; the day of the month and the month "
            "have to go together, and 'L' is the last day of any month"
        )


class UnknownZone(ScheduleError):
    """A time zone that this machine does not know."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        super().__init__(
            f"{zone[:80]!r} is no time zone that this machine knows: write one as 'Europe/Berlin' or 'UTC'; if it is "
            "right, install the package tzdata here, of the system or for Python"
        )


class BadInterval(ScheduleError):
    """A time between two firings that can't be one."""

    def __init__(self, every_ms: int) -> None:
        self.every_ms = every_ms
        super().__init__(
            f"an interval of {every_ms / 1_000:g} s can't be used: it is one of 1 second to 36,525 days, as "
            "every(minutes=5)"
        )


def check(when: When) -> None:
    """Raises ScheduleError for what can't be used. The types of the fields are those that :class:`When` states."""
    if when.kind == WhenKind.EVERY:
        if not EVERY_MIN_MS <= when.every_ms <= EVERY_MAX_MS:
            raise BadInterval(when.every_ms)
    elif when.kind == WhenKind.CRON:
        _zone_of(when.zone)
        if not next_after(when, _SOME_MOMENT_MS):
            raise NeverFires(when.text)


def next_after(when: When, after_ms: int) -> int:
    """The first moment behind this one, NEVER if there is none. Raises ScheduleError."""
    if when.kind == WhenKind.ONCE:
        found = when.from_ms
    elif when.kind == WhenKind.EVERY:
        passed = after_ms - when.from_ms
        found = when.from_ms if passed < 0 else when.from_ms + (passed // when.every_ms + 1) * when.every_ms
    else:
        found = _next_of_cron(when, after_ms)
    return found if after_ms < found <= MOMENT_MAX_MS else NEVER


def last_ones(when: When, after_ms: int, until_ms: int, limit: int) -> list[int]:
    """The last ``limit`` moments that are behind the first of these two and not behind the second, the earliest first.
    Cost: that of some times as many moments, however long it is from one to the other. Raises ScheduleError."""
    if when.kind == WhenKind.EVERY:
        after_ms = max(after_ms, until_ms - limit * when.every_ms)
    window_ms = _FIRST_WINDOW_MS
    while True:
        begin_ms = max(after_ms, until_ms - window_ms)
        found: list[int] = []
        moment_ms = next_after(when, begin_ms)
        while moment_ms and moment_ms <= until_ms:
            found.append(moment_ms)
            moment_ms = next_after(when, moment_ms)
        if len(found) >= limit or begin_ms == after_ms:
            return found[-limit:]
        window_ms *= 2


def count(when: When, after_ms: int, until_ms: int, limit: int) -> int:
    """How many moments are behind the first of these two and not behind the second; no more are counted than
    ``limit``. Raises ScheduleError."""
    if when.kind == WhenKind.EVERY:
        first_ms = next_after(when, after_ms)
        return min(limit, (until_ms - first_ms) // when.every_ms + 1) if NEVER < first_ms <= until_ms else 0
    found = 0
    moment_ms = next_after(when, after_ms)
    while moment_ms and moment_ms <= until_ms and found < limit:
        found += 1
        moment_ms = next_after(when, moment_ms)
    return found


def shown(when: When) -> str:
    """For people."""
    if when.kind == WhenKind.CRON:
        return f"{when.text} ({when.zone})"
    if when.kind == WhenKind.EVERY:
        return f"every {timedelta(milliseconds=when.every_ms)}"
    return f"once, at {datetime_of(when.from_ms).isoformat(sep=' ', timespec='milliseconds')}"


def _zone_of(name: str) -> ZoneInfo:
    try:
        if 0 < len(name) <= ZONE_CHARS:
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass  # not there, or no file of a zone, or no name of one
    raise UnknownZone(name)


def _expression_of(text: str) -> str:
    """Six fields, seconds first."""
    words = SHORT.get(text.strip().lower(), text).split()
    if len(text) > EXPRESSION_CHARS:
        raise BadCron(text, f"it has {len(text)} characters, and may have {EXPRESSION_CHARS}")
    if len(words) == 5:
        words.insert(0, "0")
    if len(words) != 6:
        raise BadCron(text, f"it has {len(words)} fields")
    return " ".join(words)


def _parsed(text: str, begin: datetime) -> CronSim:
    expression = _expression_of(text)
    try:
        return CronSim(expression, begin)
    except (CronSimError, ValueError, AssertionError) as error:
        why = str(error)
        if "day-of-month" in why and _is_too_long_for_its_months(expression):
            raise NeverFires(text) from None
        raise BadCron(
            text, why[:1].lower() + why[1:] if isinstance(error, CronSimError) else "a field is no number"
        ) from None


def _is_too_long_for_its_months(expression: str) -> bool:
    """Whether the day of the month can be read, and no such month has it: cronsim says the same of both."""
    words = expression.split()
    words[4] = "*"
    try:
        CronSim(" ".join(words), datetime(2026, 1, 1))
    except (CronSimError, ValueError, AssertionError):
        return False
    return True


def _next_of_cron(when: When, after_ms: int) -> int:
    zone = _zone_of(when.zone)
    if after_ms > MOMENT_MAX_MS - _DAY_MS:  # clocks of some zone may show what no datetime can be
        return NEVER
    after = datetime_of(max(_DAY_MS, after_ms))
    local = after.astimezone(zone).replace(tzinfo=None, microsecond=0, fold=0)
    times = _parsed(when.text, local)
    try:
        if len(times.hours) == 24:
            return _next_of_rhythm(when.text, zone, after)
        while True:
            moment_ms = _ms_of(_real(next(times), zone))
            if moment_ms > after_ms:
                return moment_ms
    except (StopIteration, OverflowError):  # not within 50 years, or not in any calendar
        return NEVER


def _next_of_rhythm(text: str, zone: ZoneInfo, after: datetime) -> int:
    """Raises StopIteration. While the offset from UTC is the same, the clocks of a zone are as good as UTC; so up to
    the next change of the clocks, and behind it from there."""
    begin, before_it = after, timedelta(0)
    while True:
        offset = _offset(begin, zone)
        local = (begin + offset - before_it).replace(tzinfo=None)
        found = next(_parsed(text, local)).replace(tzinfo=UTC) - offset
        # What clocks show once more, as they are put back soon, is not behind what they show now.
        ahead = min(found, begin + _CHANGES_APART)
        changed_at = None if _offset(ahead, zone) == offset else ahead
        if changed_at is None and _offset(found, zone) != offset:
            changed_at = found
        if changed_at is None:
            return _ms_of(found)
        begin, before_it = _change_between(begin, changed_at, zone), _SECOND  # what fires just then, too


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _change_between(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks of this zone are changed: they show another offset from UTC at the second moment than at the
    first."""
    before = _offset(low, zone)
    low = low.replace(microsecond=0)
    high = high.replace(microsecond=0) + _SECOND
    while high - low > _SECOND:
        middle = low + (high - low) // 2 // _SECOND * _SECOND
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _ms_of(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // _MILLISECOND


def _real(time: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which clocks in this zone show a time first; if they skip it, when that is over."""
    moment = time.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None, fold=0) == time:
        return moment
    return _change_between(time.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone)
