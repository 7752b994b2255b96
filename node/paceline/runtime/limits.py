"""What the system lets a node have: open files, threads, processes. A node that lacks them says so by name.

Files are looked at before the start, since nothing says it later: whoever connects to a node that can open no more is
just not heard. What the start of a thread or a process lacks, the system says in the moment.

Anybody who reaches the port may take a descriptor for each connection, without a key and for as long as the handshake
may take. So a node allows itself as many as it may, and not the last RESERVED_FILES of them: these are for its own
files and children (``with_reserve``), and libzmq, which knows nothing of them, gets none. The limit is the process's,
and so is what this module remembers of it. Children get the limit of before: code that calls ``select`` breaks at
descriptors above 1,023.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeVar

from paceline.descriptors import NO_MORE_FILES
from paceline.errors import ConfigError

T = TypeVar("T")

FILES = 90
"""Of a node without workers: its sockets, journal, web process and discovery, the reserve, and some ten connections,
of which those to voters and learners are double."""
FILES_FOR_EACH_WORKER = 3
RESERVED_FILES: Final = 16
"""The journal has up to three more open for a moment, the identity two, and the start of a child takes eight."""
WAITING_MAX: Final = 1024
"""Connections that wait to be taken: after a failover every client connects to the new leader at once."""
WAITING_MIN: Final = 8
CONNECTIONS_MAX: Final = 65_536
"""Files that a node allows itself, unless it was given more: with keys each connection takes some 20 KiB, and there are
as many as somebody makes."""
_MORE_FILES = "let it open more: `ulimit -n {}`, or LimitNOFILE={} in the unit of a service"
_MORE_THREADS = "let it have more: `ulimit -u`, `ulimit -v`, TasksMax in the unit of a service, pids.max of a container"


class _OpenFiles:
    """The limit of this process, once :func:`raise_open_files` has set it."""

    def __init__(self) -> None:
        self.before: int | None = None  # the soft limit that this process was started with
        self.reserve = 0
        self.waiting = WAITING_MAX
        self._using = 0  # calls that use the reserve now
        self._lent = 0  # files of the reserve
        self._lent_to_waiting = 0
        self._lock = threading.Lock()

    @contextmanager
    def reserved(self) -> Iterator[None]:
        with self._lock:
            if not self._using:
                self._lent = _change_soft(self.reserve)
            self._using += 1
        try:
            yield
        finally:
            with self._lock:
                self._using -= 1
                if not self._using:
                    _change_soft(-self._lent)

    def lend_to_waiting(self, files: int) -> None:
        """So many to connections that wait, all in all."""
        with self._lock:
            self._lent_to_waiting += _change_soft(files - self._lent_to_waiting)


_open_files = _OpenFiles()


def raise_open_files(workers: int) -> None:
    """Have as many open files allowed as may be, up to CONNECTIONS_MAX, but for the reserve. Raises ConfigError if a
    node with these workers needs more."""
    needed = FILES + FILES_FOR_EACH_WORKER * (workers + 1)  # with the spare
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"this node may open {hard} files, and needs {needed} with {workers} worker{'s' * (workers != 1)}; "
            f"{_MORE_FILES.format(needed, needed)}"
        )
    if _open_files.before is not None or soft == resource.RLIM_INFINITY:
        return  # a second node in this process; or one without limits
    wanted = max(soft, needed, CONNECTIONS_MAX)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    _open_files.waiting = min(WAITING_MAX, max(WAITING_MIN, wanted // 16))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted - RESERVED_FILES - files_of_waiting(), hard))
    _open_files.before, _open_files.reserve = soft, RESERVED_FILES


def files_of_children() -> int | None:
    """The soft limit that the children of this node are to have; None: their own."""
    return _open_files.before


def connections_waiting() -> int:
    """How many connections may wait to be taken: as many as there is room for when nothing else can be opened."""
    return _open_files.waiting


def files_of_waiting() -> int:
    """What these take. The kernel lets one more wait, and another may just be made."""
    return _open_files.waiting + 2


def take_those_that_wait(*, is_full: bool) -> None:
    """Allow as many files more, or no more than before."""
    if _open_files.reserve:
        _open_files.lend_to_waiting(files_of_waiting() if is_full else 0)


def with_reserve(opens: Callable[[], T]) -> T:
    """Call what opens files of the node itself: with those that are kept in reserve, if there are no others. What it
    had done before it failed must be undone. Raises OSError as the call does."""
    try:
        return opens()
    except OSError as error:
        if error.errno != errno.EMFILE or not _open_files.reserve:
            raise
    with _open_files.reserved():
        return opens()


def reserved() -> AbstractContextManager[None]:
    """What opens files meanwhile may use the reserve."""
    return _open_files.reserved()


def files_advice() -> str:
    """How to let a node open more files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MORE_FILES.format(2 * soft, 2 * soft)


def _change_soft(by: int) -> int:
    """Returns by how much it was changed: by less, if somebody has lowered the limits of this process meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(0, soft + by)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted - soft


def start_threads(start: Callable[[], None]) -> None:
    """Call what starts threads. Raises ConfigError if the system has no room for another."""
    try:
        start()
    except RuntimeError as error:
        raise ConfigError(f"{error}; {_MORE_THREADS}") from error


def process_refused(program: str, error: OSError) -> ConfigError:
    """What is raised if the system does not start a process of ours."""
    reason = os.strerror(error.errno or 0)
    if error.errno in NO_MORE_FILES:
        return ConfigError(f"can't start {program}: {reason}; {files_advice()}")
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return ConfigError(f"can't start {program}: {reason}; {_MORE_THREADS}; or give it fewer --workers")
    return ConfigError(f"can't start {program}: {error}")
