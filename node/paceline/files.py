"""How files of keys and settings are read and written: a name may stand for anything, and a disk may be full.

Nothing here waits for another process: what is no file is refused, where opening a named pipe would wait for whoever
writes to it. A file is there whole or not at all: it is written under another name, synced, and then given its own.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from paceline.errors import ConfigError
from paceline.hosts import short

_KINDS: Final = {
    stat.S_IFREG: "",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
Stamp: TypeAlias = tuple[int, int, int, int]
_LINKS_ARE_UNKNOWN: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What filesystems say that have no hard links."""


def expanded(path: str | Path) -> Path:
    """With the home directory in place of ``~``, which no shell has expanded in a variable or a file of settings, nor
    behind a ``=``. Raises ConfigError if nobody knows whose home is meant."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # of a user that is not there, or in a container without HOME and an entry for this user
        raise ConfigError(
            f"{short(str(path))}: the home directory that {short(Path(path).parts[0])} stands for is not known here; "
            "write the whole path, or set HOME"
        ) from None


def kind_of_mode(mode: int) -> str:
    """What it is that has this mode, as a part of a sentence; "" for a file."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def stamp_of(found: os.stat_result) -> Stamp:
    """What is another once a file has changed or another has taken its place, though its times were set back."""
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """A file, to be read. Raises OSError, also for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if kind := kind_of_mode(mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, f"it is {kind} and no file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def write_new(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Raises FileExistsError if something is there already, or another
    OSError; then nothing of it is left."""
    with _written_beside(path, text, 0o600, None) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _LINKS_ARE_UNKNOWN:
                raise
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            temporary.replace(path)
    _sync_directory(path.parent)


def replace_file(path: Path, text: str) -> None:
    """Replace a file at once, with the same owner and mode: whoever reads it meanwhile has the old one or the new one.
    Raises OSError; then it is as it was."""
    target = Path(os.path.realpath(path))
    before = target.stat()
    with _written_beside(target, text, stat.S_IMODE(before.st_mode), (before.st_uid, before.st_gid)) as temporary:
        temporary.replace(target)
    _sync_directory(target.parent)


@contextmanager
def _written_beside(path: Path, text: str, mode: int, owner: tuple[int, int] | None) -> Iterator[Path]:
    """A file in the same directory, on disk, that is gone afterwards unless it was renamed."""
    temporary = path.parent / f".{secrets.token_hex(8)}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if owner is not None and owner != (os.fstat(descriptor).st_uid, os.fstat(descriptor).st_gid):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a filesystem that does not sync directories
            raise
    finally:
        os.close(descriptor)
