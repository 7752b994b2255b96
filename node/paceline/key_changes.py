"""How a cluster file changes: keys are issued and revoked, and the nodes' own pair is replaced.

The changes are pure: a ClusterFile in, another out. A file is replaced at once and under a lock, so that two commands
lose nothing of each other, and a node that reads it has the old one or the new one. Then it is copied to the machines,
in any order; ``security.py`` says why nobody is shut out meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from paceline.cluster_file import ISSUED_MAX, ClientFile, ClusterFile
from paceline.errors import ConfigError
from paceline.security import IssuedKey, KeyRole, generate_keys


def issue(cluster: ClusterFile, client: str, role: KeyRole) -> tuple[ClusterFile, ClientFile]:
    """The cluster file with one more key, and the file of its holder. Raises ConfigError."""
    if any(key.name == client for key in cluster.issued):
        raise ConfigError(f"there is a key {client!r} already; choose another name, or revoke that one first")
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
        names = ", ".join(key.name for key in cluster.issued) or "none"
        raise ConfigError(f"there is no key {client!r}; there are: {names}")
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
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"can't write {path}: {error.strerror}; give another place with --out") from error
    with open(descriptor, "w") as file:
        file.write(text)


def overwrite(path: Path, text: str) -> None:
    """Replace a file at once, so that whoever reads it meanwhile has the old one or the new one. Raises ConfigError."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        before = target.stat()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            if os.geteuid() == 0:
                os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"can't write {path}: {error.strerror}; run this as its owner") from error


@contextmanager
def locked(path: str | Path) -> Iterator[ClusterFile]:
    """The cluster file, which nobody else changes with this module meanwhile. Raises ConfigError."""
    while True:
        ClusterFile.load(path)  # which says what is wrong
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                is_same = os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                is_same = False
            if is_same:
                yield ClusterFile.load(path)
                return
