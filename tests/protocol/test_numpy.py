"""Scalars and arrays of numpy, there and back."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest

from paceline_protocol import forms, numpy_forms, payload
from paceline_protocol.errors import MalformedPayload, UnserializableValue

SCALARS = [
    np.mean([1.0, 2.0]),
    np.float32(1.5),
    np.float16(2),
    np.int64(-3),
    np.uint8(255),
    np.bool_(True),
    np.complex64(1 + 2j),
    np.datetime64("2026-01-01"),
    np.datetime64("2026-01-01T00:00:00.000000001", "ns"),
    np.datetime64("NaT"),
    np.timedelta64(5, "s"),
    np.str_("hé\0"),
    np.str_(""),
    np.bytes_(b"ab\0"),
]
ARRAYS = [
    np.arange(12).reshape(3, 4),
    np.arange(12).reshape(3, 4).T,
    np.arange(12)[::-2],
    np.zeros((0, 3)),
    np.array(5.0),
    np.array(["a", "bcd"]),
    np.array([b"x\0y", b"z"]),
    np.array([True, False]),
    np.arange(5, dtype=">i4"),
    np.array(["2026", "2027"], dtype="M8[us]"),
    np.array([1, 2], dtype="m8[25s]"),
    np.array(["a"], dtype=">U3"),
    np.zeros((1,) * 32, dtype="c8"),
]


@pytest.mark.parametrize("value", SCALARS + ARRAYS, ids=repr)
def test_a_value_of_numpy_comes_back_as_it_went(value: Any) -> None:
    for packed in (value, [value, (value,)]):
        back = payload.unpack_value(payload.pack_value(packed))
        back = back if type(packed) is not list else back[1][0]
        assert type(back) is type(value)
        assert (back.dtype.str, back.shape) == (value.dtype.str, value.shape)
        assert back.tobytes() == value.tobytes()


def test_an_array_is_its_receivers_own() -> None:
    (back,), _ = payload.unpack_args(payload.pack_args((np.arange(6)[::2],), {}))
    back[0] = 7
    assert back.tolist() == [7, 2, 4]


def test_a_scalar_can_be_a_key() -> None:
    value = {np.int64(1): 2, "s": {np.float32(3)}}
    assert payload.unpack_value(payload.pack_value(value)) == value


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (np.array([object()]), "dtype is object; what can be sent"),
        (np.zeros(2, dtype="i4,f8"), "an array for each field"),
        (np.zeros(2, dtype="i4,f8")[0], "an array for each field"),
        (np.longdouble(1), "float and complex of up to 64 bits"),
        (np.zeros(3, dtype="V4"), "what can be sent"),
        (np.zeros(2, dtype="i4").view(np.recarray), "numpy.asarray"),
        (np.ma.masked_array([1]), "filled"),
        (np.random.default_rng(1), "convert it to plain values"),
    ],
    ids=repr,
)
def test_what_has_no_form_is_refused_with_its_place_and_what_to_do(value: Any, advice: str) -> None:
    with pytest.raises(UnserializableValue) as caught:
        payload.pack_args((1, {"k": value}), {})
    assert str(caught.value).startswith("argument 2, key 'k' is of type numpy.")
    assert advice in str(caught.value)


def array(head: Any, items: bytes, code: int = forms.Ext.ARRAY) -> bytes:
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb(head) + items))  # type: ignore[no-any-return]


MALFORMED = {
    "no head": msgpack.packb(msgpack.ExtType(forms.Ext.ARRAY, b"")),
    "a head of numbers": array(7, b""),
    "a head of three": array(["<f8", [1], 2], bytes(8)),
    "a head without end": array(["<f8", [1] * 1000], bytes(8)),
    "objects": array(["|O", [1]], bytes(8)),
    "a record": array(["<i4,<f8", [1]], bytes(12)),
    "a dtype of numpy's that is text": array(["float64", [1]], bytes(8)),
    "a long double": array(["<f16", [1]], bytes(16)),
    "a unit that is none": array(["<M8[zz]", [1]], bytes(8)),
    "more than is there": array(["<f8", [2**40]], bytes(8)),
    "less than is there": array(["<f8", [1]], bytes(16)),
    "lengths past every size": array(["<f8", [0, 2**62, 2**62]], b""),
    "a negative length": array(["<f8", [-1, -1]], bytes(8)),
    "a length that is a bool": array(["<f8", [True]], bytes(8)),
    "dimensions": array(["<f8", [1] * 33], bytes(8)),
    "items of nothing": array(["|S0", [2**40]], b""),
    "a bool that is 2": array(["|b1", [1]], b"\x02"),
    "a character past Unicode": array(["<U1", [1]], b"\xff\xff\xff\x00"),
    "a scalar of two": array("<f8", bytes(16), forms.Ext.SCALAR),
    "a scalar that is 2": array("|b1", b"\x02", forms.Ext.SCALAR),
    "a scalar past Unicode": array("<U1", b"\xff\xff\xff\x00", forms.Ext.SCALAR),
    "a dtype without end": array("|S1" + "0" * 60, bytes(8), forms.Ext.SCALAR),
    "a head that is a map": array({"<f8": 1}, bytes(8)),
    "a head in a head": array(["<f8", [msgpack.ExtType(1, b"")]], bytes(8)),
    "an array as a key": b"\x81" + array(["<f8", [1]], bytes(8)) + b"\x01",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_values_of_numpy_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(MalformedPayload):
        payload.unpack_value(data)


@pytest.mark.parametrize("code", [forms.Ext.ARRAY, forms.Ext.SCALAR])
@pytest.mark.parametrize("head", [b"\xdd\x00\x0f\xff\xff", b"\xdc\xff\xff", b"\xdc\x00\x21"], ids=len)
def test_what_a_head_announces_is_not_set_aside(code: int, head: bytes) -> None:
    heads = head * (numpy_forms.HEAD_LIMIT_BYTES // len(head))
    data = msgpack.packb(msgpack.ExtType(code, heads.ljust(1 << 20, b"\0")))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(MalformedPayload, match="max_array_len"):
            payload.unpack_value(data)
        assert tracemalloc.get_traced_memory()[1] - before < 8 << 20, "no more than some copies of the bytes"
    finally:
        tracemalloc.stop()


def test_where_numpy_is_missing_the_error_says_so_and_nothing_else_imports_it() -> None:
    program = """
import sys
import tracemalloc
from paceline_protocol import payload
payload.unpack_value(payload.pack_value([1.5, {"a": (1,)}]))
assert "numpy" not in sys.modules
sys.modules["numpy"] = None  # an import of it fails
try:
    payload.unpack_value(bytes.fromhex(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""
    packed = payload.pack_value(np.float64(1)).hex()
    run = subprocess.run(
        [sys.executable, "-c", program, packed], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.startswith("MalformedPayload")
    assert "install numpy here" in run.stdout
