"""Codecs that a user registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from paceline.codecs import build, register, registered
from paceline.errors import ConfigError
from paceline_protocol import payload
from paceline_protocol.errors import (
    ClassUnavailable,
    CodecFailed,
    PayloadTooLarge,
    UnknownCodec,
    UnserializableValue,
)


class Money:
    def __init__(self, cents: Any) -> None:
        self.cents = cents


class Other:
    pass


class Richer(Money):
    pass


@dataclass
class Price:
    amount: int

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("a price is not negative")


@pytest.fixture(autouse=True)
def _codecs_of_this_test_alone() -> Iterator[None]:
    by_class, by_name = dict(registered.by_class), dict(registered.by_name)
    yield
    for now, before in ((registered.by_class, by_class), (registered.by_name, by_name)):
        now.clear()
        now.update(before)


def cents(money: Money) -> Any:
    return money.cents


def pack(value: Any, limit_bytes: int | None = None) -> bytes:
    return payload.pack_value(value, limit_bytes, payload.WITH_CLASSES)


def unpack(data: bytes) -> Any:
    return payload.unpack_value(data, None, build)


def test_a_value_travels_by_the_functions_that_were_registered() -> None:
    register("shop.money", Money, cents, Money)
    back = unpack(pack({"due": [Money(Price(5))]}))["due"][0]
    assert (type(back), back.cents) == (Money, Price(5))
    assert repr(payload.unpack_value(pack(Money(5)))).endswith("test_registered.Money(5)")


def test_the_name_finds_the_codec_whatever_has_become_of_the_class() -> None:
    register("shop.money", Money, cents, Money)
    data = pack(Money(5))
    registered.by_class.clear()
    registered.by_name.clear()
    with pytest.raises(UnknownCodec, match=r"shop\.money"):
        unpack(data)
    register("shop.money", Other, lambda other: None, lambda state: Other())
    assert type(unpack(data)) is Other


def test_a_subclass_is_another_class() -> None:
    register("shop.money", Money, cents, Money)
    with pytest.raises(UnserializableValue, match=r"Richer, .*paceline\.codecs\.register"):
        pack(Richer(5))


def test_it_takes_the_place_of_a_codec_that_the_class_has_and_nobody_gets_round_it() -> None:
    by_itself = pack(Price(1))
    register("shop.price", Price, lambda price: price.amount, Price)
    assert unpack(pack(Price(7))) == Price(7)
    with pytest.raises(ClassUnavailable, match=r"'shop\.price', which has to be registered there, too"):
        unpack(by_itself)
    forged = pack(payload.unpack_value(pack(Price(7))).__class__("shop.price", "x:Price", -7))
    with pytest.raises(CodecFailed, match="a price is not negative"):
        unpack(forged)


def test_what_a_codec_raises_or_makes_wrongly_is_named_with_it() -> None:
    def fails(_: Any) -> Any:
        raise LookupError("not today")

    register("shop.money", Money, fails, Money)
    with pytest.raises(
        UnserializableValue, match=r"item 1 is of type .*Money, .*'shop\.money' raised LookupError: not"
    ):
        pack([1, Money(5)])
    register("shop.money", Money, cents, fails)
    with pytest.raises(CodecFailed, match=r"shop\.money .* decode raised LookupError: not today"):
        unpack(pack(Money(5)))
    register("shop.money", Money, cents, lambda state: Other())
    with pytest.raises(CodecFailed, match=r"decode gave one of type .*Other"):
        unpack(pack(Money(5)))


def test_what_encode_makes_is_packed_as_any_value_with_its_place_and_within_the_limit() -> None:
    register("shop.money", Money, cents, Money)
    with pytest.raises(UnserializableValue, match=r"item 0, its state, key 'a' is of type .*Other"):
        pack([Money({"a": Other()})])
    with pytest.raises(PayloadTooLarge):
        pack(Money("x" * 2_000), 1_000)
    endless = Money(None)
    endless.cents = [endless]
    with pytest.raises(UnserializableValue, match="holds itself"):
        pack(endless)


def test_a_module_that_is_executed_anew_registers_anew() -> None:
    register("shop.money", Money, cents, Money)
    again = type("Money", (), {"__module__": Money.__module__, "__init__": Money.__init__})
    register("shop.money", again, cents, again)
    assert type(unpack(pack(again(1)))) is again
    assert type(unpack(pack(Money(1)))) is again


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (lambda: register("", Money, cents, Money), "1 to 100 printable characters"),
        (lambda: register("shop money", Money, cents, Money), "no spaces"),
        (lambda: register(5, Money, cents, Money), "5 can't name a codec"),  # type: ignore[arg-type]
        (lambda: register("x" * 101, Money, cents, Money), "1 to 100"),
        (lambda: register("dataclass", Money, cents, Money), "as 'shop.dataclass'"),
        (lambda: register("shop.money", Money(1), cents, Money), "a codec is for a class"),  # type: ignore[arg-type]
        (lambda: register("shop.date", date, str, date.fromisoformat), "sent as they are"),
        (lambda: register("shop.list", list, list, list), "sent as they are"),
        (lambda: register("shop.money", Money, "cents", Money), "are functions"),  # type: ignore[arg-type]
        (lambda: register("taken", Other, cents, Other), "another name"),  # type: ignore[arg-type]
        (lambda: register("shop.second", Money, cents, Money), "has the codec 'taken' already"),
    ],
)
def test_what_can_not_be_registered_is_refused_with_what_to_do(refused: Callable[[], None], says: str) -> None:
    register("taken", Money, cents, Money)
    with pytest.raises(ConfigError, match=says):
        refused()
