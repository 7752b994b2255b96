"""The two pipes between a node and the program that started it: one for announcements, one that shows whether the
parent lives.

Announcements are JSON lines: where the node listens, that it is ready (the running node writes both), or the error that
ended it, which this module writes. Nothing is written to the other pipe; its end of file says that the parent is gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading

from paceline.errors import ConfigError

STOP_DEADLINE_S = 10.0


def check_descriptor(option: str, fd: int, mode: int) -> None:
    """Raises ConfigError unless ``fd`` is open for ``mode``, which is O_RDONLY or O_WRONLY."""
    try:
        usable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE in (mode, os.O_RDWR)
    except (OSError, OverflowError, ValueError):  # closed, or no number of a descriptor
        usable = False
    if not usable:
        use = "reading" if mode == os.O_RDONLY else "writing"
        raise ConfigError(
            f"{option} {fd} is not a descriptor that is open for {use}; the program that starts the node has to pass "
            f"on that end of a pipe, as subprocess does with pass_fds=({fd},). By hand, leave the option out"
        )


def announce_error(fd: int | None, message: str, exit_code: int) -> None:
    """Tell the parent why the node does not start."""
    if fd is None:
        return
    line = json.dumps({"error": message, "exit_code": exit_code}) + "\n"
    try:
        os.write(fd, line.encode())
    except OSError:
        return  # the parent is gone, or closed its end: nobody to tell


def stop_with_parent(fd: int) -> None:
    """Stop this process when the other end of ``fd`` is closed."""
    os.set_inheritable(fd, False)
    threading.Thread(target=_watch, args=(fd,), name="paceline-parent", daemon=True).start()


def _watch(fd: int) -> None:
    try:
        while os.read(fd, 64):
            pass
    except OSError:
        pass  # not a pipe that can be read: the same as a parent that is gone
    os.kill(os.getpid(), signal.SIGTERM)
    # SIGTERM has the node transfer the leadership and close its journal; that has an end.
    threading.Event().wait(STOP_DEADLINE_S)
    os._exit(1)
