"""What unpacking may take, whatever the bytes are."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from paceline_protocol import payload
from paceline_protocol.errors import MalformedPayload
from paceline_protocol.limits import PAYLOAD_LIMIT_BYTES

MIB = 1 << 20
HASH_MODULUS = sys.hash_info.modulus
SIZE = PAYLOAD_LIMIT_BYTES - 64


def array(items: list[bytes]) -> bytes:
    return b"\xdd" + struct.pack(">I", len(items)) + b"".join(items)


def repeated(item: bytes) -> bytes:
    """An array of as many as fit into the largest payload."""
    count = SIZE // len(item)
    return b"\xdd" + struct.pack(">I", count) + item * count


EXPANDING = {
    "maps of one": b"\x81\x00\x00",
    "sets that have just grown": b"\xdc\x00\x4e\xc7\x00\x02" + bytes(range(77)),
    "lists in lists": b"\x91" * 499 + b"\xc0",
}


def test_what_unpacks_to_far_more_than_it_is_long_is_refused_and_takes_little_more_than_the_limit() -> None:
    program = """
import resource, sys
from paceline_protocol import payload
from paceline_protocol.errors import UnpackedTooLarge
resource.setrlimit(resource.RLIMIT_AS, (1000 << 20, 1000 << 20))
for item in map(bytes.fromhex, sys.argv[1:]):
    count = (16 << 20) // len(item) - 16
    try:
        payload.unpack_value(b"\\xdd" + count.to_bytes(4, "big") + item * count)
    except UnpackedTooLarge as error:
        print("more than 512 MiB as Python objects" in str(error))
"""
    items = [item.hex() for item in EXPANDING.values()]
    run = subprocess.run(
        [sys.executable, "-c", program, *items], capture_output=True, text=True, timeout=100, check=False
    )
    assert run.stdout.split() == ["True"] * len(items), run.stderr


HONEST = {
    "bytes": b"\xc6" + struct.pack(">I", SIZE) + bytes(SIZE),
    "numbers of one byte": repeated(b"\x05"),
    "pairs": repeated(b"\x92\x05\x06"),
    "texts": repeated(b"\xa3abc"),
    "floats": repeated(b"\xcb" + struct.pack(">d", 1.5)),
    "records": repeated(b"\x83\xa2id\xcd\x01\x00\xa4name\xa8somebody\xa5score\xcb" + struct.pack(">d", 1.5)),
}


@pytest.mark.parametrize("data", HONEST.values(), ids=HONEST)
def test_plain_values_of_the_largest_size_pass(data: bytes) -> None:
    assert len(payload.unpack_value(data)) > 0


# --- keys with equal hashes -------------------------------------------------------------------------------------


def a_map(keys: Iterable[bytes]) -> bytes:
    items = list(keys)
    return b"\xdf" + struct.pack(">I", len(items)) + b"".join(key + b"\x00" for key in items)


def a_set(keys: Iterable[bytes]) -> bytes:
    return array([b"\xc7\x00\x02", *keys])


def pair(first: int, second: int) -> bytes:
    return b"\x93\xc7\x00\x01" + payload.pack_value(first) + payload.pack_value(second)


COUNT = 20_000
COLLIDING: dict[str, Callable[[], Any]] = {
    "ints": lambda: (number * HASH_MODULUS + 5 for number in range(20, COUNT)),
    "decimals": lambda: (Decimal(number * HASH_MODULUS + 5) for number in range(COUNT)),
    "uuids": lambda: (UUID(int=number * HASH_MODULUS + 5) for number in range(COUNT)),
    "complex numbers": lambda: (complex(-1000003 * number + 5, number) for number in range(COUNT)),
    "tuples": lambda: product((-1, -2), repeat=14),
    "ints in tuples": lambda: ((number * HASH_MODULUS + 5,) for number in range(20, COUNT)),
    "mixed": lambda: (
        kind(number * HASH_MODULUS + 5) for number in range(20, COUNT // 2) for kind in (int, lambda n: UUID(int=n))
    ),
}


@pytest.mark.parametrize("build", [a_map, a_set], ids=["map", "set"])
@pytest.mark.parametrize("keys", COLLIDING.values(), ids=COLLIDING)
def test_keys_with_equal_hashes_are_refused(build: Callable[[Iterable[bytes]], bytes], keys: Callable[[], Any]) -> None:
    values = list(keys())
    assert len(set(map(hash, values))) <= 2
    with pytest.raises(MalformedPayload, match="equal hashes"):
        payload.unpack_value(build(map(payload.pack_value, values)))


def test_keys_with_equal_hashes_are_counted_over_the_whole_payload() -> None:
    keys = [payload.pack_value(number * HASH_MODULUS + 5) for number in range(20, 1020)]
    assert len(payload.unpack_value(a_map(keys))) == 1000
    with pytest.raises(MalformedPayload, match="equal hashes"):
        payload.unpack_value(array([a_map(keys)] * 100))


def test_a_long_int_and_a_decimal_of_one_hash_are_not_compared() -> None:
    number = int.from_bytes(b"\x7f" * 200_000, "big")
    keys = [payload.pack_value(Decimal(hash(number))), payload.pack_value(number)]
    for data in (a_map(keys), a_set(keys), a_set([b"\x92\xc7\x00\x01" + key for key in keys])):
        with pytest.raises(MalformedPayload, match="equal hashes"):
            payload.unpack_value(data)


@pytest.mark.parametrize(
    "value",
    [
        set(product(range(-3, 4), repeat=6)),  # of which 64 have one hash
        {(x, y): x + y for x in range(-100, 100) for y in range(-100, 100)},
        {Decimal(number) / 7: number for number in range(20_000)},
        {float(number): number for number in range(20_000)} | {2.0**exponent: 1 for exponent in range(-1000, 1000)},
        {number << 40 for number in range(200_000)},
        {UUID(int=number) for number in range(20_000)},
        frozenset(map(str, range(20_000))),
        [1 << 100_000, {"a": [1 << 100_000]}],
        {1 << 100_000: 1, 1 << 100_001: 2},
    ],
    ids=lambda value: f"{type(value).__name__} of {len(value)}",
)
def test_honest_keys_pass(value: Any) -> None:
    assert payload.unpack_value(payload.pack_value(value)) == value


def test_a_mark_out_of_place_is_found_in_long_payloads_too() -> None:
    filler = [payload.pack_value((number,)) for number in range(3000)]
    assert payload.unpack_value(array(filler)) == [(number,) for number in range(3000)]
    for mark in (b"\xc7\x00\x01", b"\x92\x01\xc7\x00\x02", b"\x81\x01\xc7\x00\x01"):
        with pytest.raises(MalformedPayload, match="mark of a collection"):
            payload.unpack_value(array([b"\x01", mark, *filler]))


def test_a_timestamp_of_msgpacks_is_a_float_and_no_key_whose_hash_can_be_chosen() -> None:
    assert payload.unpack_value(b"\xd6\xff\x00\x00\x00\x07") == 7.0
