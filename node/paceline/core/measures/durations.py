"""How long a task of a given name is expected to run.

Credit is counted in tasks, and beyond that in expected time: a node may hold a few hundred tasks of five
microseconds, and no more than one spare task of ten milliseconds. So the estimate decides how many short tasks travel
in one frame. Tasks of an unknown or uneven name count as long: they then wait at the leader, from where they can go to
any node.
"""

from __future__ import annotations

from typing import Final

UNKNOWN_US: Final = 1_000_000
HOP_US: Final = 20
"""Charged on top of each task: what it costs to receive, unpack and answer one."""

NAMES_LIMIT: Final = 10_000


class Durations:
    """A moving average of run times for each task name, in microseconds. It rises faster than it falls."""

    def __init__(self) -> None:
        self._mean_us: dict[str, int] = {}

    def observe(self, name: str, duration_us: int) -> None:
        """Take in one run. Beyond NAMES_LIMIT names, new ones stay unknown."""
        mean_us = self._mean_us.get(name)
        if mean_us is None:
            if len(self._mean_us) < NAMES_LIMIT:
                self._mean_us[name] = duration_us
        elif duration_us > mean_us:
            self._mean_us[name] = mean_us + ((duration_us - mean_us) >> 2) + 1
        elif mean_us - duration_us >= 8:
            self._mean_us[name] = mean_us - ((mean_us - duration_us) >> 3)

    def cost_us(self, name: str) -> int:
        """The expected time of one task of this name, in microseconds, with HOP_US."""
        return self._mean_us.get(name, UNKNOWN_US) + HOP_US
