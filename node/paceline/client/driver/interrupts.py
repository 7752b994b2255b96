"""What a signal handler, a finalizer or another thread may do to a client in the midst of a change.

Python runs signal handlers in the main thread, between any two of its steps, and finalizers in any thread. A handler
that raises leaves what was under way halfway, and the exception is the program's: it goes to the caller that was
interrupted, and to nobody else.

This module stays interpreted: only interpreted code looks for signals.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from types import CodeType, TracebackType
from typing import Final

import zmq

_STANDARD_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep
_INSTALLED: Final = ("site-packages", "dist-packages")
_OURS: Final = (
    os.path.dirname(sys.modules["paceline"].__file__ or "") + os.sep,
    os.path.dirname(sys.modules["paceline_protocol"].__file__ or "") + os.sep,
    os.path.dirname(zmq.__file__) + os.sep,
    "paceline/",  # of the compiled modules
    "paceline_protocol/",
    "<frozen ",
)


def is_main_thread() -> bool:
    """Whether this thread is the one that runs signal handlers."""
    return threading.get_ident() == threading.main_thread().ident


def let_handlers_run() -> None:
    """Run the handlers of signals that have come, in the main thread. A wait that is compiled would never do so if the
    signal came between two sleeps: a call of an interpreted function is all that it takes."""


def is_from_outside(error: BaseException) -> bool:
    """Whether an exception came into our code from outside, as that of a signal handler does, so that it says nothing
    of the session: it left a change halfway. All other exceptions are our own, raised where we raise them."""
    if not isinstance(error, Exception) or isinstance(error, MemoryError | RecursionError):
        return True
    if not is_main_thread():
        return False
    entry: TracebackType | None = error.__traceback__
    while entry is not None:
        if not _is_ours(entry.tb_frame.f_code.co_filename):
            return True
        entry = entry.tb_next
    return False


def is_of_handler(error: BaseException) -> bool:
    """Whether a signal handler raised this, as far as its frames tell, where code of the program's runs that may raise
    anything by itself."""
    if not is_main_thread():
        return False
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    entry: TracebackType | None = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code in handlers:
            return True
        entry = entry.tb_next
    return False


def _code_of(handler: object) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler):
        return None
    code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _is_ours(file: str) -> bool:
    if file.startswith(_OURS):
        return True
    return file.startswith(_STANDARD_LIBRARY) and not any(part in file for part in _INSTALLED)


class Wake:
    """An event that one thread waits for, and that the wait clears. Unlike ``threading.Event`` it can be set from
    anywhere: by a signal handler or a finalizer, also one that interrupts the same thread in this very method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is set

    def wait(self, timeout_s: float) -> None:
        self._lock.acquire(timeout=timeout_s)
