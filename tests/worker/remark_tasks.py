"""Tasks that say something of themselves."""

from __future__ import annotations

import asyncio
import io
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from typing import Any

from paceline import current_task, heartbeat, progress
from paceline.worker.current import CurrentTask
from paceline.worker.registry import task

kept: list[CurrentTask] = []


def mine() -> CurrentTask:
    found = current_task()
    assert found is not None
    return found


@task
def steps(count: int, pause_s: float = 0.0) -> None:
    for number in range(1, count + 1):
        mine().progress(number, count, f"step {number}")
        if pause_s:
            time.sleep(pause_s)


@task
def speak(text: str) -> None:
    print(text)
    sys.stderr.write("and an error\n")
    mine().log.info("a line of the log")
    mine().log.debug("one that is left out")
    logging.getLogger("of.the.user").warning("a warning")
    logging.getLogger("of.the.user").info("left out by the root logger")


@task
def speak_in_parts() -> None:
    print("begun", end="", flush=True)
    print(" and ended")
    print()
    print("ä\x1b[31m")
    mine().log.warning("a warning", extra={"order": 7})
    try:
        raise KeyError("x")
    except KeyError:
        mine().log.exception("it failed")
    print("without an end", end="")


@task
async def speak_async(text: str) -> None:
    print(text)
    await asyncio.sleep(0)
    progress(0.5, 1)


@task
def from_a_thread() -> None:
    def run(own: CurrentTask) -> None:
        own.progress(1, 2)
        print("from a thread")

    thread = threading.Thread(target=run, args=(mine(),))
    thread.start()
    thread.join()


@task
def alive() -> None:
    heartbeat()


@task
def quiet() -> None:
    pass


@task
def from_below() -> int:
    """What a subprocess writes, and a fork says, is nobody's."""
    subprocess.run([sys.executable, "-c", "print('of a subprocess')"], check=True)
    pid = os.fork()
    if pid == 0:
        progress(1)
        print("of a fork")
        os._exit(0)
    return os.waitpid(pid, 0)[1]


@task
def puts_another_stream_in_place() -> None:
    """And back, as libraries do that know no better."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, io.StringIO())
        setattr(sys, name, getattr(sys, f"__{name}__"))
    print("still heard", flush=True)
    sys.stderr.write("still heard\n")


@task
def forks_while_a_thread_prints() -> int:
    """How a fork ends that prints, while a thread of this process is in the midst of that."""
    print("begun ", end="")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with sys.stdout._lock:  # type: ignore[union-attr]
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        print("of a fork", flush=True)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    over.set()
    thread.join()
    print("and ended")
    return status


@task
def shout(lines: int) -> None:
    for number in range(lines):
        print(f"line {number:06}", "x" * 100)


@task
def wrong(which: str) -> None:
    values: dict[str, Any] = {
        "negative": (-1,),
        "nan": (math.nan,),
        "infinite": (1, math.inf),
        "huge": (10**400,),
        "text": ("half",),
        "negative total": (1, -1),
        "text of bytes": (1, 2, b"x"),
    }
    mine().progress(*values[which])


@task
def right() -> None:
    mine().progress(3, 2, "x" * 1_000)
    mine().progress(Fraction(1, 2), 0)


@task
def keep() -> None:
    kept.append(mine())


@task
def say_late() -> None:
    kept[0].progress(9, 9)
