"""What packed values have at least is known before they are packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from modes import source_only
from paceline_protocol import payload, sizes
from paceline_protocol.errors import PayloadTooLarge, UnserializableValue
from protocol.test_payload import DETERMINISTIC, values

LIMIT_BYTES = 16 * 1024 * 1024
NO_LIMIT = 1 << 60


@DETERMINISTIC
@given(values)
def test_it_is_never_more_than_the_packed_value_has(value: Any) -> None:
    assert sizes.at_least((value,), NO_LIMIT) <= len(payload.pack_value(value))


@pytest.mark.parametrize("count", [3, 60])
def test_what_takes_much_is_counted_wherever_it_is(count: int) -> None:
    item = b"x" * 1000
    for value in (
        [item] * count,
        tuple(["x" * 1000] * count),
        [None, *[item] * count],
        {"a": {number: [item] for number in range(count)}},
        {"x" * 1000 + str(number): 1 for number in range(count)},
        np.zeros(count * 1000, "u1"),
        [memoryview(item)] * count,
    ):
        assert count * 1000 <= sizes.at_least((value,), NO_LIMIT) < count * 1100


def test_of_a_long_collection_of_anything_else_a_few_are_looked_at_and_all_if_it_may_be_too_large() -> None:
    some = [[b"x" * 1000]] * 1000
    assert sizes.at_least(([b"x" * 1000] * 1000,), NO_LIMIT) == 1 + 1000 * 1001
    assert sizes.at_least(([b"x" * 1000] * 999 + [1],), NO_LIMIT) >= 64 * 1000
    assert 62 * 1000 <= sizes.at_least((some,), NO_LIMIT) < 66 * 1000
    assert sizes.at_least((some,), 1 << 20) == 1 + 1000 * 1002


def test_what_is_in_a_value_many_times_counts_as_often_and_takes_no_time() -> None:
    value: list[Any] = []
    for _ in range(400):
        value = [value, value]
    assert sizes.at_least((value,), 1 << 350) > 1 << 350


def broadcast() -> Any:
    return np.broadcast_to(np.uint8(1), (1 << 30,))


def repeated() -> Any:
    return [b"x" * 2**20] * 1024


def nested() -> Any:
    value: list[Any] = [b"x" * 1000]
    for _ in range(40):
        value = [value, value]
    return value


def shared() -> Any:
    value: list[Any] = []
    for _ in range(40):
        value = [value, value]
    return value


def tables() -> Any:
    table: dict[str, Any] = {}
    for _ in range(40):
        table = {"a": table, "b": (table, {1})}
    return table


def empty_strings() -> Any:
    return [""] * (LIMIT_BYTES + 1)


def rows() -> Any:
    return [1, "name", b"x" * 2**20] * 341


def one_part_of_many() -> Any:
    return [*range(900), *[[b"x" * 2**20]] * 100]


@source_only
@pytest.mark.parametrize("make", [broadcast, repeated, nested, shared, tables, empty_strings, rows, one_part_of_many])
def test_what_would_be_far_too_large_is_refused_before_it_is_packed(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]
) -> None:
    monkeypatch.setattr(payload, "_pack", lambda *_: pytest.fail("it is packed"))
    for pack in (
        lambda value: payload.pack_value(value, LIMIT_BYTES),
        lambda value: payload.pack_args((1, value), {}, LIMIT_BYTES),
        lambda value: payload.pack_args((1,), {"a": value}, LIMIT_BYTES),
    ):
        with pytest.raises(PayloadTooLarge, match="at least") as caught:
            pack(make())
        assert caught.value.size > caught.value.limit == LIMIT_BYTES


def test_what_holds_itself_is_told_as_that() -> None:
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(UnserializableValue, match="holds itself"):
        payload.pack_value(itself, LIMIT_BYTES)
