"""What is made of each kind of message, on messages that real producers sent."""

from __future__ import annotations

import contextlib
import encodings
import gzip
import json
import lzma
import time
import tracemalloc
import uuid
import zlib
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.messages import FRESH, NOW, call_of, read, recorded, refusal_of
from paceline_bridge.features import REASONS
from paceline_bridge.formats import bodies, charsets, ids
from paceline_bridge.mapping import priority_of
from paceline_bridge.message import Message, Refused
from paceline_protocol.codec import encode_calls
from paceline_protocol.moments import MOMENT_MAX_MS


def with_header(name: str, value: object) -> Message:
    message = recorded("celery-2")
    return replace(message, headers={**message.headers, name: value})


# --- plain


@pytest.mark.parametrize(
    ("body", "content_type", "argument"),
    [
        (b'{"a": [1, null]}', "application/json", {"a": [1, None]}),
        (b'{"a": 1}', "application/vnd.shop+json; charset=utf-8", {"a": 1}),
        (msgpack.packb({"a": b"\xff"}), "application/msgpack", {"a": b"\xff"}),
        ("grüß".encode("latin-1"), "text/plain", "grüß"),
        (b"12", "text/plain", "12"),
        (b"12", "application/octet-stream", b"12"),
        (b"12", None, 12),
        (b"Hello World!", None, "Hello World!"),
        (b"\xff\x00", None, b"\xff\x00"),
        (b"", None, ""),
        ("hi".encode("utf-16-le"), "text/plain; charset=utf-16le", "hi"),
        ("gr\xfc\xdf".encode("latin-1"), 'text/plain; charset="iso-8859-1"', "gr\xfc\xdf"),
        ("\ufeffhi".encode(), "text/plain", "hi"),
        ('\ufeff{"a": 1}'.encode(), "application/json", {"a": 1}),
        ('\ufeff{"a": 1}'.encode(), None, {"a": 1}),
    ],
)
def test_a_plain_body_is_the_one_argument(body: bytes, content_type: str | None, argument: object) -> None:
    encoding = "latin-1" if b"\xfc" in body else None
    call = call_of(Message("q", body, content_type=content_type, content_encoding=encoding), "tasks.show")
    assert (call.protocol, call.name, list(call.args), call.kwargs) == ("plain", "tasks.show", [argument], {})


@pytest.mark.parametrize(
    ("body", "content_type", "argument"),
    [(b'{"n": 1}', "application/json", {"n": 1}), (b"12", "text/plain", b"12"), (b"12", "application/data", b"12")],
)
def test_a_body_that_kombu_calls_binary_is_read_as_kombu_reads_it(
    body: bytes, content_type: str, argument: object
) -> None:
    message = Message("q", body, content_type=content_type, content_encoding="binary")
    assert list(call_of(message, "tasks.show").args) == [argument]


def test_a_plain_body_that_kombu_has_compressed_is_read() -> None:
    message = Message("q", zlib.compress(b'{"n": 3}'), {"compression": "application/x-gzip"}, "application/json")
    assert list(call_of(message, "tasks.show").args) == [{"n": 3}]


@pytest.mark.parametrize("encoding", ["punycode", "idna", "rot13", "zlib", "unicode_escape", "made-up-x1", "utf-7"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_a_character_set_that_is_none_of_the_usual_ones_is_refused_by_name_and_never_looked_up(
    encoding: str, content_type: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's punycode takes minutes for a body of 200,000 bytes, and each name that is looked up is kept."""
    monkeypatch.setattr(encodings, "_cache", {})
    found = refusal_of(Message("q", b"a" * 200_000, {}, content_type, encoding), "tasks.show")
    assert (found.reason, encoding in found.detail) == ("bad-body", True)
    assert encoding not in encodings._cache
    assert refusal_of(recorded("celery-2", content_encoding=encoding)).reason == "bad-body"


@pytest.mark.parametrize("name", sorted(charsets._NAMES))
def test_every_character_set_that_is_read_is_one_of_pythons_and_takes_time_in_proportion(name: str) -> None:
    codec = charsets.charset_of(name)
    for body in (b"a" * 50_000, b"\xff" * 50_000, b"xn--" * 12_000, b"+AGE-" * 10_000):
        started = time.process_time()
        with contextlib.suppress(UnicodeDecodeError):
            assert isinstance(charsets.decoded(body, codec), str)
        assert time.process_time() - started < 1


def test_a_plain_message_is_known_again_by_its_message_id_in_its_queue() -> None:
    first = call_of(Message("q", b"1", message_id="m"), "t")
    assert first.task_id == call_of(Message("q", b"1", message_id="m"), "t").task_id
    assert first.task_id != call_of(Message("p", b"1", message_id="m"), "t").task_id
    assert call_of(Message("q", b"1"), "t").task_id == FRESH


def test_a_plain_message_of_a_queue_without_a_task_is_refused() -> None:
    assert refusal_of(Message("q", b"1")).reason == "no-task"


UNIQUE = "c0ffee00-1234-4abc-8def-00000000000A"


@pytest.mark.parametrize("text", [UNIQUE, UNIQUE.lower(), UNIQUE.replace("-", "")])
def test_a_uuid_is_the_id_of_the_task_with_its_dashes_and_without(text: str) -> None:
    assert ids.of_message("celery", text, 0, "tasks.add", b"1") == uuid.UUID(UNIQUE).bytes
    assert ids.of_plain("q", text, b"1") == ids.of_plain("q", text, b"2")


@pytest.mark.parametrize(
    "text",
    [
        "20240101_20240131_12345678_00001",
        "+" + "1" * 31,
        " " + "1" * 31,
        "1" * 31 + "\n",
        "\u0661" * 32,
        "\uff11" * 32,
        "0x" + "1" * 30,
        "-".join("1" * 32),
        UNIQUE.replace("-", "_"),
        UNIQUE[:-1],
        f"{UNIQUE}1",
        f"{UNIQUE}\n",
        f"{UNIQUE[:8]}{UNIQUE[9:]}",
        "",
    ],
)
def test_what_python_would_read_as_a_uuid_all_the_same_is_an_id_that_somebody_chose(text: str) -> None:
    assert ids.of_message("celery", text, 0, "t", b"1") != ids.of_message("celery", text, 0, "t", b"2")
    assert ids.of_plain("q", text, b"1") != ids.of_plain("q", text, b"2")


def test_an_id_that_is_no_uuid_counts_together_with_the_body() -> None:
    """A producer that chooses ids uses them again, as an id for each day, and means another task by it."""
    plain = [call_of(Message("q", body, message_id="daily"), "t").task_id for body in (b"1", b"1", b"2")]
    assert plain[0] == plain[1] != plain[2]
    unique = str(uuid.UUID(int=7))
    assert call_of(Message("q", b"1", message_id=unique), "t").task_id == (
        call_of(Message("q", b"2", message_id=unique), "t").task_id
    )
    celery = [
        call_of(
            replace(
                with_header("id", "daily"),
                headers={**recorded("celery-2").headers, "id": "daily", "task": name},
                body=body,
            )
        ).task_id
        for name, body in [("a", b"[[],{},{}]"), ("a", b"[[],{},{}]"), ("a", b"[[1],{},{}]"), ("b", b"[[],{},{}]")]
    ]
    assert celery[0] == celery[1]
    assert len(set(celery)) == 3
    body = json.loads(recorded("dramatiq").body)
    dramatiq = [
        call_of(recorded("dramatiq", body=json.dumps({**body, "message_id": "daily", "args": args}).encode())).task_id
        for args in ([1], [1], [2])
    ]
    assert dramatiq[0] == dramatiq[1] != dramatiq[2]


# --- Celery


def test_an_id_up_to_what_a_reply_can_name_is_answered_and_a_longer_one_is_refused() -> None:
    longest = "ü" * 127 + "x"
    message = replace(with_header("id", longest), correlation_id=None)
    reply = call_of(message).reply
    assert reply is not None
    assert (reply.task_id, reply.correlation_id) == (longest, longest)
    found = refusal_of(replace(with_header("id", longest + "x"), correlation_id=None))
    assert (found.reason, found.reply) == ("id", None)
    assert "256 bytes" in found.detail
    assert call_of(replace(with_header("id", longest + "x"), reply_to=None)).reply is None, "nobody waits for it"
    assert refusal_of(with_header("id", "\ud800")).reason == "id"


@pytest.mark.parametrize(("name", "is_msgpack"), [("celery-2", False), ("celery-2-msgpack", True), ("celery-1", False)])
def test_a_reply_is_written_as_the_message_was(name: str, is_msgpack: bool) -> None:
    reply = call_of(recorded(name)).reply
    assert reply is not None
    assert reply.is_msgpack is is_msgpack


@pytest.mark.parametrize("name", ["celery-2-gzip", "celery-2-bzip2", "celery-2-lzma", "celery-2-msgpack"])
def test_celerys_compressions_and_serializers_are_read(name: str) -> None:
    assert list(call_of(recorded(name)).args) == [2, 3]


@pytest.mark.parametrize("name", ["celery-2", "celery-1"])
def test_both_protocols_of_celery_are_read(name: str) -> None:
    message = recorded(name)
    call = call_of(message)
    assert (call.protocol, call.name, list(call.args), call.kwargs) == ("celery", "tasks.add", [2], {"b": 3})
    assert call.task_id == uuid.UUID(message.correlation_id).bytes
    assert call.reply is not None
    assert (call.reply.queue, call.reply.task_id) == (message.reply_to, message.correlation_id)


def test_the_header_of_protocol_2_with_the_body_of_1_is_read() -> None:
    call = call_of(recorded("celery-2", body=recorded("celery-1").body))
    assert (call.name, list(call.args), call.kwargs) == ("tasks.add", [2], {"b": 3})


def test_kombus_types_come_as_they_were_sent() -> None:
    assert call_of(recorded("celery-2-types")).args[0] == {
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "on": date(2026, 1, 2),
        "price": Decimal("1.25"),
        "id": uuid.UUID(int=7),
        "text": b"bytes",
        "raw": b"\xff\x00",
    }


def test_a_caller_that_ignores_the_result_gets_no_reply() -> None:
    assert call_of(recorded("celery-2-ignored")).reply is None


def test_a_group_is_told_with_each_of_its_parts() -> None:
    call = call_of(recorded("celery-2-group"))
    assert call.reply is not None
    assert call.reply.group_id


def test_a_group_or_parent_that_is_longer_than_any_id_is_not_kept_for_the_reply() -> None:
    message = recorded("celery-2-group")
    for length, kept in [(255, True), (256, False)]:
        call = call_of(replace(message, headers={**message.headers, "group": "g" * length, "parent_id": "p" * length}))
        assert call.reply is not None
        assert (call.reply.group_id is not None, call.reply.parent_id is not None) == (kept, kept)


def test_an_eta_in_the_past_is_nothing_to_wait_for() -> None:
    assert call_of(recorded("celery-2-eta-past")).options == {"not_before": 0}, "nor for what its nodes announce"


@pytest.mark.parametrize(
    ("eta", "not_before"),
    [
        ("2100-01-01T00:00:00+00:00", 4102444800000),
        ("2100-01-01T02:00:00+02:00", 4102444800000),
        ("2100-01-01T00:00:00", 4102444800000),  # without a zone
        ("2100-01-01T00:00:00.000001Z", 4102444800001),  # never earlier
        ("9999-12-31T23:59:59.999999-12:00", MOMENT_MAX_MS),
        (datetime(2100, 1, 1, tzinfo=UTC), 4102444800000),  # as msgpack may carry it
    ],
)
def test_an_eta_ahead_is_the_moment_from_which_on_the_task_may_start(eta: object, not_before: int) -> None:
    assert call_of(with_header("eta", eta)).options == {"not_before": not_before}


@pytest.mark.parametrize("field", ["eta", "expires"])
@pytest.mark.parametrize("value", ["soon", "0000-01-01T00:00:00", 7, [1], {}])
def test_a_moment_that_can_not_be_read_is_refused(field: str, value: object) -> None:
    assert refusal_of(with_header(field, value)).reason == "bad-body"


def test_a_moment_before_1970_is_long_past() -> None:
    assert call_of(with_header("eta", "0001-01-01T00:00:00+23:00")).options == {"not_before": 0}
    call = call_of(with_header("expires", "0001-01-01T00:00:00+23:00"))
    assert (call.options, call.is_late) == ({"expires": 1}, True)


def test_a_retry_is_a_task_of_its_own() -> None:
    message = recorded("celery-2")
    again = recorded("celery-2", headers={**message.headers, "retries": 1})
    assert call_of(message).task_id != call_of(again).task_id == call_of(again).task_id


@pytest.mark.parametrize("name", ["celery-2-expired", "dramatiq-max-age"])
def test_a_call_that_is_late_says_so(name: str) -> None:
    """Whether it is refused depends on whether the cluster has the task."""
    late, early = call_of(recorded(name)), call_of(recorded(name), now=0.0)
    assert late.is_late
    assert not early.is_late
    assert early.options == late.options
    assert late.options["expires"] < NOW * 1e3


def test_a_name_can_stand_for_another() -> None:
    assert call_of(recorded("celery-2"), names={"tasks.add": "sums.add"}).name == "sums.add"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("celery-2-link", "callbacks"),
        ("celery-2-chain", "chain"),
        ("celery-2-pickle", "pickle"),
    ],
)
def test_what_celery_asks_for_and_can_not_have_is_refused_by_name_to_its_caller(name: str, reason: str) -> None:
    refused = refusal_of(recorded(name))
    assert (refused.protocol, refused.reason) == ("celery", reason)
    assert refused.reply is not None


def test_a_chord_and_an_unknown_serializer_are_refused() -> None:
    message = recorded("celery-2", body=json.dumps([[], {}, {"chord": {"task": "t"}}]).encode())
    assert refusal_of(message).reason == "chord"
    assert refusal_of(recorded("celery-2", content_type="application/x-yaml")).reason == "serializer"
    zipped = recorded("celery-2", headers={**message.headers, "compression": "application/zstd"})
    assert refusal_of(zipped).reason == "compression"


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"[1,2,3]", b"7", b'[[], {"__type__":1,"__value__":2}, {}]'])
def test_a_body_that_is_not_celerys_is_refused_and_its_caller_told(body: bytes) -> None:
    refused = refusal_of(recorded("celery-2", body=body))
    assert refused.reason == "bad-body"
    assert refused.reply is not None


@pytest.mark.parametrize("value", ['{"bytes": "0123456789abcdef"}', '{"int": 1.5}', '{"hex": 1}', "7"])
def test_a_type_of_kombus_with_another_value_in_it_is_refused_by_its_name(value: str) -> None:
    body = f'[[{{"__type__": "uuid", "__value__": {value}}}], {{}}, {{}}]'.encode()
    found = refusal_of(replace(recorded("celery-2"), body=body))
    assert (found.reason, "is no uuid" in found.detail) == ("bad-body", True)
    body = b'[[{"__type__": "decimal", "__value__": "1.2.3"}], {}, {}]'
    assert "'1.2.3' is no decimal" in refusal_of(replace(recorded("celery-2"), body=body)).detail


def test_celerys_content_type_may_have_parameters() -> None:
    assert list(call_of(recorded("celery-2", content_type="application/json; charset=utf-8")).args) == [2]


@pytest.mark.parametrize(("field", "value"), [("task", ""), ("id", ""), ("id", 7)])
def test_a_name_or_id_that_says_nothing_is_refused_by_its_field(field: str, value: object) -> None:
    assert refusal_of(with_header(field, value)).detail == f"{field} is {value!r}, and not a text with something in it"


@pytest.mark.parametrize("name", ["", "x" * 256, "\ud800"])
def test_a_name_that_can_not_be_sent_is_refused(name: str) -> None:
    message = recorded("celery-2")
    assert refusal_of(replace(message, headers={**message.headers, "task": name})).reason == "bad-body"


@pytest.mark.parametrize("task_id", ["\ud800", "x" * 256])
def test_an_id_that_no_reply_could_have_gets_none(task_id: str) -> None:
    message = recorded("celery-2-link")
    strange = replace(message, headers={**message.headers, "id": task_id}, correlation_id=None)
    assert refusal_of(strange).reply is None


def bomb(kind: str, inner: bytes, count: int) -> Message:
    """A message of Celery's of a few bytes, whose arguments are many small things."""
    if kind == "json":
        body = b"[[" + inner * count + b"0],{},{}]"
    else:
        body = b"\x93\xdd" + count.to_bytes(4) + inner * count + b"\x80\x80"
    types = {"json": "application/json", "msgpack": "application/x-msgpack"}
    headers = {**recorded("celery-2").headers, "compression": "application/x-gzip"}
    return recorded("celery-2", body=zlib.compress(body), content_type=types[kind], headers=headers)


@pytest.mark.parametrize(
    ("kind", "inner"),
    [
        ("json", b"{},"),
        ("json", b"[0],"),
        ("json", b'{"a":0},'),
        ("json", b"1000,"),
        ("json", b'"\xf0\x9f\x98\x80",'),
        ("msgpack", b"\x80"),
        ("msgpack", b"\x90"),
        ("msgpack", b"\x81\x00\xc0"),
        ("msgpack", b"\x91\xc0"),
    ],
)
def test_what_a_body_takes_as_objects_is_bounded_before_they_are_built(
    kind: str, inner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 4_000_000
    monkeypatch.setattr(bodies, "BUILT_LIMIT_BYTES", limit)
    assert list(call_of(bomb(kind, inner, 10_000)).args)
    message = bomb(kind, inner, 400_000)
    tracemalloc.start()
    try:
        found = refusal_of(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.reason == "too-large"
    assert peak < 3 * limit + 8 * 400_000 * len(inner)


def test_arrays_that_announce_more_than_there_is_are_not_set_aside() -> None:
    body = b"\xdd\x00\x40\x00\x00" * 2_000
    tracemalloc.start()
    try:
        assert refusal_of(Message("q", body, content_type="application/msgpack"), "t").reason == "bad-body"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_prose_with_many_commas_is_not_taken_for_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BUILT_LIMIT_BYTES", 4_000_000)
    table = '1,2,{"[\\"' * 100_000
    body = json.dumps([[table, "\\"], {}, {}]).encode()
    assert list(call_of(recorded("celery-2", body=body)).args) == [table, "\\"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "application/msgpack"),  # a timestamp
        (b"\xc1", "application/msgpack"),
        (b"\x91" * 2_000, "application/msgpack"),
        (b"[" * 100_000, "application/json"),
        (b"9" * 5_000, "application/json"),
        (b"\xff", "text/plain"),
    ],
)
def test_whatever_a_decoder_raises_for_a_body_is_a_refusal_with_a_sentence(body: bytes, content_type: str) -> None:
    found = refusal_of(Message("q", body, content_type=content_type), "tasks.show")
    assert found.reason == "bad-body"
    assert len(found.detail.partition(": ")[2]) > 5


def test_what_no_decoder_is_known_to_raise_is_a_refusal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(text: str) -> None:
        raise MemoryError

    monkeypatch.setattr(bodies, "_decode", decode)
    found = refusal_of(Message("q", b"1", content_type="application/json"), "tasks.show")
    assert (found.reason, found.detail) == ("bad-body", "the body is not JSON: MemoryError")


def test_a_compressed_body_that_asks_for_much_memory_or_ends_early_is_refused() -> None:
    greedy = lzma.compress(b"[[],{},{}]", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    assert refusal_of(recorded("celery-2-lzma", body=greedy)).reason == "bad-body"
    cut_off = zlib.compress(json.dumps([["x" * 2000], {}, {}]).encode())[:-6]
    found = refusal_of(recorded("celery-2-gzip", body=cut_off))
    assert "it ends before its end" in found.detail


def test_what_a_message_says_is_cut_in_a_refusal() -> None:
    assert len(refusal_of(with_header("eta", "x" * 9_000_000)).detail) <= 1_000
    assert len(Refused("celery", "cluster", "x" * 9_000_000).detail) == 1_000


def test_a_small_body_does_not_become_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_LIMIT_BYTES", 1000)
    body = zlib.compress(json.dumps([["x" * 2000], {}, {}]).encode())
    message = recorded("celery-2-gzip", body=body)
    assert refusal_of(message).reason == "too-large"
    assert refusal_of(recorded("celery-2", body=b" " * 1001)).reason == "too-large"


def test_gzip_is_what_kombu_calls_zlib() -> None:
    body = gzip.compress(b"[[], {}, {}]")
    assert refusal_of(recorded("celery-2-gzip", body=body)).reason == "bad-body"


# --- dramatiq


def test_a_message_of_dramatiq_is_read() -> None:
    message = recorded("dramatiq")
    call = call_of(message, task="ignored")
    assert (call.protocol, call.name, list(call.args), call.kwargs) == ("dramatiq", "tasks.add", [2], {"b": 3})
    assert call.task_id == uuid.UUID(json.loads(message.body)["message_id"]).bytes
    assert call.reply is None


def test_what_dramatiq_asks_for_and_can_not_have_is_refused_by_name() -> None:
    refused = refusal_of(recorded("dramatiq-pipeline"))
    assert (refused.protocol, refused.reason) == ("dramatiq", "pipeline")


def test_a_delay_is_the_moment_from_which_on_the_task_may_start_and_once_over_is_nothing_to_wait_for() -> None:
    message = recorded("dramatiq-delay")
    eta_ms = json.loads(message.body)["options"]["eta"]
    assert call_of(message).options == {"not_before": eta_ms}
    assert call_of(message, now=eta_ms / 1e3).options == {"not_before": 0}


def test_the_age_that_a_message_may_have_counts_from_when_it_was_sent() -> None:
    message = recorded("dramatiq-max-age")
    sent_ms = json.loads(message.body)["message_timestamp"]
    assert call_of(message).options == {"expires": sent_ms + 1000}


@pytest.mark.parametrize(
    ("options", "sent", "carried"),
    [
        ('{"eta": 1e400}', "1", {"not_before": MOMENT_MAX_MS}),
        ('{"eta": 1%s}' % ("0" * 400), "1", {"not_before": MOMENT_MAX_MS}),
        ('{"eta": -1e400}', "1", {"not_before": 0}),
        ('{"eta": "soon", "max_age": "short"}', "1", {}),
        ('{"max_age": 1e400}', "1%s" % ("0" * 400), {"expires": MOMENT_MAX_MS}),
        ('{"max_age": 5}', "-1e400", {"expires": 6}),
        ('{"max_age": 0}', "1", {}),
        ('{"max_age": NaN}', "1", {}),
        ('{"max_age": 5}', '"then"', {}),
    ],
)
def test_numbers_that_are_no_moments_are_the_nearest_or_none(options: str, sent: str, carried: object) -> None:
    body = (
        f'{{"queue_name": "q", "actor_name": "a", "args": [], "kwargs": {{}}, "options": {options}, '
        f'"message_id": "m", "message_timestamp": {sent}}}'
    )
    assert call_of(Message("q", body.encode())).options == carried


def test_what_is_no_number_at_all_is_refused() -> None:
    body = json.loads(recorded("dramatiq-delay").body) | {"options": {"eta": float("nan")}}
    assert refusal_of(recorded("dramatiq-delay", body=json.dumps(body).encode())).reason == "bad-body"


# --- any


def test_priorities_keep_their_order_and_none_is_the_default() -> None:
    mapped = [priority_of(number) for number in range(10)]
    assert mapped == sorted(mapped)
    assert (priority_of(None), mapped[0], mapped[1], mapped[9], priority_of(255)) == (4, 4, 5, 9, 9)


@given(
    body=st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode),
    headers=st.dictionaries(
        st.sampled_from(["task", "id", "eta", "expires", "compression", "timelimit", "retries"]),
        st.none() | st.text(max_size=5) | st.integers() | st.lists(st.none(), max_size=2) | st.just("tasks.add"),
    ),
    content_type=st.sampled_from([None, "application/json", "application/x-msgpack", "text/plain", "x"]),
    encoding=st.sampled_from([None, "utf-8", "nonsense", "utf-16"]),
)
def test_whatever_comes_is_a_call_or_a_refusal_with_a_reason(
    body: bytes, headers: dict[str, object], content_type: str | None, encoding: str | None
) -> None:
    message = Message("q", body, headers, content_type, encoding, reply_to="r", correlation_id="c")
    found = read(message, "tasks.show", now=NOW)
    if isinstance(found, Refused):
        assert found.reason in REASONS
    else:
        assert len(found.task_id) == 16
        encode_calls([(found.task_id, found.name, found.priority, b"", dict(found.options))])
