"""When a node has something to do: named deadlines, and the earliest of them.

The shell asks for the earliest in every turn, and a deadline is set a few times in a heartbeat: so that one is kept,
and looked for anew only when it is moved away.
"""

from __future__ import annotations

from math import inf
from typing import Final

CONSENSUS: Final = 0
"""An election timeout, a heartbeat, or whatever else the log waits for."""
HELLO: Final = 1
"""Hellos may be due to some addresses."""
REVIEW: Final = 2
"""Peers and sessions that have been silent for long may be forgotten."""
BEAT: Final = 3
"""A new leader says that it leads, before the next heartbeat."""

_COUNT: Final = 4


class Deadlines:
    """Moments of the monotonic clock, in seconds; infinity for what is not due at all."""

    __slots__ = ("_at", "earliest")

    def __init__(self) -> None:
        self.earliest = inf
        self._at = [inf] * _COUNT

    def set(self, which: int, at: float) -> None:
        """This is due then, whenever it was due before."""
        before = self._at[which]
        self._at[which] = at
        if at <= self.earliest:
            self.earliest = at
        elif before <= self.earliest:
            self.earliest = min(self._at)

    def is_due(self, which: int, now: float) -> bool:
        return now >= self._at[which]
