"""Packed values back to Python values, in bounded time and memory whatever the bytes are.

Whoever may submit a task chooses the bytes that a worker unpacks, and a few of them can ask for a lot. What may cost
more than in proportion to their number is looked at before it is built:

* **Announced lengths.** msgpack sets an array aside when it reads its length. So a payload is skimmed first, which
  builds nothing and finds that the items are missing.
* **Collections.** An empty list is one byte here and 64 in memory. In a payload that could take too much, what each
  collection takes is counted when it is complete, and with the one past the limit all are dropped.
* **Keys whose hashes are equal** make a dict or a set compare each with all. With what msgpack itself has as keys that
  can't be arranged: Python's hashes of str and bytes are secret, and of numbers of 64 bits few are equal. With the
  extensions it can. So they are counted, and once there are more than a few, keys are looked at before they are put
  into a dict or a set.

A short payload is unpacked without any of that: it can't cost more than a long and honest one does.

A value of a class is built of its state when that is complete, by whoever unpacks it (:data:`Build`), in the same pass
and within the same bounds; without anybody to build it, it is a CodedValue.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from struct import error as struct_error
from typing import Any, Final, TypeAlias

from msgpack import Unpacker, UnpackException, unpackb  # type: ignore[import-untyped]

from paceline_protocol.coded import MOST_CLASS_CHARS, MOST_NAME_CHARS, CodedValue
from paceline_protocol.errors import MalformedPayload, PayloadError, UnpackedTooLarge
from paceline_protocol.forms import FORMS, MARK_HEAD, MARKS, Ext, Unserializable, coded_form, read_ext
from paceline_protocol.limits import PAYLOAD_LIMIT_BYTES, UNPACKED_PER_BYTE

_PLAIN_BYTES: Final = 4096
"""Up to this size a payload is unpacked without a look before: nested headers make msgpack visit 1,024 slots a byte,
and keys with equal hashes cost milliseconds."""

_MOST_PER_BYTE: Final = 110
"""More than a byte can come to in memory; the most is a set of short ints that has just grown."""

# What CPython sets aside for an empty one, and for each item or key in it.
_LIST_BYTES: Final = 56
_DICT_BYTES: Final = 232
_SET_BYTES: Final = 216
_EXT_BYTES: Final = 104  # a Decimal
_KEY_BYTES: Final = 64
_ITEM_BYTES: Final = 8
_VALUE_BYTES: Final = 512  # a value of a class, beside its state: a model of pydantic

_FEW_WEAK: Final = 2000
"""So many extensions and tuples, weighted by size, make no dict slow, even if all of them are keys with one hash."""
_COMPARISONS: Final = 1 << 26
"""Of keys with equal hashes in one payload, weighted by size: half a second. Python has such keys of its own, as
tuples of -1 and -2 are, and those of an honest set of a million vectors take less than this."""


Build: TypeAlias = Callable[[str, str, Any], Any]
"""Makes a value of (codec, class, state). Raises PayloadError."""
Put: TypeAlias = Callable[[bytes], Any]
"""Makes what stands in place of the result of a task, of the content of that extension. Raises PayloadError."""


def unpack(data: bytes, build: Build | None = None, put: Put | None = None) -> Any:
    """Raises MalformedPayload or UnpackedTooLarge, whatever the bytes are, and what ``build`` raises. ``put``: makes
    what stands in place of references."""
    try:
        if put is not None:
            return _unpack_checked(data, True, UNPACKED_PER_BYTE * max(len(data), PAYLOAD_LIMIT_BYTES), build, put)
        has_marks = data.find(MARK_HEAD) >= 0  # `in` first takes its left side for a number, and makes an exception
        if len(data) > _PLAIN_BYTES:
            return _unpack_long(data, has_marks, build)
        if has_marks:
            builder = _Builder(0, 0, _NO_LIMIT, build)
            return builder.checked(
                unpackb(
                    data,
                    ext_hook=builder.ext,
                    list_hook=builder.array,
                    strict_map_key=False,
                    unicode_errors="surrogatepass",
                    timestamp=1,
                )
            )
        # timestamp=1: a timestamp of msgpack's, which packing never makes, is a float. Its own class is slow, and its
        # hashes can be chosen.
        return unpackb(data, ext_hook=read_ext, strict_map_key=False, unicode_errors="surrogatepass", timestamp=1)
    except (ValueError, TypeError, ArithmeticError, RecursionError, struct_error, UnpackException) as error:
        # ArithmeticError: decimals and dates out of range. RecursionError: equal keys nested too deep to be compared.
        raise MalformedPayload(f"not a packed value: {error or type(error).__name__}") from error
    except (PayloadError, MemoryError):
        raise
    except Exception as error:
        if build is None:
            raise
        # A value of a class is a key, and whatever its own __hash__ or __eq__ raises comes here.
        raise MalformedPayload(f"a key of a class can't be used: {type(error).__name__}: {error}") from error


def _unpack_long(data: bytes, has_marks: bool, build: Build | None) -> Any:
    skimmer = Unpacker(max_buffer_size=len(data))
    skimmer.feed(data)
    skimmer.skip()
    limit_bytes = UNPACKED_PER_BYTE * max(len(data), PAYLOAD_LIMIT_BYTES)
    if len(data) * _MOST_PER_BYTE <= limit_bytes:
        return _unpack_checked(data, has_marks, 0, build)
    # The collector would look at everything again and again, and find nothing.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _unpack_checked(data, has_marks, limit_bytes, build)
    finally:
        if collects:
            gc.enable()


def _unpack_checked(data: bytes, has_marks: bool, limit_bytes: int, build: Build | None, put: Put | None = None) -> Any:
    """``limit_bytes``: for the collections; 0: they can't be too much."""
    builder = _Builder(len(data), limit_bytes, _FEW_WEAK, build, put)
    try:
        value = unpackb(
            data,
            ext_hook=builder.weighed_ext if limit_bytes else builder.ext,
            list_hook=builder.weighed_array if limit_bytes else builder.array if has_marks else None,
            object_hook=builder.weighed_map if limit_bytes else None,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            timestamp=1,
        )
    except _ManyWeak:
        builder = _CarefulBuilder(len(data), limit_bytes, build, put)
        value = unpackb(
            data,
            ext_hook=builder.weighed_ext if limit_bytes else builder.ext if has_marks else read_ext,
            list_hook=builder.weighed_array if limit_bytes else builder.array if has_marks else None,
            object_pairs_hook=builder.pairs,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            timestamp=1,
        )
    return builder.checked(value)


class _ManyWeak(Exception):
    """There are more than a few values whose hashes can be chosen."""


_NO_LIMIT: Final = 1 << 62


class _Mark:
    """What a collection's mark is between the hooks below."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


_TUPLE: Final = int(Ext.TUPLE)
_VALUE: Final = int(Ext.VALUE)
_RESULT: Final = int(Ext.RESULT)
"""Looked at for each mark: a member of an enum is compared more slowly."""
_MARKS: Final = {code: _Mark(code) for code in (*MARKS, _VALUE)}


class _Builder:
    """The hooks for one payload. They count the marks, so that one in any other place is found; what the collections
    take; and what is weak, a value whose hash the sender can choose."""

    def __init__(
        self,
        size: int,
        limit_bytes: int,
        few_weak: int,
        build: Build | None,
        put: Put | None = None,
    ) -> None:
        """``limit_bytes``: for the collections; 0: none. ``few_weak``: past so many, _ManyWeak is raised. ``put``: see
        unpack()."""
        self._put = put
        self._size = size
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes or _NO_LIMIT
        self._weak_left = few_weak
        self._build = build
        self._marks = 0

    def checked(self, value: Any) -> Any:
        if self._marks:
            raise ValueError("the mark of a collection is not at the start of an array")
        return value

    def ext(self, code: int, data: bytes) -> object:
        size = len(data)
        if not size:
            mark = _MARKS.get(code)
            if mark is not None:
                self._marks += 1
                return mark
        if code != Ext.ARRAY:  # which is no key
            self._weak_left -= 1 + size * size // 156 if code == Ext.INT else 1 + size // 16  # as _weight()
            if self._weak_left < 0:
                raise _ManyWeak
        if code == _RESULT and self._put is not None:
            return self._put(data)
        return read_ext(code, data)

    def array(self, items: list[Any]) -> object:
        if not items or type(items[0]) is not _Mark:
            return items
        mark: _Mark = items[0]
        self._marks -= 1
        if mark.code != _TUPLE:
            return self.a_set(mark.code, items[1:]) if mark.code != _VALUE else self.a_value(items)
        self._weak_left -= len(items)
        if self._weak_left < 0:
            raise _ManyWeak
        return tuple(items[1:])

    def a_set(self, code: int, items: list[Any]) -> object:
        self.take(_SET_BYTES + _KEY_BYTES * len(items))
        if code == Ext.FROZENSET:
            self._weak_left -= 1 + len(items)
            if self._weak_left < 0:
                raise _ManyWeak
        return MARKS[code](items)

    def a_value(self, items: list[Any]) -> object:
        """Of a class: its mark, its codec, its class and its state."""
        if len(items) != 4:
            raise ValueError("a value of a class is its codec, its class and its state")
        _, codec, class_name, state = items
        if type(codec) is not str or type(class_name) is not str:
            raise ValueError("the names of a codec and of a class are strings")
        if len(codec) > MOST_NAME_CHARS or len(class_name) > MOST_CLASS_CHARS:
            raise ValueError("the name of a codec or of a class is too long")
        self.take(_VALUE_BYTES)
        self._weak_left -= 2 if type(state) is not dict and type(state) is not list else 2 + len(state)
        if self._weak_left < 0:
            raise _ManyWeak
        return CodedValue(codec, class_name, state) if self._build is None else self._build(codec, class_name, state)

    def take(self, size: int) -> None:
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise UnpackedTooLarge(self._size, self._limit_bytes)

    def weighed_ext(self, code: int, data: bytes) -> object:
        self.take(_EXT_BYTES + len(data))
        return self.ext(code, data)

    def weighed_array(self, items: list[Any]) -> object:
        self.take(_LIST_BYTES + _ITEM_BYTES * len(items))
        return self.array(items)

    def weighed_map(self, value: dict[Any, Any]) -> dict[Any, Any]:
        self.take(_DICT_BYTES + _KEY_BYTES * len(value))
        return value


class _CarefulBuilder(_Builder):
    """Looks at keys before they are put into a dict or a set."""

    def __init__(self, size: int, limit_bytes: int, build: Build | None, put: Put | None = None) -> None:
        super().__init__(size, limit_bytes, _NO_LIMIT, build, put)
        self._comparisons_left = _COMPARISONS

    def a_set(self, code: int, items: list[Any]) -> object:
        self._look_at(items)
        return super().a_set(code, items)

    def pairs(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        if len(pairs) > 1:
            self._look_at([key for key, _ in pairs])
        return self.weighed_map(dict(pairs))

    def _look_at(self, keys: list[Any]) -> None:
        """Raise ValueError if too many comparisons would be needed to tell these keys apart."""
        if _SECRET_HASHES.issuperset(map(type, keys)) or len(set(map(hash, keys))) == len(keys):
            return
        hashes = Counter(map(hash, keys))
        for key in keys:
            equal = hashes[hash(key)]
            if equal > 1:
                self._comparisons_left -= equal * _weight(key)
        if self._comparisons_left < 0:
            raise ValueError("too many keys of a map, or elements of a set, have equal hashes")


_SECRET_HASHES: Final = frozenset((str, bytes))


def _weight(key: Any) -> int:
    """What comparing a key costs, in comparisons of short ones."""
    kind = type(key)
    if kind is int:
        bits: int = key.bit_length()
        return 1 + bits // 100 * (bits // 100)  # to compare it with a decimal takes its square
    if kind is Decimal:
        return 1 + len(key.as_tuple().digits) // 16
    if kind is tuple or kind is frozenset or kind is list:
        return 1 + sum(map(_weight, key))
    if kind in _SECRET_HASHES:
        return 1 + len(key) // 64
    if kind is dict:
        return 1 + sum(map(_weight, key.values()))
    return 1 if kind in FORMS else _weight_of_value(key)


_CALL_WEIGHT: Final = 16  # its class compares it, in Python
_UNKNOWN_WEIGHT: Final = 64


def _weight_of_value(key: Any) -> int:
    """Of a value of a class: that of what its codec would make of it."""
    try:
        form = coded_form(key)
    except Unserializable:
        return _UNKNOWN_WEIGHT
    return _UNKNOWN_WEIGHT if form is None else _CALL_WEIGHT + _weight(form[2])
