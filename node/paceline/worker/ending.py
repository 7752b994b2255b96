"""A worker that has to end does so in bounded time, whatever its modules and tasks have left.

Python waits at its exit for threads that are no daemons, and runs exit handlers and finalizers; any of them may wait
for ever. The node would wait as well: in the place of a worker it starts another once that has ended, and not before.
"""

from __future__ import annotations

import logging
import os
import signal
from _thread import start_new_thread  # the names of before a module has patched them
from time import sleep
from typing import Final

from paceline.line_writer import stderr_writer

EXIT_KEPT: Final = 7

EXIT_LIMIT_S: Final = 2.0
LAST_LIMIT_S: Final = 2 * EXIT_LIMIT_S
"""Then the kernel ends it. Once Python has begun to take itself apart, no thread of it runs any more."""

_logger = logging.getLogger("paceline.worker")


def end_in_time() -> None:
    """This process is about to exit, in the main thread, and has this long to do so."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LAST_LIMIT_S)
    try:
        start_new_thread(_end_late, ())
    except RuntimeError:
        pass  # the system has no room for it: the alarm is left


def _end_late() -> None:
    try:
        sleep(EXIT_LIMIT_S)
        _logger.error(
            "threads, exit handlers or finalizers that a module or a task has left keep this worker from ending; it "
            "is ended now. Threads that nobody joins should be daemons"
        )
        stderr_writer().flush()
    finally:
        os._exit(EXIT_KEPT)
