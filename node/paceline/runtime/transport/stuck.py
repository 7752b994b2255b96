"""Connections to peers that take nothing: when one is made anew, and which key the peer is expected to have then.

libzmq gives up a connection that was refused, and never learns that a peer has another key by now. So a connection that
has taken nothing for a while is closed, and the next send opens another. While the pair of the nodes is replaced that
comes soon, and expects the other key each time: a node that has gone a step further serves with it.
"""

from __future__ import annotations

from typing import Final

REOPEN_AFTER_S: Final = 5.0
REOPEN_WITH_OTHER_KEY_AFTER_S: Final = 0.5


class StuckPeers:
    """``since``: the addresses that take nothing now, and since when. ``servers``: the keys that nodes may have."""

    def __init__(self, servers: tuple[str, ...]) -> None:
        self.since: dict[str, float] = {}
        self.servers = servers
        self._expected: dict[str, str] = {}

    def expected(self, address: str) -> str:
        """The key that is expected there; "" for the first of ``servers``."""
        return self._expected.get(address, "")

    def is_over(self, address: str, now: float) -> bool:
        """The address took nothing. Whether its connection is to be made anew."""
        after_s = REOPEN_WITH_OTHER_KEY_AFTER_S if len(self.servers) > 1 else REOPEN_AFTER_S
        return now - self.since.setdefault(address, now) >= after_s

    def expect_another(self, address: str) -> None:
        """The connection is about to be made anew."""
        self.since.pop(address, None)
        servers = self.servers
        if len(servers) > 1:
            expected = self._expected.get(address, "")
            at = servers.index(expected) if expected in servers else 0
            self._expected[address] = servers[(at + 1) % len(servers)]

    def change(self, servers: tuple[str, ...], addresses: list[str]) -> None:
        """Nodes may have these keys from now on. At these addresses what was expected is so still, if it can be."""
        first = self.servers[0] if self.servers else ""
        expected = {address: self._expected.get(address, first) for address in addresses}
        self._expected = {address: key for address, key in expected.items() if key in servers}
        self.servers = servers
        self.since.clear()

    def forget(self, address: str) -> None:
        self.since.pop(address, None)
        self._expected.pop(address, None)
