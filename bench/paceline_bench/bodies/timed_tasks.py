"""Tasks that say when they began, that fail as often as they are told, or that never end."""

from __future__ import annotations

import time
from pathlib import Path

from paceline.worker.current import current_task
from paceline.worker.registry import task


@task
def began(due_s: float) -> float:
    """Seconds from that moment, of the wall clock, to when this task began."""
    return time.time() - due_s


@task
def fails(times: int) -> int:
    """Raises in its first attempts, so many, and then gives back the number of the attempt that did not."""
    running = current_task()
    attempt = running.attempt if running is not None else times + 1  # called as the function that it is
    if attempt <= times:
        raise ConnectionError(f"attempt {attempt}")
    return attempt


@task
def hangs(path: str) -> None:
    """Writes when it began, seconds of the wall clock, and then keeps the interpreter, which no exception can reach."""
    Path(path).write_text(repr(time.time()), encoding="ascii")
    while True:
        sum(range(10_000_000))
