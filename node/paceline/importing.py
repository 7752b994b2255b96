"""Whether this process is a worker that imports its modules of tasks, and what must not be used meanwhile.

A script may hold tasks and use them, too. Its workers import it, and what it does outside of functions runs then in
each of them. If that starts a cluster, whose workers import the script again, there is no end to it; and a client that
waits there for a task waits for workers that are not ready before it returns. So both are refused, in words that
multiprocessing has made known. What a task does later is its own business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from paceline.errors import UsedWhileImporting

_OURS = os.path.dirname(__file__) + os.sep

_modules: list[str] = []  # that this worker imports now: one, or none


@contextmanager
def importing(module: str) -> Iterator[None]:
    """In the block, a worker imports this module of tasks."""
    _modules.append(module)
    try:
        yield
    finally:
        _modules.pop()


def refuse_while_importing(what: str) -> None:
    """Raises UsedWhileImporting if a worker imports a module of tasks just now, in whichever thread."""
    if _modules:
        raise UsedWhileImporting(what, _modules[-1], _caller())


def _caller() -> str:
    """The line of the user's that is to blame: the innermost that is not of this package."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return "a thread" if frame is None else f"line {frame.f_lineno} of {frame.f_code.co_filename}"
