"""Python values, arguments and errors as bytes."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_protocol import codec, forms, payload
from paceline_protocol.errors import MalformedPayload, PayloadError, PayloadTooLarge, UnserializableValue

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=150)

zones = st.none() | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
zones |= st.sampled_from([UTC, ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York")])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.floats(allow_nan=False),
    st.text(st.characters()),  # lone surrogates too
    st.binary(),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(timezones=zones.filter(lambda zone: not isinstance(zone, ZoneInfo))),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.complex_numbers(allow_nan=False),
)
hashables = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=5
)
values = st.recursive(
    hashables | st.sets(hashables, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashables, inner, max_size=3)
    ),
    max_leaves=10,
)


class Number(int):
    pass


class Pair(tuple[int, int]):
    __slots__ = ()


class Text(str):
    __slots__ = ()


class NamedAsNumpys:
    """A class may say that it is of any module."""

    __module__ = "numpy.x"


class Unknown:
    pass


class Unreadable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class StrangeZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(0)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types all the way down: 1 == True == 1.0 and 0.0 == -0.0 are not the same."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, list | tuple):
        return all(map(same, one, other))
    if isinstance(one, dict):
        return all(map(same, one.items(), other.items()))
    return isinstance(one, set | frozenset) or repr(one) == repr(other)


@given(values)
@DETERMINISTIC
def test_a_value_comes_back_as_it_went(value: Any) -> None:
    assert same(payload.unpack_value(payload.pack_value(value)), value)


@given(st.lists(values, max_size=3), st.dictionaries(st.text(max_size=5), values, max_size=2))
@DETERMINISTIC
def test_arguments_come_back_as_they_went(args: list[Any], kwargs: dict[str, Any]) -> None:
    unpacked_args, unpacked_kwargs = payload.unpack_args(payload.pack_args(tuple(args), kwargs))
    assert same(unpacked_args, args)
    assert same(unpacked_kwargs, kwargs)


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        (),
        [()],
        ((),),
        set(),
        frozenset({frozenset()}),
        {(1, (2,)): {3}},
        {None: 1, True: 2, 2.5: 3, b"k": 4},
        float("inf"),
        -0.0,
        Decimal("1.10"),
        Decimal("-0"),
        Decimal("Infinity"),
        "\udc80",
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
        datetime.min,
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5, microseconds=1))),
        time(1, 2, 3, 4, fold=1),
        time(12, tzinfo=ZoneInfo("Europe/Paris")),
        date.max,
        timedelta.min,
        complex(1, -2),
        UUID(int=5),
        b"\xc7\x00\x01",  # looks like a mark
        ["\xc7\x00", (b"\xc7\x00",)],
    ],
    ids=repr,
)
def test_values_at_the_edges_come_back_as_they_went(value: Any) -> None:
    assert same(payload.unpack_value(payload.pack_value(value)), value)


def test_nan_comes_back() -> None:
    number, decimal = payload.unpack_value(payload.pack_value((float("nan"), Decimal("sNaN12"))))
    assert number != number
    assert repr(decimal) == "Decimal('sNaN12')"


def test_bytearray_and_memoryview_come_back_as_bytes() -> None:
    assert payload.unpack_value(payload.pack_value([bytearray(b"x"), memoryview(b"y")])) == [b"x", b"y"]


@pytest.mark.parametrize(
    ("args", "kwargs", "path", "type_name"),
    [
        ((1, {"x": [1, Unknown()]}), {}, "argument 2, key 'x', item 1", "Unknown"),
        ((), {"rider": (1, {Unknown()})}, "argument 'rider', item 1, an element", "Unknown"),
        (({2: {(1, 2): Unknown()}},), {}, "argument 1, key 2, a key of type tuple", "Unknown"),
        (({Unreadable(): 1, "x": 2},), {}, "argument 1, a key", "Unreadable"),
        (({"k" * 1000: len},), {}, f"argument 1, key {'k' * 60!r}", "builtin_function_or_method"),
        (({2**20_000: len},), {}, "argument 1, a key of type int", "builtin_function_or_method"),
        (({Number(1): 1},), {}, "argument 1, a key", "Number"),
        ((Number(1),), {}, "argument 1", "Number"),
        ((1, Text("x")), {}, "argument 2", "Text"),
        ((OrderedDict(),), {}, "argument 1", "OrderedDict"),
        ((Pair((1, 2)),), {}, "argument 1", "Pair"),
        ((len,), {}, "argument 1", "builtin_function_or_method"),
        (([datetime(2024, 1, 1, tzinfo=StrangeZone())],), {}, "argument 1, item 0", "datetime"),
    ],
)
def test_a_value_without_a_form_is_named_with_its_place(
    args: tuple[Any, ...], kwargs: dict[str, Any], path: str, type_name: str
) -> None:
    with pytest.raises(UnserializableValue) as caught:
        payload.pack_args(args, kwargs)
    assert caught.value.path == path
    assert caught.value.type_name.split(".")[-1] == type_name
    assert caught.value.advice in str(caught.value)
    assert path in str(caught.value)


def released_view() -> memoryview:
    view = memoryview(b"released")
    view.release()
    return view


def named_zone(key: Any) -> ZoneInfo:
    """A zone that was read from a file under this key: UTC, by the format of RFC 8536."""
    data = struct.pack(">4s16x6l", b"TZif", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(io.BytesIO(data), key=key)


@pytest.mark.parametrize("limit_bytes", [None, 1 << 20])
@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (memoryview(b"strided")[::2], "bytes(value)"),
        (released_view(), "it was released"),
        (NamedAsNumpys(), "convert it to plain values"),
        (datetime(2024, 1, 1, tzinfo=named_zone("\ud800")), "for its time zone"),
        (time(12, tzinfo=named_zone(5)), "for its time zone"),
    ],
    ids=["strided", "released", "numpy", "key", "number"],
)
def test_a_value_that_only_looks_as_if_it_had_a_form_is_named_with_its_place(
    value: Any, advice: str, limit_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    for inside, path in [(value, "argument 2"), ({"k": [1, value]}, "argument 2, key 'k', item 1")]:
        with pytest.raises(UnserializableValue) as caught:
            payload.pack_args((1, inside), {}, limit_bytes)
        assert (caught.value.path, caught.value.type_name.split(".")[-1]) == (path, type(value).__name__)
        assert advice in str(caught.value)


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: frozenset({v}), lambda v: {(v,): ()}]


WRAPS = {
    "list": lambda v: [v],
    "tuple": lambda v: (v,),
    "dict": lambda v: {"k": v},
    "frozenset": lambda v: frozenset({v}),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_what_packs_unpacks_at_any_depth_and_past_it_the_argument_is_named(wrap: Any) -> None:
    refused = []
    for depth in (500, *range(1000, 1030), 5000):  # the limit is msgpack's, somewhere about 1,020
        try:
            packed = payload.pack_args((1, nested(depth, wrap)), {})
        except UnserializableValue as error:
            refused.append((depth, error))
        else:
            assert len(payload.unpack_args(packed)[0]) == 2
    assert refused[0][0] > 1000
    for _, error in refused:
        assert error.path == "argument 2"
        assert "nested too deep" in str(error)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append((loop, {"k": loop}))
    with pytest.raises(UnserializableValue, match=r"argument 1 .*holds itself"):
        payload.pack_args((loop,), {})


def test_a_higher_limit_is_advised_only_where_a_node_may_have_it() -> None:
    most = codec.PAYLOAD_LIMIT_MAX_BYTES
    assert str(PayloadTooLarge(most, 16 << 20)).endswith("or start the nodes with a --payload-limit of up to 62 MiB")
    assert str(PayloadTooLarge(most + 1, 16 << 20)).endswith("send a reference (a path, a URL) to large data")


def test_limits_carry_size_and_limit() -> None:
    for pack in (lambda: payload.pack_value(bytes(100), 100), lambda: payload.pack_args((bytes(100),), {}, 100)):
        with pytest.raises(PayloadTooLarge) as caught:
            pack()
        assert caught.value.limit == 100
        assert caught.value.size > 100
    packed = payload.pack_value(bytes(100))
    assert payload.pack_value(bytes(100), len(packed)) == packed
    assert payload.unpack_value(packed, len(packed)) == bytes(100)
    with pytest.raises(PayloadTooLarge):
        payload.unpack_value(packed, len(packed) - 1)
    with pytest.raises(PayloadTooLarge):
        payload.unpack_args(packed, len(packed) - 1)


def test_packing_goes_on_after_a_failure_and_after_a_large_value() -> None:
    for spoiler in (Unknown(), [1, "x" * 1000, Unknown()], "y" * 1_000_000):
        try:
            payload.pack_value(spoiler)
        except UnserializableValue:
            pass
        assert payload.unpack_value(payload.pack_value((1, "x"))) == (1, "x")


def test_threads_pack_side_by_side() -> None:
    def round_trips(number: int) -> bool:
        value = [(number, Decimal(number), {"k": {number}})] * 20
        return all(payload.unpack_value(payload.pack_value(value)) == value for _ in range(50))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(round_trips, range(32), timeout=30))


# --- hostile bytes ----------------------------------------------------------------------------------------------

UNPACKERS = [payload.unpack_value, payload.unpack_args, payload.unpack_error]


def packed_ext(code: int, *fields: Any) -> bytes:
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb(fields)))  # type: ignore[no-any-return]


MARK = msgpack.ExtType(forms.Ext.TUPLE, b"")
MALFORMED = {
    "empty": b"",
    "two values": b"\x01\x01",
    "a mark alone": msgpack.packb(MARK),
    "a mark in second place": msgpack.packb([1, MARK]),
    "two marks": msgpack.packb([MARK, MARK]),
    "a mark as a key": msgpack.packb({1: MARK}),
    "a mark with a body": msgpack.packb([msgpack.ExtType(forms.Ext.TUPLE, b"x"), 1]),
    "a mark in a longer form": b"\x92\xc8\x00\x00\x01\x05",
    "a set of lists": msgpack.packb([msgpack.ExtType(forms.Ext.SET, b""), [1]]),
    "a list as a key": b"\x81\x91\x01\x01",
    "an unknown extension": msgpack.packb(msgpack.ExtType(99, b"x")),
    "a decimal of letters": msgpack.packb(msgpack.ExtType(forms.Ext.DECIMAL, b"abc")),
    "a decimal out of range": msgpack.packb(msgpack.ExtType(forms.Ext.DECIMAL, b"1e9999999999999999999")),
    "a decimal past ASCII": msgpack.packb(msgpack.ExtType(forms.Ext.DECIMAL, b"\xff")),
    "a short uuid": msgpack.packb(msgpack.ExtType(forms.Ext.UUID, b"x")),
    "a short complex": msgpack.packb(msgpack.ExtType(forms.Ext.COMPLEX, b"x")),
    "month 13": packed_ext(forms.Ext.DATE, 2024, 13, 1),
    "a date of text": packed_ext(forms.Ext.DATE, "2024", "1", "1"),
    "a date of two": packed_ext(forms.Ext.DATE, 2024, 1),
    "a date beyond C": packed_ext(forms.Ext.DATE, 2**63, 1, 1),
    "a date that is a number": msgpack.packb(msgpack.ExtType(forms.Ext.DATE, b"\x05")),
    "a time of five": packed_ext(forms.Ext.TIME, 1, 2, 3, 4, 0),
    "hour 25": packed_ext(forms.Ext.TIME, 25, 2, 3, 4, 0, None),
    "a zone offset of a week": packed_ext(forms.Ext.TIME, 1, 2, 3, 4, 0, 7 * 86400 * 10**6),
    "a zone beyond C": packed_ext(forms.Ext.TIME, 1, 2, 3, 4, 0, 2**63),
    "a zone that is a float": packed_ext(forms.Ext.TIME, 1, 2, 3, 4, 0, 1.5),
    "a zone out of the database": packed_ext(forms.Ext.DATETIME, 2024, 1, 1, 1, 1, 1, 1, 0, "../../etc/passwd"),
    "a zone that is a directory": packed_ext(forms.Ext.DATETIME, 2024, 1, 1, 1, 1, 1, 1, 0, "Europe"),
    "a zone with a null byte": packed_ext(forms.Ext.DATETIME, 2024, 1, 1, 1, 1, 1, 1, 0, "a\0b"),
    "a zone that is empty": packed_ext(forms.Ext.DATETIME, 2024, 1, 1, 1, 1, 1, 1, 0, ""),
    "an endless timedelta": packed_ext(forms.Ext.TIMEDELTA, 10**18, 0, 0),
    "a timedelta of infinity": packed_ext(forms.Ext.TIMEDELTA, float("inf"), 0, 0),
    "a timedelta of nan": packed_ext(forms.Ext.TIMEDELTA, float("nan"), 0, 0),
    "a bad timestamp": b"\xc7\x03\xff\x00\x00\x00",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_payloads_are_refused_by_name(data: bytes) -> None:
    for unpack in UNPACKERS:
        with pytest.raises(MalformedPayload):
            unpack(data)


def test_equal_keys_too_deep_to_compare_are_malformed(usual_recursion_limit: None) -> None:
    key = b"\x92\xc7\x00\x01" * 1010 + b"\x01"
    data = b"\x82" + key + b"\x01" + key + b"\x01"
    if sys.version_info >= (3, 12):  # compares whatever msgpack lets through
        assert len(payload.unpack_value(data)) == 1
    else:
        with pytest.raises(MalformedPayload):
            payload.unpack_value(data)


def test_a_time_zone_that_is_missing_here_says_what_to_install() -> None:
    data = packed_ext(forms.Ext.DATETIME, 2024, 1, 1, 1, 1, 1, 1, 0, "Mars/Olympus")
    with pytest.raises(MalformedPayload, match=r"tzdata.*Mars/Olympus"):
        payload.unpack_value(data)


@pytest.mark.parametrize(
    "data",
    [payload.pack_value(1), payload.pack_value([]), payload.pack_value([1, 2]), payload.pack_value([{1: 2}])],
    ids=repr,
)
def test_arguments_of_another_shape_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedPayload):
        payload.unpack_args(data)


@given(values)
@settings(DETERMINISTIC, max_examples=40)
def test_a_payload_cut_at_any_byte_is_malformed(value: Any) -> None:
    packed = payload.pack_value(value)
    for length in range(len(packed)):
        with pytest.raises(MalformedPayload):
            payload.unpack_value(packed[:length])


@given(
    st.binary(max_size=80)
    | st.builds(
        lambda head, rest: head + rest,
        st.sampled_from([b"\x92\xc7\x00\x01", b"\xc7\x09\x0a\x99", b"\xc7\x04\x08\x93"]),
        st.binary(max_size=40),
    )
)
@settings(DETERMINISTIC, max_examples=600)
def test_random_bytes_raise_only_payload_errors(data: bytes) -> None:
    for unpack in UNPACKERS:
        try:
            unpack(data)
        except PayloadError:
            pass


@given(value=values, data=st.data())
@settings(DETERMINISTIC, max_examples=200)
def test_one_changed_byte_raises_only_payload_errors(value: Any, data: st.DataObject) -> None:
    packed = bytearray(payload.pack_value(value))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        payload.unpack_value(bytes(packed))
    except PayloadError:
        pass


BOMBS = {
    "small arrays": (b"\xdc\x0f\x00" * 1023).ljust(4096, b"\x01"),
    "arrays": (b"\xdd\x00\x0f\x00\x00" * 1000).ljust(2**20, b"\x01"),
    "maps": (b"\xdf\x00\x07\x00\x00\x01" * 1000).ljust(2**20, b"\x01"),
    "depth": b"\x91" * 2**20,
    "a date of arrays": msgpack.packb(msgpack.ExtType(forms.Ext.DATE, (b"\xdc\x0f\x00" * 1023).ljust(2**16, b"\x01"))),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_lengths_that_are_not_there_cost_little(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MalformedPayload):
            payload.unpack_value(bomb)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


# --- errors -----------------------------------------------------------------------------------------------------


class Crash(Exception):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class ArgsOfAnything(Exception):
    args = 5  # type: ignore[assignment]


def round_trip(error: BaseException, traceback_text: str = "") -> payload.ErrorInfo:
    return payload.unpack_error(payload.pack_error(error, traceback_text))


def test_an_error_comes_back_with_type_message_args_and_traceback() -> None:
    assert round_trip(KeyError("k", (1, {2})), "Traceback ...") == payload.ErrorInfo(
        "KeyError", "builtins", "('k', (1, {2}))", ("k", (1, {2})), "Traceback ..."
    )
    assert round_trip(Crash.__call__()).type_name == "Crash"
    assert round_trip(SystemExit(3)).args == (3,)


def test_args_that_can_not_travel_are_left_out_and_the_rest_travels() -> None:
    assert round_trip(ValueError(Unknown())).args is None
    assert round_trip(ValueError("x" * payload.ERROR_ARGS_LIMIT_BYTES)).args is None
    assert round_trip(ArgsOfAnything()).args is None
    for depth in range(1000, 1030):  # around the nesting limit, wherever exactly it is
        assert round_trip(ValueError(nested(depth, lambda v: [v]))).type_name == "ValueError"


@pytest.mark.parametrize(
    ("error", "args"),
    [
        (FileNotFoundError(2, "No such file", "/nowhere"), (2, "No such file", "/nowhere")),
        (OSError(13, "No", b"/bytes"), (13, "No", b"/bytes")),
        (OSError(13, "No", PurePath("/a/path")), (13, "No", "/a/path")),
        (OSError(18, "Cross-device", "/from", None, "/to"), (18, "Cross-device", "/from", None, "/to")),
        (BlockingIOError(11, "Later", 5), (11, "Later", 5)),
        (OSError("only a message"), ("only a message",)),
    ],
)
def test_an_os_error_comes_back_with_its_paths(error: OSError, args: tuple[Any, ...]) -> None:
    info = payload.unpack_error(payload.pack_error(error, ""))
    assert info.args == args
    again = OSError(*info.args)
    assert type(again) is type(error)
    assert str(again) == str(error).replace("PurePosixPath('/a/path')", "'/a/path'")


def test_an_os_error_whose_path_can_not_travel_keeps_its_message() -> None:
    info = payload.unpack_error(payload.pack_error(OSError(2, "No such file", object()), ""))
    assert info.args is None
    assert info.message.startswith("[Errno 2] No such file: <object")


def test_an_error_whose_str_raises_still_travels() -> None:
    assert round_trip(Mute("x")) == payload.ErrorInfo(
        "Mute", Mute.__module__, "(its __str__ raised RuntimeError)", ("x",), ""
    )


def test_a_message_keeps_its_start_and_a_traceback_its_end() -> None:
    info = round_trip(ValueError("a" + "é" * 100_000), "é" * 100_000 + "end")
    assert info.message.startswith("aéé")
    assert info.traceback.endswith("ééend")
    for text in (info.message, info.traceback):
        assert payload.TRACEBACK_LIMIT_BYTES - 4 < len(text.encode()) <= payload.TRACEBACK_LIMIT_BYTES


def test_lone_surrogates_in_a_traceback_are_made_readable() -> None:
    assert round_trip(ValueError("\udc80"), "\udc80").traceback == r"\udc80"


@pytest.mark.parametrize(
    "fields",
    [None, [], ["a", "b", "c", None], ["a", "b", "c", [1], "d"], ["a", "b", 1, None, "d"], {"a": 1}],
    ids=repr,
)
def test_a_packed_error_of_another_shape_is_malformed(fields: Any) -> None:
    with pytest.raises(MalformedPayload):
        payload.unpack_error(payload.pack_value(fields))


def test_an_error_made_without_an_exception_packs_too() -> None:
    info = payload.ErrorInfo("TaskLost", "paceline.errors", "lost 3 times", None, "")
    assert payload.unpack_error(payload.pack_error_info(info)) == info
