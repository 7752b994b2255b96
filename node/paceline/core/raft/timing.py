"""The times of elections, and the source of randomness that keeps two nodes from campaigning at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class RandomSource(Protocol):
    """``random.Random`` fits. Each node has its own, so that two nodes don't draw the same timeouts."""

    def uniform(self, a: float, b: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Defaults for a local network. A heartbeat must fit several times into the shortest election timeout."""

    heartbeat_interval_s: float = 0.05
    election_timeout_min_s: float = 0.25
    election_timeout_max_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_interval_s < self.election_timeout_min_s <= self.election_timeout_max_s:
            raise ValueError("0 < heartbeat_interval_s < election_timeout_min_s <= election_timeout_max_s must hold")
