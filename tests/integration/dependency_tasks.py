"""Tasks of graphs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from paceline import task


@task
def mix(seed: int, *values: Any) -> int:
    """A number that says which values it was made of, in which order."""
    found = seed
    for value in values:
        found = (found * 31 + value) % 1_000_003
    return found


@task
def mix_nested(seed: int, values: dict[str, Any]) -> int:
    first, rest = values["first"], values["rest"]
    return mix(seed, first, *(value for pair in rest for value in pair))


@task
def note(path: str, value: int) -> int:
    """Leaves a trace of each time that it has run."""
    with Path(path).open("a") as file:
        file.write("x")
    return value


@task
def wait_for(path: str, value: int) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return value


@task
def fail(text: str) -> int:
    raise ValueError(text)


@task(allow_failed_inputs=True)
def kinds(values: list[Any]) -> list[str]:
    return [type(value).__name__ for value in values]


@task
async def mix_awaited(seed: int, *values: int) -> int:
    return mix(seed, *values)


@task
def large(size_bytes: int) -> bytes:
    return bytes(size_bytes)


@task
def size(*values: bytes) -> int:
    return sum(map(len, values))


@task
def total(values: list[int], more: int = 0) -> int:
    return sum(values) + more
