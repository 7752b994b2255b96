"""Turns the measurements of each system into rows that can be compared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.picture import Picture, distributions
from paceline_bench.report.report import Check, Report, ReportRow, duration
from paceline_bench.report.stats import median

if TYPE_CHECKING:
    from paceline_bench.rivals.plan import Burst, Measured, Plan

BASE = "paceline-memory"
"""The system that the others are compared with."""


def report(measured: Sequence[Measured], planned: Plan, servers: dict[str, str] | None = None) -> Report:
    """Rows by what was measured, the best first; then what was not, with its reason. ``servers``: their versions."""
    wrong = {each.peer.name: each.wrong for each in measured if each.wrong}
    round_trips = {each.peer.title: LatencyHistogram.merged(each.round_trips) for each in measured if each.round_trips}
    short = {each.peer.title: LatencyHistogram.merged(each.short) for each in measured if _short_p99s_s(each)}
    rows = [
        *_latency_rows(
            "one at a time, p50",
            measured,
            _p50s_s,
            lambda each: _note(
                f"{planned.samples_per_round:,} tasks a round",
                ", ".join(f"{package} {version}" for package, version in each.versions.items()),
            ),
        ),
        *_rate_rows("burst, tasks/s", measured, lambda each: each.bursts),
        *_rate_rows("many at once, tasks/s", measured, lambda each: each.chunked),
        *_latency_rows(
            "open loop, p99 of short tasks",
            measured,
            _short_p99s_s,
            lambda each: _note(f"{planned.rate_per_s:,.0f} tasks/s are due", each.peer.open_loop_note),
        ),
        *(
            ReportRow(f"not run to its end: {each.peer.title}", "failed", each.failed)
            for each in measured
            if each.failed
        ),
    ]
    return Report(
        verb="rivals",
        journal="as named",
        rows=rows,
        checks=[
            Check(
                "every result is the one asked for",
                not wrong,
                ", ".join(f"{name}: {count} wrong" for name, count in wrong.items()),
            )
        ],
        latencies=[
            *(histogram.latency(f"{title}, one at a time") for title, histogram in round_trips.items()),
            *(histogram.latency(f"{title}, open loop, short") for title, histogram in short.items()),
        ],
        pictures=_pictures(round_trips, short),
        details={
            "rounds": planned.rounds,
            "servers": servers or {},
            "systems": {each.peer.name: _details(each) for each in measured},
        },
    )


def _p50s_s(each: Measured) -> list[float]:
    return [histogram.p50_s for histogram in each.round_trips]


def _short_p99s_s(each: Measured) -> list[float]:
    return [histogram.p99_s for histogram in each.short if histogram.count]


def _rates_per_s(bursts: Sequence[Burst]) -> list[float]:
    return [burst.tasks_per_s for burst in bursts]


def _latency_rows(
    what: str,
    measured: Sequence[Measured],
    values_of: Callable[[Measured], list[float]],
    note_of: Callable[[Measured], str],
) -> list[ReportRow]:
    values = _present(measured, values_of)
    base_s = _base(values)
    return [
        ReportRow(
            f"{what}: {each.peer.title}",
            duration(median(each_values)),
            _note(_ratio(median(each_values), base_s), _range(each_values, duration), note_of(each)),
        )
        for each, each_values in sorted(values, key=lambda pair: median(pair[1]))
    ]


def _rate_rows(
    what: str, measured: Sequence[Measured], bursts_of: Callable[[Measured], Sequence[Burst]]
) -> list[ReportRow]:
    values = _present(measured, lambda each: _rates_per_s(bursts_of(each)))
    base_per_s = _base(values)
    rows = []
    for each, rates_per_s in sorted(values, key=lambda pair: -median(pair[1])):
        share = median([burst.submit_s / burst.total_s for burst in bursts_of(each)])
        submitting = f"{share:.0%} of the time until the last was submitted" if share else ""
        note = _note(
            _ratio(median(rates_per_s), base_per_s),
            _range(rates_per_s, lambda rate: f"{rate:,.0f}"),
            f"{each.burst_tasks:,} tasks",
            submitting,
        )
        rows.append(ReportRow(f"{what}: {each.peer.title}", f"{median(rates_per_s):,.0f}", note))
    return rows


def _present(
    measured: Sequence[Measured], values_of: Callable[[Measured], list[float]]
) -> list[tuple[Measured, list[float]]]:
    return [(each, values) for each in measured if (values := values_of(each))]


def _base(values: Sequence[tuple[Measured, list[float]]]) -> float | None:
    return next((median(each_values) for each, each_values in values if each.peer.name == BASE), None)


def _ratio(value: float, base: float | None) -> str:
    """Three digits are more than the machine's noise allows."""
    return f"{value / base:.3g} times paceline" if base else ""


def _range(values: Sequence[float], show: Callable[[float], str]) -> str:
    return f"{show(min(values))} to {show(max(values))}" if len(values) > 1 else ""


def _note(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _pictures(round_trips: dict[str, LatencyHistogram], short: dict[str, LatencyHistogram]) -> list[Picture]:
    pictures = []
    if round_trips:
        pictures.append(distributions("One task at a time", round_trips))
    if short:
        pictures.append(distributions("Short tasks among long ones, under a load that does not wait", short))
    return pictures


def _details(each: Measured) -> dict[str, Any]:
    return {
        "title": each.peer.title,
        "versions": each.versions,
        "failed": each.failed,
        "wrong": each.wrong,
        "starts_s": each.starts_s,
        "round_trip_p50s_s": _p50s_s(each),
        "burst_tasks": each.burst_tasks,
        "bursts": [{"submit_s": burst.submit_s, "total_s": burst.total_s} for burst in each.bursts],
        "chunked_s": [burst.total_s for burst in each.chunked],
        "open_loop_short_p99s_s": _short_p99s_s(each),
    }
