"""A wall clock that is set and drifts: when its moments are reached."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paceline.core.wall_clock import WallClock

SINCE_1970_S = 1.7e9
offsets = st.floats(-1e4, 1e4).map(lambda offset_s: SINCE_1970_S + offset_s)
nows = st.floats(0.0, 1e7)


def showing(offset_s: float) -> WallClock:
    clock = WallClock()
    clock.offset_s = offset_s
    return clock


def test_it_shows_milliseconds_since_1970() -> None:
    assert showing(SINCE_1970_S).ms(2.0) == 1_700_000_002_000


@given(offsets, nows)
def test_a_moment_is_reached_when_the_clock_shows_it(offset_s: float, now: float) -> None:
    clock = showing(offset_s)
    shown = clock.ms(now)
    assert clock.has_reached(shown - 1, now)
    assert not clock.has_reached(shown + 2, now)
    assert clock.has_reached(shown + 5, clock.monotonic_at(shown + 5)), "whoever waited for it finds it reached"


def test_a_moment_is_reached_earlier_if_the_clock_is_set_forward_and_later_if_it_is_set_back() -> None:
    clock = showing(SINCE_1970_S)
    moment = clock.ms(100.0)
    assert clock.monotonic_at(moment) == 100.0
    clock.offset_s += 60.0
    assert clock.monotonic_at(moment) == 40.0
    clock.offset_s -= 90.0
    assert clock.monotonic_at(moment) == 130.0
