"""The wall clock as a node knows it: by how much it is ahead of the monotonic clock, as the shell reported last.

The core goes by the monotonic clock, whose moments mean nothing on another machine, or after a restart. A moment that a
person names, or that is written into the log, is one of the wall clock: whole milliseconds since 1970. That clock may
be wrong, drifts, and is set forward and back. So:

- The clock is never read here. The shell reports its offset in each turn; before the first report the offset is 0.
- A moment is reached when the clock shows it. The monotonic time of that holds only until the clock is set, so it is
  computed anew in each turn.
"""

from __future__ import annotations

from math import ceil, floor


class WallClock:
    """``offset_s``: wall clock minus monotonic clock, in seconds."""

    __slots__ = ("offset_s",)

    def __init__(self) -> None:
        self.offset_s = 0.0

    def ms(self, now: float) -> int:
        """The time that the clock shows, in milliseconds since 1970."""
        return floor((now + self.offset_s) * 1_000)

    def ms_from(self, now: float) -> int:
        """The first moment that the clock does not show before now."""
        return ceil((now + self.offset_s) * 1_000)

    def monotonic_at(self, ms: int) -> float:
        """When the clock shows this moment, by the monotonic clock, if it is not set before."""
        return ms / 1_000 - self.offset_s

    def has_reached(self, ms: int, now: float) -> bool:
        """Whether the clock shows this moment or a later one. Never false once ``now`` is ``monotonic_at(ms)``."""
        return now >= self.monotonic_at(ms)
