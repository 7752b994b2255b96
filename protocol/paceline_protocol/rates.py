"""Rates: how many tasks may start in a second, a minute or an hour. A user writes ``"100/s"``, ``"10/m"`` or
``"5/h"``; on the wire each is one number, from 1 on."""

from __future__ import annotations

from re import fullmatch
from typing import Final

MOST_STARTS: Final = 10_000
"""In one period."""
PERIODS_S: Final = {"s": 1, "m": 60, "h": 3_600}
_UNITS: Final = tuple(PERIODS_S)
HIGHEST_RATE: Final = MOST_STARTS * len(_UNITS)
RATE_RULE: Final = f'it is a string as "100/s", "10/m" or "5/h": 1 to {MOST_STARTS} in a second, a minute or an hour'


def number_of(rate: object) -> int:
    """The number of a rate as a user writes it. Raises ValueError, which says how."""
    found = fullmatch("([1-9][0-9]{0,4})/([smh])", rate) if isinstance(rate, str) else None
    if found is None or int(found[1]) > MOST_STARTS:
        raise ValueError(RATE_RULE)
    return (int(found[1]) - 1) * len(_UNITS) + _UNITS.index(found[2]) + 1


def parts_of(number: int) -> tuple[int, str]:
    """How many may start, and in which period, of one of these numbers."""
    count, unit = divmod(number - 1, len(_UNITS))
    return count + 1, _UNITS[unit]


def shown_rate(number: int) -> str:
    """As a user writes it."""
    count, unit = parts_of(number)
    return f"{count}/{unit}"
