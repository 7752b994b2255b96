"""Changes bytes without knowing what they are: for where no coverage guides, and in the tests.

Blind, but for two things that formats have in common: lengths that stand before what they count, and parts that can be
exchanged between valid inputs.
"""

from __future__ import annotations

from random import Random
from typing import Final

CLAIMS: Final = (
    b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1 items
    b"\xdf\xff\xff\xff\xff",  # a map of as many
    b"\xc6\xff\xff\xff\xff",  # 4 GiB of bytes
    b"\xdb\xff\xff\xff\xff",  # of text
    b"\xc9\xff\xff\xff\xff\x01",  # of an extension
    b"\xdc\x40\x00",  # 16,384 items
    b"\xdc\xff\xff",
    b"\xde\xff\xff",
)
NESTED: Final = (b"\x91" * 300, b"\x81\xa1k" * 200, b"\xdd\xff\xff\xff\xff" * 100, b"\xdc\x40\x00" * 100)
BYTES: Final = (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xc1", b"\xc0", b"\x90", b"\x80", b"\n", b'"', b"{")


class ByteMutator:
    """Makes inputs of others."""

    def __init__(self, random: Random, seeds: list[bytes], longest_bytes: int) -> None:
        self._random = random
        self._seeds = seeds
        self._longest_bytes = longest_bytes

    def next(self) -> bytes:
        random = self._random
        data = random.choice(self._seeds)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            data = self.changed(data)
        return data[: self._longest_bytes]

    def changed(self, data: bytes) -> bytes:
        """With one change."""
        random = self._random
        at = random.randint(0, len(data))
        change = random.randrange(8)
        if change == 0:
            return data[:at]
        if change == 1:
            return data + random.choice(BYTES) * random.choice((1, 1, 7, 300))
        if change == 2:
            return data[:at] + random.choice(CLAIMS) + data[at:]
        if change == 3:
            return data[:at] + random.choice(CLAIMS + BYTES) + data[at + 1 :]
        if change == 4:
            return data[:at] + random.choice(NESTED) + data[at:]
        if change == 5:
            other = random.choice(self._seeds)
            return data[:at] + other[random.randint(0, len(other)) :]
        if change == 6:
            return data[:at] + data[at : at + random.randint(1, 40)] * 2 + data[at:]
        if not data:
            return random.choice(BYTES)
        flipped = bytearray(data)
        flipped[at % len(data)] ^= 1 << random.randrange(8)
        return bytes(flipped)
