"""Reports as one HTML file that opens from disk: tables, checks and pictures, with nothing to fetch.

It says so itself, by a content security policy that lets the browser load nothing. Light or dark: as the reader has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from paceline_bench.report.latency import PERCENTILES, Latency
from paceline_bench.report.machine import describe
from paceline_bench.report.plot import to_svg
from paceline_bench.report.report import Check, Report, ReportRow, duration

WORDS = {"memory_gib": "memory, GiB", "load_1min": "load over 1 min"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
HEADLINES = 4


def to_html(reports: Iterable[Report], machine: dict[str, str] | None = None) -> str:
    """The whole file."""
    reports = list(reports)
    names = [f"r{number}" for number in range(1, len(reports) + 1)]
    sections = [_section(report, name) for report, name in zip(reports, names, strict=True)]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(_title(reports))}</title>",
            f"<style>\n{_css()}</style>\n</head>\n<body>",
            _header(reports, names, machine or describe()),
            *sections,
            "</body>\n</html>\n",
        ]
    )


def _css() -> str:
    return files("paceline_bench.report").joinpath("page.css").read_text(encoding="utf-8")


def _title(reports: Sequence[Report]) -> str:
    return f"paceline bench: {reports[0].title if len(reports) == 1 else f'{len(reports)} measurements'}"


def _header(reports: Sequence[Report], names: Sequence[str], machine: dict[str, str]) -> str:
    links = [f'<a href="#{name}">{escape(report.title)}</a>' for report, name in zip(reports, names, strict=True)]
    nav = f"<nav>{''.join(links)}</nav>" if len(links) > 1 else ""
    fields = "".join(
        f'<div class="{"wide" if key == "command" else ""}"><dt>{escape(WORDS.get(key, key))}</dt>'
        f"<dd>{_code(value) if key == 'command' else escape(value)}</dd></div>"
        for key, value in machine.items()
    )
    checks = [check for report in reports for check in report.checks]
    title = f'<div class="title"><h1>paceline bench</h1>{_verdict(checks)}</div>'
    return f"<header>{title}{_headlines(reports)}{nav}<dl>{fields}</dl></header>"


def _headlines(reports: Sequence[Report]) -> str:
    """The figures to remember: of the first reports that have one."""
    rows = [report.headline for report in reports if report.headline is not None][:HEADLINES]
    items = [f"<li><b>{escape(row.value)}</b> {escape(row.what)} <span>{escape(row.note)}</span></li>" for row in rows]
    return f'<ul class="headlines">{"".join(items)}</ul>' if items else ""


def _verdict(checks: Sequence[Check]) -> str:
    wrong = sum(check.has_failed for check in checks)
    held = sum(check.ok for check in checks)
    if wrong:
        return f'<span class="tag bad">{wrong} of {len(checks)} checks failed: do not use these figures</span>'
    missed = f"; {len(checks) - held} of too little work to judge" if held < len(checks) else ""
    return f'<span class="tag good">every check holds ({held}{missed})</span>' if checks else ""


def _section(report: Report, name: str) -> str:
    tags = f'<span class="tag">journal {escape(report.journal)}</span>' if report.journal != "none" else ""
    figures = "".join(
        f"<figure><h3>{escape(picture.title)}</h3>{to_svg(picture, f'{name}p{number}')}"
        f"<figcaption>{escape(picture.note)}</figcaption></figure>"
        for number, picture in enumerate(report.pictures, start=1)
    )
    pictures = f'<div class="pictures">{figures}</div>' if figures else ""
    return (
        f'<section id="{name}"><div class="title"><h2>{escape(report.title)}</h2>{tags}</div>'
        f"{_checks(report.checks)}{_rows(report.rows)}{_latencies(report.latencies)}"
        f"{pictures}</section>"
    )


def _rows(rows: Sequence[ReportRow]) -> str:
    lines = [(escape(row.what), _number(row.value), f'<span class="soft">{escape(row.note)}</span>') for row in rows]
    return _table(("what", "measured", ""), lines, "rows")


def _latencies(latencies: Sequence[Latency]) -> str:
    lines = [
        (
            escape(latency.name),
            _number(f"{latency.samples:,}"),
            *(_number(duration(value)) for value in latency.values_s),
        )
        for latency in latencies
    ]
    return _table(("latency of", "samples", *PERCENTILES, "max"), lines)


def _checks(checks: Sequence[Check]) -> str:
    lines = [
        f'<li class="{"bad" if check.has_failed else "good"}"><b>{check.verdict}</b> {escape(check.what)}'
        f"{escape(f' ({check.detail})' if check.detail else '')}</li>"
        for check in checks
    ]
    return f'<ul class="checks">{"".join(lines)}</ul>' if lines else ""


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML already; "" if it has no rows."""
    if not lines:
        return ""
    head = "".join(
        f'<th class="number">{heading}</th>'
        if heading in ("measured", "samples", *PERCENTILES, "max")
        else f"<th>{heading}</th>"
        for heading in headings
    )
    body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(html: str) -> str:
    return html if html.startswith("<td") else f"<td>{html}</td>"


def _number(text: str) -> str:
    return f'<td class="number">{escape(text)}</td>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
