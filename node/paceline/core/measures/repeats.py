"""When what happens again and again is said again: a line for each power of ten, and not for each time."""

from __future__ import annotations


def is_power_of_ten(count: int) -> bool:
    """Whether this is 1, 10, 100 and so on. ``count``: from 1."""
    while count % 10 == 0:
        count //= 10
    return count == 1
