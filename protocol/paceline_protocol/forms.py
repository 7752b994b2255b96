"""The forms of the Python types that msgpack has not: each an extension, numbered in :class:`Ext`.

docs/protocol.md describes them. A tuple, set or frozenset is an array whose first item is an empty extension, its
mark. The obvious form, an extension that holds the packed items, would copy the inside of nested tuples once per level,
for us and for whoever sends us hostile bytes; with marks both ways are one linear pass.

Types are exact: a subclass has no form. How whole values are packed, and what a user hears of one that can't be, is in
``payload.py``; which values of numpy have one is in ``numpy_forms.py``. A value of a class that has a codec is an
array, too: its mark, the codec, the class and the state. Who knows codecs tells so (:func:`use_codecs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from struct import Struct
from typing import Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from msgpack import ExtType, Unpacker, packb, unpackb  # type: ignore[import-untyped]

from paceline_protocol import numpy_forms
from paceline_protocol.coded import Codecs, CodedValue
from paceline_protocol.errors import FoundReference
from paceline_protocol.messages.records import TASK_ID_BYTES


class Ext(IntEnum):
    """The msgpack extension types. The numbers are in logs: never renumber, never reuse."""

    TUPLE = 1  # empty: the mark of a tuple
    SET = 2  # empty: the mark of a set
    FROZENSET = 3  # empty: the mark of a frozenset
    INT = 4  # two's complement, big-endian, any length
    DECIMAL = 5  # str(value), ASCII
    UUID = 6  # 16 bytes
    COMPLEX = 7  # two big-endian doubles
    DATE = 8  # packed [year, month, day]
    TIME = 9  # packed [hour, minute, second, microsecond, fold, zone]
    DATETIME = 10  # packed [year, month, day, hour, minute, second, microsecond, fold, zone]
    TIMEDELTA = 11  # packed [days, seconds, microseconds]
    ARRAY = 12  # packed [dtype, shape], and the items' bytes
    SCALAR = 13  # packed dtype, and the item's bytes
    VALUE = 14  # empty: the mark of a value of a class, behind which are its codec, its class and its state
    RESULT = (
        15  # the id of a task, 16 bytes, whose result belongs here; or behind it a TaskEnd, 1 byte, and the payload
    )


_DOUBLES: Final = Struct(">dd")


class Reference:
    """Stands for the result of a task among the arguments of a call: what a client packs for a future, and what nobody
    has put a value in place of."""

    __slots__ = ("form",)

    def __init__(self, form: bytes) -> None:
        """``form``: the id, and if the task has ended and did not succeed its end."""
        self.form = form

    @property
    def task_id(self) -> bytes:
        return self.form[:TASK_ID_BYTES]

    def __repr__(self) -> str:
        return f"<the result of task {self.task_id.hex()}>"


_futures: tuple[type, ...] = ()


def use_futures(*futures: type) -> None:
    """Have objects of these classes taken for references."""
    global _futures
    _futures = futures


def is_reference(value: object) -> bool:
    """Whether it stands for the result of a task."""
    return issubclass(type(value), (Reference, *_futures))  # isinstance() asks the value, which is a user's


class Unserializable(Exception):
    """Raised inside the packer, which does not know where in the value it is."""

    def __init__(self, value: object, advice: str = "") -> None:
        self.value = value
        self.advice = advice


def _zone_form(zone: tzinfo | None) -> int | str | None:
    """None, the offset of a fixed zone in microseconds, or the key of an IANA zone."""
    if zone is None:
        return None
    if type(zone) is timezone:
        return zone.utcoffset(None) // timedelta(microseconds=1)
    if type(zone) is ZoneInfo and (key := _key_of(zone)):
        return key
    raise Unserializable(zone, "use datetime.timezone or zoneinfo.ZoneInfo for its time zone")


def _key_of(zone: Any) -> str:
    """By which it can be found, "" if it can't be. A zone that was read from a file has whatever key was given."""
    key = zone.key
    try:
        return key if type(key) is str and key.encode() else ""
    except UnicodeEncodeError:
        return ""


def _pack_int(value: int) -> ExtType:
    return ExtType(Ext.INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _pack_time(value: time) -> ExtType:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return ExtType(Ext.TIME, packb((*clock, _zone_form(value.tzinfo))))


def _pack_datetime(value: datetime) -> ExtType:
    day = (value.year, value.month, value.day)
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return ExtType(Ext.DATETIME, packb((*day, *clock, _zone_form(value.tzinfo))))


_TUPLE_MARK: Final = ExtType(Ext.TUPLE, b"")
_SET_MARK: Final = ExtType(Ext.SET, b"")
_FROZENSET_MARK: Final = ExtType(Ext.FROZENSET, b"")
_VALUE_MARK: Final = ExtType(Ext.VALUE, b"")

FORMS: Final[dict[type, Callable[[Any], object]]] = {
    tuple: lambda value: [_TUPLE_MARK, *value],
    set: lambda value: [_SET_MARK, *value],
    frozenset: lambda value: [_FROZENSET_MARK, *value],
    int: _pack_int,
    Decimal: lambda value: ExtType(Ext.DECIMAL, str(value).encode("ascii")),
    UUID: lambda value: ExtType(Ext.UUID, value.bytes),
    complex: lambda value: ExtType(Ext.COMPLEX, _DOUBLES.pack(value.real, value.imag)),
    date: lambda value: ExtType(Ext.DATE, packb((value.year, value.month, value.day))),
    time: _pack_time,
    datetime: _pack_datetime,
    timedelta: lambda value: ExtType(Ext.TIMEDELTA, packb((value.days, value.seconds, value.microseconds))),
}
"""Exact type -> what the packer packs in its place, for every type that msgpack has not."""


_read_name: Final = type.__dict__["__qualname__"].__get__
_read_module: Final = type.__dict__["__module__"].__get__
"""Past what a metaclass makes of them: a class is a user's, and looking at it must not run code of it."""


def class_name(cls: type) -> str:
    """The qualified name of a class, whatever its metaclass does."""
    name: Any = _read_name(cls)
    return name if type(name) is str else "".join([name])


def module_of(cls: type) -> str:
    """The module of a class; "?" for what can't be one, as a class may have put anything there."""
    try:
        module: Any = _read_module(cls)
    except AttributeError:
        return "?"
    return module if type(module) is str else "?"


def qualified_name(cls: type) -> str:
    """The name of a class as a traceback shows it: with its module, unless it is one of builtins."""
    module, name = module_of(cls), class_name(cls)
    return name if module == "builtins" else f"{module}.{name}"


def plain_form_of(value: object) -> object:
    """What the packer packs in place of a value that msgpack has not. Raises Unserializable, for values of classes
    too: this is for what nodes read."""
    kind = type(value)
    form = FORMS.get(kind)
    if form is not None:
        return form(value)
    if module_of(kind).partition(".")[0] == "numpy":
        return _numpy_form(value)
    raise Unserializable(value)


def form_of(value: object) -> object:
    """The same, and values of classes as far as they have codecs in this process."""
    kind = type(value)
    form = FORMS.get(kind)
    if form is not None:
        return form(value)
    if module_of(kind).partition(".")[0] == "numpy":
        return _numpy_form(value)
    coded = coded_form(value)
    if coded is None:
        if is_reference(value):
            raise FoundReference
        raise Unserializable(value)
    return [_VALUE_MARK, *coded]


def reference_form(form: bytes) -> ExtType:
    """What stands for the result of a task: see :class:`Reference`."""
    return ExtType(Ext.RESULT, form)


def packable(value: object) -> object:
    """What the packer may be given in place of a value that it asks about, and will not ask about again."""
    kind = type(value)
    if kind in _NATIVE or (kind is int and _INT_MIN <= cast("int", value) <= _INT_MAX):
        return value
    return form_of(value)


_NATIVE: Final = frozenset((type(None), bool, float, str, bytes, list, dict))
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1


_codecs: Codecs | None = None


def use_codecs(codecs: Codecs) -> None:
    """Have the values of classes packed that these know."""
    global _codecs
    _codecs = codecs


def coded_form(value: object) -> tuple[str, str, object] | None:
    """(codec, class, state) of a value of a class, None if there is no codec for it. Raises Unserializable."""
    if type(value) is CodedValue:
        return value.codec, value.class_name, value.state
    return None if _codecs is None else _codecs.form_of(value)


def fields_of(value: object) -> Mapping[str, object] | None:
    """What a value of a class holds, as far as that is known without packing it."""
    if type(value) is CodedValue:
        return value.fields
    return None if _codecs is None else _codecs.fields_of(value)


def _numpy_form(value: object) -> ExtType:
    try:
        head, items = numpy_forms.form_of(value)
    except TypeError as error:
        raise Unserializable(value, str(error)) from None
    return ExtType(Ext.ARRAY if type(head) is tuple else Ext.SCALAR, b"".join((packb(head), items)))


# --- and back ---------------------------------------------------------------------------------------------------

_MOST_FIELDS: Final = 9  # of a datetime


def _zone(form: object) -> tzinfo | None:
    if form is None:
        return None
    if type(form) is int:
        return UTC if form == 0 else timezone(timedelta(microseconds=form))
    if type(form) is str:
        return ZoneInfo(form)
    raise ValueError("a time zone is nil, an offset or a key")


def _fields(data: bytes) -> Any:
    return unpackb(data, max_array_len=_MOST_FIELDS, max_map_len=0, max_ext_len=0)


def _unpack_time(data: bytes) -> time:
    hour, minute, second, microsecond, fold, zone = _fields(data)
    return time(hour, minute, second, microsecond, _zone(zone), fold=fold)


def _unpack_datetime(data: bytes) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = _fields(data)
    return datetime(year, month, day, hour, minute, second, microsecond, _zone(zone), fold=fold)


def _unpack_numpy(data: bytes) -> Any:
    head = Unpacker(
        use_list=False,
        max_buffer_size=numpy_forms.HEAD_LIMIT_BYTES,
        max_str_len=numpy_forms.DTYPE_LIMIT_BYTES,
        max_bin_len=0,
        max_array_len=numpy_forms.MOST_DIMENSIONS,
        max_map_len=0,
        max_ext_len=0,
    )
    head.feed(data[: numpy_forms.HEAD_LIMIT_BYTES])
    return numpy_forms.read(head.unpack(), data, head.tell())


def read_reference(data: bytes) -> Reference:
    """What stands in arguments for the result of a task, for who has no results. Raises ValueError."""
    if len(data) < TASK_ID_BYTES:
        raise ValueError("the id of a task has 16 bytes")
    return Reference(data)


_READERS: Final[dict[int, Callable[[bytes], object]]] = {
    Ext.INT: lambda data: int.from_bytes(data, "big", signed=True),
    Ext.DECIMAL: lambda data: Decimal(data.decode("ascii")),
    Ext.UUID: lambda data: UUID(bytes=data),
    Ext.COMPLEX: lambda data: complex(*_DOUBLES.unpack(data)),
    Ext.DATE: lambda data: date(*_fields(data)),
    Ext.TIME: _unpack_time,
    Ext.DATETIME: _unpack_datetime,
    Ext.TIMEDELTA: lambda data: timedelta(*_fields(data)),
    Ext.ARRAY: _unpack_numpy,
    Ext.SCALAR: _unpack_numpy,
}


def read_ext(code: int, data: bytes) -> object:
    """The value of an extension that is no mark. Raises ValueError and the errors of the types' constructors."""
    reader = _READERS.get(code)
    if reader is None:
        raise ValueError(f"extension {code} of {len(data)} bytes is unknown or out of place")
    try:
        return reader(data)
    except (LookupError, OSError) as error:
        raise ValueError(f"a time zone that this machine does not have; install tzdata here ({error})") from error


MARKS: Final[dict[int, Callable[[list[Any]], object]]] = {
    int(Ext.TUPLE): tuple,
    int(Ext.SET): set,
    int(Ext.FROZENSET): frozenset,
}
"""What is built of an array's items behind each mark."""
MARK_HEAD: Final = b"\xc7\x00"
"""How each mark begins: an extension of no bytes."""
