"""What the cluster of these tests runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from paceline import task


class Own(Exception):
    """An exception that is nobody else's."""


@task(name="tasks.add")
def add(a: int, b: int) -> int:
    return a + b


@task(name="tasks.echo")
def echo(value: Any) -> Any:
    return value


@task(name="tasks.fail")
def fail(message: str) -> None:
    raise KeyError(message)


@task(name="tasks.fail_own")
def fail_own(*args: Any) -> None:
    raise Own(*args)


@task(name="tasks.record")
def record(line: str) -> str:
    """Notes that it ran, in one write."""
    with open(os.environ["BRIDGE_TEST_RAN"], "ab", buffering=0) as file:
        file.write(line.encode() + b"\n")
    return line


@task(name="tasks.record_when")
def record_when(line: str) -> None:
    """The same, with the time."""
    record(f"{line} {time.time()}")


@task(name="tasks.repeat")
def repeat(text: str, times: int) -> str:
    return text * times


@task(name="tasks.now")
def now() -> float:
    return time.time()


@task(name="tasks.wait_for")
def wait_for(path: str) -> str:
    """Runs until the file is there."""
    record(path)
    deadline_s = time.monotonic() + 60
    while not Path(path).exists():
        if time.monotonic() > deadline_s:
            raise TimeoutError(path)
        time.sleep(0.01)
    return path


@task(name="tasks.sleep")
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@task(name="tasks.third_time")
def third_time(line: str) -> None:
    """Fails when it is tried for the first time, and for the second time."""
    record(f"{line} {time.time()}")
    tried = [ran for ran in Path(os.environ["BRIDGE_TEST_RAN"]).read_text().splitlines() if ran.startswith(line)]
    if len(tried) < 3:
        raise ConnectionError(f"try {len(tried)}")


@task(name="tasks.asks_to_be_tried", retries=2, jitter=False, backoff=0.01)
def asks_to_be_tried(line: str) -> str:
    third_time(line)
    return line


@task(name="tasks.asks_for_a_limit", time_limit=0.5)
def asks_for_a_limit(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task(name="tasks.asks_to_run_once", delivery="at_most_once")
def asks_to_run_once(line: str) -> str:
    return record(line)
