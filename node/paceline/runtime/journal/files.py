"""The few file operations that the journal needs, behind an interface: tests make each of them fail, or stop between
two.

That no more files can be opened is no failure of a disk, and changes nothing on it: it is tried again. The node keeps
some in reserve for that (``limits.py``), so that others who have all the rest stop nothing here.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from paceline.descriptors import NO_MORE_FILES
from paceline.errors import JournalCorrupt
from paceline.files import kind_of_mode
from paceline.runtime.limits import files_advice, with_reserve

T = TypeVar("T")

TRY_AGAIN_S: Final = 0.05
SAY_EVERY_S: Final = 60.0

_logger = logging.getLogger("paceline.journal")


class Files(Protocol):
    """Each raises OSError as the system call of its name does."""

    def create(self, path: Path) -> int:
        """A new file, open for writing. It must not exist."""

    def append(self, path: Path) -> int:
        """An existing file, open for writing at its end."""

    def rewrite(self, path: Path) -> int:
        """An existing file, open for :meth:`overwrite`."""

    def write(self, descriptor: int, data: bytes) -> int: ...

    def overwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        """New content at a place within a file."""

    def sync(self, descriptor: int) -> None:
        """Make the data and the size of a file durable."""

    def sync_directory(self, path: Path) -> None:
        """Make the names of the files in a directory durable."""

    def paths_in(self, directory: Path) -> list[Path]:
        """What is in a directory, sorted."""

    def truncate(self, descriptor: int, size: int) -> None: ...

    def close(self, descriptor: int) -> None: ...

    def rename(self, source: Path, destination: Path) -> None: ...

    def remove(self, path: Path) -> None: ...


class RealFiles:
    """The operations of the operating system."""

    def __init__(self, patience_s: float = math.inf) -> None:
        """``patience_s``: how long it waits until a file can be opened, if there are too many open ones."""
        self._patience_s = patience_s
        self._said_at = -math.inf

    def create(self, path: Path) -> int:
        return self._patiently(lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def append(self, path: Path) -> int:
        return self._patiently(lambda: open_data_file(path, os.O_WRONLY | os.O_APPEND))

    def rewrite(self, path: Path) -> int:
        return self._patiently(lambda: open_data_file(path, os.O_WRONLY))

    def write(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def overwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        if os.pwrite(descriptor, data, offset) != len(data):
            raise OSError(errno.EIO, "a write within a file was cut short")

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync_directory(self, path: Path) -> None:
        descriptor = self._patiently(lambda: os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def paths_in(self, directory: Path) -> list[Path]:
        return self._patiently(lambda: sorted(directory.iterdir()))

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, destination: Path) -> None:
        os.replace(source, destination)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _patiently(self, opens: Callable[[], T]) -> T:
        """Call what opens a file, and again while no more can be opened."""
        until = time.monotonic() + self._patience_s
        while True:
            try:
                return with_reserve(opens)
            except OSError as error:
                now = time.monotonic()
                if error.errno not in NO_MORE_FILES or now >= until:
                    raise
                if now >= self._said_at + SAY_EVERY_S:
                    self._said_at = now
                    _logger.error(
                        "can't open %s: %s; it is tried again. %s", error.filename, error.strerror, files_advice()
                    )
            time.sleep(TRY_AGAIN_S)


def kind_of(path: Path) -> str:
    """What is at a path, as a part of a sentence, if it is no regular file; "" if it is one, or if nothing is there.
    Raises OSError."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(mode):
        return f"a link to {os.readlink(path)}"
    return kind_of_mode(mode)


def open_data_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a file of a data directory. Each of them is a regular file, and none a link: whatever else is in its place
    is neither waited for nor followed. Raises OSError, and JournalCorrupt for what is no regular file."""
    flags |= os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = with_reserve(lambda: os.open(path, flags, mode))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV) and (kind := kind_of(path)):
            raise _no_file(path, kind) from None
        raise
    if kind := kind_of_mode(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path, kind)
    return descriptor


def read_data_file(path: Path) -> bytes:
    """All of a file of a data directory. Raises as :func:`open_data_file` does."""
    with open(open_data_file(path, os.O_RDONLY), "rb") as file:
        try:
            return file.read()
        except OSError as error:
            error.filename = str(path)  # which a read does not know
            raise


def _no_file(path: Path, kind: str) -> JournalCorrupt:
    return JournalCorrupt(str(path), 0, f"it is {kind}, and should be a regular file")


def write_all(files: Files, descriptor: int, data: bytes) -> None:
    """Write all of ``data``, in as many system calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[files.write(descriptor, bytes(view[: 1 << 20]) if len(view) > 1 << 20 else bytes(view)) :]


def replace_file(files: Files, path: Path, pieces: Iterable[bytes] | Callable[[int], Iterable[bytes]]) -> None:
    """Put new content in place of a file, whole or not at all, and durable when this returns. A function is given the
    descriptor of the file that it makes the content of."""
    aside = path.with_name(path.name + ".tmp")
    files.remove(aside)
    descriptor = files.create(aside)
    try:
        for piece in pieces(descriptor) if callable(pieces) else pieces:
            write_all(files, descriptor, piece)
        files.sync(descriptor)
    finally:
        files.close(descriptor)
    files.rename(aside, path)
    files.sync_directory(path.parent)
