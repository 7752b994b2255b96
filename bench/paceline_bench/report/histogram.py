"""Durations, counted in the buckets of an HDR histogram: 1 ns to one hour, each within 0.1 % of its length.

Histograms of the same thing are merged, and percentiles are taken of the merged one: the mean of two p99s is the p99 of
nothing. Recording costs microseconds, so what is measured goes into a list and is recorded afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from paceline.errors import MissingExtra
from paceline_bench.report.latency import Latency
from paceline_bench.report.stats import nearest_rank

try:
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]
except ImportError as error:
    raise MissingExtra("hdrhistogram", "bench") from error

LOWEST_NS = 1
HIGHEST_NS = 3_600 * 10**9
SIGNIFICANT_DIGITS = 3


class LatencyHistogram:
    """Seconds go in and come out."""

    def __init__(self, durations_s: Iterable[float] = ()) -> None:
        self._counts = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
        for duration_s in durations_s:
            self.record(duration_s)

    @classmethod
    def merged(cls, parts: Iterable[LatencyHistogram]) -> LatencyHistogram:
        """A new one, as if all that is in the parts had been recorded in it."""
        merged = cls()
        for part in parts:
            merged._counts.add(part._counts)
        return merged

    @classmethod
    def decoded(cls, hdr: str) -> LatencyHistogram:
        """The inverse of :meth:`encoded`."""
        decoded = cls()
        decoded._counts.decode_and_add(hdr.encode())
        return decoded

    def encoded(self) -> str:
        text: str = self._counts.encode().decode()
        return text

    def record(self, duration_s: float) -> None:
        """Raises ValueError for what is no duration, or one of over an hour: nothing is left out in silence."""
        if not self._counts.record_value(max(LOWEST_NS, round(duration_s * 1e9)) if duration_s >= 0 else -1):
            raise ValueError(f"{duration_s!r} s is not a duration between 0 and {HIGHEST_NS / 1e9:g} s")

    @property
    def count(self) -> int:
        count: int = self._counts.total_count
        return count

    @property
    def p50_s(self) -> float:
        return self.percentile_s(50)

    @property
    def p99_s(self) -> float:
        return self.percentile_s(99)

    def percentile_s(self, percent: float) -> float:
        """The nearest rank: a duration that at least ``percent`` % of those recorded do not exceed.

        ``percent`` is above 0 and at most 100. Raises ValueError if nothing was recorded.
        """
        # The library rounds to the nearest rank of all, down too; so it is asked for one that it can't round away.
        rank = nearest_rank(self.count, percent)
        return float(self._counts.get_value_at_percentile(100 * rank / self.count)) / 1e9

    def shares(self) -> tuple[Sequence[float], Sequence[float]]:
        """The distribution, to be drawn: durations in seconds, and the share of the samples that do not exceed each."""
        durations_s, shares, seen = [], [], 0
        for bucket in self._counts.get_recorded_iterator():
            seen += bucket.count_at_value_iterated_to
            durations_s.append(self._counts.get_highest_equivalent_value(bucket.value_iterated_to) / 1e9)
            shares.append(seen / self.count)
        return durations_s, shares

    def latency(self, name: str) -> Latency:
        p50_s, p90_s, p99_s, p999_s, max_s = (self.percentile_s(percent) for percent in (50, 90, 99, 99.9, 100))
        return Latency(name, self.count, p50_s, p90_s, p99_s, p999_s, max_s, self.encoded())
