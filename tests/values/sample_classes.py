"""Classes of every kind that has a codec, and some that have none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import namedtuple
from dataclasses import InitVar, dataclass, field
from enum import CONFORM, Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

T = TypeVar("T")

ran: list[str] = []
"""What code of classes has run that values must not run."""


class Colour(Enum):
    RED = 1
    BLUE = object()  # which could not be sent
    ROUGE = 1  # noqa: PIE796 - another name of the same member

    @classmethod
    def _missing_(cls, value: object) -> Any:
        ran.append("_missing_")
        return cls.RED


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"


class Permission(Flag):
    READ = auto()
    WRITE = auto()
    RUN = auto()


class Mode(IntFlag):
    ON = 1
    FAST = 4


class Conforming(Flag, boundary=CONFORM):
    ONE = 1


class Point(NamedTuple):
    x: Any
    y: Any = 0


Pair = namedtuple("Pair", "one other")


class Vector(namedtuple("Vector", "x y")):
    __slots__ = ()

    def __new__(cls, x: Any, y: Any) -> Vector:
        ran.append("Vector.__new__")
        return super().__new__(cls, x, y)


@dataclass
class Order:
    id: Any
    lines: list[Any] = field(default_factory=list)
    total: Any = field(init=False, default=None)
    kind: ClassVar[str] = "order"
    factor: InitVar[int] = 1

    def __post_init__(self, factor: int) -> None:
        ran.append("__post_init__")
        self.total = factor


@dataclass(frozen=True, slots=True, order=True)
class Key:
    number: Any
    text: Any = ""


@dataclass(frozen=True)
class Chosen:
    """Its hash is that of one field, which whoever sends it chooses."""

    number: int
    text: str = field(default="", hash=False)


@dataclass
class Box(Generic[T]):
    content: T

    @cached_property
    def size(self) -> int:
        return len(str(self.content))


@dataclass
class Outer:
    @dataclass
    class Inner:
        value: Any


@dataclass
class Empty:
    pass


# --- what has no codec by itself --------------------------------------------------------------------------------


@dataclass
class Removing:
    """It would remove whatever somebody else names."""

    path: str

    def __del__(self) -> None:
        ran.append("__del__")


@dataclass
class Setting:
    value: int

    @property
    def value(self) -> int:  # type: ignore[no-redef]
        return 1

    @value.setter
    def value(self, value: int) -> None:
        ran.append("setter")


@dataclass
class Failure(Exception):
    reason: str


@dataclass
class Record(dict[str, Any]):
    name: str


@dataclass
class Abstract(ABC):
    name: str

    @abstractmethod
    def act(self) -> None: ...


class Plain:
    """A class like any other."""

    def __init__(self) -> None:
        ran.append("Plain")


class Text(str):
    __slots__ = ()


class Folder(PurePosixPath):
    pass


@dataclass
class Unhashable:
    """Frozen by its own words, and it fails."""

    value: int

    def __hash__(self) -> int:
        raise LookupError("no hash")
