"""Whether something blocks the event loop of a worker that runs many tasks at once: a task that computes, or waits
without ``await``, keeps all others from going on.

A thread looks, as long as tasks run: it has the loop do something that takes no time, and waits until that is done. If
that takes BLOCKED_S, it looks which task the loop runs by then. Once the loop goes on it is said which task it was, and
for how long: the first time for each name, and then for powers of ten. The node counts it.

What a task has left, and that ended long ago, may block the loop for ever, and nobody would end it. So a worker that is
blocked by such for LEFT_S ends, and another takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import os
from _thread import allocate_lock, start_new_thread  # the names of before a module has patched them
from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

from paceline.line_writer import stderr_writer

EXIT_BLOCKED: Final = 8
BLOCKED_S: Final = 0.2
"""Others that could go on have waited for so long."""
LEFT_S: Final = 2.0
LOOK_S: Final = 0.1
NAMES_LIMIT: Final = 1_000

_logger = logging.getLogger("paceline.worker")


class BlockedLoop:
    """Of one event loop, in whose thread this is made and called."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, who: Callable[[], tuple[str, bool]], tell: Callable[[str, int], bool]
    ) -> None:
        """``who``: for the thread that looks, the name of the task that runs, and whether it has ended and this is what
        it has left. ``tell``: is called in the loop with the name and how many milliseconds it was blocked; "" and 0 if
        it was not. False: nothing runs any more."""
        self._loop = loop
        self._who = who
        self._tell = tell
        self._is_watching = False
        self._times: dict[str, int] = {}

    def watch(self) -> None:
        """Tasks run."""
        if not self._is_watching:
            self._is_watching = True
            start_new_thread(self._look, ())

    def _look(self) -> None:
        while self._is_watching:
            seen = allocate_lock()
            seen.acquire()
            began, name = monotonic(), ""
            try:
                self._loop.call_soon_threadsafe(seen.release)
            except RuntimeError:
                return  # the loop is closed: the worker ends
            if not seen.acquire(True, BLOCKED_S):
                name, is_left = self._who()
                if not is_left:
                    seen.acquire()
                elif not seen.acquire(True, LEFT_S):
                    self._end_worker(name)
            blocked_ms = int((monotonic() - began) * 1_000) if name else 0
            try:
                self._loop.call_soon_threadsafe(self._has_looked, name, blocked_ms)
            except RuntimeError:
                return
            sleep(LOOK_S)

    def _end_worker(self, name: str) -> None:
        try:
            _logger.error(
                "this worker ends, as what task %s has left in its event loop blocks it for %g s; let the task end "
                "what it starts before it returns",
                name,
                LEFT_S,
                extra={"task_name": name},
            )
            stderr_writer().flush()
        finally:
            os._exit(EXIT_BLOCKED)

    def _has_looked(self, name: str, blocked_ms: int) -> None:
        """In the loop."""
        if name:
            self._say(name, blocked_ms)
        if not self._tell(name, blocked_ms):
            self._is_watching = False

    def _say(self, name: str, blocked_ms: int) -> None:
        if name not in self._times and len(self._times) >= NAMES_LIMIT:
            return
        count = self._times[name] = self._times.get(name, 0) + 1
        if str(count).strip("0") != "1":
            return
        _logger.warning(
            "task %s has blocked the event loop of its worker for %.1f s%s, in which no other task there went on. "
            "Let it await what it waits for, compute in asyncio.to_thread(), or make it a plain function with "
            '@task(run_in="thread")',
            name,
            blocked_ms / 1_000,
            "" if count == 1 else f", and for the {count}th time",
            extra={"task_name": name},
        )
