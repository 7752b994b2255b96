"""Patterns of names of tasks: ``*`` stands for any number of characters, and every other character for itself.

No more than that: whoever may ask a node has it compare thousands of names, and what a pattern costs must not depend on
who has written it.
"""

from __future__ import annotations

from typing import Final

STARS_MAX: Final = 8
"""In one pattern."""


class NamePattern:
    """A pattern, taken apart once."""

    __slots__ = ("_between", "_first", "_is_name", "_last", "_length")

    def __init__(self, text: str) -> None:
        parts = text.split("*")
        self._is_name: Final = len(parts) == 1
        self._first: Final = parts[0]
        self._last: Final = parts[-1]
        self._between: Final = parts[1:-1]
        self._length: Final = sum(map(len, parts))

    @property
    def names_nothing(self) -> bool:
        """Whether every name matches."""
        return not self._length

    def matches(self, name: str) -> bool:
        if self._is_name:
            return name == self._first
        if len(name) < self._length or not (name.startswith(self._first) and name.endswith(self._last)):
            return False
        at, end = len(self._first), len(name) - len(self._last)
        for part in self._between:  # the first place for each leaves the most room for those behind it
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True
