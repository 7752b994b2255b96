"""Headers of every type that AMQP has, where the bridge reads one: each message is a call or a named refusal, and can
be answered or kept."""

from __future__ import annotations

import struct

import pika
import pika.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.messages import NOW, call_of, read, refusal_of
from bridge.raw_headers import RawHeaders, array, entry, read_as_delivered, table, timestamp
from paceline_bridge import replies
from paceline_bridge.consumer import _message
from paceline_bridge.dead_letters import LEFT_OUT, ROUNDS, properties_of, rounds_of
from paceline_bridge.features import REASONS
from paceline_bridge.message import Message, Refused
from paceline_bridge.troubles import Troubles
from paceline_protocol.codec import encode_calls

NAMES = (
    *("task", "id", "eta", "expires", "retries", "timelimit", "group", "parent_id", "chord", "ignore_result"),
    *("compression", "priority", "x-death", "CC", "BCC", LEFT_OUT, ROUNDS, "x-paceline-reason", "x-paceline-queue"),
    *("", "other", "\u00fc" * 127),
)
BODY = b"[[1, 2], {}, {}]"


def number(kind: bytes, form: str, value: float) -> bytes:
    return kind + struct.pack(form, value)


def text(raw: bytes, kind: bytes = b"S") -> bytes:
    return kind + struct.pack(">I", len(raw)) + raw


INTEGERS = [
    st.integers(-(1 << bits - 1), (1 << bits - 1) - 1).map(lambda value, k=kind, f=form: number(k, f, value))
    for kind, form, bits in [(b"b", ">b", 8), (b"s", ">h", 16), (b"U", ">h", 16), (b"I", ">i", 32), (b"l", ">q", 64)]
]
UNSIGNED = [
    st.integers(0, (1 << bits) - 1).map(lambda value, k=kind, f=form: number(k, f, value))
    for kind, form, bits in [(b"B", ">B", 8), (b"u", ">H", 16), (b"i", ">I", 32)]
]
REALS = [
    st.floats(width=32).map(lambda value: number(b"f", ">f", value)),
    st.floats().map(lambda value: number(b"d", ">d", value)),
]
DECIMALS = st.builds(
    lambda places, digits: b"D" + struct.pack(">Bi", places, digits),
    st.integers(0, 255),
    st.integers(-(1 << 31), (1 << 31) - 1),
)
TEXTS = st.sampled_from(
    [
        *("tasks.add", "gzip", "2026-01-01T00:00:00", "2100-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"),
        *("9999-12-31T23:59:59.999999-23:59", "nan", "-1", "1e999", "", "x" * 300, "20260101", "2026-W01-1", "\0\n"),
    ]
).map(str.encode) | st.binary(max_size=8)
VALUES = st.recursive(
    st.one_of(
        *INTEGERS,
        *UNSIGNED,
        *REALS,
        DECIMALS,
        st.integers(-(1 << 63), (1 << 63) - 1).map(timestamp),
        st.booleans().map(lambda value: bytes([*b"t", value])),
        st.just(b"V"),
        TEXTS.map(text),
        TEXTS.map(lambda raw: text(raw, b"x")),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: array(*values))
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3).map(
            lambda found: table(*(entry(key.encode(), value) for key, value in found.items()))
        )
    ),
    max_leaves=5,
)


def came(headers: bytes, body: bytes = BODY) -> Message:
    """The message, as a bridge reads it."""
    properties = RawHeaders(headers, content_type="application/json", reply_to="caller", correlation_id="c")
    frame = read_as_delivered(bytes(pika.frame.Header(1, len(body), properties).marshal()))
    return _message("q", frame.properties, body, False)


def with_task(**headers: bytes) -> Message:
    named = {"task": text(b"tasks.add"), "id": text(b"daily"), **headers}
    return came(b"".join(entry(key.encode(), value) for key, value in named.items()))


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6), st.booleans())
def test_a_header_of_whatever_type_is_no_reason_to_fail(headers: dict[str, bytes], is_celerys: bool) -> None:
    if is_celerys:
        headers = {"task": text(b"tasks.add"), "id": text(b"daily"), **headers}
    message = came(b"".join(entry(key.encode(), value) for key, value in headers.items()))
    assert message.problem == ""
    found = read(message, "tasks.show", now=NOW)
    assert Troubles().duplicate(message, 0.0) is not None
    if isinstance(found, Refused):
        assert found.reason in REASONS
    else:
        encode_calls([(found.task_id, found.name, found.priority, b"", dict(found.options))])
        found = Refused(found.protocol, "cluster", "", found.reply)
    if found.reply is not None:
        assert replies.refused(found.reply, found, NOW)
    kept = properties_of(message, found, 4_000)
    assert sum(map(len, pika.BasicProperties(**kept).encode())) <= 4_000
    assert kept["headers"][ROUNDS] == rounds_of(message) + 1


@pytest.mark.parametrize("header", ["eta", "expires"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (number(b"I", ">i", 20260101), "20260101"),
        (number(b"l", ">q", 20260101), "20260101"),
        (number(b"d", ">d", 20260101.5), "20260101"),
        (number(b"d", ">d", float("nan")), "'nan'"),
        (number(b"f", ">f", float("-inf")), "'-inf'"),
        (b"D" + struct.pack(">Bi", 0, 20260101), "Decimal('20260101')"),
        (timestamp(1_900_000_000_000), "1900000000000"),
        (text(b"2026-01-01", b"x"), "b'2026-01-01'"),
        (array(text(b"2026-01-01")), "['2026-01-01']"),
        (table(entry(b"a", b"V")), "{'a': None}"),
        (b"t\0", "False"),
    ],
)
def test_a_moment_that_is_neither_a_text_nor_a_timestamp_is_refused_and_no_number_counts_as_a_date(
    header: str, value: bytes, shown: str
) -> None:
    refused = refusal_of(with_task(**{header: value}))
    assert (refused.reason, refused.detail) == ("bad-body", f"{header} is {shown}, and not a time in ISO 8601")
    assert refused.reply is not None


def test_a_timestamp_is_a_moment_and_a_header_without_a_value_is_none() -> None:
    assert call_of(with_task(eta=timestamp(1_900_000_000))).options == {"not_before": 1_900_000_000_000}
    assert call_of(with_task(eta=b"V", expires=b"V", timelimit=b"V", retries=b"V")).options == {}


@pytest.mark.parametrize(
    "value", [text(b"7"), b"D" + struct.pack(">Bi", 1, 15), array(), number(b"d", ">d", float("-inf"))]
)
def test_a_number_of_retries_that_is_none_is_refused_as_it_is_not_known_which_try_it_is(value: bytes) -> None:
    refused = refusal_of(with_task(retries=value))
    assert (refused.reason, refused.detail.startswith("retries is ")) == ("bad-body", True)


@pytest.mark.parametrize(
    "value", [number(b"d", ">d", 1.5), number(b"I", ">i", 10), text(b"7"), table(entry(b"a", b"V"))]
)
def test_a_time_limit_that_is_no_pair_is_refused_whatever_it_is(value: bytes) -> None:
    assert refusal_of(with_task(timelimit=value)).reason == "time-limit"
    assert call_of(with_task(timelimit=array(b"V", b"V"))).options == {}
