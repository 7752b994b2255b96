"""Moments: what users write, and the milliseconds that travel."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_protocol.moments import (
    FROM_NOW_MAX_DAYS,
    MOMENT_MAX_MS,
    at_admission,
    datetime_of,
    from_now,
    is_time,
    moment_ms,
    read_moment,
    read_time,
)
from paceline_protocol.option_types import Moment

BERLIN = ZoneInfo("Europe/Berlin")
NOW_MS = 1_796_000_000_000


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 1),  # 0 on the wire is no moment at all
        (30, 30_000),
        (0.1, 100),
        (0.0011, 2),  # never before its moment
        (timedelta(minutes=5), 300_000),
        (timedelta(microseconds=1), 1),
        (timedelta(days=FROM_NOW_MAX_DAYS), FROM_NOW_MAX_DAYS * 86_400_000),
    ],
)
def test_a_time_from_now_is_whole_milliseconds(value: Any, ms: int) -> None:
    assert from_now(value) == -ms
    assert at_admission(from_now(value), NOW_MS) == NOW_MS + ms


@pytest.mark.parametrize(
    "value",
    [-1, -0.001, timedelta(seconds=-1), float("nan"), float("inf"), float("-inf"), 10**400, 1e300, timedelta.max],
)
def test_a_time_from_now_is_neither_negative_nor_endless(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^it is a time from 0 seconds to {FROM_NOW_MAX_DAYS} days$"):
        from_now(value)


def test_any_moment_from_now_on_fits_into_a_call_whatever_the_clock_says() -> None:
    furthest = from_now(timedelta(days=FROM_NOW_MAX_DAYS))
    for now_ms in (-5_000, 0, NOW_MS, NOW_MS + 365_250 * 86_400_000):
        assert 0 <= at_admission(furthest, now_ms) <= MOMENT_MAX_MS
        assert Moment().is_valid(furthest)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 1),  # 0 on the wire is no moment at all
        (datetime(2026, 12, 1, 1, tzinfo=UTC), 1_796_086_800_000),
        (datetime(2026, 12, 1, 2, tzinfo=BERLIN), 1_796_086_800_000),
        (datetime(2026, 12, 1, 2, tzinfo=timezone(timedelta(hours=1))), 1_796_086_800_000),
        (datetime(2026, 12, 1, 1, 0, 0, 1, tzinfo=UTC), 1_796_086_800_001),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), 1_792_888_200_000),  # summer time
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), 1_792_891_800_000),  # the same hour again
        (datetime_of(MOMENT_MAX_MS), MOMENT_MAX_MS),
    ],
)
def test_a_datetime_with_a_time_zone_is_a_moment(value: datetime, ms: int) -> None:
    assert moment_ms(value) == ms


@given(st.integers(1, MOMENT_MAX_MS))
@settings(derandomize=True, deadline=None)
def test_a_moment_is_the_same_when_it_was_a_datetime(ms: int) -> None:
    assert moment_ms(datetime_of(ms)) == ms


def test_a_naive_datetime_is_refused_with_how_to_give_it_a_time_zone() -> None:
    with pytest.raises(ValueError, match="it has no time zone") as raised:
        moment_ms(datetime(2026, 12, 1, 2))
    assert 'tzinfo=ZoneInfo("Europe/Berlin"))' in str(raised.value)
    assert ".astimezone()" in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(1969, 12, 31, tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)
def test_a_moment_is_within_the_years_that_can_be_said(value: datetime) -> None:
    with pytest.raises(ValueError, match="from 1970 to 9999"):
        moment_ms(value)


# --- on the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("30", timedelta(seconds=30)),
        (" 0.5 ", timedelta(milliseconds=500)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("250ms", timedelta(milliseconds=250)),
        ("1m1ms", timedelta(minutes=1, milliseconds=1)),
    ],
)
def test_a_time_is_read(text: str, time: timedelta) -> None:
    assert is_time(text)
    assert read_time(text) == time


@pytest.mark.parametrize("text", ["", "m", "5 m", "-5", "5x", "1e3", "nan", "5m!", "\u0665", "five"])
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    assert not is_time(text)
    with pytest.raises(ValueError, match="write seconds, as 30, or units"):
        read_time(text)


@pytest.mark.parametrize("text", ["9" * 30, "9" * 400, "9" * 30 + "d", "9" * 400 + "ms"])
def test_a_time_that_nothing_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it is a time from 0 seconds"):
        read_time(text)


@pytest.mark.parametrize("text", ["2026-12-01T02:00+01:00", "2026-12-01 01:00Z", "2026-12-01T01:00:00.000+00:00"])
def test_a_moment_is_read(text: str) -> None:
    assert moment_ms(read_moment(text)) == 1_796_086_800_000


@pytest.mark.parametrize("text", ["2026-12-01T02:00", "2026-12-01"])
def test_a_moment_without_an_offset_is_refused_with_what_to_add(text: str) -> None:
    with pytest.raises(ValueError, match=r"add its offset from UTC, as 2026-12-01T0\d:00\+01:00, or Z"):
        read_moment(text)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01T00:00Z", "02:00+01:00"])
def test_what_is_no_moment_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"as 2026-12-01T02:00\+01:00"):
        read_moment(text)


@pytest.mark.parametrize(
    ("type", "text", "packed"),
    [
        (Moment(absolute=False), "5m", -300_000),
        (Moment(relative=False), "2026-12-01T02:00+01:00", 1_796_086_800_000),
        (Moment(), "30", -30_000),
        (Moment(), "20261201", -20_261_201_000),
        (Moment(), "2026-12-01T02:00+01:00", 1_796_086_800_000),
    ],
)
def test_each_way_to_give_a_moment_is_read_as_what_it_is(type: Moment, text: str, packed: object) -> None:
    assert type.to_wire(type.read(text)) == packed


@pytest.mark.parametrize(
    ("type", "text"), [(Moment(absolute=False), "2026-12-01T02:00Z"), (Moment(relative=False), "30")]
)
def test_a_way_that_an_option_does_not_have_is_refused(type: Moment, text: str) -> None:
    with pytest.raises(ValueError, match="write "):
        type.read(text)


def test_what_can_be_written_in_two_ways_is_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"as 2026-12-01T02:00\+01:00; or a time from now on, as 30 or 5m$"):
        Moment().read("tomorrow")


def test_a_date_is_no_moment() -> None:
    with pytest.raises(ValueError, match="a datetime with a time zone"):
        Moment().to_wire(date(2026, 12, 1))


def test_the_last_moment_that_a_datetime_can_be_is_one() -> None:
    assert moment_ms(datetime.max.replace(tzinfo=UTC)) == MOMENT_MAX_MS
    with pytest.raises(ValueError, match="from 1970 to 9999"):
        moment_ms(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))))
