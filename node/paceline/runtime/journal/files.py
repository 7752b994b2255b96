"""The few file operations that the journal needs, behind an interface: tests make each of them fail, or stop between
two."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Each raises OSError as the system call of its name does."""

    def create(self, path: Path) -> int:
        """A new file, open for writing. It must not exist."""

    def append(self, path: Path) -> int:
        """An existing file, open for writing at its end."""

    def write(self, descriptor: int, data: bytes) -> int: ...

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
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

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
