"""A bar on stderr while a verb runs, if that is a terminal. It is drawn between two measurements and never during one:
a bar that moves by itself is a thread that takes the interpreter from what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Step = TypeVar("Step")


def track(steps: Sequence[Step], doing: str) -> Iterator[Step]:
    """Goes through the steps."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield from steps
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        row = bar.add_task(doing, total=len(steps))
        bar.refresh()
        for step in steps:
            yield step
            bar.update(row, advance=1, refresh=True)
