"""Tasks that are called for several calls at once, for tests/integration/test_batches.py."""

from __future__ import annotations

import os
import time
from pathlib import Path

from paceline import Cancelled, current_task, task


def note(directory: str, what: str) -> None:
    with open(Path(directory) / "runs", "a") as runs:  # one write, which nothing else comes between
        runs.write(f"{what}\n")


@task(batch=16, batch_window=0.05, retries=1, backoff=0.01)
def double(directories: list[str], numbers: list[int]) -> list[int | Exception]:
    """Each call is for one number. Those of 7 fail, at first."""
    current = current_task()
    assert current is not None
    note(directories[0], " ".join(map(str, numbers)))
    time.sleep(0.02)
    batch = current.batch
    assert len(batch) == len(numbers) <= 16
    return [
        ValueError(str(number)) if number % 7 == 0 and each.attempt == 1 else 2 * number
        for each, number in zip(batch, numbers, strict=True)
    ]


@task(batch=4, batch_window=5, delivery="at_most_once")
def dies(directories: list[str], numbers: list[int]) -> list[int]:
    note(directories[0], " ".join(map(str, numbers)))
    os._exit(3)


@task(batch=4, batch_window=5)
def waits(directories: list[str], numbers: list[int]) -> list[object]:
    """Until one of them is to stop."""
    current = current_task()
    assert current is not None
    Path(directories[0], "begun").touch()
    end = time.monotonic() + 30
    while not any(each.cancelled for each in current.batch) and time.monotonic() < end:
        time.sleep(0.005)
    return [Cancelled() if each.cancelled else number for each, number in zip(current.batch, numbers, strict=True)]


@task(batch=4, batch_window=5, time_limit=0.3, max_attempts=1)
async def too_long(numbers: list[float]) -> list[float]:
    time.sleep(max(numbers))
    return numbers
