"""Why this user may not use a path: whose it is. For the message of an error, which says what to do about it.

Most often somebody has run a command as root once, and its files are in the way ever since.
"""

from __future__ import annotations

import errno
import os
import pwd
import shlex
from pathlib import Path
from typing import Final

ROOT: Final = 0


def is_denied(path: Path, error: OSError) -> bool:
    """Whether an error is about who asks: the path is another user's, or its mode forbids it to its owner."""
    if error.errno not in (errno.EACCES, errno.EPERM):
        return False
    return owner_of(path) != os.geteuid() or (error.errno == errno.EACCES and os.geteuid() != ROOT)


def whose(path: Path) -> str:
    """Who owns a path, and who asks; of a path that can't be looked at, the nearest one above it that can be. A part of
    a sentence."""
    found, owner = _nearest(path)
    user = os.geteuid()
    if owner == user:
        return f"{found} is yours, and its mode forbids it: `chmod u+rwX {shlex.quote(str(found))}`"
    return f"{found} belongs to {name_of(owner)}, and this is run by {name_of(user)}"


def owner_of(path: Path) -> int:
    """The user who owns it, or the nearest one above it that can be looked at."""
    return _nearest(path)[1]


def to_own(path: Path) -> str:
    """The command that gives a directory, with all in it, to whoever asks, or makes it for them."""
    command = "chown -R" if _nearest(path)[0] == path else "install -d -m 700 -o"
    return f"`sudo {command} {name_of(os.geteuid())} {shlex.quote(str(path))}`"


def name_of(user: int) -> str:
    """The name of a user, or the number of one that has none, as in a container."""
    try:
        return pwd.getpwuid(user).pw_name
    except (KeyError, OverflowError):
        return str(user)


def _nearest(path: Path) -> tuple[Path, int]:
    for each in (path, *path.absolute().parents):
        try:
            return each, each.stat().st_uid
        except OSError:
            continue
    return Path("/"), 0
