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
