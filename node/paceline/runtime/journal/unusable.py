"""Why a data directory, or a file in it, can't be used, as an error that says what to do about it."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

from paceline.descriptors import NO_MORE_FILES
from paceline.errors import ConfigError, JournalFailed
from paceline.ownership import is_denied, owner_of, to_own, whose
from paceline.runtime.journal.files import kind_of
from paceline.runtime.journal.hold import open_lock
from paceline.runtime.journal.recovery import needed_path, segment_number

_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENXIO, errno.ENOENT)


def make_directory(directory: Path) -> None:
    """Make a data directory, and the file that a node makes there first. Raises ConfigError for what can't be one,
    which is no failure of a disk."""
    try:
        if (owner := _journal_of(directory)) is not None:
            raise ConfigError(
                f"{directory} is where a node keeps its journal, and no data directory: a node there would begin with "
                f"nothing. Give --data-dir {shlex.quote(str(owner))} to go on with that node, or another directory"
            )
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(open_lock(directory))
    except OSError as error:
        path = Path(error.filename or directory)
        if is_denied(path, error) or error.errno == errno.EPERM:
            raise failure_of("keep data in", directory, error) from error
        raise ConfigError(
            f"can't keep data in {directory}: {_in_the_way(path) or os.strerror(error.errno or 0)}; "
            "give another --data-dir, which this user can write to"
        ) from error


def _journal_of(directory: Path) -> Path | None:
    """The data directory whose folder ``journal`` this is; None if it is none. Raises OSError."""
    if not directory.is_dir():
        return None
    has_journal = needed_path(directory).exists() or any(segment_number(path) for path in directory.iterdir())
    above = directory.resolve().parent
    if has_journal or (directory.resolve().name == "journal" and (above / "identity.json").exists()):
        return above
    return None


def failure_of(action: str, directory: Path, error: OSError) -> JournalFailed | ConfigError:
    """What is raised for a file of a data directory that can't be used. A disk has failed only if nothing else is the
    reason: not if the file is another user's, or no file."""
    path = Path(error.filename or directory)
    reason = os.strerror(error.errno or 0)
    if is_denied(path, error):
        is_mine = owner_of(path) == os.geteuid()
        advice = "" if is_mine else f"run the node as that user, or make all of it yours with {to_own(directory)}; "
        return ConfigError(
            f"can't {action} {path}: {reason}. {whose(path)}; {advice}another --data-dir begins without what is there"
        )
    if error.errno in _IN_THE_WAY and (kind := _in_the_way(path)):
        return ConfigError(f"can't {action} {path}: {kind}. Nodes make what is there themselves: move that away")
    return JournalFailed(action, str(path), reason, advice_for(error, path))


def advice_for(error: OSError, path: Path) -> str:
    """What to do about a disk that has refused."""
    if error.errno == errno.EPERM:
        quoted = shlex.quote(str(path))
        return f"look at its attributes, `lsattr -d {quoted} {shlex.quote(str(path.parent))}`: `chattr -i -a` ends that"
    if error.errno == errno.EROFS:
        return "mount it for writing, or look into `dmesg` why the system does not write to it any more"
    if error.errno in NO_MORE_FILES:
        return "let it open more files (`ulimit -n`)"
    return "make room or replace the disk"


def _in_the_way(path: Path) -> str:
    """What is at a path, or at the nearest one above it that is no directory, in place of what should be; "" if that
    is not the reason."""
    for each in (path, *path.absolute().parents):
        try:
            if each.is_dir():
                return "it is a directory" if each == path else ""
            kind = kind_of(each) or ("a file" if os.path.lexists(each) else "")
        except OSError:
            continue
        if kind:
            return f"{'it' if each == path else each} is {kind}" + (
                ", where no directory is" if kind.startswith("a link") else ""
            )
    return ""
