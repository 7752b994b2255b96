"""Functions that are called for several calls at once."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from paceline import Cancelled, Retry, current_task, heartbeat, progress, task


@task(batch=8)
def ends(values: list[Any], unit: Any = "m") -> Any:
    """What each says: its value, an exception, or what the function does."""
    if "raises" in values:
        raise ValueError("all of them")
    if "too few" in values:
        return values[1:]
    if "no list" in values:
        return "".join(values)
    if "a dict" in values:
        return dict.fromkeys(values)
    if "dies" in values:
        os._exit(3)
    if "says how far" in values:
        progress(1, 2)
        heartbeat()
    made: dict[Any, Any] = {"fails": KeyError("one"), "again": Retry("later", delay=5), "can't be sent": object()}
    return [made.get(value, (value, unit)) if isinstance(value, str) else (value, unit) for value in values]


@task(batch=8)
def tell_current(values: list[int]) -> list[Any]:
    first = current_task()
    assert first is not None
    assert first.batch[0] is first
    return [(each.id, each.attempt, each.name, each.cancelled, each.deadline_ms) for each in first.batch]


@task(batch=8)
def wait_until_asked(values: list[float]) -> list[Any]:
    """Those that are asked to stop, do; each other one tells who was."""
    batch = current_task().batch  # type: ignore[union-attr]
    end = time.monotonic() + max(values)
    while not any(each.cancelled for each in batch) and time.monotonic() < end:
        time.sleep(0.005)
    asked = [each.cancelled for each in batch]
    return [Cancelled() if is_asked else asked for is_asked in asked]


@task(batch=8)
async def sleeps(values: list[float]) -> list[str]:
    await asyncio.sleep(max(values))
    return ["slept"] * len(values)


@task(batch=8)
async def leaves(values: list[float]) -> list[float]:
    for value in values:
        asyncio.ensure_future(asyncio.sleep(value))  # noqa: RUF006 - that is what it leaves
    await asyncio.sleep(0)
    return values


@task(batch=8, soft_time_limit=0.05)
def too_long(values: list[float]) -> list[float]:
    time.sleep(max(values))
    return values


@task(batch=8)
def many(values: list[int]) -> list[bytes]:
    return [bytes(value) for value in values]


@task
def plain(value: int) -> int:
    return value
