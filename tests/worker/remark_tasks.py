"""Tasks that say something of themselves."""

from __future__ import annotations

import asyncio
import logging
import math
import os
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
