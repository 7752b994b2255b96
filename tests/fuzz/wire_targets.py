"""What travels: frames, what they carry packed, Python values, streams of frames, and questions about keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy
from zmq.utils import z85

from fuzz.samples import CLASSES, Samples
from fuzz.target import Cut, Target, joined, must
from paceline.local_token import password
from paceline.runtime.transport import zap
from paceline.runtime.transport.gate import Gate
from paceline.security import CurveKeys, NodeKeys
from paceline_protocol import codec
from paceline_protocol.coded import CodedValue
from paceline_protocol.errors import FrameTooLarge, LimitExceeded, PayloadError, RemoteProtocolError
from paceline_protocol.inputs import envelope, open_envelope
from paceline_protocol.messages.consensus import Config
from paceline_protocol.payload import (
    WITH_CLASSES,
    pack_args,
    pack_error,
    pack_value,
    unpack_args,
    unpack_error,
    unpack_value,
)
from paceline_protocol.stream import FrameReader, pack_frame

# --- frames -----------------------------------------------------------------------------------------------------


def frame(data: bytes) -> str:
    """RemoteProtocolError and LimitExceeded. What is a message is one again once it was sent on."""
    try:
        message = codec.decode(data)
    except (RemoteProtocolError, LimitExceeded) as error:
        return type(error).__name__
    must(codec.decode(codec.encode(message)) == message, "a message is another one after it was sent on")
    return type(message).__name__


def frame_seeds() -> Iterable[bytes]:
    samples = Samples(Random(1))
    return (codec.encode(samples.message(cls)) for cls in CLASSES)


PACKED: tuple[tuple[Callable[[bytes], Any], Callable[[Any], bytes]], ...] = (
    (codec.decode_calls, codec.encode_calls),
    (codec.decode_outcomes, codec.encode_outcomes),
    (codec.decode_config, codec.encode_config),
    (codec.split_ids, codec.join_ids),
    (codec.decode_held, codec.encode_held),
    (codec.decode_defaults, codec.encode_defaults),
)


def packed(data: bytes) -> str:
    """As ``frame``, of what frames carry packed. The first byte chooses which."""
    cut = Cut(data)
    decode, encode = PACKED[cut.byte() % len(PACKED)]
    try:
        found = decode(cut.rest())
    except (RemoteProtocolError, LimitExceeded) as error:
        return f"{decode.__name__}: {type(error).__name__}"
    must(decode(encode(found)) == found, f"{decode.__name__} reads another thing once it was sent on")
    return decode.__name__


def packed_seeds() -> Iterable[bytes]:
    samples = Samples(Random(2))
    yield from (b"\0" + samples.calls(3) for _ in range(5))
    yield from (b"\1" + samples.outcomes(3) for _ in range(5))
    yield b"\2" + codec.encode_config(Config(("a", "b", "c"), ("d",), ("e",), 3, 2))
    yield b"\3" + bytes(range(32))
    yield b"\4" + bytes(range(48))


# --- values -----------------------------------------------------------------------------------------------------

VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -(2**63),
    2**64 - 1,
    2**300,
    1.5,
    float("inf"),
    "text",
    "half of a pair \udc80",
    b"bytes",
    [1, [2, [3]]],
    {"key": {1: None}},
    (1, (), ("two",)),
    {1, "two"},
    frozenset({frozenset()}),
    Decimal("-1.50"),
    UUID(int=7),
    complex(1, -2),
    date(2024, 2, 29),
    time(23, 59, 59, 999_999, timezone(timedelta(hours=-3, microseconds=1))),
    datetime(2024, 2, 29, 1, 2, 3, 4, UTC, fold=1),
    datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Paris")),
    timedelta(days=-1, microseconds=1),
    numpy.arange(6, dtype=numpy.int16).reshape(2, 3),
    numpy.float32(1.5),
    CodedValue("dataclass", "shop.orders:Order", {"id": 1, "lines": [CodedValue("enum", "shop:Colour", "RED")]}),
)
"""One of each form."""

READERS: tuple[Callable[[bytes], Any], ...] = (unpack_value, unpack_args, unpack_error)


def payload(data: bytes) -> str:
    """PayloadError. What was read can be packed again, and is the same then. The first byte chooses the reader."""
    cut = Cut(data)
    read = READERS[cut.byte() % len(READERS)]
    try:
        found = read(cut.rest())
    except PayloadError as error:
        return f"{read.__name__}: {type(error).__name__}"
    if read is unpack_value:
        again = pack_value(found, None, WITH_CLASSES)
        must(is_same(found, unpack_value(again)), f"packed again, {type(found).__name__} is another value")
    elif read is unpack_args:
        args, kwargs = found
        must(is_same(found, unpack_args(pack_args(args, kwargs))), "packed again, the arguments are others")
    return f"{read.__name__}: {type(found).__name__}"


def is_same(one: Any, other: Any) -> bool:
    """Equal, but for what does not equal itself, wherever it is in them: there the text has to do."""
    if repr(one) == repr(other) or "nan" in repr(one).lower():
        return True
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, CodedValue) and isinstance(other, CodedValue):
        return (one.codec, one.class_name) == (other.codec, other.class_name) and is_same(one.state, other.state)
    if isinstance(one, numpy.ndarray):
        return bool(numpy.array_equal(one, other))
    return bool(one == other)


def payload_seeds() -> Iterable[bytes]:
    yield from (b"\0" + pack_value(value, None, WITH_CLASSES) for value in VALUES)
    yield b"\0" + pack_value([list(VALUES), {"all": tuple(VALUES)}], None, WITH_CLASSES)
    yield b"\0" + pack_value([[list(range(300))] * 20, b"x" * 5_000])
    yield from (b"\1" + pack_args([1, "two", value], {"key": value}) for value in VALUES[:20])
    yield b"\1" + pack_args([], {})
    yield b"\2" + pack_error(ValueError("no", 1, (2,)), "Traceback")
    yield b"\2" + pack_error(FileNotFoundError(2, "no such file", "/x"), "")


def enveloped(data: bytes) -> str:
    """PayloadError. Arguments with the results of tasks are the same once they were sent on."""
    try:
        found = open_envelope(data)
    except PayloadError as error:
        return type(error).__name__
    must(open_envelope(envelope(*found)) == found, "sent on, the results are others")
    return f"{len(found[1]):.0f} results"


def enveloped_seeds() -> Iterable[bytes]:
    yield envelope(b"args", [])
    yield envelope(pack_args([1], {}), [(bytes(16), 1, b"one"), (bytes(range(16)), 2, b"")])


# --- streams, keys ----------------------------------------------------------------------------------------------

STREAM_LIMIT_BYTES = 2_000


def stream(data: bytes) -> str:
    """FrameTooLarge. However the stream is cut into reads, the frames are the same."""
    cut = Cut(data)
    step = cut.byte() + 1
    rest = cut.rest()
    by_step, at_once = _frames(rest, step), _frames(rest, len(rest) + 1)
    if None in (by_step[-1:] + at_once[-1:]):
        must(by_step[-1:] == at_once[-1:], "one reader ends for a frame that is too large, and the other does not")
        return "FrameTooLarge"
    must(by_step == at_once, "other frames, as they were read in other pieces")
    return f"{min(len(at_once), 5)} frames"


def _frames(data: bytes, step: int) -> list[bytes | None]:
    """The frames; None behind them if the stream can't be read any further."""
    reader, found = FrameReader(STREAM_LIMIT_BYTES), list[bytes | None]()
    for start in range(0, len(data), step):
        try:
            found += reader.feed(data[start : start + step])
        except FrameTooLarge:
            return [*found, None]
    return found


def stream_seeds() -> Iterable[bytes]:
    for step in (0, 3, 40):
        yield bytes([step]) + b"".join(pack_frame(bytes(size)) for size in (0, 1, 5, 300))


KEY = b"k" * 32
TOKEN = b"t" * 32
PORT = 7077
_OF_CLUSTER = Gate(NodeKeys(CurveKeys(z85.encode(KEY).decode(), ""), (), ()), b"")
_OF_USER = Gate(None, TOKEN)
_OF_USER.port = PORT


def key_question(data: bytes) -> str:
    """Nothing. Only the one key of the cluster is let in, or the token of the user, each by its mechanism."""
    cut = Cut(data)
    gate = _OF_USER if cut.byte() % 2 else _OF_CLUSTER
    frames = [cut.some() for _ in range(cut.byte() % 10)]
    reply = zap.answer(frames, gate.user_of)
    must(not reply or len(reply) == 6, "a reply that libzmq can't read")
    if not reply or reply[2] != b"200":
        return "refused" if reply else "unanswered"
    shown = [b"CURVE", KEY] if gate is _OF_CLUSTER else [b"PLAIN", frames[6], password(TOKEN, PORT).encode()]
    must(frames[5:] == shown, "let in without the key of the cluster, or the token of the user")
    return "let in"


def key_question_seeds() -> Iterable[bytes]:
    for mechanism, key in ((b"CURVE", KEY), (b"CURVE", b"x" * 32), (b"NULL", b"")):
        yield b"\0\7" + joined(b"1.0", b"id", b"domain", b"10.0.0.1", b"", mechanism, key)
    shown = (b"PLAIN", b"paceline", password(TOKEN, PORT).encode())
    yield b"\1\x08" + joined(b"1.0", b"id", b"domain", b"127.0.0.1", b"", *shown)


TARGETS = (
    Target("frame", frame, frame_seeds),
    Target("packed", packed, packed_seeds),
    Target("enveloped", enveloped, enveloped_seeds, longest_bytes=4_096),
    Target("payload", payload, payload_seeds, longest_bytes=16_384),
    Target("stream", stream, stream_seeds),
    Target("key-question", key_question, key_question_seeds),
)
