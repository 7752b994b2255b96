"""Durations counted in buckets. The buckets are plain integers, so that counting a duration costs little."""

from __future__ import annotations

from typing import Final

LATENCY_BOUNDS_US: Final = (
    *(10, 20, 50, 100, 200, 500),
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000),
)
"""From 10 us to 10 s: for times that the cluster itself takes."""
DURATION_BOUNDS_US: Final = (
    *(20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 1_800_000_000, 3_600_000_000),
)
"""From 20 us to 1 h: for times that tasks run, or wait."""


class Histogram:
    """How many values fell into each bucket, and the sum of all values. Microseconds."""

    __slots__ = ("_bounds", "_index", "_middle", "_value_us", "counts", "sum_us")

    def __init__(self, bounds_us: tuple[int, ...]) -> None:
        """``bounds_us`` ascend."""
        self._bounds: list[int] = list(bounds_us)
        self._middle = len(bounds_us) >> 1
        self._value_us = -1  # the last value, and below its bucket: tasks that travel together often have equal values
        self._index = 0
        self.counts: list[int] = [0] * (
            len(bounds_us) + 1
        )  # of each bucket by itself; the last bucket has no upper bound
        self.sum_us = 0

    def observe(self, value_us: int) -> None:
        """Count one value. The search for its bucket begins at the low end: the shorter a value, the less may counting
        it cost."""
        if value_us != self._value_us:
            self._value_us = value_us
            self._index = self._bucket(value_us)
        self.counts[self._index] += 1
        self.sum_us += value_us

    def _bucket(self, value_us: int) -> int:
        bounds, middle = self._bounds, self._middle
        index = middle if value_us > bounds[middle] else 0
        while value_us > bounds[index]:
            index += 1
            if index == len(bounds):
                break
        return index

    def observe_s(self, seconds: float) -> None:
        """Count a value in seconds, the difference of two moments. A negative one counts as zero."""
        self.observe(int(seconds * 1_000_000) if seconds > 0.0 else 0)

    def as_dict(self) -> dict[str, object]:
        """``bounds_us``, ``counts`` (one more than bounds), ``sum_us``."""
        return {"bounds_us": list(self._bounds), "counts": list(self.counts), "sum_us": self.sum_us}
