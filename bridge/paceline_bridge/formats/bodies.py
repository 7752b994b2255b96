"""Reads bodies of messages: compression, kombu's JSON, msgpack, text. Pure.

What a body may take once it is read is bounded before it is read: a few bytes can ask for a lot. An empty map is two
bytes of JSON and 64 in memory, and both halves of that shrink to nothing under compression.

Sources: kombu/compression.py and kombu/utils/json.py of kombu 5.7.
"""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import uuid
import zlib
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import msgpack  # type: ignore[import-untyped]

from paceline_bridge.formats.charsets import decoded
from paceline_bridge.message import UnsupportedMessage
from paceline_bridge.texts import quoted, said
from paceline_protocol.coded import CodedValue
from paceline_protocol.limits import MAX_NAME_CHARS

BODY_LIMIT_BYTES = 64 << 20
"""More than any cluster accepts as the arguments of one task."""
BUILT_LIMIT_BYTES = 256 << 20
"""What a body may take as Python objects, about. Arguments that fill a node's default payload limit take less, unless
they are numbers alone."""
SMALL_BYTES = 64 << 10
"""A body up to this size is read without a look before: it takes a few MiB at most."""
_UNSKIMMED_BYTES = 4 << 10
"""The same for msgpack, whose arrays within arrays may each announce as many items as there are bytes."""
LZMA_MEMORY_BYTES = 128 << 20
"""What decompressing may take beside the data. The highest preset of xz asks for half of it."""
# The most that one character of these, or one byte of msgpack, comes to: measured, and rounded up.
_JSON_ITEM_BYTES = 56
_JSON_ITEMS = '{[,:"'
_MSGPACK_BYTE_BYTES = 80
# What a collection takes, and each thing in it with its slot.
_COLLECTION_BYTES = 64
_ITEM_BYTES = 40
_PAIR_BYTES = 160

JSON_TYPES = ("application/json", "text/json")
MSGPACK_TYPES = ("application/x-msgpack", "application/msgpack", "application/vnd.msgpack", "x-msgpack")
PICKLE_TYPES = ("application/x-python-serialize", "application/x-python-pickle")

_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda text: datetime.fromisoformat(text).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda fields: uuid.UUID(hex=fields["hex"]),
    "bytes": lambda text: text.encode("utf-8"),
    "base64": lambda text: base64.b64decode(text.encode("ascii")),
}

_Read = TypeVar("_Read")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _lzma() -> _Decompressor:
    return lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES)


_DECOMPRESSORS: Mapping[str, Callable[[], _Decompressor]] = {
    "application/x-gzip": zlib.decompressobj,  # kombu's name for what zlib writes
    "gzip": zlib.decompressobj,
    "zlib": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "bzip2": bz2.BZ2Decompressor,
    "application/x-lzma": _lzma,
    "lzma": _lzma,
}


def _read(kind: str, read: Callable[..., _Read], *of: Any) -> _Read:
    """What ``read`` makes of a body. Whatever it raises is the fault of the body, which is not what it says."""
    try:
        return read(*of)
    except UnsupportedMessage:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise errors of many kinds, MemoryError among them
        raise UnsupportedMessage("bad-body", f"the body is not {kind}: {said(error)}") from None


def _check_built(size_bytes: int) -> None:
    if size_bytes > BUILT_LIMIT_BYTES:
        raise UnsupportedMessage(
            "too-large", f"read, the body would take about {size_bytes} bytes, of {BUILT_LIMIT_BYTES}"
        )


def decompress(body: bytes, kind: object) -> bytes:
    """Undo what kombu's ``compression`` header names."""
    if not kind:
        return body
    make = _DECOMPRESSORS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise UnsupportedMessage(
            "compression", f"the body is compressed as {quoted(kind)}; the bridge reads gzip, bzip2 and lzma"
        )
    decompressor = make()
    data = _read(f"{kind}", decompressor.decompress, body, BODY_LIMIT_BYTES + 1)
    if len(data) > BODY_LIMIT_BYTES:
        raise UnsupportedMessage("too-large", f"decompressed the body takes more than {BODY_LIMIT_BYTES} bytes")
    if not decompressor.eof:
        raise UnsupportedMessage("bad-body", f"the body is not {kind}: it ends before its end")
    return data


def read_text(data: bytes, codec: str) -> str:
    if len(data) > SMALL_BYTES and not data.isascii():
        _check_built(4 * len(data))  # one character of four bytes makes all of them as wide
    return _read("text", decoded, data, codec)


def read_json(data: bytes, codec: str, *, kombu: bool = False) -> Any:
    """The value of a JSON body; with ``kombu``, its wrapped types, too."""
    text = read_text(data, codec)
    if len(text) > SMALL_BYTES:
        _check_json(text)
    return _read("JSON", _decode_kombu if kombu else _decode, text)


def _check_json(text: str) -> None:
    """Raise UnsupportedMessage for a JSON text that would become too much."""
    size = len(text) if text.isascii() else 8 * len(text)  # as wide as can be, and once more in its strings
    if size + _JSON_ITEM_BYTES * sum(map(text.count, _JSON_ITEMS)) <= BUILT_LIMIT_BYTES:
        return
    # Those in strings make nothing, and prose has many of them.
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    _check_built(size + _JSON_ITEM_BYTES * unescaped.count('"'))  # as many pieces are made here, too
    pieces = unescaped.split('"')
    outside = "".join(pieces[::2])
    _check_built(size + _JSON_ITEM_BYTES * (len(pieces) + sum(map(outside.count, _JSON_ITEMS))))


def read_msgpack(data: bytes) -> Any:
    return _read("msgpack", _unpack, data)


def _unpack(data: bytes) -> Any:
    if len(data) <= _UNSKIMMED_BYTES:
        return msgpack.unpackb(data, **_UNPACK)
    # msgpack sets an array aside when it reads its length. This builds nothing, and finds that the items are missing.
    skimmer = msgpack.Unpacker(max_buffer_size=len(data))
    skimmer.feed(data)
    skimmer.skip()
    if len(data) * _MSGPACK_BYTE_BYTES <= BUILT_LIMIT_BYTES:
        return msgpack.unpackb(data, **_UNPACK)
    weigher = _Weigher()
    try:
        return msgpack.unpackb(
            data,
            **_UNPACK,
            list_hook=weigher.weigh_list,
            object_hook=weigher.weigh_map,
            max_array_len=BUILT_LIMIT_BYTES // _ITEM_BYTES,
            max_map_len=BUILT_LIMIT_BYTES // _PAIR_BYTES,
        )
    except ValueError as error:
        if " exceeds max_" in str(error):  # what msgpack says of one collection, which has no other error for it
            raise UnsupportedMessage("too-large", f"the body is too much for one message: {error}") from None
        raise


class _Weigher:
    """Weighs what msgpack builds, each collection when it is complete."""

    def __init__(self) -> None:
        self._built_bytes = 0

    def weigh_list(self, items: list[Any]) -> list[Any]:
        self._add(_ITEM_BYTES * len(items))
        return items

    def weigh_map(self, items: dict[Any, Any]) -> dict[Any, Any]:
        self._add(_PAIR_BYTES * len(items))
        return items

    def _add(self, size_bytes: int) -> None:
        self._built_bytes += _COLLECTION_BYTES + size_bytes
        _check_built(self._built_bytes)


def _refuse_ext(code: int, data: bytes) -> Any:
    """Refuse extension types: paceline's own have the same codes, which a producer could write by chance."""
    raise ValueError(f"its extension type {code} is unknown")


_UNPACK: Mapping[str, Any] = {"raw": False, "strict_map_key": False, "timestamp": 3, "ext_hook": _refuse_ext}


def is_task_name(text: str) -> bool:
    """Whether a call can have this as the name of its task."""
    return 0 < len(text) <= MAX_NAME_CHARS and is_unicode(text)


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON may escape half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unwrap(value: dict[str, Any]) -> Any:
    if value.keys() != {"__type__", "__value__"}:
        return value
    kind, inner = value["__type__"], value["__value__"]
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise ValueError(f"the type {quoted(kind)} is unknown")
    try:
        return decoder(inner)
    except Exception:  # noqa: BLE001 - of many kinds, some of which say nothing of what was wrong
        raise ValueError(f"{quoted(inner)} is no {kind}") from None


_decode = json.JSONDecoder().decode
_decode_kombu = json.JSONDecoder(object_hook=_unwrap).decode
"""Made once: json.loads() makes one for each text that it gives a hook."""


def write_json(value: object) -> bytes:
    """The JSON of a value as kombu writes it. Raises TypeError or ValueError for a value that JSON can't hold."""
    return json.dumps(value, default=_wrap).encode()


def write_msgpack(value: object) -> bytes:
    """msgpack as kombu writes it. Raises TypeError or ValueError for a value that it can't hold."""
    try:
        return bytes(msgpack.packb(value, default=_without_class))
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _without_class(value: object) -> object:
    """A value of a class, as Celery's own workers return models: its fields by name; of an enum the name of the
    member, of a path its text."""
    if isinstance(value, CodedValue):
        return value.plain
    raise TypeError(f"a {type(value).__name__} has no form in msgpack")


def _wrap(value: object) -> object:
    kind: str
    inner: object
    match value:
        case CodedValue():
            return value.plain
        case datetime():
            kind, inner = "datetime", value.isoformat()
        case date():
            kind, inner = "date", value.isoformat()
        case time():
            kind, inner = "time", value.isoformat()
        case Decimal():
            kind, inner = "decimal", str(value)
        case uuid.UUID():
            kind, inner = "uuid", {"hex": value.hex}
        case bytes():
            try:
                kind, inner = "bytes", value.decode("utf-8")
            except UnicodeDecodeError:
                kind, inner = "base64", base64.b64encode(value).decode("ascii")
        case _:
            raise TypeError(f"a {type(value).__name__} has no form in Celery's JSON")
    return {"__type__": kind, "__value__": inner}
