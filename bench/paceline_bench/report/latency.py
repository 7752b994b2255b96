"""A summary of a histogram of durations: its percentiles, and its encoded form for merging."""

from __future__ import annotations

from dataclasses import dataclass, field

PERCENTILES = ("p50", "p90", "p99", "p99.9")


@dataclass(frozen=True, slots=True)
class Latency:
    """A summary of many durations, in seconds. Made by ``LatencyHistogram.latency``."""

    name: str
    samples: int
    p50_s: float
    p90_s: float
    p99_s: float
    p999_s: float
    max_s: float
    hdr: str = field(
        repr=False
    )  # the whole histogram (HDR V2, compressed, base64; nanoseconds), to be merged with those of other runs

    @property
    def values_s(self) -> tuple[float, ...]:
        """The columns of a table: PERCENTILES, then the maximum."""
        return (self.p50_s, self.p90_s, self.p99_s, self.p999_s, self.max_s)
