"""Tasks that the integration tests run in real workers."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from paceline import Client, task
from paceline.client import parents

left_running: list[object] = []


@task
def square(number: int) -> int:
    return number * number


@task
def square_elsewhere(number: int) -> int:
    """Submits a task to the cluster that runs it, without being told which that is."""
    return square.submit(number).result(20.0)


@task
def fibonacci(number: int) -> int:
    """By recursion: each waits for two others."""
    if number < 2:
        return number
    one, other = fibonacci.submit(number - 1), fibonacci.submit(number - 2)
    return one.result(60.0) + other.result(60.0)


@task
def square_held_up(number: int) -> int:
    """The same, and says soon if that takes long."""
    parents.WARN_AFTER_S = 0.3
    return square.submit(number).result()


@task
async def square_awaited(number: int) -> int:
    """The same, in asyncio."""
    parents.WARN_AFTER_S = 0.3
    return await square.submit(number)


@task
def square_by_a_client(number: int) -> int:
    """The same, through a client of its own."""
    with Client() as client:
        return int(client.submit("sample_tasks.square", number).result(20.0))


@task
def record(directory: str, number: int) -> int:
    """Leaves a trace of each run, so that a test can count them."""
    (Path(directory) / f"{number}.{os.getpid()}.{time.monotonic_ns()}").touch()
    return number


@task
def record_slowly(directory: str, number: int) -> int:
    """Runs for as long as it takes to be killed in it."""
    record(directory, number)
    time.sleep(0.02)
    return number


@task
def pause(seconds: float, number: int) -> int:
    time.sleep(seconds)
    return number


@task
def now_ms() -> int:
    """What this machine's wall clock shows when it runs."""
    return time.time_ns() // 1_000_000


@task
def wait_for(path: str, begun: str = "") -> int:
    """Runs until the file is there, and says that it has begun by another; returns the id of its process."""
    if begun:
        Path(begun).touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


@task
def crash(code: int) -> None:
    os._exit(code)


@task
def crash_by_signal(number: int) -> None:
    os.kill(os.getpid(), number)


@task
def crash_if(crashes: bool) -> bool:
    if crashes:
        os._exit(7)
    return crashes


@task
async def leave_blocking_if(leaves: bool) -> bool:
    """What it leaves in the event loop holds the worker's one thread once it is cancelled."""

    async def block() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            time.sleep(600)

    if leaves:
        left_running.append(asyncio.ensure_future(block()))
        await asyncio.sleep(0)
    return leaves


@task
def leave_behind(number: int) -> None:
    """Processes that end once nobody of ours waits for them."""
    for _ in range(number):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execvp("sleep", ["sleep", "0.1"])
            os._exit(0)
        os.wait()


@task
def left_behind() -> int:
    """How many processes of that kind there are, zombies too."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            count += "(sleep)" in path.read_text()
    return count


@task
def write_to_every_socket(data: bytes) -> None:
    """To its worker's link among them."""
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as link:
                link.sendall(data)
        except OSError:
            pass  # no socket
    time.sleep(60)


@task
def crash_once(marker: str) -> str:
    """Kills its worker the first time, and ends well the second."""
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    return "second attempt"


@task
def return_object() -> object:
    return object()


@task
def return_bytes(size: int) -> bytes:
    return bytes(size)


class CustomError(Exception):
    pass


@task
def open_files_limit() -> list[int]:
    """How many files a task may open: the soft limit and the hard one."""
    return list(resource.getrlimit(resource.RLIMIT_NOFILE))


@task
def fail(kind: str) -> None:
    raise ValueError("no such thing") if kind == "builtin" else CustomError("of our own")


@task
def fail_until(log: str, attempt: int) -> int:
    """Fails before this attempt. Notes when each began."""
    path = Path(log)
    number = len(path.read_text().splitlines()) + 1 if path.exists() else 1
    with path.open("a") as begun:
        begun.write(f"{time.time()}\n")
    if number < attempt:
        raise ConnectionError(f"attempt {number} of {attempt}")
    return number


@task
def hang_until(log: str, attempt: int) -> int:
    """Hangs before this attempt."""
    path = Path(log)
    number = len(path.read_text().splitlines()) + 1 if path.exists() else 1
    with path.open("a") as begun:
        begun.write("begun\n")
    if number < attempt:
        time.sleep(3_600)
    return number


@task
def wait_for_another(log: str) -> int:
    """It would wait for ever, but for its deadline and that of the other."""
    return hang_until.submit(log, 99).result()


@task
def hold_the_lock() -> None:
    """Code of C that never lets Python's lock go."""
    ctypes.PyDLL(None).sleep(3_600)


@task
def wait_for_a_process(started: str) -> None:
    child = subprocess.Popen(["sleep", "3600"])
    Path(started).write_text(str(child.pid))
    child.wait()


@task
def leak(size_bytes: int) -> int:
    left_running.append(b"x" * size_bytes)
    return os.getpid()


@task
def take_memory(size_bytes: int) -> None:
    taken = b"x" * size_bytes
    while taken:
        time.sleep(0.01)


@task
def worker_pid() -> int:
    return os.getpid()
