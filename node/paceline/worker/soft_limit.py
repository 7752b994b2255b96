"""The soft time limit of a task: an exception that is raised in it once it has run for so long.

A thread waits for the moment and sends the main thread a signal, whose handler raises in whatever the task does by
then; a system call that waits is interrupted. It is not the alarm clock of the process, which belongs to the tasks
(``alarm.py``), and a signal of its own. Code that holds the interpreter's lock for long is struck behind that: against
such code there is the hard limit, which the node keeps.

Not among the compiled modules, where nothing looks for signals that have come: so what strikes in the last moment does
so here, within what catches all that a task raises.
"""

from __future__ import annotations

import signal
from _thread import allocate_lock, get_ident, start_new_thread  # the names of before a module has patched them
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final

from paceline.errors import SoftTimeLimitExceeded

SIGNAL: Final = signal.SIGRTMIN + 8 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""Real-time signals mean nothing of themselves."""
AGAIN_S: Final = 0.1


class SoftLimits:
    """Of one worker, which runs one task at a time, in its main thread, where this is made."""

    def __init__(self) -> None:
        self._number = 0  # of the task that runs under a limit, 0 for none
        self._last = 0
        self._over = 0  # of the task whose time was over last
        self._limit_s = 0.0
        self._has_handler = False
        self._thread = get_ident()

    def call(self, limit_s: float, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result of the function, or what it raises; SoftTimeLimitExceeded is raised in it after ``limit_s``."""
        if not self._has_handler:
            signal.signal(SIGNAL, self._strike)
            self._has_handler = True
        self._last += 1
        self._limit_s, self._number = limit_s, self._last
        is_running = allocate_lock()
        is_running.acquire()
        try:
            start_new_thread(self._watch, (is_running, self._last, limit_s))
            return function(*args, **kwargs)
        finally:
            self._number = 0
            is_running.release()

    def _watch(self, is_running: Any, number: int, limit_s: float) -> None:
        """Wait until the task has ended, or its time is over. A signal that comes just before the main thread begins to
        wait in a system call does not interrupt that: so another follows, until the exception is raised."""
        while not is_running.acquire(True, limit_s) and self._number == number:
            self._over = number
            signal.pthread_kill(self._thread, SIGNAL)
            limit_s = AGAIN_S

    def _strike(self, _signal: int, _frame: FrameType | None) -> None:
        if self._number and self._number == self._over:  # a task may have held it up for the next one
            self._number = 0
            raise SoftTimeLimitExceeded(self._limit_s)
