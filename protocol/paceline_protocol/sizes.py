"""How large values will be at least once they are packed, found out without packing them.

A value may be far larger packed than it is in memory: an array that was broadcast, a list that holds the same bytes a
thousand times. So it is counted before it is packed, and the counting ends as soon as it is over the limit. What counts
is the least that a value can take, so that nothing is refused that would fit.

Looking at each of a million items would cost more than to pack them. Of a long collection the first few are looked at,
and all only if these are strings or bytes. What is large in another way is refused once it is packed.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any, Final

SCALARS: Final = frozenset((int, float, bool, type(None)))
"""Of a few bytes each, so that there is nothing to count: what many calls have alone."""
_SIZED: Final = frozenset((str, bytes, bytearray))
_SEQUENCES: Final = frozenset((list, tuple, set, frozenset))
_LOOKED_AT: Final = 64
_DEPTH_LIMIT: Final = 500
"""About as deep as what can be packed. Of what is deeper the packer says so."""


def at_least(values: Collection[object], limit_bytes: int) -> int:
    """A number of bytes that these values have at least when they are packed. Counts no further than to the first
    past the limit."""
    try:
        return _count(values, 0, limit_bytes, 0)
    except (_TooDeep, RuntimeError):  # RuntimeError: another thread changes it
        return 0


class _TooDeep(Exception):
    pass


def _count(values: Collection[Any], size: int, limit_bytes: int, depth: int) -> int:
    """``size``, and what these values have at least."""
    if depth > _DEPTH_LIMIT:
        raise _TooDeep
    some: Iterable[Any] = values
    if len(values) > _LOOKED_AT:
        some = tuple(islice(values, _LOOKED_AT))
        if _SIZED.issuperset(map(type, some)):
            try:
                return size + sum(map(len, values))
            except TypeError:  # of others, which have no length
                pass
        size += len(values) - _LOOKED_AT
    for value in some:
        kind = type(value)
        if kind in SCALARS:
            size += 1
            continue
        if kind in _SIZED:
            size += len(value)
        elif kind is dict:
            size = _count(value, size, limit_bytes, depth + 1)
            size = _count(value.values(), size, limit_bytes, depth + 1)
        elif kind in _SEQUENCES:
            size = _count(value, size, limit_bytes, depth + 1)
        else:
            size += _size_of_other(value)
        if size > limit_bytes:
            break
    return size


def _size_of_other(value: Any) -> int:
    kind = type(value)
    if kind is memoryview:
        return int(value.nbytes)
    numpy = sys.modules.get("numpy")
    return int(value.nbytes) if numpy is not None and kind is getattr(numpy, "ndarray", None) else 1
