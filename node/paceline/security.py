"""The keys of a cluster: one CURVE key pair (RFC 26), held by every node and by every client that may talk to them.

Who holds the secret belongs to the cluster; nobody else gets a byte of it decoded. The pair is made once, travels
inside the cluster file (``config.py``), and is checked where connections come in (``runtime/transport/zap.py``).

zmq is imported where it is needed and not at the top: the command line reads this module before it knows whether it
will open a socket at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

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


def generate_keys() -> CurveKeys:
    """A new random pair, from libsodium's generator."""
    import zmq

    public, secret = zmq.curve_keypair()
    return CurveKeys(public.decode(), secret.decode())
