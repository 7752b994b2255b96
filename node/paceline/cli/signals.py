"""SIGTERM and SIGHUP end a command as Ctrl-C does: on its way out it stops what it started and removes what it wrote.

Otherwise they would end Python at once, which leaves child processes behind, and directories that hold keys. A node and
a bridge stop in their own way, and replace these handlers once they run.
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
    """Install the handlers. A signal that is ignored stays ignored, as SIGHUP under nohup."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _unwind)


def _unwind(number: int, _frame: FrameType | None) -> NoReturn:
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)  # a second one would cut short what the first began
    raise Ended(number)
