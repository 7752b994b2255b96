"""The files that have a cluster's keys: that of its nodes, and those of its clients.

The cluster file is the authority. Every machine with a node has a copy, and the nodes read it again when it changes
(``runtime/key_watch.py``). The file of a client is made from it by `paceline key` (``key_changes.py``), and never has
the nodes' secret.

Both are TOML, and are checked whole before anything of them is used. A refusal is a ConfigError that names the file and
what is wrong, and never shows a secret.
"""

from __future__ import annotations

import logging
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from paceline.errors import ConfigError
from paceline.files import Stamp, expanded, stamp_of
from paceline.options import shown
from paceline.ownership import whose
from paceline.security import (
    ISSUED_ROLES,
    Credentials,
    CurveKeys,
    IssuedKey,
    KeyRole,
    NodeKeys,
    generate_keys,
    is_public_key,
)
from paceline.settings_file import read_settings

EXPECT_MAX = 1000
ISSUED_MAX = 4096
KEY_LIMIT_BYTES = 192
"""Of one in the file: 156 with the longest name, and a few for what a person writes beside it."""
FILE_LIMIT_BYTES = (ISSUED_MAX + 256) * KEY_LIMIT_BYTES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NAME_RULE: Final = "allowed are 1 to 63 letters, digits, dots, hyphens, underscores"
_MADE_BY = "`paceline init` writes a whole file"
_logger = logging.getLogger("paceline.config")


# --- the cluster file -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """What the machines of one cluster share. Whoever has the file may run nodes and do everything: it is a secret.

    ``keys``: the pair that nodes serve with and show. While it is replaced there is one other: ``next_keys``, which is
    known and not used yet, or ``previous_key``, the public key that was used before. ``addresses``: of nodes, for the
    files of clients.
    """

    name: str
    expect: int  # nodes that must be there before a cluster forms; more than half of the machines, so that it is unique
    keys: CurveKeys
    path: Path | None = field(default=None, compare=False)  # where it was read; None: it was made in this process
    next_keys: CurveKeys | None = None
    previous_key: str = ""
    issued: tuple[IssuedKey, ...] = ()
    addresses: tuple[str, ...] = ()
    stamp: Stamp | None = field(default=None, compare=False)  # of the file as it was read

    @classmethod
    def load(cls, path: str | Path) -> ClusterFile:
        """Read and check a file. Raises ConfigError; logs a warning when other users can read the keys."""
        found = load_cluster(path)
        if isinstance(found, ClientFile):
            raise ConfigError(
                f"{path} is the file of the {found.role.value} {found.client!r}, which can't do this; give the file of "
                "the nodes, that `paceline init` wrote"
            )
        return found

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> ClusterFile:
        """Raises ConfigError."""
        required = ("name", "expect", "public_key", "secret_key")
        optional = ("addresses", "issued_keys", "next_public_key", "next_secret_key", "previous_public_key", "key")
        _check_names(settings, required, optional)
        if not isinstance(settings["expect"], int):
            raise ConfigError(f"expect must be a whole number, not {shown(settings['expect'])}")
        issued = _issued_keys(settings.get("key", []))
        if settings.get("issued_keys", len(issued)) != len(issued):
            raise ConfigError(
                f"it is not whole: issued_keys is {shown(settings['issued_keys'])}, and there are {len(issued)}; copy "
                "it anew, or correct the number if you changed the keys by hand"
            )
        strings = [name for name in (*required, *optional) if name not in ("expect", "addresses", "issued_keys", "key")]
        text = {name: _string(settings, name) for name in strings}
        coming = CurveKeys(text["next_public_key"], text["next_secret_key"])
        cluster = cls(
            text["name"],
            settings["expect"],
            CurveKeys(text["public_key"], text["secret_key"]),
            next_keys=coming if coming.public or coming.secret else None,
            previous_key=text["previous_public_key"],
            issued=issued,
            addresses=_strings(settings, "addresses"),
        )
        cluster.validate()
        return cluster

    def validate(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"name is {shown(self.name)}; {_NAME_RULE}")
        if isinstance(self.expect, bool) or not 1 <= self.expect <= EXPECT_MAX:
            raise ConfigError(f"expect is {shown(self.expect)}; allowed is a number of nodes from 1 to {EXPECT_MAX}")
        if problem := self.keys.problem():
            raise ConfigError(f"public_key and secret_key: {problem}")
        if self.next_keys is not None and (problem := self.next_keys.problem()):
            raise ConfigError(f"next_public_key and next_secret_key: {problem}")
        if self.previous_key and not is_public_key(self.previous_key):
            raise ConfigError("previous_public_key is no key")
        if self.next_keys is not None and self.previous_key:
            raise ConfigError("next_public_key and previous_public_key can't both be there; finish one rotation first")
        names, keys = {key.name for key in self.issued}, {key.public for key in self.issued}
        if len(names) < len(self.issued) or len(keys) < len(self.issued) or keys & set(self.node_keys.servers):
            raise ConfigError("two keys have one name, or one public key; each has its own")

    @property
    def node_keys(self) -> NodeKeys:
        """What a node goes by."""
        others = (self.next_keys.public,) if self.next_keys else (self.previous_key,) if self.previous_key else ()
        return NodeKeys(self.keys, others, self.issued)

    @property
    def credentials(self) -> Credentials:
        """What an operator shows who has this file."""
        return Credentials(self.keys, self.node_keys.servers)

    def dumps(self) -> str:
        """The text of the file. Neither valid names nor Z85 contain what TOML would want escaped.

        In an order that makes each beginning of it a file that is refused: a node may read it while it is copied."""
        lines = [
            "# A paceline cluster. Whoever has this file may run nodes and do everything: keep it secret (chmod 600).",
            "# Put the same file on every machine and start `paceline node MODULE --cluster FILE` there. For programs",
            "# that only submit or look, `paceline key` makes files of their own, and changes this one.",
            f'name = "{self.name}"',
            "# Nodes that must be there before the cluster forms; more than half of the machines.",
            f"expect = {self.expect}",
        ]
        if self.addresses:
            lines.append(f"addresses = [{_quoted(self.addresses)}]")
        if self.issued:
            lines.append(f"issued_keys = {len(self.issued)}")
        if self.next_keys is not None:
            lines.append("# Known to all nodes, and not used yet: `paceline key rotate --use` is next.")
            lines.append(f'next_public_key = "{self.next_keys.public}"')
            lines.append(f'next_secret_key = "{self.next_keys.secret}"')
        if self.previous_key:
            lines.append("# Still taken as a node's: `paceline key rotate --finish` is next.")
            lines.append(f'previous_public_key = "{self.previous_key}"')
        lines += [f'public_key = "{self.keys.public}"', f'secret_key = "{self.keys.secret}"']
        for key in self.issued:
            lines += ["", "[[key]]", f'name = "{key.name}"', f'role = "{key.role.value}"']
            lines.append(f'public_key = "{key.public}"')
        return "\n".join(lines) + "\n"


def new_cluster(nodes: int, name: str | None = None) -> ClusterFile:
    """A cluster of its own: new keys, and a name that no other has unless one is given. Raises ConfigError."""
    cluster = ClusterFile(f"paceline-{secrets.token_hex(3)}" if name is None else name, nodes, generate_keys())
    cluster.validate()
    return cluster


# --- the file of a client ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientFile:
    """What a client or observer has: a pair of its own, and by which keys it knows the nodes."""

    name: str  # of the cluster
    client: str
    role: KeyRole
    keys: CurveKeys
    server_keys: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    path: Path | None = field(default=None, compare=False)
    stamp: Stamp | None = field(default=None, compare=False)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> ClientFile:
        """Raises ConfigError."""
        strings = ("name", "client", "role", "public_key", "secret_key")
        _check_names(settings, (*strings, "server_keys"), ("addresses",))
        name, client, role, public, secret = (_string(settings, each) for each in strings)
        found = cls(
            name,
            client,
            _role_of(role),
            CurveKeys(public, secret),
            _strings(settings, "server_keys"),
            _strings(settings, "addresses"),
        )
        found.validate()
        return found

    def validate(self) -> None:
        for what, name in (("name", self.name), ("client", self.client)):
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{what} is {shown(name)}; {_NAME_RULE}")
        if problem := self.keys.problem():
            raise ConfigError(f"public_key and secret_key: {problem}")
        if not self.server_keys or not all(map(is_public_key, self.server_keys)):
            raise ConfigError("server_keys must be the public keys of the nodes, one or two")

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.keys, self.server_keys)

    def updated(self, cluster: ClusterFile) -> ClientFile:
        """The same, as it would be issued now."""
        return replace(self, server_keys=cluster.node_keys.servers, addresses=cluster.addresses or self.addresses)

    def dumps(self) -> str:
        """The text of the file."""
        lines = [
            f"# The {self.role.value} {self.client} of a paceline cluster. It is a secret (chmod 600).",
            f"# To shut its holder out: `paceline key revoke {self.client}`, and copy that file to all machines.",
            f'name = "{self.name}"',
            f'client = "{self.client}"',
            f'role = "{self.role.value}"',
            f'public_key = "{self.keys.public}"',
            f'secret_key = "{self.keys.secret}"',
            "# By which the nodes are known; two while the nodes' own pair is replaced.",
            f"server_keys = [{_quoted(self.server_keys)}]",
        ]
        if self.addresses:
            lines.append(f"addresses = [{_quoted(self.addresses)}]")
        return "\n".join(lines) + "\n"


AnyFile: TypeAlias = ClusterFile | ClientFile


# --- reading ----------------------------------------------------------------------------------------


def load_cluster(path: str | Path) -> AnyFile:
    """Read and check the file of a cluster's nodes or of a client. Raises ConfigError; logs a warning when other users
    can read it."""
    where = str(path)
    path = expanded(path)
    try:
        settings, read = read_settings(path, FILE_LIMIT_BYTES)
    except PermissionError as error:
        raise ConfigError(
            f"can't read the cluster file {where}: {error.strerror}. {whose(path)}; run the command as that "
            "user, or give this one a copy of the file with mode 0600"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"can't read the cluster file {where or repr(where)}: {error.strerror}; give the file that the other "
            "machines of the cluster have, or make one with `paceline init --nodes N > cluster.toml`"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{where} is not a cluster file as `paceline init` writes it: {error}") from error
    kind = ClientFile if "server_keys" in settings else ClusterFile
    try:
        found: AnyFile = kind.from_settings(settings)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if read.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        _logger.warning("%s holds a secret key and other users can read it; run `chmod 600 %s`", where, where)
    return replace(found, path=path.absolute(), stamp=stamp_of(read))


# --- what the settings are made of ------------------------------------------------------------------------------


def _check_names(settings: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    allowed = (*required, *optional)
    if unknown := sorted(settings.keys() - set(allowed)):
        raise ConfigError(f"unknown key {shown(unknown[0])}; allowed are {', '.join(allowed)}")
    if missing := [key for key in required if key not in settings]:
        raise ConfigError(f"the key {missing[0]!r} is missing; {_MADE_BY}")


def _string(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name, "")
    if not isinstance(value, str):
        if name.endswith("_key"):  # it may be a secret
            raise ConfigError(f"{name} must be a string; public and secret keys must be strings")
        raise ConfigError(f"{name} must be a string, not {shown(value)}")
    return value


def _strings(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = settings.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name} must be a list of strings")
    if any('"' in value or "\\" in value or not value.isprintable() for value in values):
        raise ConfigError(f"{name} has characters that no address or key has")
    return tuple(values)


def _role_of(text: str) -> KeyRole:
    for role in ISSUED_ROLES:
        if text == role.value:
            return role
    raise ConfigError(f"role is {shown(text)}; allowed are {', '.join(role.value for role in ISSUED_ROLES)}")


def _issued_keys(rows: object) -> tuple[IssuedKey, ...]:
    if not isinstance(rows, list) or len(rows) > ISSUED_MAX or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"key must be a list of tables ([[key]]), at most {ISSUED_MAX}")
    keys = []
    for row in rows:
        _check_names(row, ("name", "role", "public_key"), ())
        key = IssuedKey(_string(row, "name"), _role_of(_string(row, "role")), _string(row, "public_key"))
        if not _NAME.fullmatch(key.name):
            raise ConfigError(f"the name of a key is {shown(key.name)}; {_NAME_RULE}")
        if not is_public_key(key.public):
            raise ConfigError(f"the public key of {shown(key.name)} is none")
        keys.append(key)
    return tuple(keys)


def _quoted(values: tuple[str, ...]) -> str:
    return ", ".join(f'"{value}"' for value in values)
