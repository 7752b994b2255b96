"""Tasks that say how far they are."""

from __future__ import annotations

import time
from pathlib import Path

from paceline import progress, task


@task
def half(gate: str) -> str:
    """Half is done at once, and the rest once there is such a file."""
    progress(1, 2, "half")
    print("half of it")
    end = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < end:
        time.sleep(0.01)
    progress(2, 2)
    print("all of it")
    return "whole"


@task
def fail() -> None:
    print("this fails")
    raise ValueError("no such thing")
