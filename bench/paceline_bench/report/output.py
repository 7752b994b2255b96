"""Where the reports go: a table on stdout, or JSON; and files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from paceline.errors import MissingExtra
from paceline_bench.report.report import Report, show, to_json

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class ReportOutput:
    """None: no such file."""

    json_path: str | None = None
    html_path: str | None = None

    def check(self) -> None:
        """Check before anything is measured that the report can be written. Raises UsageError or MissingExtra."""
        for option, path in (("--json", self.json_path), ("--html", self.html_path)):
            if path is not None and path != STDOUT and not Path(path).absolute().parent.is_dir():
                raise click.BadParameter(f"there is no directory for {path}; make it first", param_hint=option)
        # Not imported yet: numpy starts threads, and these would run beside what is measured.
        if self.html_path is not None:
            MissingExtra.check("matplotlib", "bench")

    def write(self, reports: Sequence[Report]) -> None:
        if self.json_path not in (None, STDOUT):
            Path(str(self.json_path)).write_text(to_json(reports) + "\n")
        if self.html_path is not None:
            from paceline_bench.report.page import to_html

            Path(self.html_path).write_text(to_html(reports))
        if self.json_path == STDOUT:
            click.echo(to_json(reports))
        else:
            show(reports)
