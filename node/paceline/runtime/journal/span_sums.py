"""The crc32 of any span of some bytes, each byte of which is summed once.

A crc32 is linear: that of a span follows from those of what comes before its start and before its end. So many spans
that overlap cost a few steps each, and not their lengths. (What zlib calls ``crc32_combine``.)
"""

from __future__ import annotations

from array import array
from zlib import crc32

STEP_BYTES = 8
_POLYNOMIAL = 0xEDB88320  # of crc32; the lowest power is the highest bit
_ONE = 0x80000000
_ZEROS = bytes(STEP_BYTES)
_SUM_OF_ZEROS = crc32(_ZEROS)


class SpanSums:
    """Of spans of ``data`` that start at a multiple of STEP_BYTES. It takes as many bytes as the data."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        before, power = 0, _ONE
        self._before = array("I", [before])  # the crc32 of what is before each step
        self._powers = array("I", [power])  # what a crc32 is multiplied with if so many steps of zeros follow
        for place in range(0, len(data) - STEP_BYTES + 1, STEP_BYTES):
            before = crc32(data[place : place + STEP_BYTES], before)
            power = crc32(_ZEROS, power) ^ _SUM_OF_ZEROS
            self._before.append(before)
            self._powers.append(power)

    def crc32(self, start: int, end: int, value: int) -> int:
        """As ``zlib.crc32(data[start:end], value)``."""
        first, steps = start // STEP_BYTES, (end - start) // STEP_BYTES
        whole = _product(value ^ self._before[first], self._powers[steps]) ^ self._before[first + steps]
        return crc32(self._data[start + steps * STEP_BYTES : end], whole)


def _product(left: int, right: int) -> int:
    """Of two polynomials over GF(2), modulo that of crc32."""
    product = 0
    while left:
        if left & _ONE:
            product ^= right
        left = left << 1 & 0xFFFFFFFF
        right = right >> 1 ^ (_POLYNOMIAL if right & 1 else 0)
    return product
