"""What clients say of themselves, for ``status``: programs that serve others, as the RabbitMQ bridge does.

Each says it again with every question for the status, and is forgotten when it has been silent for REMEMBERED_S. It is
known at the node that was asked alone, which is the leader while there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

REMEMBERED_S: Final = 5.0
CLIENTS_LIMIT: Final = 256
PAIRS_LIMIT: Final = 16
CHARS_LIMIT: Final = 2_000
"""Of all names and values of one client together."""

About = tuple[tuple[str, str], ...]


class Clients:
    """By connection."""

    def __init__(self) -> None:
        self._told: dict[bytes, tuple[float, About]] = {}

    def told(self, key: bytes, about: About, now: float) -> None:
        """Too much, or of too many clients, is not remembered."""
        self._forget_silent(now)
        has_room = key in self._told or len(self._told) < CLIENTS_LIMIT
        if has_room and 0 < len(about) <= PAIRS_LIMIT and sum(map(len, _texts(about))) <= CHARS_LIMIT:
            self._told[key] = now, about

    def gone(self, key: bytes) -> None:
        self._told.pop(key, None)

    def rows(self, now: float) -> list[dict[str, str]]:
        """What each says, as it was said."""
        self._forget_silent(now)
        return sorted((dict(about) for _, about in self._told.values()), key=lambda row: sorted(row.items()))

    def _forget_silent(self, now: float) -> None:
        for key in [key for key, (at, _) in self._told.items() if now - at > REMEMBERED_S]:
            del self._told[key]


def _texts(about: About) -> Iterable[str]:
    return (text for pair in about for text in pair)
