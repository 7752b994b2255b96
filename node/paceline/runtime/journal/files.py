"""The few file operations that the journal needs, behind an interface: tests make each of them fail, or stop between
two."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from paceline.errors import JournalCorrupt
from paceline.files import kind_of_mode


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

    def truncate(self, descriptor: int, size: int) -> None: ...

    def close(self, descriptor: int) -> None: ...

    def rename(self, source: Path, destination: Path) -> None: ...

    def remove(self, path: Path) -> None: ...


class RealFiles:
    """The operations of the operating system."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def append(self, path: Path) -> int:
        return open_data_file(path, os.O_WRONLY | os.O_APPEND)

    def rewrite(self, path: Path) -> int:
        return open_data_file(path, os.O_WRONLY)

    def write(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def overwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        if os.pwrite(descriptor, data, offset) != len(data):
            raise OSError(errno.EIO, "a write within a file was cut short")

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, destination: Path) -> None:
        os.replace(source, destination)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


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
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
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
