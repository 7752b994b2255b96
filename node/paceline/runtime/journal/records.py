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

A group counts whole or not at all, and its number is one above that of the group before it; after 2^32 - 1 comes 1. A
crash may leave the last group incomplete in any way, if it had not been synced: that is a torn tail, and it is cut. If
an earlier record is wrong, it was written whole once and has been damaged since: then nothing after it can be trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, Final
from zlib import crc32

import msgpack  # type: ignore[import-untyped]

from paceline.runtime.journal.span_sums import SpanSums
from paceline_protocol.packing import check_whole

MAGIC = b"PLJ1"
FORMAT_VERSION = 2
"""Of the whole data directory: of these records, of what their bodies hold (entries, configurations) and of snapshots.
It rises when an older one can no longer be read, and then a directory of the older one is refused."""
ALIGNMENT = 8
BODY_LIMIT_BYTES = 80 << 20
"""No record is larger: an entry fits into a frame."""
GROUPS = (1 << 32) - 1
"""Numbers of groups. They are used again: a segment has too few groups to hold one twice, and a checksum counts for its
segment alone."""
KINDS_MAX = 15
"""No later version writes a higher kind into segments of this format."""

_SEGMENT = struct.Struct(">4sHxxQIxxxx")
_RECORD = struct.Struct(">IIIBBxx")
_PLACE = struct.Struct(">QQIIBB")
_LENGTH = struct.Struct(">I")
_SECOND_HALF = struct.Struct(">IBBH")  # of the head of a record: group, kind, last, zeros
SEGMENT_HEADER_BYTES = _SEGMENT.size


class RecordKind(IntEnum):
    """The numbers are on disk: never renumber."""

    HARD_STATE = 1
    TRUNCATE = 2
    ENTRIES = 3
    SNAPSHOT = 4


def _are(types: tuple[type, ...], values: list[Any]) -> bool:
    """Whether these are values of these types, and each number one that a frame can hold."""
    return tuple(map(type, values)) == types and all(0 <= value < _TOP for value in values if type(value) is int)


def _are_entries(items: list[Any]) -> bool:
    """One by one, in a loop that a journal of a million can be read with."""
    try:
        return all(
            type(index) is type(term) is type(kind) is int
            and type(data) is bytes
            and 0 < index < _TOP
            and 0 <= term < _TOP
            for index, term, kind, data in items
        )
    except (TypeError, ValueError):  # not four, or no list
        return False


_TOP: Final = 1 << 63
_CONTENTS: Final[dict[int, Callable[[list[Any]], bool]]] = {
    RecordKind.HARD_STATE: partial(_are, (int, str)),
    RecordKind.TRUNCATE: partial(_are, (int,)),
    RecordKind.ENTRIES: _are_entries,
    RecordKind.SNAPSHOT: partial(_are, (int, int, int, int, bool)),
}
"""Whether a list is the content of a record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record and its place in the segment."""

    offset: int
    end: int
    group: int
    kind: int
    last: bool
    body: bytes

    def fields(self) -> list[Any]:
        """The body, unpacked: what the table above says, of a kind that is in it. Raises ValueError; the crc was right,
        so a faulty writer wrote it, or a newer version."""
        check_whole(self.body)
        fields = msgpack.unpackb(self.body, max_map_len=0, max_ext_len=0)
        if not isinstance(fields, list):
            raise ValueError(f"a record of kind {self.kind} holds no list")
        if self.kind in _CONTENTS and not _CONTENTS[self.kind](fields):
            raise ValueError(f"this is no content of a record of kind {self.kind}")
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
    end = _end_of(offset, length)
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


def next_group(group: int) -> int:
    """The number of the group after this one; 0 is before the first."""
    return group % GROUPS + 1


def record_beyond(data: memoryview, segment: int, offset: int, *, group: int) -> int | None:
    """The place of a whole record of a later group behind a damaged place. If there is one, the damage is not a torn
    tail. ``group``: the one that is damaged; 0 if no number is known.

    Takes a time that is linear in the data, whatever stands there: it may be a client's."""
    first = max(offset + ALIGNMENT, 0)
    sums: SpanSums | None = None
    for place in _heads(data, first, offset, group):
        length, checksum, number, kind, last = _RECORD.unpack_from(data, place)
        if sums is None:
            sums = SpanSums(data[first:])
        start = place + _RECORD.size - first
        before = crc32(_PLACE.pack(segment, place, length, number, kind, last))
        if checksum == sums.crc32(start, start + length, before):
            return place
    return None


def _heads(data: memoryview, first: int, offset: int, group: int) -> Iterator[int]:
    """Where the head of a record of a later group may be: no field has what a writer never puts there. A group has at
    least one record, so its number tells how far behind the damaged one it must be."""
    size = _RECORD.size
    end = len(data) - (len(data) - first) % ALIGNMENT
    halves = _SECOND_HALF.iter_unpack(data[first + ALIGNMENT : end])
    for place, (number, kind, last, zeros) in zip(range(first, end, ALIGNMENT), halves, strict=False):
        if zeros or last > 1 or not 0 < kind <= KINDS_MAX or not number:
            continue
        if group and not 0 < (number - group) % GROUPS <= (place - offset) // size:
            continue
        (length,) = _LENGTH.unpack_from(data, place)
        if length <= BODY_LIMIT_BYTES and _end_of(place, length) <= len(data):
            yield place


def _end_of(offset: int, length: int) -> int:
    """Where the record ends that begins here and whose body has this length."""
    return offset + _RECORD.size + length + -(_RECORD.size + length) % ALIGNMENT


def _checksum(segment: int, offset: int, group: int, kind: int, last: int, body: bytes) -> int:
    return crc32(body, crc32(_PLACE.pack(segment, offset, len(body), group, kind, last)))
