"""The form in which every verb hands back what it found: rows for a person, details for a program, checks for both."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from paceline_bench.machine import describe

PIPED_WIDTH_CHARS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, or the figures mean nothing."""

    what: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one verb."""

    verb: str
    journal: str  # "memory", or "none" where no paceline node took part
    rows: Sequence[Row]
    checks: Sequence[Check] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def to_json(reports: Iterable[Report], machine: dict[str, str] | None = None) -> str:
    reports = list(reports)
    fields = {
        "machine": machine or describe(),
        "ok": all(report.ok for report in reports),
        "reports": [asdict(report) | {"ok": report.ok} for report in reports],
    }
    return json.dumps(fields, indent=2)


def show(reports: Iterable[Report]) -> None:
    """Prints one table for all of them, and below it on what it was measured."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("verb", "journal", "what", "measured", ""):
        table.add_column(heading, justify="right" if heading == "measured" else "left", overflow="fold")
    for report in reports:
        for number, row in enumerate(report.rows):
            first = (report.verb, report.journal) if number == 0 else ("", "")
            table.add_row(*first, row.what, row.value, row.note)
        for check in report.checks:
            table.add_row("", "", check.what, "ok" if check.ok else "WRONG", check.detail)
    # Into a file or a pipe the table goes unfolded, whatever width rich supposes there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH_CHARS)
    console.print(table)
    console.print()
    for key, value in describe().items():
        console.print(f"{key:<10} {value}", markup=False, soft_wrap=True)


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms"
