"""Pictures as SVG that is part of a page: its colours are the page's, so that it is right in light and in dark.

matplotlib draws in placeholder colours, one for each role, and these are replaced by the page's CSS variables
(``page.css`` gives them their values). It writes text as text, in the font of the page.
"""

from __future__ import annotations

import re
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from paceline.errors import MissingExtra
from paceline_bench.report.picture import Axis, Picture, Series

try:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
except ImportError as error:
    raise MissingExtra("matplotlib", "bench") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN, HEIGHT_IN = 6.4, 3.9
NINES = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
LINES = 6
"""Colours. Where they begin again, lines are dashed."""
LEGEND_CHARS, HANDLE_CHARS = 84, 8
"""How many characters fit into the width of a picture, and how many the sample of a line takes."""
ROLES = {"ink": "#010101", "grid": "#020202", "page": "#030303"} | {
    f"line{number}": f"#1{number}1{number}1{number}" for number in range(1, LINES + 1)
}
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": ROLES["ink"],
    "axes.labelcolor": ROLES["ink"],
    "axes.edgecolor": ROLES["grid"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": ROLES["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": ROLES["grid"],
    "ytick.color": ROLES["grid"],
    "xtick.labelcolor": ROLES["ink"],
    "ytick.labelcolor": ROLES["ink"],
    "legend.frameon": False,
}


def to_svg(picture: Picture, name: str) -> str:
    """One <svg> element. ``name`` is a word that no other picture of the page has: the ids in it begin so."""
    with rc_context(STYLE | {"svg.hashsalt": name}):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        axes = figure.add_subplot()
        measured = 0
        for series in picture.series:
            measured += not series.ideal
            again, number = divmod(max(0, measured - 1), LINES)
            _draw(axes, series, ROLES[f"line{number + 1}"], "--" if again else "-")
        _scale(axes, "x", picture.x, [x for series in picture.series for x in series.x])
        _scale(axes, "y", picture.y, [y for series in picture.series for y in series.y])
        axes.set_axisbelow(True)
        if len(picture.series) > 1:
            longest_chars = max(len(series.name) for series in picture.series)
            columns = max(1, min(4, LEGEND_CHARS // (longest_chars + HANDLE_CHARS)))
            figure.legend(loc="outside upper left", ncols=columns, handlelength=1.8)
        text = StringIO()
        figure.savefig(
            text, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _as_part_of_a_page(text.getvalue(), name, picture.title)


def _draw(axes: Axes, series: Series, color: str, line: str) -> None:
    if series.ideal:
        axes.plot(series.x, series.y, label=series.name, color=ROLES["ink"], linewidth=1.2, linestyle=(0, (2, 3)))
        return
    axes.plot(
        series.x,
        series.y,
        label=series.name,
        color=color,
        linewidth=2,
        linestyle=line,
        drawstyle="default" if series.points else "steps-post",
        marker="o" if series.points else "",
        markersize=6,
        markevery=[number for number in range(len(series.x)) if number not in series.hollow],
    )
    axes.plot(
        [series.x[number] for number in series.hollow],
        [series.y[number] for number in series.hollow],
        linestyle="",
        marker="o",
        markersize=7,
        markerfacecolor=ROLES["page"],
        markeredgecolor=color,
        markeredgewidth=1.6,
    )


def _scale(axes: Axes, which: str, axis: Axis, values: list[float]) -> None:
    """The scale, its ends, and ticks that are written as a person would."""
    line: Any = getattr(axes, f"{which}axis")
    set_scale, set_limits = getattr(axes, f"set_{which}scale"), getattr(axes, f"set_{which}lim")
    getattr(axes, f"set_{which}label")(axis.label)
    if axis.scale == "nines":
        set_scale("function", functions=(_nines, _of_nines))
        line.set_major_locator(FixedLocator([0.0, *(share for share in NINES if share < max(values))]))
        set_limits(0, max([0.9, *values]))
    elif axis.scale == "log":
        set_scale("log")
        set_limits(min(values) / 1.3, max(values) * 1.3)
        few = max(values) / min(values) < 30  # powers of ten alone would be one tick or two
        line.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
        line.set_minor_locator(NullLocator() if few else LogLocator(subs=range(2, 10), numticks=12))
        line.set_minor_formatter(NullFormatter())
    elif axis.scale == "log2":
        set_scale("log", base=2)
        line.set_major_locator(FixedLocator(sorted(set(values))))
        line.set_minor_locator(NullLocator())
    else:
        set_limits(0, max(values) * 1.08)
    line.set_major_formatter(FuncFormatter(lambda value, _: written(value, axis.unit)))


def _nines(share: Any) -> Any:
    import numpy

    return -numpy.log10(numpy.clip(1 - share, 1e-12, None))


def _of_nines(nines: Any) -> Any:
    return 1 - 10 ** (-nines)


def written(value: float, unit: str) -> str:
    """A tick: 20 us, 1.5 ms, 99.9 %, 12,000."""
    if unit == "s":
        scale, name = next(
            ((scale, name) for scale, name in ((1.0, "s"), (1e-3, "ms")) if value >= scale * 0.9999), (1e-6, "us")
        )
        return f"{value / scale:,.10g} {name}" if value >= 1e-9 else "0"
    if unit in ("share", "percent"):
        return f"{value * 100:.10g} %"
    return f"{value:,.10g}"


def _as_part_of_a_page(svg: str, name: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would be for the whole page
    # Every picture calls its parts by the same ids, and a page has one of each.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    for role, color in ROLES.items():
        svg = svg.replace(color, f"var(--{role})")
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    opening = f'<svg role="img" aria-label="{escape(title)}" viewBox="\\1">'
    return re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', opening, svg, count=1)
