"""Tasks for test_async_server.py."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from paceline import current_task, task
from paceline.errors import Cancelled

_together: list[str] = []
_all_here = asyncio.Event()


@task
async def meet(name: str, count: int) -> list[str]:
    """It goes on once so many run."""
    _together.append(name)
    if len(_together) == count:
        _all_here.set()
    await asyncio.wait_for(_all_here.wait(), 10)
    return sorted(_together)


@task
async def own_id(rounds: int) -> list[str]:
    found = set()
    for _ in range(rounds):
        await asyncio.sleep(0)
        here = current_task()
        inner = await asyncio.create_task(_own_id())
        found |= {here.id if here else "", inner}
    return sorted(found)


async def _own_id() -> str:
    here = current_task()
    return here.id if here else ""


@task
async def wait_for_ever(told: str) -> str:
    Path(told).touch()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        here = current_task()
        if here is None or not here.cancelled:
            return "nobody asked"
        raise
    return "?"


@task
async def limited() -> None:
    await asyncio.sleep(3600)


@task
async def leave(told: str) -> str:
    asyncio.get_running_loop().create_task(_tell_when_cancelled(told))
    await asyncio.sleep(0)
    return "left"


async def _tell_when_cancelled(told: str) -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        Path(told).touch()


@task
async def stop_the_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "went on"


@task
async def leave_exit() -> str:
    async def leaves() -> None:
        sys.exit(5)

    asyncio.get_running_loop().create_task(leaves())
    await asyncio.sleep(0.01)
    return "went on"


@task
async def exits() -> None:
    sys.exit(5)


@task
async def block(seconds: float) -> str:
    await asyncio.sleep(0)
    time.sleep(seconds)
    return "blocked"


@task
async def end_worker() -> None:
    os._exit(9)


@task
async def end_later() -> None:
    await asyncio.gather(_end(), asyncio.sleep(3600))


async def _end() -> None:
    await asyncio.sleep(0.01)
    os._exit(9)


@task(run_in="thread")
def end_in_thread() -> None:
    os._exit(9)


@task(run_in="thread")
def in_thread(rounds: int) -> list[str]:
    found = set()
    for _ in range(rounds):
        time.sleep(0.001)
        here = current_task()
        found.add(here.id if here else "")
    return sorted(found)


@task(run_in="thread")
def stops_iteration() -> None:
    raise StopIteration("no more")


@task(run_in="thread")
def until_cancelled(told: str) -> None:
    Path(told).touch()
    while True:
        here = current_task()
        if here is not None and here.cancelled:
            raise Cancelled
        time.sleep(0.005)


@task
async def cancel_all() -> str:
    own = asyncio.current_task()
    for each in asyncio.all_tasks():
        if each is not own:
            each.cancel()
    return "went on"


@task
async def by_hand(way: str) -> str:
    """The id that a thread finds which it has started in one of these ways."""
    if way == "to_thread":
        return await asyncio.to_thread(_id_here)
    return await asyncio.get_running_loop().run_in_executor(None, _id_here)


def _id_here() -> str:
    here = current_task()
    return here.id if here else ""


@task
async def end_by_thread(told: str) -> None:
    await asyncio.to_thread(_end_once_told, told)


def _end_once_told(told: str) -> None:
    while not Path(told).exists():
        time.sleep(0.001)
    os._exit(9)


@task
async def tell_and_block(told: str) -> None:
    Path(told).touch()
    time.sleep(60)


@task
async def fork(told: str) -> str:
    """Its child would go on in the loop, with all tasks that there are."""
    child = os.fork()
    if not child:
        await asyncio.sleep(0)
        Path(told).touch()
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@task
async def holders(data: list[int]) -> int:
    """Who has its argument, which may be large, beside itself."""
    await asyncio.sleep(0)
    return sys.getrefcount(data) - 2
