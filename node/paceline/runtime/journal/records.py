"""The bytes of the journal: segments of records. Pure: ``writer.py`` writes the files, ``recovery.py`` reads them.

A segment begins with a header of 24 bytes, big-endian: ``PLJ1``, format version (u16), two zero bytes, segment number
(u64), crc32 of these 16 bytes, four zero bytes. Records follow, each at a multiple of 8:

    length of the body (u32) | crc32 (u32) | group (u32) | kind (u8) | last (u8) | 2 zero bytes | body | zeros

The crc covers the record's place (segment number and offset), the rest of its header, and its body, so that an old
record in a new place is not taken for a valid one. A group is the records that one sync made durable; ``last`` is 1 in
its last record.

=========== ==================================== ===================================================
kind        body (msgpack)                       meaning
=========== ==================================== ===================================================
HARD_STATE  [term, vote]                         the highest term seen, and who got the vote there
TRUNCATE    [index]                              this entry and all after it are gone
ENTRIES     [[index, term, kind, data], ...]     appended
SNAPSHOT    [index, term, size, crc, replaces]   a file of this size and crc32 holds all up to index;
                                                 ``replaces``: the entries before this record are gone
=========== ==================================== ===================================================

A group counts whole or not at all, and its number is one above that of the group before it. A crash may leave the last
group incomplete in any way, if it had not been synced: that is a torn tail, and it is cut. If an earlier record is
wrong, it was written whole once and has been damaged since: then nothing after it can be trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from zlib import crc32

import msgpack  # type: ignore[import-untyped]

MAGIC = b"PLJ1"
FORMAT_VERSION = 2
"""Of the whole data directory: of these records, of what their bodies hold (entries, configurations) and of snapshots.
It rises when an older one can no longer be read, and then a directory of the older one is refused."""
ALIGNMENT = 8
BODY_LIMIT_BYTES = 80 << 20
"""No record is larger: an entry fits into a frame."""

_SEGMENT = struct.Struct(">4sHxxQIxxxx")
_RECORD = struct.Struct(">IIIBBxx")
_PLACE = struct.Struct(">QQIIBB")
SEGMENT_HEADER_BYTES = _SEGMENT.size


class RecordKind(IntEnum):
    """The numbers are on disk: never renumber."""

    HARD_STATE = 1
    TRUNCATE = 2
    ENTRIES = 3
    SNAPSHOT = 4


@dataclass(frozen=True, slots=True)
class Record:
    """One record and its place in the segment."""

    offset: int
    end: int
    group: int
    kind: int
    last: bool
    body: bytes

    def fields(self) -> list[object]:
        """The body, unpacked. Raises ValueError; the crc was right, so a newer version may have written it."""
        fields = msgpack.unpackb(self.body, strict_map_key=True)
        if not isinstance(fields, list):
            raise ValueError(f"a record of kind {self.kind} holds no list")
        return fields


class SegmentError(ValueError):
    """The header is not that of a segment which this version can read."""


class SegmentTooNew(SegmentError):
    """A later version of paceline wrote it."""


class SegmentTooOld(SegmentError):
    """An earlier version of paceline wrote it, which this one can't read."""


def other_format(version: int) -> str:
    return f"it has format {version}, and this paceline reads {FORMAT_VERSION}"


def pack_header(number: int) -> bytes:
    """The first bytes of a segment."""
    head = _SEGMENT.pack(MAGIC, FORMAT_VERSION, number, 0)
    return _SEGMENT.pack(MAGIC, FORMAT_VERSION, number, crc32(head[:16]))


def read_header(data: bytes) -> int:
    """The number of a segment. Raises SegmentError, SegmentTooNew or SegmentTooOld."""
    if len(data) < SEGMENT_HEADER_BYTES:
        raise SegmentError("its header is incomplete")
    magic, version, number, checksum = _SEGMENT.unpack_from(data)
    if magic != MAGIC:
        raise SegmentError("it does not begin as a segment of a journal does")
    if checksum != crc32(data[:16]):
        raise SegmentError("the checksum of its header is wrong")
    if version != FORMAT_VERSION:
        error = SegmentTooNew if version > FORMAT_VERSION else SegmentTooOld
        raise error(other_format(version))
    return int(number)


def pack_record(segment: int, offset: int, group: int, kind: RecordKind, body: bytes, *, last: bool) -> bytes:
    """One record for this place. Raises ValueError if the body is too large."""
    if len(body) > BODY_LIMIT_BYTES:
        raise ValueError(f"a record of {len(body)} bytes; the limit is {BODY_LIMIT_BYTES}")
    checksum = _checksum(segment, offset, group, kind, last, body)
    padding = -(_RECORD.size + len(body)) % ALIGNMENT
    return b"".join((_RECORD.pack(len(body), checksum, group, kind, last), body, bytes(padding)))


def record_at(data: memoryview, segment: int, offset: int) -> Record | None:
    """The record at this place; None if there is no whole record."""
    if offset + _RECORD.size > len(data):
        return None
    length, checksum, group, kind, last = _RECORD.unpack_from(data, offset)
    start = offset + _RECORD.size
    end = start + length + -(_RECORD.size + length) % ALIGNMENT
    if not group or length > BODY_LIMIT_BYTES or end > len(data):
        return None
    body = bytes(data[start : start + length])
    if checksum != _checksum(segment, offset, group, kind, last, body):
        return None
    return Record(offset, end, group, kind, bool(last), body)


def records(data: memoryview, segment: int) -> Iterator[Record]:
    """The records from the beginning of a segment, up to the first that is not whole."""
    offset = SEGMENT_HEADER_BYTES
    while (record := record_at(data, segment, offset)) is not None:
        yield record
        offset = record.end


def record_beyond(data: memoryview, segment: int, offset: int, *, group: int) -> Record | None:
    """A whole record of a later group behind a damaged place. If there is one, the damage is not a torn tail."""
    for place in range(offset + ALIGNMENT, len(data) - _RECORD.size + 1, ALIGNMENT):
        record = record_at(data, segment, place)
        if record is not None and record.group > group:
            return record
    return None


def _checksum(segment: int, offset: int, group: int, kind: int, last: int, body: bytes) -> int:
    return crc32(body, crc32(_PLACE.pack(segment, offset, len(body), group, kind, last)))
