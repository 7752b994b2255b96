"""The few numbers that stand for many samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Summary", "median", "percentile", "summarize"]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest sample that at least ``percent`` % of the samples do not exceed.

    No interpolation: what is reported was measured. ``percent`` is above 0 and at most 100; ``samples`` is not empty.
    """
    if not samples:
        raise ValueError("no samples")
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent!r}; it must be above 0 and at most 100")
    # Rounded first, for 99.9 % of 1000 is 999.0000000000001 in binary floating point.
    rank = math.ceil(round(percent / 100 * len(samples), 9))
    return sorted(samples)[rank - 1]


@dataclass(frozen=True, slots=True)
class Summary:
    """Seconds, unless the samples were something else."""

    count: int
    p50: float
    p99: float
    smallest: float
    largest: float


def summarize(samples: Sequence[float]) -> Summary:
    return Summary(len(samples), percentile(samples, 50), percentile(samples, 99), min(samples), max(samples))
