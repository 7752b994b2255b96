"""Classes of attrs and pydantic."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attr
import attrs
import pydantic

ran: list[str] = []


@attrs.define
class Parcel:
    id: Any
    _weight: Any = 0
    label: Any = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        ran.append("__attrs_post_init__")
        self.label = f"parcel {self.id}"

    @cached_property
    def size(self) -> int:
        return len(self.label)


@attrs.frozen
class Stop:
    place: Any


@attr.s(auto_attribs=True)
class Old:
    """As before there was define(): with a __dict__."""

    x: Any
    y: Any = attr.ib(default=1, validator=lambda *_: ran.append("validator"))


@attrs.define
class Broken(Exception):
    why: Any


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    name: str = pydantic.Field(alias="fullName")
    addresses: list[Address] = []
    anything: Any = None
    _seen: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("name", mode="before")
    @classmethod
    def twice(cls, name: str) -> str:
        ran.append("validator")
        return name * 2

    @cached_property
    def initials(self) -> str:
        return self.name[:1]


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    x: int


class Numbers(pydantic.RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass
class Checked:
    x: int


class Dropped(pydantic.BaseModel):
    path: str

    def __del__(self) -> None:
        ran.append("__del__")
