"""Header frames that pika can't decode, byte for byte."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pika
import pika.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.raw_headers import BEFORE_1970, MILLISECONDS, NOT_A_TEXT, TOO_DEEP, WITHIN, RawHeaders, entry, table
from paceline_bridge.frames import LenientConnection, LenientProperties, read_header_frame

ERROR = ValueError("what pika said")


def frame_of(headers: bytes, **properties: Any) -> bytes:
    return bytes(pika.frame.Header(3, 7, RawHeaders(headers, **properties)).marshal())


def properties_of(headers: bytes, **properties: Any) -> LenientProperties:
    data = frame_of(headers, **properties)
    with pytest.raises((ValueError, OverflowError, RecursionError, struct.error, pika.exceptions.AMQPError)):
        pika.frame.decode_frame(data)
    found = read_header_frame(data + b"the next frame", ERROR)
    assert found is not None
    consumed, frame = found
    assert (consumed, frame.channel_number, frame.body_size) == (len(data), 3, 7)
    assert isinstance(frame.properties, LenientProperties)
    return frame.properties


def test_a_timestamp_that_no_datetime_can_hold_stays_a_number_wherever_it_stands() -> None:
    found = properties_of(MILLISECONDS + BEFORE_1970 + WITHIN, message_id="m", reply_to="r", priority=3)
    assert found.headers == {
        "sent": 1_772_000_000_000,
        "born": -1,
        "in": {"deep": [1_772_000_000_000, datetime(1970, 1, 1, tzinfo=UTC)]},
    }
    assert (found.message_id, found.reply_to, found.priority, found.problem) == ("m", "r", 3, "")


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        (TOO_DEEP, "headers are nested more than 64 deep"),
        (entry(b"k", b"Z"), "a header has the type b'Z', which is unknown"),
        (entry(b"k", b"l\0"), "unpack_from requires"),
        (MILLISECONDS + entry(b"k", b"S\0\0\1\0x"), "a text ends behind its frame"),
    ],
)
def test_headers_that_can_not_be_read_are_a_problem_of_their_message_alone(
    headers: bytes, problem: str, usual_recursion_limit: None
) -> None:
    found = properties_of(headers, message_id="m", reply_to="r")
    assert (found.headers, found.message_id, found.reply_to) == (None, "m", "r")
    assert problem in found.problem


def test_every_other_type_is_read_as_pika_reads_it() -> None:
    """In one frame with a header that pika can't decode."""
    kinds = [
        b"t\1", b"b\xff", b"B\xff", b"s\xff\xfe", b"U\xff\xfe", b"u\xff\xfe", b"I\xff\xff\xff\xfe",
        b"i\xff\xff\xff\xfe",
        b"l" + struct.pack(">q", -5), b"L" + struct.pack(">q", 2**62), b"f" + struct.pack(">f", 2.5),
        b"d" + struct.pack(">d", -1e300), b"D\x02" + struct.pack(">i", -12345), b"S\0\0\0\1x", b"S\0\0\0\1\xff",
        b"x\0\0\0\2\0\1", b"T" + struct.pack(">Q", 1_772_000_000), b"V", table(entry(b"k", b"t\0")), b"A\0\0\0\2t\0",
    ]  # fmt: skip
    good = b"".join(entry(b"%d" % number, value) for number, value in enumerate(kinds)) + NOT_A_TEXT
    plain = pika.frame.decode_frame(frame_of(good))[1].properties.headers
    found = properties_of(good + MILLISECONDS).headers
    assert found is not None
    del found["sent"]
    assert found == plain
    assert len(found) == len(kinds) + 1


@given(st.binary(max_size=300))
def test_whatever_stands_in_the_headers_the_frame_is_read_to_its_end(headers: bytes) -> None:
    data = frame_of(headers)
    found = read_header_frame(data, ERROR)
    assert found is not None
    assert found[0] == len(data)


def test_what_is_not_the_header_of_a_message_is_not_taken_for_one() -> None:
    data = frame_of(MILLISECONDS)
    for other in (b"", data[:5], data[:-1], data[:-1] + b"\0", b"\1" + data[1:], data[:8] + b"\7" + data[9:]):
        assert read_header_frame(other, ERROR) is None


def test_pika_asks_for_its_frames_where_the_bridge_answers() -> None:
    """It is a private name of pika's."""
    assert "_read_frame" in pika.connection.Connection._on_data_available.__code__.co_names
    assert callable(LenientConnection._read_frame)
