"""Headers as other producers write them, byte for byte: pika can't write all of them."""

from __future__ import annotations

import struct
from typing import Any

import pika

from paceline_bridge.frames import LenientConnection


class RawHeaders(pika.BasicProperties):  # type: ignore[misc]
    """Properties whose headers are a table that is given in bytes, without its length."""

    def __init__(self, table: bytes, **properties: Any) -> None:
        super().__init__(headers={"x": 0}, **properties)
        self._table = table

    def encode(self) -> list[bytes]:
        plain = b"".join(super().encode())
        mark = b"\0\0\0\x07\x01xI\0\0\0\0"
        assert mark in plain
        return [plain.replace(mark, struct.pack(">I", len(self._table)) + self._table)]


def read_as_delivered(data: bytes) -> Any:
    """The first frame, read as a connection of the bridge reads it: by pika, and where that can't, by the bridge."""
    connection = object.__new__(LenientConnection)
    connection._frame_buffer = data
    return connection._read_frame()[1]


def entry(key: bytes, value: bytes) -> bytes:
    return bytes([len(key)]) + key + value


def timestamp(seconds: int) -> bytes:
    return b"T" + struct.pack(">q", seconds)


def table(*entries: bytes) -> bytes:
    inner = b"".join(entries)
    return b"F" + struct.pack(">I", len(inner)) + inner


def array(*values: bytes) -> bytes:
    inner = b"".join(values)
    return b"A" + struct.pack(">I", len(inner)) + inner


def nested(depth: int) -> bytes:
    found = b"t\1"
    for _ in range(depth):
        found = table(entry(b"a", found))
    return found


MILLISECONDS = entry(b"sent", timestamp(1_772_000_000_000))
BEFORE_1970 = entry(b"born", timestamp(-1))
WITHIN = entry(b"in", table(entry(b"deep", array(timestamp(1_772_000_000_000), timestamp(0)))))
TOO_DEEP = entry(b"deep", nested(3_000))
NOT_A_TEXT = entry(b"\xff\xfe", b"t\1")
