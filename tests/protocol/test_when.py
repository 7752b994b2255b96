"""When schedules fire, held against one that looks at each minute."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_protocol.limits import EVERY_MAX_MS
from paceline_protocol.messages.schedules import When, WhenKind
from paceline_protocol.moments import MOMENT_MAX_MS
from paceline_protocol.when import (
    NEVER,
    BadCron,
    BadInterval,
    NeverFires,
    ScheduleError,
    UnknownZone,
    check,
    count,
    last_ones,
    next_after,
    shown,
)

MINUTE = timedelta(minutes=1)
MINUTE_MS = 60_000
CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/St_Johns": ("2026-03-08", "2026-11-01"),
    "America/Havana": ("2026-03-08", "2026-11-01"),  # at midnight, and back to midnight
    "America/Santiago": ("2026-09-06", "2026-04-04"),  # at midnight, and back to 23:00 of the day before
    "Atlantic/Azores": ("2026-03-29", "2026-10-25"),
    "Africa/Cairo": ("2026-04-24", "2026-10-29"),  # at midnight, and back to 23:00 of the day before
    "Asia/Beirut": ("2026-03-29", "2026-10-24"),
    "Australia/Lord_Howe": ("2026-10-04", "2026-04-05"),  # by half an hour
    "Pacific/Auckland": ("2026-09-27", "2026-04-05"),
}
"""Zone -> the days on which its clocks are put forward and back."""
EXPRESSIONS = (
    "30 2 * * *",
    "0,15,59 0-3 * * *",
    "*/20 2 * * *",
    "0 */2 * * *",
    "0 0 * * *",
    "45 23 * * *",
    "0 1-23/3 * * SUN",
    "* * * * *",
    "*/15 * * * *",
    "7 * * * *",
    "30 0-23 * * *",
    "59 * * * SUN",
)


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)


def cron(text: str, zone: str = "UTC") -> When:
    return When(WhenKind.CRON, text, zone)


def at(text: str) -> int:
    return ms(datetime.fromisoformat(text))


def numbers(field: str, low: int, high: int) -> set[int]:
    """Of one field: nothing here is shared with what is tested."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if span == "*" else (int(first), int(last or first))
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def by_minutes(text: str, zone_name: str, begin: datetime, end: datetime) -> list[int]:
    """The moments in these two days and a little more, minute by minute."""
    minute_field, hour_field, _, _, day_field = text.split()
    minutes, hours = numbers(minute_field, 0, 59), numbers(hour_field, 0, 23)
    days = set(range(7)) if day_field == "*" else {6}  # of Python's week

    def matches(shows: datetime) -> bool:
        return shows.minute in minutes and shows.hour in hours and shows.weekday() in days

    zone, found, seen = ZoneInfo(zone_name), set(), set()
    moment, before = begin, begin.astimezone(zone).replace(tzinfo=None)
    while moment < end:
        moment += MINUTE
        shows = moment.astimezone(zone).replace(tzinfo=None)
        if len(hours) == 24:
            if matches(shows):
                found.add(moment)
        else:
            skipped = before + MINUTE
            while skipped < shows:  # the clock was put forward
                if matches(skipped):
                    found.add(moment)
                skipped += MINUTE
            if matches(shows) and shows not in seen:
                found.add(moment)
            seen.add(shows)
        before = shows
    return [ms(moment) for moment in sorted(found)]


def all_between(when: When, begin_ms: int, end_ms: int) -> list[int]:
    found = []
    moment_ms = next_after(when, begin_ms)
    while moment_ms and moment_ms <= end_ms:
        found.append(moment_ms)
        moment_ms = next_after(when, moment_ms)
    return found


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_a_skipped_time_fires_once_at_its_end_and_a_doubled_one_once_and_a_rhythm_goes_on(zone: str, text: str) -> None:
    when = cron(text, zone)
    for day in CHANGES[zone]:
        begin = datetime.fromisoformat(f"{day}T00:00+00:00") - timedelta(days=1)
        end = begin + timedelta(days=3)
        offsets = {(begin + n * 60 * MINUTE).astimezone(ZoneInfo(zone)).utcoffset() for n in range(73)}
        assert len(offsets) == 2, "the clocks are changed in between"
        wanted = by_minutes(text, zone, begin, end)
        assert all_between(when, ms(begin), ms(end)) == wanted
        assert last_ones(when, ms(begin), ms(end), 5) == wanted[-5:]
        assert count(when, ms(begin), ms(end), 10_000) == len(wanted)


@pytest.mark.parametrize("zone", CHANGES)
def test_the_next_moment_is_the_same_from_wherever_it_is_asked_for(zone: str) -> None:
    """Also from within what a zone skips or has twice."""
    for text in ("30 2 * * *", "*/20 0-3 * * *", "0 */2 * * *", "*/15 * * * *"):
        for day in CHANGES[zone]:
            begin = datetime.fromisoformat(f"{day}T00:00+00:00") - timedelta(days=1)
            wanted = by_minutes(text, zone, begin, begin + timedelta(days=3))
            for minutes in range(0, 60 * 48, 10):
                now_ms = ms(begin + minutes * MINUTE)
                expected = next((moment for moment in wanted if moment > now_ms), None)
                assert expected is None or next_after(cron(text, zone), now_ms) == expected


def test_a_day_that_a_zone_has_skipped_fires_at_its_end() -> None:
    assert next_after(cron("0 12 30 12 *", "Pacific/Apia"), at("2011-12-29T00:00+00:00")) == at(
        "2011-12-30T10:00+00:00"
    )


@pytest.mark.parametrize(
    ("text", "moments"),
    [
        ("@daily", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("@hourly", ["2026-01-01T01:00"]),
        ("@weekly", ["2026-01-04T00:00"]),
        ("@Monthly", ["2026-02-01T00:00"]),
        ("@yearly", ["2027-01-01T00:00"]),
        ("0 0 29 feb *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 9 * * mon-fri", ["2026-01-01T09:00", "2026-01-02T09:00", "2026-01-05T09:00"]),
        ("0 0 L * *", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("0 0 * * MON#1", ["2026-01-05T00:00", "2026-02-02T00:00"]),
        ("*/20 * * * * *", ["2026-01-01T00:00:20", "2026-01-01T00:00:40", "2026-01-01T00:01:00"]),
        ("5 30 2 * * *", ["2026-01-01T02:30:05", "2026-01-02T02:30:05"]),
    ],
)
def test_names_steps_ranges_short_forms_and_seconds(text: str, moments: list[str]) -> None:
    after_ms = at("2026-01-01T00:00+00:00")
    for moment in moments:
        after_ms = next_after(cron(text), after_ms)
        assert after_ms == at(f"{moment}+00:00")


def test_a_moment_is_behind_the_one_that_is_given_to_the_millisecond() -> None:
    noon = at("2026-01-01T12:00+00:00")
    for when in (cron("0 12 * * *"), cron("0 * * * *"), When(WhenKind.EVERY, every_ms=3_600_000)):
        assert next_after(when, noon - 1) == noon
        assert next_after(when, noon) > noon


def test_an_interval_counts_from_its_beginning_and_never_drifts() -> None:
    when = When(WhenKind.EVERY, every_ms=7_000, from_ms=1_000_003)
    assert next_after(when, 0) == 1_000_003
    assert next_after(when, 1_000_003) == 1_007_003
    assert (next_after(when, 9_999_999_999) - 1_000_003) % 7_000 == 0
    assert last_ones(when, 0, 1_030_000, 2) == [1_021_003, 1_028_003]
    assert count(when, 1_000_003, 1_028_003, 100) == 4
    assert count(when, 1_000_003, 10**15, 100) == 100
    assert count(when, 1_000_003, 1_000_004, 100) == 0


def test_a_moment_fires_once() -> None:
    when = When(WhenKind.ONCE, from_ms=5_000)
    assert (next_after(when, 4_999), next_after(when, 5_000)) == (5_000, NEVER)
    assert (last_ones(when, 0, 10_000, 3), count(when, 0, 10_000, 3)) == ([5_000], 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "61 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "@reboot",
        "@fortnightly",
        "1" * 5_000 + " * * * *",
        "\ud800 * * * *",
        "² * * * *",
        "* * * * ²L",
        "* * L/x * *",
        "1,,2 * * * *",
    ],
)
def test_what_can_not_be_read_is_said_with_what_can(text: str) -> None:
    with pytest.raises(BadCron, match="write five fields") as caught:
        check(cron(text))
    assert caught.value.text == text


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 feb *"])
def test_a_day_that_never_comes_is_refused_by_name(text: str) -> None:
    with pytest.raises(NeverFires, match="never fires"):
        check(cron(text))


@pytest.mark.parametrize(
    "zone", ["", "Europe/Atlantis", "../../etc/passwd", "/etc/passwd", "Europe", "\0", "x" * 300, "\ud800"]
)
def test_a_zone_that_there_is_not_is_refused_by_name(zone: str) -> None:
    with pytest.raises(UnknownZone, match="is no time zone") as caught:
        check(cron("@daily", zone))
    assert caught.value.zone == zone


@pytest.mark.parametrize("every_ms", [0, 1, 999, EVERY_MAX_MS + 1])
def test_an_interval_of_nothing_or_of_ages_is_refused(every_ms: int) -> None:
    with pytest.raises(BadInterval, match="1 second to 36,525 days"):
        check(When(WhenKind.EVERY, every_ms=every_ms))


def test_an_error_survives_a_copy() -> None:
    copy = pickle.loads(pickle.dumps(BadCron("x", "y")))
    assert (str(copy), copy.text) == (str(BadCron("x", "y")), "x")


def test_at_the_end_of_all_calendars_nothing_follows() -> None:
    for when in (cron("@daily", "Asia/Tokyo"), cron("* * * * *", "America/New_York"), cron("0 0 * * *")):
        assert next_after(when, MOMENT_MAX_MS - 1) == NEVER
        assert next_after(when, MOMENT_MAX_MS - 30_000) == NEVER
    assert next_after(When(WhenKind.EVERY, every_ms=EVERY_MAX_MS, from_ms=1), MOMENT_MAX_MS - 5) == NEVER


@pytest.mark.parametrize(
    ("when", "says"),
    [
        (cron("@daily", "Europe/Berlin"), "@daily (Europe/Berlin)"),
        (When(WhenKind.EVERY, every_ms=90_000), "every 0:01:30"),
        (When(WhenKind.ONCE, from_ms=1_000), "once, at 1970-01-01 00:00:01.000+00:00"),
    ],
)
def test_it_is_shown_to_people(when: When, says: str) -> None:
    assert shown(when) == says


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["UTC", "Europe/Berlin", "Nowhere"]))
def test_whatever_is_written_is_used_or_refused_by_name(text: str, zone: str) -> None:
    try:
        check(cron(text, zone))
    except ScheduleError:
        return
    assert next_after(cron(text, zone), 0) > 0


_field = st.sampled_from(
    ["*", "*/5", "0", "1-3", "2,4", "MON", "FEB", "L", "LW", "5L", "MON#5", "29", "31", "L/2", "1#2/3"]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_field, min_size=5, max_size=6), st.integers(0, 4_000_000_000_000))
def test_moments_only_grow(words: list[str], after_ms: int) -> None:
    when = cron(" ".join(words), "Europe/Berlin")
    try:
        check(when)
    except ScheduleError:
        return
    for _ in range(3):
        found = next_after(when, after_ms)
        assert found == NEVER or found > after_ms
        after_ms = found or after_ms
