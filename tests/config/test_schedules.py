"""When a task is to be run, as users write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

import paceline
from paceline import Timetable, at, cron, every
from paceline.errors import BadSchedule, ConfigError

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def after(schedule: Timetable, count: int) -> list[datetime]:
    return list(islice(schedule.after(NEW_YEAR), count))


def test_a_schedule_says_when_it_fires() -> None:
    assert after(cron("0 2 * * *", tz="Europe/Berlin"), 2) == [
        NEW_YEAR + timedelta(hours=1),
        NEW_YEAR + timedelta(hours=25),
    ]
    assert after(every(minutes=5), 2) == [NEW_YEAR + timedelta(minutes=5), NEW_YEAR + timedelta(minutes=10)]
    assert after(every(days=1, start=NEW_YEAR + timedelta(hours=3)), 1) == [NEW_YEAR + timedelta(hours=3)]
    assert after(at(NEW_YEAR + timedelta(days=1)), 5) == [NEW_YEAR + timedelta(days=1)]
    assert (str(cron("@daily")), repr(every(hours=2))) == ("@daily (UTC)", "<timetable every 2:00:00>")
    assert cron("@daily") == cron("@daily") != cron("@hourly")
    assert len({cron("@daily"), cron("@daily")}) == 1
    assert {"at", "cron", "every", "Timetable"} <= set(paceline.__all__)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: cron("every day"), "write five fields"),
        (lambda: cron("0 0 30 2 *"), "never fires"),
        (lambda: cron("@daily", tz="Mars/Olympus"), "is no time zone"),
        (lambda: cron(5), "has to be a string"),
        (lambda: cron("@daily", tz=UTC), "has to be a string"),
        (every, "an interval of 0 s"),
        (lambda: every(minutes=-5), "an interval of -300 s"),
        (lambda: every(days=float("inf")), "can't be used"),
        (lambda: every(days=float("nan")), "can't be used"),
        (lambda: every(minutes="5"), "an interval is of numbers"),
        (lambda: every(days=1, start=datetime(2026, 1, 1)), "it has no time zone"),
        (lambda: at(datetime(2026, 1, 1)), "it has no time zone"),
        (lambda: at(5), "has to be a datetime"),
    ],
)
def test_what_can_not_be_used_is_refused_where_it_is_written(make: Any, says: str) -> None:
    with pytest.raises(BadSchedule, match=says) as caught:
        make()
    assert isinstance(caught.value, ConfigError)
