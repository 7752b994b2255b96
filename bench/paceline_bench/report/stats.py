"""The few numbers that stand for many samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

__all__ = ["median", "nearest_rank", "percentile"]


def nearest_rank(count: int, percent: float) -> int:
    """Which of ``count`` samples in order is the percentile, from 1: the first that ``percent`` % do not exceed.

    No interpolation: what is reported was measured. ``percent`` is above 0 and at most 100; ``count`` is not 0.
    """
    if not count:
        raise ValueError("no samples")
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent!r}; it must be above 0 and at most 100")
    # Rounded first, for 99.9 % of 1000 is 999.0000000000001 in binary floating point.
    return math.ceil(round(percent / 100 * count, 9))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The exact percentile of a few samples. Many go into a histogram."""
    return sorted(samples)[nearest_rank(len(samples), percent) - 1]
