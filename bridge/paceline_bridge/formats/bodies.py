"""Reads bodies of messages: compression, kombu's JSON, msgpack. Pure; the size of an unpacked body is bounded.

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
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import msgpack  # type: ignore[import-untyped]

from paceline_bridge.message import UnsupportedMessage

BODY_LIMIT_BYTES = 64 << 20
"""More than any cluster accepts as the arguments of one task."""
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


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_DECOMPRESSORS: Mapping[str, Callable[[], _Decompressor]] = {
    "application/x-gzip": zlib.decompressobj,  # kombu's name for what zlib writes
    "gzip": zlib.decompressobj,
    "zlib": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "bzip2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
    "lzma": lzma.LZMADecompressor,
}


def decompress(body: bytes, kind: object) -> bytes:
    """Undo what kombu's ``compression`` header names."""
    if not kind:
        return body
    make = _DECOMPRESSORS.get(str(kind))
    if make is None:
        raise UnsupportedMessage(
            "compression", f"the body is compressed as {kind}; the bridge reads gzip, bzip2 and lzma"
        )
    try:
        data = make().decompress(body, BODY_LIMIT_BYTES + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise UnsupportedMessage("bad-body", f"the body is not {kind}: {error}") from None
    if len(data) > BODY_LIMIT_BYTES:
        raise UnsupportedMessage("too-large", f"decompressed the body takes more than {BODY_LIMIT_BYTES} bytes")
    return data


def read_json(body: bytes, encoding: str | None, *, kombu: bool = False) -> Any:
    """The value of a JSON body; with ``kombu``, its wrapped types, too."""
    try:
        return json.loads(body.decode(encoding or "utf-8"), object_hook=_unwrap if kombu else None)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError, InvalidOperation) as error:
        # LookupError: an unknown character set. The last two: a wrapped type with a value of another kind.
        raise UnsupportedMessage("bad-body", f"the body is not JSON: {error or type(error).__name__}") from None


def read_msgpack(body: bytes) -> Any:
    try:
        return msgpack.unpackb(body, raw=False, strict_map_key=False, timestamp=3, ext_hook=_refuse_ext)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise UnsupportedMessage("bad-body", f"the body is not msgpack: {error or type(error).__name__}") from None


def _refuse_ext(code: int, data: bytes) -> Any:
    """Refuse extension types: paceline's own have the same codes, which a producer could write by chance."""
    raise ValueError(f"its extension type {code} is unknown")


def read_text(body: bytes, encoding: str | None) -> str:
    try:
        return body.decode(encoding or "utf-8")
    except (ValueError, LookupError) as error:
        raise UnsupportedMessage("bad-body", f"the body is not text: {error}") from None


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
    decoder = _DECODERS.get(value["__type__"])
    if decoder is None:
        raise ValueError(f"the type {value['__type__']!r} is unknown")
    return decoder(value["__value__"])


def write_json(value: object) -> bytes:
    """The JSON of a value as kombu writes it. Raises TypeError or ValueError for a value that JSON can't hold."""
    return json.dumps(value, default=_wrap).encode()


def write_msgpack(value: object) -> bytes:
    """msgpack as kombu writes it. Raises TypeError or ValueError for a value that it can't hold."""
    try:
        return bytes(msgpack.packb(value))
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _wrap(value: object) -> dict[str, Any]:
    kind: str
    inner: object
    match value:
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
