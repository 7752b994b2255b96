"""How a cluster file changes: keys are issued and revoked, and the nodes' own pair is replaced.

The changes are pure: a ClusterFile in, another out. A file is replaced at once and under a lock, so that two commands
lose nothing of each other, and a node that reads it has the old one or the new one. Then it is copied to the machines,
in any order; ``security.py`` says why nobody is shut out meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from paceline import files
from paceline.cluster_file import ISSUED_MAX, ClientFile, ClusterFile
from paceline.errors import ConfigError
from paceline.files import expanded
from paceline.options import shown
from paceline.ownership import ROOT, name_of, owner_of, whose
from paceline.security import IssuedKey, KeyRole, generate_keys

LOCK_WAIT_S: Final = 5.0
LOCK_RETRY_S: Final = 0.05
NAMES_SHOWN: Final = 20


def issue(cluster: ClusterFile, client: str, role: KeyRole) -> tuple[ClusterFile, ClientFile]:
    """The cluster file with one more key, and the file of its holder. Raises ConfigError."""
    if any(key.name == client for key in cluster.issued):
        raise ConfigError(f"there is a key {shown(client)} already; choose another name, or revoke that one first")
    if len(cluster.issued) >= ISSUED_MAX:
        raise ConfigError(f"there are {ISSUED_MAX} keys, and no more are allowed; revoke those that nobody uses")
    keys = generate_keys()
    file = ClientFile(cluster.name, client, role, keys, cluster.node_keys.servers, cluster.addresses)
    file.validate()
    return replace(cluster, issued=(*cluster.issued, IssuedKey(client, role, keys.public))), file


def revoke(cluster: ClusterFile, client: str) -> ClusterFile:
    """Without that key. Raises ConfigError if there is none of this name."""
    left = tuple(key for key in cluster.issued if key.name != client)
    if len(left) == len(cluster.issued):
        names = ", ".join(key.name for key in cluster.issued[:NAMES_SHOWN]) or "none"
        others = ", ... (paceline key list)" if len(cluster.issued) > NAMES_SHOWN else ""
        raise ConfigError(f"there is no key {shown(client)}; there are: {names}{others}")
    return replace(cluster, issued=left)


def make_next_known(cluster: ClusterFile) -> ClusterFile:
    """The first step of a rotation. Raises ConfigError if one is under way."""
    if cluster.next_keys is not None:
        raise ConfigError(
            "the coming pair is in this file already; once all machines have it: paceline key rotate --use"
        )
    if cluster.previous_key:
        raise ConfigError(
            "the rotation before is not finished; once all machines have this file: paceline key rotate --finish"
        )
    return replace(cluster, next_keys=generate_keys())


def use_next(cluster: ClusterFile) -> ClusterFile:
    """The second step. Raises ConfigError if the first was not made."""
    if cluster.next_keys is None:
        raise ConfigError("no coming pair is known to the nodes; `paceline key rotate` makes one")
    return replace(cluster, keys=cluster.next_keys, next_keys=None, previous_key=cluster.keys.public)


def drop_previous(cluster: ClusterFile) -> ClusterFile:
    """The last step. Raises ConfigError if the second was not made."""
    if not cluster.previous_key:
        raise ConfigError("no previous pair is there to drop; `paceline key rotate` begins, `--use` is next, then this")
    return replace(cluster, previous_key="")


# --- files ------------------------------------------------------------------------------------------------------


def write_new(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Raises ConfigError if it is there already, or can't be written."""
    try:
        files.write_new(path, text)
    except OSError as error:
        raise ConfigError(f"can't write {path}: {_reason(path, error)}; give another place with --out") from error


def overwrite(path: Path, text: str) -> None:
    """Replace a file at once, so that whoever reads it meanwhile has the old one or the new one. It stays its owner's.
    Raises ConfigError; then it is as it was."""
    if os.geteuid() not in (ROOT, owner := owner_of(path)):
        raise ConfigError(
            f"can't change {path}: it would be its owner's no more. {whose(path)}; run this as {name_of(owner)}"
        )
    try:
        files.replace_file(path, text)
    except OSError as error:
        raise ConfigError(f"can't change {path}: {_reason(path, error)}; it is as it was") from error


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{error.strerror}. {whose(Path(os.path.realpath(path)).parent)}"
    return os.strerror(error.errno or 0)


@contextmanager
def locked(path: str | Path) -> Iterator[ClusterFile]:
    """The cluster file, which nobody else changes with this module meanwhile. Raises ConfigError."""
    path = expanded(path)
    deadline_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            file = files.open_regular(path)
        except OSError as error:
            ClusterFile.load(path)  # which says what is wrong
            raise ConfigError(f"can't read {path}: {error.strerror}; try again") from error
        with file:
            _lock(file, path, deadline_s)
            try:
                is_same = os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                is_same = False
            if is_same:
                yield ClusterFile.load(path)
                return


def _lock(file: BinaryIO, path: Path, deadline_s: float) -> None:
    """Raises ConfigError if another process has the lock until then. No call of the system waits for a lock with a
    deadline, so it is tried again and again."""
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise ConfigError(
                    f"another process has had {path} locked for {LOCK_WAIT_S:.0f} s, as `paceline key` does while it "
                    f"changes it; `fuser -v {shlex.quote(str(path))}` says which. Nothing was changed; try again"
                ) from None
        except OSError as error:
            raise ConfigError(f"can't lock {path}: {error.strerror}; move it to a disk of this machine") from error
        time.sleep(LOCK_RETRY_S)
