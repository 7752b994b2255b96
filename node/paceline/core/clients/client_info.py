"""How clients describe themselves, for ``status``. Programs that serve others do so, as the RabbitMQ bridge does.

A client repeats its description with each StatusRequest, and is forgotten when it has been silent for REMEMBERED_S.
Only the node that receives the request knows the description; that is the leader while there is one.

Anybody who may ask may describe himself. So a description is cut, and what can't be printed in it is escaped; and of
more than CLIENTS_LIMIT, the holder of a key that has most of them loses the one that was heard longest ago. Whoever has
few is never pushed out by one who has many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from paceline_protocol.payload import trim
from paceline_protocol.texts import one_line

REMEMBERED_S: Final = 5.0
CLIENTS_LIMIT: Final = 64
PAIRS_LIMIT: Final = 16
NAME_BYTES: Final = 40
VALUE_BYTES: Final = 200
BYTES_LIMIT: Final = 1_000
"""For all names and values of one client together. All of them are in each status, which somebody may not read."""

About = tuple[tuple[str, str], ...]


class Clients:
    """The descriptions of the clients of one node, by connection."""

    def __init__(self) -> None:
        self._told: dict[bytes, tuple[float, str, About]] = {}  # when, by whom; the one heard longest ago first

    def told(self, key: bytes, holder: str, about: About, now: float) -> None:
        """A client describes itself. ``holder``: whose key its connection showed."""
        self._forget_silent(now)
        if not about:
            return
        if self._told.pop(key, None) is None and len(self._told) >= CLIENTS_LIMIT:
            self._make_room()
        self._told[key] = now, holder, tuple(_described(about))

    def gone(self, key: bytes) -> None:
        self._told.pop(key, None)

    def rows(self, now: float) -> list[dict[str, str]]:
        """The descriptions, in a fixed order."""
        self._forget_silent(now)
        return sorted((dict(about) for _, _, about in self._told.values()), key=lambda row: sorted(row.items()))

    def _make_room(self) -> None:
        ((most, _),) = Counter(holder for _, holder, _ in self._told.values()).most_common(1)
        del self._told[next(key for key, (_, holder, _) in self._told.items() if holder == most)]

    def _forget_silent(self, now: float) -> None:
        for key in [key for key, (at, _, _) in self._told.items() if now - at > REMEMBERED_S]:
            del self._told[key]


def _described(about: About) -> Iterator[tuple[str, str]]:
    """A description that can be shown: whoever reads it did not choose what is in it."""
    left = BYTES_LIMIT
    for name, value in about[:PAIRS_LIMIT]:
        if not left:
            return
        shown = trim(one_line(name), min(NAME_BYTES, left))
        left -= len(shown.encode())
        said = trim(one_line(value), min(VALUE_BYTES, left))
        left -= len(said.encode())
        yield shown, said
