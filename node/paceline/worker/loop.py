"""The event loop in which a worker runs ``async def`` tasks. The worker imports this module with the first such task:
importing asyncio takes a fifth of a worker's start.

Each task runs in a context of its own. Coroutines that it left running are cancelled, as ``asyncio.run`` does, once its
outcome is told. The loop itself is kept: making one costs more than a short task, and connections that a module keeps
stay usable. A loop with a coroutine that does not end in time, as one that swallows CancelledError, is left behind.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

from paceline.errors import SoftTimeLimitExceeded
from paceline.worker.stop_requests import StopRequests

CLEAN_UP_LIMIT_S: Final = 1.0
NAMED_COROUTINES: Final = 3

_logger = logging.getLogger("paceline.worker")


class Loop:
    """An event loop for one coroutine at a time. ``has_left``: what ran last has left coroutines, which
    :meth:`clean_up` ends."""

    def __init__(self) -> None:
        self.has_left = False
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, Any], soft_limit_s: float, stop_requests: StopRequests) -> Any:
        """The coroutine's result, or what it raises. ``soft_limit_s``: it has SoftTimeLimitExceeded raised in it once
        it has run for so long; 0: never. When the task is asked to stop it is cancelled, as asyncio does."""
        if soft_limit_s:
            coroutine = limited(coroutine, soft_limit_s)
        if self._runner.get_loop().is_closed():  # by a task before
            self._runner = asyncio.Runner()
        cancel = partial(_cancel_soon, self._runner.get_loop(), coroutine)
        try:
            return stop_requests.call(cancel, self._runner.run, (coroutine,), {"context": contextvars.copy_context()})
        finally:
            self.has_left = bool(asyncio.all_tasks(self._runner.get_loop()))

    def clean_up(self, name: str) -> None:
        """Cancel what the task of this name has left. What has not ended within CLEAN_UP_LIMIT_S is left behind with
        its loop, and named in the log. Raises nothing."""
        self.has_left = False
        loop = self._runner.get_loop()
        try:
            self._runner.run(_cancel(asyncio.all_tasks(loop)))
        except BaseException as error:  # noqa: BLE001 - code of the task's, which has ended
            what = type(error).__qualname__
            _logger.warning("what task %s left in its event loop raised %s", name, what, extra={"task_name": name})
        left = asyncio.all_tasks(loop)
        if not left:
            return
        _logger.warning(
            "task %s left %d coroutines that have not ended %g s after they were cancelled (%s); they are dropped with "
            "their event loop, and later tasks get another one. Let CancelledError through, or end them in the task",
            name,
            len(left),
            CLEAN_UP_LIMIT_S,
            ", ".join(sorted(name_of(task) for task in left)[:NAMED_COROUTINES]),
            extra={"task_name": name},
        )
        self._runner = asyncio.Runner()
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined] # it is said above
        loop.close()


def _cancel_soon(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Have the task of this coroutine cancelled, of which the loop may not know yet. For a handler of signals."""
    with suppress(RuntimeError):  # its own code may have closed the loop
        loop.call_soon_threadsafe(_cancel_now, loop, coroutine)


def _cancel_now(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
    for task in asyncio.all_tasks(loop):
        if task.get_coro() is coroutine:
            task.cancel()


async def limited(coroutine: Coroutine[Any, Any, Any], limit_s: float) -> Any:
    """What the coroutine returns or raises; it is cancelled at its limit, which it may catch, and finish."""
    own: TimeoutError | None = None
    try:
        async with asyncio.timeout(limit_s) as limit:
            try:
                return await coroutine
            except TimeoutError as error:
                own = error
                raise
    except TimeoutError as error:
        if error is own or not limit.expired():
            raise
        raise SoftTimeLimitExceeded(limit_s) from error.__cause__  # which shows where the task was


async def _cancel(left: set[asyncio.Task[Any]]) -> None:
    for task in left:
        task.cancel()
    done, _ = await asyncio.wait(left, timeout=CLEAN_UP_LIMIT_S)
    for task in done:
        if not task.cancelled():
            task.exception()  # it is looked at, or the loop would complain


def name_of(task: asyncio.Task[Any]) -> str:
    """What a person knows it by."""
    return str(getattr(task.get_coro(), "__qualname__", task.get_name()))
