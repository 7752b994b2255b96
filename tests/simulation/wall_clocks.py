"""The wall clocks of simulated machines. They are wrong, drift, and jump; leaders act on nothing but their own."""

from __future__ import annotations

from random import Random

from simulation.faults import Faults

EPOCH_S = 1_700_000_000.0
"""What a right wall clock shows when a machine's monotonic clock shows 0, in seconds since 1970."""
SMALL_JUMP_S, LARGE_JUMP_S = 1.0, 3_600.0
"""As when a time server is heard, and when a person corrects the hour. Both ways."""

ROUNDING_MS = 0.001
"""A float has about this much left to say of a millisecond, so long after 1970."""


def right_ms(at_s: float) -> int:
    """What a right wall clock shows at a time of the world."""
    return int((at_s + EPOCH_S) * 1000 + ROUNDING_MS)


class WallClock:
    """That of one machine; a crash does not change it. All times are of the machine's monotonic clock."""

    def __init__(self, rng: Random, faults: Faults) -> None:
        self._error_s = rng.uniform(-faults.wall_offset_s, faults.wall_offset_s)
        self._drift = rng.uniform(-faults.wall_drift, faults.wall_drift)

    def reads_s(self, now: float) -> float:
        """What it shows, in seconds since 1970."""
        return now + EPOCH_S + self._error_s + self._drift * now

    def ms(self, now: float) -> int:
        """The moment that it shows."""
        return int(self.reads_s(now) * 1000 + ROUNDING_MS)

    def jump(self, rng: Random) -> float:
        """It is set anew. Returns by how much, in seconds."""
        by_s = rng.uniform(-1.0, 1.0) * rng.choice((SMALL_JUMP_S, LARGE_JUMP_S))
        self._error_s += by_s
        return by_s

    def heal(self, ahead_s: float) -> None:
        """From now on it is right, though the monotonic clock is that much ahead of the world's."""
        self._error_s, self._drift = -ahead_s, 0.0
