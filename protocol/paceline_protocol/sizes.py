"""How large values will be at least once they are packed, found out without packing them.

A value may be far larger packed than it is in memory: an array that was broadcast, a list that holds the same bytes a
thousand times. So it is counted before it is packed, and the counting ends as soon as it is over the limit. What counts
is the least that a value can take, so that nothing is refused that would fit.

Looking at each of a million items would cost more than to pack them. Of a long collection a few are looked at, and all
only if these are strings or bytes, or if so many like these could be too large. So what is large in few places of a
long collection may be refused only once it is packed. And what is in a value many times is counted once: a value of
forty lists, each of which holds the one before twice, would never end.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, Final

from paceline_protocol.forms import FORMS, fields_of

SCALARS: Final = frozenset((int, float, bool, type(None)))
"""Of a few bytes each, so that there is nothing to count: what many calls have alone."""
_SIZED: Final = frozenset((str, bytes, bytearray))
_SEQUENCES: Final = frozenset((list, tuple, set, frozenset))
_LOOKED_AT: Final = 64
_NEAR: Final = 4
"""What seems to take more than this part of the limit is looked at whole."""
_REMEMBERED_BYTES: Final = 1_024
"""A collection that takes less is counted again wherever it is."""
_DEPTH_LIMIT: Final = 500
"""About as deep as what can be packed. Of what is deeper the packer says so."""


def at_least(values: Collection[object], limit_bytes: int) -> int:
    """A number of bytes that these values have at least when they are packed. Counts no further than to the first
    past the limit."""
    try:
        return _count(values, 0, limit_bytes, 0, {})
    except (_TooDeep, RuntimeError):  # RuntimeError: another thread changes it
        return 0


class _TooDeep(Exception):
    pass


def _count(values: Collection[Any], size: int, limit_bytes: int, depth: int, known: dict[int, int]) -> int:
    """``size``, and what these values have at least. ``known``: what large collections in them have, by their id()."""
    if depth > _DEPTH_LIMIT:
        raise _TooDeep
    count = len(values)
    if count <= _LOOKED_AT:
        return _count_each(values, size, limit_bytes, depth, known)
    some = _some_of(values, count)
    kinds = frozenset(map(type, some))
    if kinds <= SCALARS:
        return size + count
    if kinds <= _SIZED:
        try:
            return size + count + sum(map(len, values))
        except TypeError:  # of others, which have no length
            pass
    looked_at = _count_each(some, 0, limit_bytes, depth, known)
    if looked_at * count // len(some) > limit_bytes // _NEAR:
        return _count_each(values, size, limit_bytes, depth, known)
    return size + looked_at + count - len(some)


def _some_of(values: Collection[Any], count: int) -> Sequence[Any]:
    """Of more than _LOOKED_AT values the first few, as they may come in groups, and some from everywhere."""
    if isinstance(values, list | tuple):
        half = _LOOKED_AT // 2
        return [*values[:half], *values[half :: count // half]]
    return tuple(islice(values, _LOOKED_AT))


def _count_each(values: Iterable[Any], size: int, limit_bytes: int, depth: int, known: dict[int, int]) -> int:
    for value in values:
        kind = type(value)
        if kind in SCALARS:
            size += 1
            continue
        if kind in _SIZED:
            size += 1 + len(value)
        elif kind in _SEQUENCES or kind is dict:
            has = known.get(id(value)) if known else None
            if has is None:
                has = _count(value, 1, limit_bytes - size, depth + 1, known)
                if kind is dict:
                    has = _count(value.values(), has, limit_bytes - size, depth + 1, known)
                if has >= _REMEMBERED_BYTES:
                    known[id(value)] = has
            size += has
        else:
            size += _size_of_other(value, limit_bytes - size, depth, known)
        if size > limit_bytes:
            break
    return size


def _size_of_other(value: Any, limit_bytes: int, depth: int, known: dict[int, int]) -> int:
    kind = type(value)
    if kind in FORMS:
        return 1
    if kind is memoryview:
        try:
            return int(value.nbytes)
        except ValueError:  # it was released, as the packer says
            return 1
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind is getattr(numpy, "ndarray", None):
        return int(value.nbytes)
    return _size_of_fields(value, limit_bytes, depth, known)


def _size_of_fields(value: Any, limit_bytes: int, depth: int, known: dict[int, int]) -> int:
    """Of a value of a class. What a user's own codec makes of one is counted once it is packed."""
    has = known.get(id(value))
    if has is None:
        fields = fields_of(value)
        if not fields:
            return 1
        has = _count(fields.values(), 1, limit_bytes, depth + 1, known)
        if has >= _REMEMBERED_BYTES:
            known[id(value)] = has
    return has
