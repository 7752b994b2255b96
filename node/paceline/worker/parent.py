"""A child of a node, worker or web process, ends when the node ends, whatever ends the node.

Two mechanisms, since each has a gap. The child has one end of a socket pair whose other end only the node has: when
that end is closed, the node is gone. This works everywhere, but the thread that sees it needs the interpreter's lock,
which a task in C code may not release. On Linux the kernel kills the child as well. Neither ends the processes that a
task started: they outlive the node.
"""

from __future__ import annotations

import _thread
import ctypes
import logging
import os
import resource
import select
import signal
import sys

EXIT_PARENT_GONE = 4

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_logger = logging.getLogger("paceline.worker")


def die_with_parent(fd: int) -> None:
    """From now on this process ends when the other end of ``fd`` is closed."""
    os.set_inheritable(fd, False)  # this process inherited it; the subprocesses of tasks must not
    if sys.platform == "linux":
        _ask_kernel()
    # Started after _ask_kernel, so that the end of a node that died before that is noticed, too: its end is closed.
    # Not a threading.Thread: modules of tasks that patch the standard library, as gevent's patch_all() does, find one
    # among the running threads, and fail at it. Nobody joins this one, and it runs no Python while it waits.
    _thread.start_new_thread(_watch, (fd, select.poll()))


def allow_open_files(files: int | None) -> None:
    """Have as many open files allowed as the node was started with, which has raised its own limit since. Code that
    calls select() breaks at descriptors above 1,023."""
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _ask_kernel() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        # A sandbox may forbid it. The socket pair remains.
        _logger.warning("the kernel will not end this process with its node: %s", os.strerror(ctypes.get_errno()))


def _watch(fd: int, poller: select.poll) -> None:
    """Sleep until the other end is closed. Bytes that arrive are left to the main thread."""
    poller.register(fd, 0)  # a hang-up is reported whether it is asked for or not
    poller.poll()
    os._exit(EXIT_PARENT_GONE)
