"""Tasks that ask for something by their decorators, for calls by name alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

from paceline import current_task, task

gate = os.environ.get("ASKING_TASKS_GATE")
while gate and not Path(gate).exists():  # the workers of a node that are not ready yet
    time.sleep(0.01)


def _begun(log: str) -> int:
    """Count this attempt."""
    with Path(log).open("a") as file:
        file.write("begun\n")
    return len(Path(log).read_text().splitlines())


@task(retries=3, jitter=False, backoff=0.01)
def flaky(log: str, succeeds_at: int) -> int:
    number = _begun(log)
    if number < succeeds_at:
        raise ConnectionError(f"attempt {number} of {succeeds_at}")
    return number


@task(time_limit=0.5)
def hangs(log: str) -> None:
    _begun(log)
    while True:
        time.sleep(3600)


@task(priority=8, delivery="at_most_once")
def once() -> int:
    running = current_task()
    return 0 if running is None else running.attempt


@task
def plain(log: str) -> None:
    _begun(log)
    raise ValueError("on purpose")
