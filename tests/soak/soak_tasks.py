"""What the nodes of a soak run. Each run leaves the same line as in ``hosts.host_tasks``, before anything else."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

from paceline import current_task, task


def _leave_line(path: str, number: int) -> None:
    line = f"{number} {os.stat('/proc/self/ns/net').st_ino} {os.getpid()} {time.monotonic():.6f}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@task
def square(path: str, number: int) -> int:
    _leave_line(path, number)
    return number * number


@task
def fail(path: str, number: int) -> None:
    _leave_line(path, number)
    raise ValueError(f"task {number}")


@task
def flaky(path: str, failures: int, number: int) -> int:
    """Fails so often, whichever worker runs it."""
    _leave_line(path, number)
    for failure in range(failures):
        try:
            Path(f"{path}.failed.{number}.{failure}").touch(exist_ok=False)
        except FileExistsError:
            continue
        raise ConnectionError(f"task {number}, failure {failure}")
    return number * number


@task
def give_up(path: str, number: int) -> None:
    _leave_line(path, number)
    raise ValueError(f"task {number}")


@task
def doze(path: str, for_s: float, number: int) -> int:
    _leave_line(path, number)
    time.sleep(for_s)
    return number * number


@task
def kill_once(path: str, number: int) -> int:
    """Kills its worker when it runs for the first time."""
    _leave_line(path, number)
    try:
        Path(f"{path}.killed.{number}").touch(exist_ok=False)
    except FileExistsError:
        return number * number
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process that has killed itself goes on")


@task
def digest(path: str, data: bytes, number: int) -> tuple[str, bytes]:
    """As much comes back as was sent."""
    _leave_line(path, number)
    return hashlib.sha256(data).hexdigest(), data[::-1]


@task
def leave_id(path: str) -> None:
    """Leave a line with the id of the task, before anything else."""
    running = current_task()
    assert running is not None, "a worker runs it"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{running.id} {time.monotonic():.6f}\n".encode())
    finally:
        os.close(descriptor)


@task
def use_place(path: str, key: str, work_s: float) -> None:
    """Leave a line before it works, and one behind that."""
    running = current_task()
    assert running is not None, "a worker runs it"
    run = f"{running.id}.{time.monotonic_ns()}"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{key} {run} begins {time.monotonic_ns()}\n".encode())
        time.sleep(work_s)
        os.write(descriptor, f"{key} {run} ends {time.monotonic_ns()}\n".encode())
    finally:
        os.close(descriptor)
