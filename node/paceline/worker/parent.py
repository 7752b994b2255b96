"""A child of a node, worker or web process, does not outlive it, however that ends.

Two ways, since each has a hole. The child holds one end of a socket pair whose other end only the node holds: when
that is closed, the node is gone. That works everywhere, but the thread that sees it needs the interpreter, and a task
may be in C code that does not give it up. On Linux the kernel is asked to kill the child as well. Neither reaches the
processes that a task started: with the node gone, those are on their own.
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import signal
import sys
import threading

EXIT_PARENT_GONE = 4

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_logger = logging.getLogger("paceline.worker")


def die_with_parent(fd: int) -> None:
    """From now on this process ends when the other end of ``fd`` is closed."""
    os.set_inheritable(fd, False)  # it was inherited to get here; the subprocesses of tasks have no use for it
    if sys.platform == "linux":
        _ask_kernel()
    # Started after that, so that a parent which died before the kernel was asked is noticed too: its end is closed.
    threading.Thread(target=_watch, args=(fd,), name="paceline-parent", daemon=True).start()


def _ask_kernel() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        # A sandbox may forbid it. The socket pair remains.
        _logger.warning("the kernel will not end this process with its node: %s", os.strerror(ctypes.get_errno()))


def _watch(fd: int) -> None:
    """Sleep until the other end hangs up. What arrives on the way is for the main thread, and is not looked at."""
    poller = select.poll()
    poller.register(fd, 0)  # a hang-up is reported whether it is asked for or not
    poller.poll()
    os._exit(EXIT_PARENT_GONE)
