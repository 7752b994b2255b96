"""The form in which every verb hands back what it found: rows and latencies for a person, details for a program, checks
for both. All of it can be written as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from paceline_bench.report.latency import PERCENTILES, Latency
from paceline_bench.report.machine import describe

if TYPE_CHECKING:
    from rich.table import Table

    from paceline_bench.report.picture import Picture

PIPED_WIDTH_CHARS = 200


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One line of the table."""

    what: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, or the figures mean nothing.

    ``is_figure``: it holds a measured figure against a limit, which takes as much work as a verb does by default. After
    less (``bench all --quick``) noise has the last word, and what misses the limit is shown and fails nothing."""

    what: str
    ok: bool
    detail: str = ""
    is_figure: bool = False
    is_judged: bool = True

    @property
    def has_failed(self) -> bool:
        return self.is_judged and not self.ok

    @property
    def verdict(self) -> str:
        """For a person."""
        return "ok" if self.ok else "WRONG" if self.is_judged else "not judged"


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one verb."""

    verb: str
    journal: str  # "memory", or "none" where no paceline node took part
    rows: Sequence[ReportRow]
    checks: Sequence[Check] = ()
    latencies: Sequence[Latency] = ()
    pictures: Sequence[Picture] = ()
    details: dict[str, Any] = field(default_factory=dict)
    secure: bool = False  # with CURVE on every TCP connection
    headline: ReportRow | None = None  # the one figure to remember, for the top of the page

    @property
    def title(self) -> str:
        return f"{self.verb}, encrypted" if self.secure else self.verb

    @property
    def ok(self) -> bool:
        return not any(check.has_failed for check in self.checks)

    def of_little_work(self) -> Report:
        """The same, with no figure held against a limit."""
        checks = [replace(check, is_judged=not check.is_figure) for check in self.checks]
        return replace(self, checks=checks)


def to_json(reports: Iterable[Report], machine: dict[str, str] | None = None) -> str:
    reports = list(reports)
    fields = {
        "machine": machine or describe(),
        "ok": all(report.ok for report in reports),
        "reports": [asdict(report) | {"ok": report.ok} for report in reports],
    }
    return json.dumps(fields, indent=2)


def show(reports: Iterable[Report]) -> None:
    """Prints one table for all of them, one of all latencies, and below them on what it was measured."""
    from rich.console import Console

    reports = list(reports)
    # Into a file or a pipe the tables go unfolded, whatever width rich supposes there.
    width = None if sys.stdout.isatty() else PIPED_WIDTH_CHARS
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    console.print(_table(reports))
    console.print()
    if any(report.latencies for report in reports):
        console.print(_latency_table(reports))
        console.print()
    for key, value in describe().items():
        console.print(f"{key:<10} {value}", soft_wrap=True)


def _table(reports: Sequence[Report]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("verb", "journal", "what", "measured", ""):
        table.add_column(heading, justify="right" if heading == "measured" else "left", overflow="fold")
    for report in reports:
        lines = [(row.what, row.value, row.note) for row in report.rows]
        lines += [(check.what, check.verdict, check.detail) for check in report.checks]
        for number, line in enumerate(lines):
            table.add_row(*((report.title, report.journal) if number == 0 else ("", "")), *line)
    return table


def _latency_table(reports: Sequence[Report]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("verb", "latency of", "samples", *PERCENTILES, "max"):
        table.add_column(heading, justify="left" if heading in ("verb", "latency of") else "right", overflow="fold")
    for report in reports:
        for number, latency in enumerate(report.latencies):
            values = (f"{latency.samples:,}", *map(duration, latency.values_s))
            table.add_row(report.title if number == 0 else "", latency.name, *values)
    return table


def duration(seconds: float) -> str:
    """A duration in the unit in which it has two to four digits before the point."""
    if seconds < 9.9995e-3:
        return microseconds(seconds)
    return f"{seconds * 1e3:,.1f} ms" if seconds < 9.9995 else f"{seconds:,.1f} s"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"
