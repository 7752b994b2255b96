"""Pipes for child processes."""

from __future__ import annotations

import fcntl
import os

_FIRST_DESCRIPTOR = 3


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
