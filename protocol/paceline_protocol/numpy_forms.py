"""The scalars and arrays of numpy, as a dtype, a shape and the bytes of the items.

numpy is no dependency. Whoever packs one of its values has it; whoever unpacks one needs it, and imports it then.

Only dtypes whose items are nothing but their bytes have a form, and the same on every machine: the rows of _KINDS.
Objects would need pickle, and a long double is another number of bytes elsewhere. An array arrives in C order, writable
and its own, whatever it was a view of.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from math import prod
from typing import Any, Final

HEAD_LIMIT_BYTES: Final = 512
"""More than a dtype and a shape take."""
DTYPE_LIMIT_BYTES: Final = 32
"""More than _DTYPE matches."""
MOST_DIMENSIONS: Final = 32  # of every numpy there is
_KINDS: Final = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8),
    "c": (8, 16),
    "M": (8,),
    "m": (8,),
    "S": (),
    "U": (),
}
"""Kinds of dtypes, with the sizes of their items in bytes; none: any."""
_DTYPE: Final = re.compile(r"([<>|])([biufcMmSU])(0|[1-9][0-9]{0,8})(\[[0-9a-zA-Z]{1,12}\])?")
_MOST_CODE_POINT: Final = 0x10FFFF


def form_of(value: Any) -> tuple[tuple[str, tuple[int, ...]] | str, bytes]:
    """What says how to read the items, and their bytes: (dtype, shape) for an array, the dtype for a scalar.

    Raises TypeError, which says what to do, for what has no form.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:  # it is a class of somebody else's that says so
        raise TypeError
    if type(value) is numpy.ndarray:
        _check_dtype(value.dtype)
        if not value.dtype.itemsize:  # any number of them would be no bytes
            raise TypeError("its items are of no bytes")
        if value.ndim > MOST_DIMENSIONS:
            raise TypeError(f"reshape it to at most {MOST_DIMENSIONS} dimensions")
        return (value.dtype.str, value.shape), value.tobytes()
    if isinstance(value, numpy.generic):
        _check_dtype(value.dtype)
        return _scalar_form(value)
    if isinstance(value, numpy.ndarray):
        raise TypeError("use numpy.asarray(value), or value.filled(...) of a masked array")
    raise TypeError


def _scalar_form(value: Any) -> tuple[str, bytes]:
    if value.dtype.kind == "S":
        return f"|S{len(value)}", bytes(value)
    if value.dtype.kind == "U":
        return f"<U{len(value)}", value.encode("utf-32-le", "surrogatepass")
    return value.dtype.str, value.tobytes()


def _check_dtype(dtype: Any) -> None:
    if not _is_sendable(dtype):
        raise TypeError(
            f"its dtype is {dtype}; what can be sent are bool, int, uint, float and complex of up to 64 bits a part, "
            "datetime64, timedelta64, S and U: use value.astype(...), value.tolist(), or an array for each field"
        )


def _is_sendable(dtype: Any) -> bool:
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        return False
    sizes = _KINDS.get(dtype.kind)
    return sizes is not None and (not sizes or dtype.itemsize in sizes)


def read(head: Any, data: bytes, start: int) -> Any:
    """The value whose items are ``data`` from ``start`` on. Raises ValueError or TypeError."""
    name, shape = head if type(head) is tuple else (head, None)
    if type(name) is not str or not _DTYPE.fullmatch(name):
        raise ValueError("a value of numpy of an unknown dtype")
    numpy = _numpy()
    dtype = numpy.dtype(name)
    if not _is_sendable(dtype):
        raise ValueError(f"a value of numpy of the dtype {name}, which can't be sent")
    if shape is None:
        return _read_scalar(numpy, dtype, data[start:])
    return _read_array(numpy, dtype, shape, data, start)


def _read_array(numpy: Any, dtype: Any, shape: Any, data: bytes, start: int) -> Any:
    if type(shape) is not tuple or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"the shape of an array has at most {MOST_DIMENSIONS} dimensions")
    if not dtype.itemsize or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("an array has items, and lengths")
    count = prod(shape)
    if count * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start} bytes are no {count} items of the dtype {dtype}")
    array = numpy.frombuffer(data, dtype, count, start) if count else numpy.empty(0, dtype)
    _check_items(numpy, dtype, array)
    return array.reshape(shape).copy()


def _read_scalar(numpy: Any, dtype: Any, data: bytes) -> Any:
    if len(data) != dtype.itemsize:
        raise ValueError(f"{len(data)} bytes are no item of the dtype {dtype}")
    if dtype.kind == "S":  # by themselves, since in an array they lose null bytes at their end
        return numpy.bytes_(data)
    if dtype.kind == "U":
        big_endian = dtype.byteorder == ">" or (dtype.byteorder == "=" and sys.byteorder == "big")
        return numpy.str_(data.decode("utf-32-be" if big_endian else "utf-32-le", "surrogatepass"))
    array = numpy.frombuffer(data, dtype)
    _check_items(numpy, dtype, array)
    return array[0]


def _check_items(numpy: Any, dtype: Any, array: Any) -> None:
    """numpy takes these for granted, and fails in strange ways without."""
    if dtype.kind == "b" and array.view("u1").max(initial=0) > 1:
        raise ValueError("a bool that is neither 0 nor 1")
    if (
        dtype.kind == "U"
        and array.view(numpy.dtype("u4").newbyteorder(dtype.byteorder)).max(initial=0) > _MOST_CODE_POINT
    ):
        raise ValueError("a character past the last of Unicode")


def _numpy() -> Any:
    try:
        return import_module("numpy")
    except ImportError as error:
        raise ValueError(
            f"a value of numpy, which can't be imported on this machine; install numpy here ({error})"
        ) from error
