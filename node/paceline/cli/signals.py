"""SIGTERM and SIGHUP end a command as Ctrl-C does: on its way out it stops what it started and removes what it wrote.

Python dies of them on the spot otherwise, and leaves child processes behind, and directories that hold keys. A node and
a bridge have their own way to stop, and put it in the place of this one once they run.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """Raised in the main thread, wherever it is. ``number`` is that of the signal."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__()


def unwind_on_signals() -> None:
    """From now on. What is ignored stays so, as SIGHUP under nohup."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _unwind)


def _unwind(number: int, _frame: FrameType | None) -> NoReturn:
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)  # a second one would cut short what the first began
    raise Ended(number)
