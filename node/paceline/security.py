"""Who may speak: the CURVE key pairs (RFC 26) of nodes and of clients, and the role that each of them has.

The nodes of a cluster share one pair: they serve with it, and show it to each other. Each client has a pair of its own,
and knows the public key of the nodes. The cluster file of the nodes is the one authority (``cluster_file.py``): it has
the nodes' pair and the public key of each client, with its role. What a role may say is written over each message
(``paceline_protocol/messages/``).

The nodes' pair is replaced in three steps, each of which is copied to all machines before the next: the coming pair is
made known, then used, then the old one is dropped. A node of a step understands the steps before and after it:

==============  =========================  ==========================  ===================================
step            serves with, and shows     takes as a node's           tries as a server's, in this order
==============  =========================  ==========================  ===================================
(before)        old                        old                         old
made known      old                        old, new                    old, new
used            new                        old, new                    new, old
(after)         new                        new                         new
==============  =========================  ==========================  ===================================

Without a cluster file there are no keys: connections are plain, and show the token of the user (``local_token.py``).

zmq is imported where it is needed and not at the top: the command line reads this module before it knows whether it
will open a socket at all.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

KEY_CHARS = 40
"""A key is 32 bytes, written in Z85 (RFC 32)."""

_Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """A key pair in Z85. The secret is left out of the repr, so that no log line or traceback shows it."""

    public: str
    secret: str = field(repr=False)

    def problem(self) -> str | None:
        """What is wrong with the pair, in words for a person; None if it can be used."""
        for name, key in (("public", self.public), ("secret", self.secret)):
            if not _Z85_KEY.fullmatch(key):
                return f"the {name} key must be {KEY_CHARS} characters of Z85"
        import zmq

        try:
            derived = zmq.curve_public(self.secret.encode())
        except (ValueError, zmq.ZMQError):
            return "the secret key is not a key"  # well-formed characters that stand for more than 32 bytes
        if derived.decode() != self.public:
            return "the public key does not belong to the secret key"
        return None


def is_public_key(text: str) -> bool:
    """Whether this can be a public key: any 32 bytes can, in Z85."""
    if not _Z85_KEY.fullmatch(text):
        return False
    from zmq.utils import z85

    try:
        return len(z85.decode(text.encode())) == KEY_CHARS * 4 // 5
    except (ValueError, struct.error):
        return False  # well-formed characters that stand for more than 32 bytes


class KeyRole(StrEnum):
    """What the holder of a key is to the cluster."""

    NODE = "node"  # may say everything: what nodes say, and as a client what changes the cluster
    CLIENT = "client"  # submits, cancels, asks
    OBSERVER = "observer"  # asks
    NOBODY = "nobody"  # nothing; a key that was revoked while its connection stood


ISSUED_ROLES: Final = (KeyRole.CLIENT, KeyRole.OBSERVER)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that `paceline key` has issued, as the nodes know it."""

    name: str
    role: KeyRole
    public: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a connection may say, and of whom the log speaks when it says more."""

    role: KeyRole
    who: str


ANYBODY: Final = Standing(KeyRole.NODE, "anybody")
"""Without keys everybody who is let in is the user of the node, or its cluster is open (--insecure)."""


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys that a node goes by. ``others``: public keys that are nodes', too, while the pair is replaced."""

    own: CurveKeys
    others: tuple[str, ...] = ()
    issued: tuple[IssuedKey, ...] = ()

    @property
    def servers(self) -> tuple[str, ...]:
        """The keys that a node may serve with, the likeliest first."""
        return (self.own.public, *self.others)

    def standings(self) -> dict[str, Standing]:
        """By public key."""
        found = {key: Standing(KeyRole.NODE, "a node") for key in self.servers}
        return found | {key.public: Standing(key.role, f"the {key.role.value} {key.name!r}") for key in self.issued}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody shows where it connects, and what it expects there.

    With ``own``: that pair, to a server that has one of the keys ``servers``. Without: a plain connection, with the
    user's ``token`` to what listens on this machine alone.
    """

    own: CurveKeys | None = None
    servers: tuple[str, ...] = ()
    token: bytes = field(default=b"", repr=False)


def generate_keys() -> CurveKeys:
    """A new random pair, from libsodium's generator."""
    import zmq

    public, secret = zmq.curve_keypair()
    return CurveKeys(public.decode(), secret.decode())
