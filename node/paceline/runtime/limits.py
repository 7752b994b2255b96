"""What the system lets a node have: open files, threads, processes. A node that lacks them says so by name.

Files are looked at before the start, since nothing says it later: whoever connects to a node that can open no more is
just not heard. What the start of a thread or a process lacks, the system says in the moment.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable

from paceline.errors import ConfigError

FILES = 64
"""Of a node without workers: its sockets, journal, web process and discovery, and some thirty connections."""
FILES_FOR_EACH_WORKER = 3
_MORE_FILES = "let it open more: `ulimit -n {}`, or LimitNOFILE={} in the unit of a service"
_MORE_THREADS = "let it have more: `ulimit -u`, `ulimit -v`, TasksMax in the unit of a service, pids.max of a container"


def check_open_files(workers: int) -> None:
    """Have as many open files allowed as a node with these workers needs. Raises ConfigError if that is forbidden."""
    needed = FILES + FILES_FOR_EACH_WORKER * (workers + 1)  # with the spare
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"this node may open {hard} files, and needs {needed} with {workers} worker{'s' * (workers != 1)}; "
            f"{_MORE_FILES.format(needed, needed)}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def start_threads(start: Callable[[], None]) -> None:
    """Call what starts threads. Raises ConfigError if the system has no room for another."""
    try:
        start()
    except RuntimeError as error:
        raise ConfigError(f"{error}; {_MORE_THREADS}") from error


def process_refused(program: str, error: OSError) -> ConfigError:
    """What is raised if the system does not start a process of ours."""
    reason = os.strerror(error.errno or 0)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return ConfigError(f"can't start {program}: {reason}; {_MORE_FILES.format(2 * soft, 2 * soft)}")
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return ConfigError(f"can't start {program}: {reason}; {_MORE_THREADS}; or give it fewer --workers")
    return ConfigError(f"can't start {program}: {error}")
