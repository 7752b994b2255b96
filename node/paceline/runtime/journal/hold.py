"""The hold of one process on a data directory: nobody else writes there, and it is still the one at its path.

The lock is on the directory itself, which can't be replaced without trace, as a file in it can. The file ``lock`` is
locked, too, for filesystems on which a directory can't be, and says whose the hold is.

A directory may be moved, deleted or replaced while its node runs, and another node may have begun at its path. Then the
node must not write there who it is, nor go on promising what it writes to files that are gone. So what is at the path
is compared with what is held, about once a second and before each write of the identity.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from paceline.errors import ConfigError, DataDirInUse, DataDirLost, JournalCorrupt
from paceline.runtime.journal.files import open_data_file
from paceline.runtime.limits import with_reserve

PID_BYTES = 20
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Hold:
    """Of this process, until :meth:`release`."""

    def __init__(self, directory: Path) -> None:
        """Raises DataDirInUse, ConfigError (something else is in the place of the lock), DataDirLost, OSError."""
        self._held: list[tuple[Path, int]] = []
        self._lock = -1
        try:
            _lock_directory(directory, self._open(directory))
            self._lock = _lock_file(directory)
            self.check()
        except BaseException:
            self.release()
            raise

    def add(self, directory: Path) -> None:
        """Hold a folder in the directory, too. Raises OSError."""
        self._open(directory)

    def check(self) -> None:
        """Raises DataDirLost if a directory is not at its path any more. What can't be told is no reason."""
        for path, descriptor in self._held:
            try:
                is_there = os.path.samestat(os.stat(path), os.fstat(descriptor))
            except OSError as error:
                if error.errno not in _GONE:
                    continue
                raise DataDirLost(str(path), "it is gone from its path", _place_of(descriptor)) from error
            if not is_there:
                raise DataDirLost(str(path), "another directory is in its place", _place_of(descriptor))

    def release(self) -> None:
        descriptors = [descriptor for _, descriptor in self._held] + [self._lock] * (self._lock >= 0)
        self._held, self._lock = [], -1
        for descriptor in descriptors:
            os.close(descriptor)

    def _open(self, directory: Path) -> int:
        descriptor = with_reserve(lambda: os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._held.append((directory, descriptor))
        return descriptor


def open_lock(directory: Path) -> int:
    """The file ``lock``, made if there is none. Raises OSError, and ConfigError if something else is in its place."""
    try:
        return open_data_file(directory / "lock", os.O_RDWR | os.O_CREAT)
    except JournalCorrupt as error:
        raise ConfigError(
            f"can't lock the data directory {directory}: {error.reason}, which nodes make themselves: "
            f"move {error.path} away"
        ) from None


def _lock_directory(directory: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataDirInUse(str(directory), _holder(directory)) from None
    except OSError:
        return  # as on NFS, which locks files that are open for writing alone


def _lock_file(directory: Path) -> int:
    """Lock the file that is at the path, and not one that was removed meanwhile."""
    while True:
        descriptor = open_lock(directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.path.samestat(os.stat(directory / "lock"), os.fstat(descriptor))
        except BlockingIOError:
            os.close(descriptor)
            raise DataDirInUse(str(directory), _holder(directory)) from None
        except FileNotFoundError:
            is_there = False
        except BaseException:
            os.close(descriptor)
            raise
        if is_there:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        os.close(descriptor)


def _holder(directory: Path) -> str:
    """The process that says that it has the lock; "" if that can't be told."""
    try:
        with open(open_data_file(directory / "lock", os.O_RDONLY), "rb") as file:
            return file.read(PID_BYTES).decode(errors="replace").strip()
    except (OSError, JournalCorrupt):
        return ""


def _place_of(descriptor: int) -> str:
    """Where a directory is that this process has open; "" if it was deleted, or that can't be told."""
    try:
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        return place if os.path.samestat(os.stat(place), os.fstat(descriptor)) else ""
    except OSError:
        return ""
