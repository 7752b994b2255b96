"""The pictures of a report, as numbers: ``plot.py`` draws them, and the JSON has them too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from paceline_bench.report.histogram import LatencyHistogram

Scale = Literal["linear", "log", "log2", "nines"]
"""nines: shares, drawn so that 90 %, 99 % and 99.9 % are equally far apart, for the tail is what matters."""
Unit = Literal["", "s", "share", "percent"]
CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class Axis:
    label: str
    scale: Scale = "linear"
    unit: Unit = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = True  # whether each pair was measured by itself, and gets a dot
    hollow: Sequence[int] = ()  # the numbers of points that are to be told apart
    ideal: bool = False  # what would be best: a guide for the eye, and no measurement


@dataclass(frozen=True, slots=True)
class Picture:
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    note: str = ""


def distributions(title: str, histograms: Mapping[str, LatencyHistogram], note: str = "") -> Picture:
    """The cumulative distribution of each latency; the time axis is logarithmic."""
    return Picture(
        title,
        Axis("latency", "log", "s"),
        Axis("done within that time", "nines", "share"),
        [_curve(name, histogram) for name, histogram in histograms.items() if histogram.count],
        note,
    )


def _curve(name: str, histogram: LatencyHistogram) -> Series:
    durations_s, shares = histogram.shares()
    # The last share is 1, which has no place on a scale of nines: the slowest task is drawn half a task below.
    last = 1 - 0.5 / histogram.count
    points = [(duration_s, min(share, last)) for duration_s, share in zip(durations_s, shares, strict=True)]
    # Thinned, but whole in the tail, where points are few and each counts.
    tail = points[-CURVE_POINTS // 2 :]
    body = points[: -CURVE_POINTS // 2]
    step = max(1, len(body) // (CURVE_POINTS // 2))
    kept = body[::step] + tail
    return Series(name, [x for x, _ in kept], [y for _, y in kept], points=False)
