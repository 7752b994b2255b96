"""Tasks that take and return values of classes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from paceline import task
from paceline.codecs import register


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(NamedTuple):
    width: int
    height: int


@dataclass
class Order:
    id: str
    lines: list[Any] = field(default_factory=list)
    colour: Colour = Colour.RED


class Money:
    """By a codec of its own."""

    def __init__(self, cents: int, currency: str) -> None:
        self.cents = cents
        self.currency = currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.cents, self.currency) == (other.cents, other.currency)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Money({self.cents}, {self.currency!r})"


def _decode(state: list[Any]) -> Money:
    cents, currency = state
    return Money(cents, currency)


register("values.money", Money, lambda money: [money.cents, money.currency], _decode)


@task
def echo(*args: Any, **kwargs: Any) -> Any:
    return [args, kwargs]


@task
def names_of_types(*args: Any) -> list[str]:
    return [f"{type(each).__module__}.{type(each).__qualname__}" for each in args]


@task
async def echo_async(value: Any) -> Any:
    return value


@task
def is_imported(module: str) -> bool:
    return module in sys.modules


@task(keep_dead=600)
def refuse(order: Order, *, why: Any) -> None:
    raise ValueError(f"{order.id}: {why}")


@task
def with_more() -> Order:
    order = Order("a")
    order.extra = 1  # type: ignore[attr-defined]
    return order


@task
def of_a_class_of_workers_alone() -> Any:
    @dataclass
    class Here:
        x: int

    Here.__qualname__ = "Here"
    globals()["Here"] = Here
    return Here(1)
