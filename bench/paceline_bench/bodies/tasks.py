"""The tasks that the benchmarks run. They do nothing, so that what is measured is the cluster; or they wait."""

from __future__ import annotations

import time
from pathlib import Path

from paceline.worker.registry import task

HOLD_LIMIT_S = 600.0


@task
def noop(value: int) -> int:
    """Gives back what it got, so that every answer can be checked against its question."""
    return value


@task
def nap(value: int, seconds: float) -> int:
    """Keeps its worker so long, and gives back what it got.

    It sleeps and does not compute. Where there are fewer cores than processes, a body that computes takes the processor
    from the node, from the client and from other bodies, and what is measured is how the kernel shares it out. A worker
    is as busy with a sleep. The kernel ends one some 0.1 ms late, which is part of the latency.
    """
    time.sleep(seconds)
    return value


@task
def hold(gate: str) -> None:
    """Keeps its worker until the file is there."""
    end = time.monotonic() + HOLD_LIMIT_S
    while not Path(gate).exists() and time.monotonic() < end:
        time.sleep(0.02)
