"""Values of classes: what workers and clients make of arguments and results."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, Flag, IntFlag, auto
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

import attrs
import msgpack
import pydantic

from fuzz.target import Cut, Target, must
from fuzz.wire_targets import VALUES, is_same
from paceline.codecs import CodedValue, build, register
from paceline_protocol.errors import PayloadError
from paceline_protocol.forms import Ext
from paceline_protocol.payload import WITH_CLASSES, pack_args, pack_value, unpack_args, unpack_value

ran: list[str] = []
"""What code of classes has run."""


class Colour(Enum):
    RED = 1
    BLUE = 2

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ran.append("_missing_")


class Permission(Flag):
    READ = auto()
    WRITE = auto()


class Mode(IntFlag):
    ON = 1


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Order:
    id: Any
    lines: Any = field(default_factory=list)

    def __post_init__(self) -> None:
        ran.append("__post_init__")


@dataclass(frozen=True, slots=True)
class Key:
    number: Any


@attrs.define
class Parcel:
    id: Any

    def __attrs_post_init__(self) -> None:
        ran.append("__attrs_post_init__")


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    name: str
    _seen: int = 0

    @pydantic.field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        ran.append("validator")
        return name


@dataclass
class Dropped:
    path: Any

    def __del__(self) -> None:
        ran.append("__del__")


class Money:
    def __init__(self, cents: Any) -> None:
        self.cents = cents


register("fuzz.money", Money, lambda money: money.cents, Money)

OF_CLASSES: Final[tuple[Any, ...]] = (
    Colour.RED,
    Permission.READ | Permission.WRITE,
    Mode(9),
    Point(1, "two"),
    Order("a", [Point(1, Colour.BLUE), Key(2)]),
    {Key(1): {Colour.RED}},
    PurePosixPath("/a/b"),
    Parcel([Key("k")]),
    Person(name="x", more=[1]),
    Money(Order(1)),
)
FORGED: Final[tuple[tuple[str, str, Any], ...]] = (
    ("dataclass", f"{__name__}:Dropped", {"path": "/"}),
    ("dataclass", "builtins:eval", {"source": "1"}),
    ("dataclass", "subprocess:Popen", {"args": "true"}),
    ("dataclass", "this:s", {}),
    ("namedtuple", "antigravity:Point", {"x": 1}),
    ("enum", "os:_exit", "RED"),
    ("pydantic", f"{__name__}:Key", [{}, [], None, None]),
    ("shop.unknown", "shop:Money", 5),
)
_MAY_IMPORT: Final = frozenset(("tzdata", "zoneinfo", "importlib", "numpy", "encodings"))
"""For time zones and arrays, which are no values of classes, and for characters that a message can't show."""


def values(data: bytes) -> str:
    """PayloadError. Nothing is imported for a value, and no code of its class runs. What was read can be packed again,
    and is the same then. The first byte chooses between arguments and a value."""
    cut = Cut(data)
    of_args = cut.byte() % 2
    packed = cut.rest()
    ran.clear()
    before = set(sys.modules)
    try:
        found = unpack_args(packed, None, build) if of_args else unpack_value(packed, None, build)
    except PayloadError as error:
        kind = type(error).__name__
        found = None
    else:
        kind = type(found).__name__
    must(not ran, f"{ran} has run")
    if len(sys.modules) != len(before):
        imported = {name for name in set(sys.modules) - before if name.partition(".")[0] not in _MAY_IMPORT}
        must(not imported, f"{imported} is imported")
    if found is not None:
        again = pack_args(*found) if of_args else pack_value(found, None, WITH_CLASSES)
        once_more = unpack_args(again, None, build) if of_args else unpack_value(again, None, build)
        as_sent = pack_args(*once_more) if of_args else pack_value(once_more, None, WITH_CLASSES)
        must(is_same(unpack_value(again), unpack_value(as_sent)), f"packed again, {kind} is another value")
    return f"{'arguments' if of_args else 'a value'}: {kind}"


def values_seeds() -> Iterable[bytes]:
    yield from (b"\0" + pack_value(value, None, WITH_CLASSES) for value in OF_CLASSES)
    yield b"\0" + pack_value([list(OF_CLASSES), Order(VALUES[:20])], None, WITH_CLASSES)
    yield b"\1" + pack_args(OF_CLASSES, {"key": OF_CLASSES})
    for forged in FORGED:
        yield b"\0" + pack_value(CodedValue(*forged), None, WITH_CLASSES)
        yield b"\1" + pack_args([CodedValue(*forged)], {})
    mark = msgpack.ExtType(Ext.VALUE, b"")
    yield b"\0" + msgpack.packb([mark, "dataclass", f"{__name__}:Key", [1]])
    yield b"\0" + msgpack.packb([mark, "dataclass"])


TARGETS = (Target("values", values, values_seeds, longest_bytes=16_384),)
