"""A long byte string in pieces. A snapshot is made, sent and read piece by piece, and is never joined into one string.

A snapshot's stream is a sequence of pages, each behind its length (four bytes, big-endian). The node that makes a
snapshot has one piece for each page, the node that receives it one piece for each chunk; :func:`page_at` reads pages
from either.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

PAGE_HEAD_BYTES = 4


class Pieces:
    """Pieces, none of them empty, that have the length and the slices of one byte string."""

    __slots__ = ("_pieces", "_starts", "size")

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self._pieces: list[bytes] = []
        self._starts: list[int] = []
        self.size = 0
        for piece in pieces:
            self.append(piece)

    def append(self, piece: bytes) -> None:
        """Add a piece at the end."""
        if piece:
            self._pieces.append(piece)
            self._starts.append(self.size)
            self.size += len(piece)

    def pieces(self) -> list[bytes]:
        """The pieces themselves, in order."""
        return list(self._pieces)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of a slice, which has no step."""
        start, stop, _ = part.indices(self.size)
        found: list[bytes] = []
        number = bisect_right(self._starts, start) - 1
        while start < stop:
            at = self._starts[number]
            piece = self._pieces[number][start - at : stop - at]
            found.append(piece)
            start += len(piece)
            number += 1
        return found[0] if len(found) == 1 else b"".join(found)


Stream = bytes | Pieces


def framed(page: bytes) -> bytes:
    """A page behind its length, as it is in the stream."""
    return len(page).to_bytes(PAGE_HEAD_BYTES, "big") + page


def page_at(data: Stream, offset: int) -> tuple[bytes, int]:
    """The page that begins at an offset, and the offset of the next. Raises ValueError if the stream is damaged."""
    start = offset + PAGE_HEAD_BYTES
    end = start + int.from_bytes(data[offset:start], "big")
    if start > len(data) or end > len(data):
        raise ValueError(f"a snapshot ends within the page at byte {offset}")
    return data[start:end], end
