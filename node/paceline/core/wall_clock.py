"""The wall clock as a node knows it: by how much it is ahead of the monotonic clock, as the shell said last.

The core goes by the monotonic clock, whose moments mean nothing on another machine, or after a restart. A moment that a
person names, or that is written into the log, is one of the wall clock: whole milliseconds since 1970. That clock may
be wrong, drifts, and is set forward and back. So:

- It is an event and not something to be read: the shell says in each turn where it stands. Until it has, it is taken to
  be the monotonic clock.
- A moment is reached when the clock shows it. When that will be, by the monotonic clock, holds only until the clock is
  set, and has to be asked anew in each turn.
- What is written into the log never runs backwards, neither when the clock is set back nor from one leader to the next.
  A leader whose clock is behind the last moment that was written writes that moment again until its clock has caught
  up. It does not go on counting from there: then one clock that is fast would be followed for ever.
"""

from __future__ import annotations

from math import floor


class WallClock:
    """``offset_s``: wall clock minus monotonic clock, in seconds."""

    __slots__ = ("_written_ms", "offset_s")

    def __init__(self) -> None:
        self.offset_s = 0.0
        self._written_ms = 0  # the last moment that is known to be in the log

    def ms(self, now: float) -> int:
        """What the clock shows, in milliseconds since 1970."""
        return floor((now + self.offset_s) * 1_000)

    def monotonic_at(self, ms: int) -> float:
        """When the clock shows this moment, by the monotonic clock, if it is not set before."""
        return ms / 1_000 - self.offset_s

    def has_reached(self, ms: int, now: float) -> bool:
        """Whether the clock shows this moment or a later one. Never false once ``now`` is ``monotonic_at(ms)``."""
        return now >= self.monotonic_at(ms)

    # --- the log ---

    def written(self, ms: int) -> None:
        """The log holds this moment, whoever wrote it."""
        self._written_ms = max(self._written_ms, ms)

    def write_ms(self, now: float) -> int:
        """The moment to write into the log now: never before one that was written."""
        self.written(self.ms(now))
        return self._written_ms

    def behind_ms(self, now: float) -> int:
        """By how much the clock is behind the last moment that was written; 0 if it is not."""
        return max(0, self._written_ms - self.ms(now))
