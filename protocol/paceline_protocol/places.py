"""What a task asks of the node that runs it, and what a node has: tags, and amounts of resources.

Both travel as text, in one way each: names in order, with commas between them, and of resources with their amounts, as
``ssd,zone-a`` and ``gpu=1,memory_mb=500``. So tasks that ask for the same are found by that text. An amount is a whole
number of units; memory is counted in MiB, as ``memory_mb``. The units of some resources have numbers, as GPUs do: a
node tells its worker which of them a task has, as ``gpu=0+2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

TAGS_LIMIT: Final = 32
"""The most tags that a node has, or a task asks for; of resources likewise. So their text fits into a string."""
PLACE_NAME_CHARS: Final = 64
AMOUNT_MAX: Final = 2**53
"""The largest amount that every reader of JSON takes as it is."""
MEMORY: Final = "memory_mb"
CPU: Final = "cpu"
GPU: Final = "gpu"
UNITS_LIMIT: Final = 1_024
"""The most units with numbers that a node has, and a task is given, of all resources together."""
UNIT_MAX: Final = 65_535

PLACE_NAME_RULE: Final = f"1 to {PLACE_NAME_CHARS} letters, digits, `.`, `-`, `_` and `:`"
_NAME: Final = re.compile(rf"[A-Za-z0-9._:-]{{1,{PLACE_NAME_CHARS}}}", re.ASCII)
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_NUMBERS: Final = re.compile(r"(0|[1-9][0-9]{0,4})(\+(0|[1-9][0-9]{0,4}))*", re.ASCII)
_UNITS_MIB: Final = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}

Units = tuple[tuple[str, tuple[int, ...]], ...]
"""Of resources, by name, in order: the numbers of units, in order."""
Amounts = tuple[tuple[str, int], ...]
"""Of resources, by name, in order; each is 1 or more."""


def is_place_name(value: object) -> bool:
    """Whether this can be the name of a tag or a resource."""
    return type(value) is str and _NAME.fullmatch(value) is not None


def is_tags(value: object) -> bool:
    """Whether this is the text of tags; "" is that of none."""
    if type(value) is not str:
        return False
    names = value.split(",") if value else []
    return len(names) <= TAGS_LIMIT and all(map(is_place_name, names)) and _in_order(names)


def is_amounts(value: object) -> bool:
    """Whether this is the text of amounts; "" is that of none."""
    if type(value) is not str:
        return False
    items = [item.partition("=") for item in value.split(",")] if value else []
    if len(items) > TAGS_LIMIT or not _in_order([name for name, _, _ in items]):
        return False
    return all(is_place_name(name) and _is_amount(amount) for name, _, amount in items)


def _is_amount(text: str) -> bool:
    return _AMOUNT.fullmatch(text) is not None and int(text) <= AMOUNT_MAX


def _in_order(names: list[str]) -> bool:
    return all(one < other for one, other in pairwise(names))


def is_units(value: object) -> bool:
    """Whether this is the text of units, of which there are some."""
    if type(value) is not str:
        return False
    items = [item.partition("=") for item in value.split(",")]
    numbers = [_numbers_of(digits) for _, _, digits in items]
    if len(items) > TAGS_LIMIT or None in numbers or sum([len(each or ()) for each in numbers]) > UNITS_LIMIT:
        return False
    return _in_order([name for name, _, _ in items]) and all(is_place_name(name) for name, _, _ in items)


def _numbers_of(text: str) -> tuple[int, ...] | None:
    """The numbers of units, each above the one before; None if it has others."""
    if not _NUMBERS.fullmatch(text):
        return None
    numbers = [int(each) for each in text.split("+")]
    if numbers[-1] > UNIT_MAX or not all(one < other for one, other in pairwise(numbers)):
        return None
    return tuple(numbers)


def units_text(units: Units) -> str:
    """As :func:`is_units` takes it."""
    return ",".join([f"{name}={'+'.join(map(str, numbers))}" for name, numbers in units])


def units_of(text: str) -> dict[str, tuple[int, ...]]:
    """The units of such a text, by resource; "" is that of none."""
    items = [item.partition("=") for item in text.split(",")] if text else []
    return {name: tuple(map(int, numbers.split("+"))) for name, _, numbers in items}


def tags_text(tags: Iterable[str]) -> str:
    """As :func:`is_tags` takes it."""
    return ",".join(sorted(set(tags)))


def amounts_text(amounts: Iterable[tuple[str, int]]) -> str:
    """As :func:`is_amounts` takes it."""
    return ",".join([f"{name}={amount}" for name, amount in sorted(amounts)])


def tags_of(text: str) -> tuple[str, ...]:
    """The tags of such a text."""
    return tuple(text.split(",")) if text else ()


def amounts_of(text: str) -> Amounts:
    """The amounts of such a text."""
    if not text:
        return ()
    items = [item.partition("=") for item in text.split(",")]
    return tuple([(name, int(amount)) for name, _, amount in items])


def checked_name(value: object) -> str:
    """Raises ValueError for what can't be the name of a tag or a resource."""
    if isinstance(value, str) and is_place_name(str.__str__(value)):
        return str.__str__(value)  # of a member of a StrEnum its string
    raise ValueError(f"a name has {PLACE_NAME_RULE}")


def checked_amount(name: str, value: object) -> int:
    """Raises ValueError for what can't be an amount."""
    if name == "memory":
        raise ValueError(f"memory is counted in MiB, as {MEMORY}")
    if type(value) is not int or value < 1:
        raise ValueError(f"the amount of {name} is a whole number of units from 1, and what is not needed is left out")
    if value > AMOUNT_MAX:
        raise ValueError(f"the amount of {name} is more than 2^53")
    return value


def read_amount(text: str) -> tuple[str, int]:
    """What a command line says, as ``gpu=2``, or ``memory=1GiB`` for ``memory_mb=1024``. Raises ValueError."""
    name, equals, amount = text.partition("=")
    if not equals:
        raise ValueError(f"it is written NAME=AMOUNT, as {GPU}=1 or memory=2GiB")
    checked_name(name)
    if name == "memory":
        factor = _UNITS_MIB.get(amount[-3:])
        if factor is None or not amount[:-3].isascii() or not amount[:-3].isdecimal():
            raise ValueError("memory is a whole number of MiB, GiB or TiB, as memory=2GiB, or memory_mb=2048")
        return MEMORY, checked_amount(MEMORY, _whole(amount[:-3]) * factor)
    if not amount.isascii() or not amount.isdecimal():
        raise ValueError(f"the amount of {name} is a whole number of units from 1")
    return name, checked_amount(name, _whole(amount))


def read_units(text: str) -> tuple[str, tuple[int, ...]]:
    """What a command line says of units that have numbers, as ``gpu=0,2``, or ``gpu=3,`` for one. Raises ValueError."""
    name, _, listed = text.partition("=")
    checked_name(name)
    digits = listed.removesuffix(",").split(",")
    if not all(each.isascii() and each.isdecimal() and len(each) <= len(str(UNIT_MAX)) for each in digits):
        raise ValueError(f"the units of {name} are numbers from 0 to {UNIT_MAX}, with commas between them")
    numbers = sorted(map(int, digits))
    if numbers[-1] > UNIT_MAX or len(set(numbers)) < len(numbers):
        raise ValueError(f"the units of {name} are different numbers from 0 to {UNIT_MAX}")
    return name, tuple(numbers)


def _whole(digits: str) -> int:
    """A number of more digits than any amount has is only more than that."""
    return int(digits) if len(digits) <= len(str(AMOUNT_MAX)) else AMOUNT_MAX + 1
