"""Pipes for child processes.

A *lifeline* is one to which nothing is written: who has its first end hears by its end that this process is gone,
whatever ended it. A child that is forked without an exec, as a pool of ``multiprocessing`` is, must not keep the second
end open, or nobody would hear of the end of a script whose pool lives on.
"""

from __future__ import annotations

import fcntl
import os

_FIRST_DESCRIPTOR = 3
_held: set[int] = set()  # the second ends of this process's lifelines


def pipe() -> tuple[int, int]:
    """``os.pipe()``, above the descriptors of stdin, stdout and stderr. A process that has closed these, as daemons do,
    would get them here, and a child's own would take their places."""
    read, write = os.pipe()
    return _above(read), _above(write)


def _above(descriptor: int) -> int:
    if descriptor >= _FIRST_DESCRIPTOR:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    finally:
        os.close(descriptor)


def lifeline() -> tuple[int, int]:
    """As :func:`pipe`; the second end is this process's own, to be closed by :func:`let_go`."""
    read, write = pipe()
    _held.add(write)
    return read, write


def let_go(end: int) -> None:
    """Close the second end of a lifeline. Does nothing in a forked child, which has none, nor a second time."""
    if end in _held:
        _held.remove(end)
        os.close(end)


def _after_fork() -> None:
    for end in _held:
        try:
            os.close(end)
        except OSError:
            pass  # whoever becomes a daemon closes all that there is, and then forks
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
