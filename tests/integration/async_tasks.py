"""Tasks for test_async.py."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from paceline import task


@task
async def wait_for(path: str) -> int:
    """It ends once the file is there."""
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    return os.getpid()


@task(run_in="thread")
def wait_in_thread(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


@task
async def end_worker(begun: str) -> None:
    with Path(begun).open("a") as file:
        file.write(".")
    await asyncio.sleep(0.05)
    os._exit(3)


@task
async def block(seconds: float) -> None:
    time.sleep(seconds)


@task
def create(path: str) -> int:
    Path(path).touch()
    return os.getpid()
