"""A disk that fails when it is told to, and two ways to crash: a process that ends leaves what it wrote in the cache of
the machine, synced or not; a power cut takes what was not synced."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

from paceline.runtime.journal.files import RealFiles

_MEMORY = "/dev/shm"


def memory() -> str | None:
    """Where to make directories of disks that are simulated: their speed, and what they lose with the power, is no real
    disk's, which would only be waited for: whenever a file takes the place of another. None: where others are."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None


class Crash(Exception):
    """The process has ended, and perhaps the machine. Whatever is asked of the disk from now on raises this again."""


class Disk(RealFiles):
    """Real files in a directory of the test. ``crash_at``: the operation before which the process ends; ``fails``:
    the errors of operations by number."""

    def __init__(self, crash_at: int | None = None, fails: dict[int, int] | None = None) -> None:
        super().__init__()
        self.operations = 0
        self.syncs = 0
        self.written_bytes = 0
        self.short_writes = False
        self._crash_at = crash_at
        self._fails = fails or {}
        self._open: dict[int, Path] = {}
        self._synced_size: dict[Path, int] = {}
        self._overwritten: dict[Path, list[bytes]] = {}  # since they were synced: what they held after each write
        self._removed: dict[Path, bytes] = {}  # since its directory was synced: what was there
        self._unlisted: dict[Path, bytes | None] = {}  # made or replaced since its directory was synced: what was there

    def crash_after(self, operations: int) -> None:
        """The process ends after so many more."""
        self._crash_at = self.operations + operations

    def start_again(self) -> None:
        """Another process uses the disk."""
        self._crash_at = None
        self._fails = {}

    def fail_at(self, operations: int, error: int) -> None:
        """The operation after so many more is refused with this errno."""
        self._fails[self.operations + operations] = error

    def fail_no_more(self) -> None:
        """What was to be refused is done."""
        self._fails = {}

    def _step(self, path: Path) -> None:
        if self._crash_at is not None and self.operations >= self._crash_at:
            raise Crash
        number = self.operations
        self.operations += 1
        if number in self._fails:
            raise OSError(self._fails[number], os.strerror(self._fails[number]), str(path))

    def create(self, path: Path) -> int:
        self._step(path)
        descriptor = super().create(path)
        self._open[descriptor] = path
        self._synced_size[path] = 0
        self._unlisted.setdefault(path, self._removed.pop(path, None))
        return descriptor

    def append(self, path: Path) -> int:
        self._step(path)
        descriptor = super().append(path)
        self._open[descriptor] = path
        self._synced_size.setdefault(path, path.stat().st_size)
        return descriptor

    def rewrite(self, path: Path) -> int:
        self._step(path)
        descriptor = super().rewrite(path)
        self._open[descriptor] = path
        return descriptor

    def overwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        path = self._open[descriptor]
        self._step(path)
        versions = self._overwritten.setdefault(path, [path.read_bytes()])
        super().overwrite(descriptor, data, offset)
        versions.append(path.read_bytes())

    def write(self, descriptor: int, data: bytes) -> int:
        path = self._open[descriptor]
        try:
            self._step(path)
        except Crash:
            super().write(descriptor, data)  # some of it may arrive all the same
            raise
        written = super().write(descriptor, data[: max(1, len(data) // 3)] if self.short_writes else data)
        self.written_bytes += written
        return written

    def sync(self, descriptor: int) -> None:
        path = self._open[descriptor]
        self._step(path)
        self.syncs += 1
        self._synced_size[path] = os.fstat(descriptor).st_size
        self._overwritten.pop(path, None)

    def sync_directory(self, path: Path) -> None:
        self._step(path)
        for each in [each for each in self._unlisted if each.parent == path]:
            del self._unlisted[each]
        for each in [each for each in self._removed if each.parent == path]:
            del self._removed[each]

    def truncate(self, descriptor: int, size: int) -> None:
        self._step(self._open[descriptor])
        super().truncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        super().close(descriptor)

    def rename(self, source: Path, destination: Path) -> None:
        self._step(source)
        before = destination.read_bytes() if destination.is_file() else self._removed.pop(destination, None)
        super().rename(source, destination)
        self._unlisted.pop(source, None)
        self._unlisted.setdefault(destination, before)
        self._synced_size[destination] = self._synced_size.pop(source, 0)
        self._overwritten.pop(destination, None)

    def remove(self, path: Path) -> None:
        self._step(path)
        before = self._unlisted.pop(path) if path in self._unlisted else path.read_bytes() if path.exists() else None
        super().remove(path)
        if before is not None:
            self._removed[path] = before

    def lose_unsynced(self, random: Random) -> None:
        """What a power cut leaves: of each file what was synced and perhaps some of the rest, the names that were
        synced and perhaps others, and perhaps files that were removed."""
        for path, versions in self._overwritten.items():
            if path.exists():
                path.write_bytes(random.choice(versions))
        for path, before in self._removed.items():
            if random.random() < 0.5 and not path.exists():
                path.write_bytes(before)
                self._synced_size[path] = len(before)
        for path, before in self._unlisted.items():
            if random.random() < 0.5 and path.exists():
                if before is None:
                    path.unlink()
                else:
                    path.write_bytes(before)
                    self._synced_size[path] = len(before)
        for path, size in self._synced_size.items():
            if path.exists() and path.stat().st_size > size:
                with path.open("r+b") as file:
                    file.truncate(random.randint(size, path.stat().st_size))
        self._overwritten.clear()
        self._unlisted.clear()
        self._removed.clear()
        self._synced_size = {path: path.stat().st_size for path in self._synced_size if path.exists()}


def no_space(operation: int) -> dict[int, int]:
    return {operation: errno.ENOSPC}
