"""A table where its columns fit, and one line for each row where they don't: nothing is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paceline_protocol.texts import one_line

if TYPE_CHECKING:
    from rich.console import Console

FOLDED_CHARS = 8
"""What does not fit into a column that may fold goes on below, in lines of so many characters at least."""
WIDE_CHARS = 120
"""From this width on there is more room between columns."""


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    folds: Mapping[str, int],
) -> None:
    """``numbers``: the headings of those that are set to the right. ``folds``: of those that give way where there is
    little room, and up to which length their cells stay in one line all the same."""
    from rich.table import Table

    rows = [tuple(map(one_line, row)) for row in rows]  # what others say of themselves is in them
    gap = 2 if console.width >= WIDE_CHARS else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    least = 0
    for number, heading in enumerate(headings):
        longest = max(len(heading), *(len(row[number]) for row in rows), 0)
        is_folded = longest > folds.get(heading, longest)
        width = max(len(heading), FOLDED_CHARS) if is_folded else longest
        least += width + gap
        table.add_column(
            heading,
            justify="right" if heading in numbers else "left",
            no_wrap=not is_folded,
            overflow="fold",
            min_width=width,
        )
    if least - gap > console.width:
        for row in rows:
            console.print(as_line(headings, row, numbers), soft_wrap=True)
        return
    for row in rows:
        table.add_row(*row)
    console.print(table)


def as_line(headings: Sequence[str], row: Sequence[str], numbers: Sequence[str]) -> str:
    """The cells of a row that say something: ``22222222 10.0.0.2:7077 leader, slots 2, running 1``."""
    cells = [(heading, cell) for heading, cell in zip(headings, row, strict=True) if cell]
    named = [f"{heading} {cell}" for heading, cell in cells if heading in numbers]
    return ", ".join([" ".join(cell for heading, cell in cells if heading not in numbers), *named])
