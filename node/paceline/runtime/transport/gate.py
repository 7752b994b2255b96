"""Who may speak on which connection of a node.

Asked as a connection is made (``zap.py``): who shows a key of the cluster, or the token of this user. And as a message
comes: what the connection that brought it may say, before anything of the message is decoded.

libzmq says of each message whose connection brought it, which costs as much as receiving it. So that is asked anew
every CHECK_AGAIN_S for each connection, and remembered for its routing id meanwhile. A routing id that libzmq makes
(the first byte is 0) is not made twice, and nobody can know which there are (``zmq_sockets.py``). One that a peer chose
for itself could be another's a moment later: nothing of ours chooses one, and such a connection may say nothing.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import zmq
from zmq.utils import z85

from paceline.local_token import password
from paceline.security import ANYBODY, KeyRole, NodeKeys, Standing

CHECK_AGAIN_S: Final = 1.0
STANDINGS_MAX: Final = 65_536
"""Connections that are remembered, those that left among them, of which libzmq does not tell. Beyond it the one that
was silent for longest is forgotten, and asked about again if it speaks."""

SELF_NAMED: Final = Standing(KeyRole.NOBODY, "a connection that chose its own routing id")
_FORGOTTEN: Final = Standing(KeyRole.NOBODY, "the holder of a key that was revoked")
_GONE: Final = Standing(KeyRole.NOBODY, "a connection that is gone")
REVOKED_MAX: Final = 16_384
_LOCAL_USER: Final = "local"


class Gate:
    """``keys``: those of the cluster. Without: ``token`` of this user, or b"" if everybody is let in.

    ``fresh``: the connections that need not be asked about; None if none ever has to be. ``port``: where the node
    listens.
    """

    def __init__(self, keys: NodeKeys | None, token: bytes) -> None:
        self.port = 0
        self.fresh: set[bytes] | None = None
        self._token = token
        self._by_key: dict[str, Standing] = {}
        self._revoked: dict[str, Standing] = {}  # whose keys those were that count no more
        # By routing id: the public key that its connection showed. Who was silent for longest is first.
        self._user_of: OrderedDict[bytes, str] = OrderedDict()
        self._check_again_at = 0.0
        if keys is not None:
            self.fresh = set()
            self._by_key = keys.standings()

    # --- connections ---

    def user_of(self, mechanism: bytes, credentials: Sequence[bytes]) -> str:
        """Who shows this: a public key in Z85, or this user; "" for nobody who may come in."""
        if self.fresh is None:
            return _LOCAL_USER if mechanism == b"PLAIN" and self._is_token(credentials) else ""
        if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            return ""
        user: str = z85.encode(credentials[0]).decode()
        return user if user in self._by_key else ""

    def _is_token(self, credentials: Sequence[bytes]) -> bool:
        if not self._token:
            return True
        return len(credentials) == 2 and hmac.compare_digest(credentials[1], password(self._token, self.port).encode())

    # --- messages ---

    def wake(self, now: float) -> None:
        """Messages are about to be received."""
        if now >= self._check_again_at and self.fresh is not None:
            self._check_again_at = now + CHECK_AGAIN_S
            self.fresh.clear()

    def learn(self, sender: bytes, frame: zmq.Frame) -> None:
        """A message of a connection that is not fresh."""
        if self.fresh is None or sender[:1] != b"\0":
            return
        self._user_of[sender] = str(frame.get("User-Id"))
        self._user_of.move_to_end(sender)
        self.fresh.add(sender)
        if len(self._user_of) > STANDINGS_MAX:
            self.forget(next(iter(self._user_of)))

    def forget(self, sender: bytes) -> None:
        """A connection that is gone, or was silent for longest."""
        if self._user_of.pop(sender, None) is not None and self.fresh is not None:
            self.fresh.discard(sender)

    def standing(self, sender: bytes) -> Standing:
        """What the connection may say that brought the last message of this routing id."""
        if self.fresh is None:
            return ANYBODY
        user = self._user_of.get(sender)
        if user is None:
            return SELF_NAMED if sender[:1] != b"\0" else _GONE
        return self._by_key.get(user) or self._revoked.get(user, _FORGOTTEN)

    def change(self, keys: NodeKeys) -> list[bytes]:
        """From now on these keys count. Returns the connections that may say nothing any more."""
        before, self._by_key = self._by_key, keys.standings()
        if len(self._revoked) + len(before) > REVOKED_MAX:
            self._revoked.clear()
        for user in before.keys() - self._by_key.keys():
            self._revoked[user] = Standing(KeyRole.NOBODY, f"{before[user].who}, whose key was revoked,")
        return [sender for sender, user in self._user_of.items() if user not in self._by_key]
