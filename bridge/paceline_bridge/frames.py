"""Header frames of messages that pika can't decode, so that one such message ends no connection.

pika raises an error for a timestamp that Python's datetime can't hold, as one in milliseconds or before 1970, and for
tables that are nested some hundred deep. It would drop the connection for that, RabbitMQ would deliver the message
again, and no message of any queue would get past it. Here such a frame is read once more, leniently; what can't be read
then either is a message with a ``problem``, which is refused like any other that can't be run.

Source: sections 4.2.3, 4.2.5 and 4.2.6 of the AMQP 0-9-1 specification, with RabbitMQ's errata of field types.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pika.exceptions
import pika.frame
import pika.spec

from paceline_bridge.message import Truncated
from paceline_bridge.texts import said

DEPTH_LIMIT = 64
"""Tables and arrays within each other, in a frame that pika can't decode."""
BASIC_CLASS = 60
_PROPERTIES = (
    ("content_type", "s"),
    ("content_encoding", "s"),
    ("headers", "F"),
    ("delivery_mode", "B"),
    ("priority", "B"),
    ("correlation_id", "s"),
    ("reply_to", "s"),
    ("expiration", "s"),
    ("message_id", "s"),
    ("timestamp", "Q"),
    ("type", "s"),
    ("user_id", "s"),
    ("app_id", "s"),
    ("cluster_id", "s"),
)
"""In the order of their flags, from the highest bit down."""


class LenientConnection(pika.SelectConnection):  # type: ignore[misc]
    """A connection that a header frame can't end. ``_read_frame`` is pika's own name: one that renames it reads as pika
    does, which ``test_frames.py`` sees. ``no_channels(limit)`` is called in the place of an error when there is no
    channel left. ``defect``: the error that ended it, if it was one of this process: pika tells of all as if the other
    side were gone."""

    defect = ""

    def __init__(self, parameters: Any, no_channels: Callable[[int], None], **callbacks: Any) -> None:
        self._no_channels = no_channels
        super().__init__(parameters, **callbacks)

    def channel(self, channel_number: int | None = None, on_open_callback: Any = None) -> Any:
        try:
            return super().channel(channel_number, on_open_callback)
        except pika.exceptions.NoFreeChannels:
            self._no_channels(int(self.params.channel_max))
            return None

    def _on_data_available(self, data_in: bytes) -> None:
        try:
            super()._on_data_available(data_in)
        except Exception as error:
            self.defect = f"the bridge failed at what it said ({type(error).__name__}: {said(error)})"
            raise

    def _read_frame(self) -> Any:
        """(bytes consumed, the frame). The properties of a message are told what they take: ``frame_bytes``."""
        found: tuple[int, Any] | None
        try:
            found = super()._read_frame()
        except Exception as error:
            found = read_header_frame(bytes(self._frame_buffer), error)
            if found is None:
                raise
        if found[1].__class__ is pika.frame.Header:
            if _has_time_limit(found[1].properties.headers):
                found = _exact(found, bytes(self._frame_buffer[: found[0]]))
            found[1].properties.frame_bytes = found[0]
        return found


def _has_time_limit(headers: Mapping[str, Any] | None) -> bool:
    """Whether Celery's header of that name, which each of its messages has, holds a number."""
    limits = headers.get("timelimit") if headers else None
    return isinstance(limits, list) and any(limit is not None for limit in limits)


def _exact(found: tuple[int, Any], data: bytes) -> tuple[int, Any]:
    """A header frame with its floating-point numbers, of which pika drops what is behind the point: half a second of a
    time limit would be none. As pika has it, if it can't be read in that way."""
    exact = read_header_frame(data, ValueError())
    return found if exact is None or exact[1].properties.problem else exact


class LenientProperties(pika.BasicProperties):  # type: ignore[misc]
    """The properties of a message that pika can't decode, or not exactly. ``problem``: why its headers can't be read;
    "" if they can, and then all else is as it came."""

    problem = ""


def read_header_frame(data: bytes, error: Exception) -> tuple[int, pika.frame.Header] | None:
    """(bytes consumed, the frame) of data that pika could not decode, with ``error``. None if it is not the header
    frame of a message: then the connection can't be used any more."""
    head = struct.Struct(">BHL")
    if len(data) < head.size:
        return None
    kind, channel, size = head.unpack_from(data)
    payload, end = data[head.size : head.size + size], head.size + size + 1
    if kind != pika.spec.FRAME_HEADER or len(data) < end or data[end - 1] != pika.spec.FRAME_END or size < 14:
        return None
    basic, body_size = struct.unpack_from(">HxxQ", payload)
    if basic != BASIC_CLASS:
        return None
    properties = LenientProperties()
    try:
        _fill(properties, payload)
    except (struct.error, ValueError, IndexError) as unreadable:
        properties.problem = str(unreadable) or str(error) or type(error).__name__
    return end, pika.frame.Header(channel, body_size, properties)


def _fill(properties: LenientProperties, payload: bytes) -> None:
    """Set the properties, and leave out headers that can't be read, with their problem."""
    (flags,) = struct.unpack_from(">H", payload, 12)
    offset = 14
    for bit, (name, kind) in enumerate(_PROPERTIES):
        if not flags & (1 << (15 - bit)):
            continue
        if kind == "F":
            (length,) = struct.unpack_from(">I", payload, offset)
            try:
                properties.headers = _table(payload[offset + 4 : offset + 4 + length], 0)
            except (struct.error, ValueError, IndexError) as error:
                properties.problem = str(error)
            offset += 4 + length
        elif kind == "s":
            value, offset = _short_string(payload, offset)
            setattr(properties, name, value)
        else:
            (number,) = struct.unpack_from(f">{kind}", payload, offset)
            setattr(properties, name, number)
            offset += struct.calcsize(f">{kind}")


def _short_string(data: bytes, offset: int) -> tuple[str | bytes, int]:
    start, end = offset + 1, offset + 1 + data[offset]
    return _text(data[start:end], data[offset]), end


def _text(raw: bytes, length: int) -> str | bytes:
    if len(raw) != length:
        raise ValueError("a text ends behind its frame")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw  # as pika has it


def _table(data: bytes, depth: int) -> dict[str | bytes, Any]:
    found: dict[str | bytes, Any] = {}
    offset = 0
    while offset < len(data):
        key, offset = _short_string(data, offset)
        found[key], offset = _value(data, offset, depth)
    return found


def _array(data: bytes, depth: int) -> list[Any]:
    found: list[Any] = []
    offset = 0
    while offset < len(data):
        value, offset = _value(data, offset, depth)
        found.append(value)
    return found


def _moment(seconds: int) -> datetime | int:
    """A timestamp; the number that it is if datetime can't hold it, or pika can't write it."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds >= 0 else seconds
    except (ValueError, OverflowError, OSError):
        return seconds


def _real(number: float) -> int | str:
    """As pika reads it, which drops what is behind the point and can't write it, but for what is no number."""
    if not math.isfinite(number):
        return str(number)
    found = Truncated(number)
    found.exact = number
    return found


_FIXED: Mapping[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"t": (">B", bool),
    b"b": (">b", int),
    b"B": (">B", int),
    b"s": (">h", int),
    b"U": (">h", int),
    b"u": (">H", int),
    b"I": (">i", int),
    b"i": (">I", int),
    b"L": (">q", int),
    b"l": (">q", int),
    b"f": (">f", _real),
    b"d": (">d", _real),
    b"T": (">q", _moment),
}


def _value(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    kind = data[offset : offset + 1]
    offset += 1
    if kind in _FIXED:
        form, read = _FIXED[kind]
        (raw,) = struct.unpack_from(form, data, offset)
        return read(raw), offset + struct.calcsize(form)
    if kind == b"V":
        return None, offset
    if kind == b"D":
        places, digits = struct.unpack_from(">Bi", data, offset)
        return Decimal(digits).scaleb(-places), offset + 5
    if kind not in (b"S", b"x", b"A", b"F"):
        raise ValueError(f"a header has the type {kind!r}, which is unknown")
    (length,) = struct.unpack_from(">I", data, offset)
    start, end = offset + 4, offset + 4 + length
    raw = data[start:end]
    if kind == b"S":
        return _text(raw, length), end
    if len(raw) != length:
        raise ValueError("a header ends behind its frame")
    if kind == b"x":
        return raw, end
    if depth >= DEPTH_LIMIT:
        raise ValueError(f"headers are nested more than {DEPTH_LIMIT} deep")
    return (_table if kind == b"F" else _array)(raw, depth + 1), end
