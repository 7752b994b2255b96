"""Whether this process may open more files: asked before what can't be undone halfway, or would abort the process.

libzmq aborts the process if there is no descriptor for the threads of a context, which it starts with the first
socket. So there is room, or nothing is begun. Another thread may take that room in between: what is said here is no
promise.
"""

from __future__ import annotations

import errno
import select
from typing import Final

from paceline.errors import OutOfResources

NO_MORE_FILES: Final = (errno.EMFILE, errno.ENFILE)
NO_ROOM: Final = (*NO_MORE_FILES, errno.ENOBUFS, errno.ENOMEM)
"""Of a socket: there may be no more files, or the system has no memory for it."""


def is_room_for(files: int) -> bool:
    """Whether so many more files can be opened."""
    opened: list[select.epoll] = []  # each is closed with its object, if a signal handler raises in between
    try:
        while len(opened) < files:
            opened.append(select.epoll())
    except OSError as error:
        if error.errno not in NO_MORE_FILES:
            raise
        return False
    finally:
        for each in opened:
            each.close()
    return True


def check_room_for(files: int, what: str) -> None:
    """Raises OutOfResources if ``what``, which opens so many files, can't."""
    if not is_room_for(files):
        raise OutOfResources(f"{what} needs {files} descriptors, and this process may not open so many more files")
