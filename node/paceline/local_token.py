"""The token of a user: how nodes that have no cluster file know who on their machine may speak.

Such a node listens on loopback, which every user of the machine can reach. So each connection to it shows what only
processes of the node's user can know: a random token, in a file that its owner alone can read. It is made by whoever
needs it first. It is shown once, as a connection is made (ZMTP PLAIN), and costs nothing afterwards.

Another user may listen where a node is expected, and be shown something by a client. So what is shown is made from the
token and the port, and is of no use at any other port.

Processes of one user that have another home directory, as in containers, have another token. They need a cluster file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from paceline.errors import ConfigError
from paceline.files import open_regular, write_new

TOKEN_BYTES: Final = 32
USER_NAME: Final = "paceline"
NO_PASSWORD: Final = "-"  # noqa: S105 - what is shown where there is none
"""PLAIN wants both; they say nothing."""

_OTHERWISE: Final = "; or give the nodes and their clients a cluster file (paceline init --nodes 1 > cluster.toml)"


class NoToken(ConfigError):
    """This user can't keep a token."""


def token_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the token of this user is. Raises NoToken for a user without a home directory."""
    state = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # as the specification of that variable has it
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise NoToken(f"this user has no home directory to keep a token in; set HOME{_OTHERWISE}")
        state = os.path.join(home, ".local", "state")
    return Path(state) / "paceline" / "token"


def read_token(path: Path | None = None) -> bytes:
    """The token of this user, made now if there is none yet. Raises ConfigError for one that others may know, and
    NoToken."""
    path = path or token_path()
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
            return _read(path)
    except OSError as error:
        raise NoToken(f"can't keep the token of this user in {path}: {error.strerror}{_OTHERWISE}") from error


def password(token: bytes, port: int) -> str:
    """What is shown at a port of this machine; without a token nothing that opens anything."""
    return hmac.new(token, b"paceline %d" % port, hashlib.sha256).hexdigest() if token else NO_PASSWORD


def _read(path: Path) -> bytes:
    with open_regular(path, os.O_NOFOLLOW) as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid():
            raise ConfigError(
                f"{path} belongs to another user (uid {found.st_uid}), who knows the token in it; remove it{_OTHERWISE}"
            )
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"{path} could be read by other users, who may know the token in it; remove it, so that the nodes and "
                f"clients of this user make another{_OTHERWISE}"
            )
        text = file.read(4 * TOKEN_BYTES)
    try:
        token = bytes.fromhex(text.decode())
    except ValueError:
        token = b""
    if len(token) != TOKEN_BYTES:
        raise ConfigError(f"{path} does not hold a token; remove it, and another is made{_OTHERWISE}")
    return token


def _make(path: Path) -> None:
    """Whoever is first makes it: a link does not replace what another process has put there meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        write_new(path, secrets.token_hex(TOKEN_BYTES))
    except FileExistsError:
        pass
