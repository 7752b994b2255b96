"""Tasks that are cancelled while they run."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from paceline import Cancelled, current_task, task


@task
def square(number: int) -> int:
    return number * number


@task
def wait_for_another(begun: str) -> str:
    """Runs until a file of that name with ".open" is there, whoever wants it cancelled."""
    Path(begun).touch()
    while not Path(f"{begun}.open").exists():
        time.sleep(0.01)
    return "waited"


@task
async def await_for_ever(begun: str) -> str:
    """Says that it has begun, and waits until it is cancelled."""
    Path(begun).touch()
    await asyncio.Event().wait()
    return "never"


@task
def look_until_cancelled(begun: str) -> str:
    """Returns a value once it is asked to stop."""
    running = current_task()
    assert running is not None
    Path(begun).write_text(f"{running.id} {running.attempt} {running.name}")
    while not running.cancelled:
        time.sleep(0.01)
    return "in part"


@task
def sleep_for_ever(begun: str) -> None:
    Path(begun).touch()
    while True:
        time.sleep(3600)


@task
def fail_once_cancelled(begun: str) -> None:
    """Each run leaves a line; once asked to stop it raises an error of its own."""
    with Path(begun).open("a") as log:
        log.write("begun\n")
    try:
        time.sleep(3600)
    except Cancelled:
        raise OSError("it can't be left like that") from None


@task
def crash_once_cancelled(begun: str) -> None:
    with Path(begun).open("a") as log:
        log.write("begun\n")
    try:
        time.sleep(3600)
    except Cancelled:
        os._exit(7)
