"""What values an option can have: on the wire, and as a user writes them. Rows of ``options.py`` are made of these.

Each type answers for both ends. ``is_valid`` and ``on_wire`` are about what travels; ``to_wire``, ``read`` and
``values`` about what a user gives. :meth:`OptionType.to_wire` returns None for what is as usual, which does not travel,
and raises ValueError for what can't be used, with a text that ends the sentence "max_attempts 0 can't be used: ...".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from paceline_protocol import moments
from paceline_protocol.limits import MAX_INT


class OptionType:
    """The value on the wire is an integer, from 0 to ``highest`` unless a type says otherwise. ``varies``: nearly every
    call that has the option has another value."""

    varies: bool = False
    metavar: str = ""
    """What stands for the value in the help of a flag, if :meth:`read` reads it."""

    def __init__(self, default: object, highest: int, grammar: str) -> None:
        """``default``: what a user who says nothing has. ``grammar``: the value as docs/protocol.md writes it."""
        self.default: Final = default
        self.highest: Final = highest
        self.grammar: Final = grammar

    def is_valid(self, value: object) -> bool:
        """Whether a call may carry it."""
        return type(value) is int and 0 <= value <= self.highest

    @property
    def on_wire(self) -> str:
        """What a call may carry, in words."""
        return f"an int from 0 to {self.highest}"

    def to_wire(self, value: Any) -> Any:
        raise NotImplementedError

    def read(self, text: str) -> Any:
        """What :meth:`to_wire` takes, from a command line that knows no type of its own for it. Raises ValueError."""
        raise NotImplementedError

    @property
    def values(self) -> str:
        """What a user may give, as the table of docs/tasks.md writes it."""
        raise NotImplementedError

    @property
    def by_default(self) -> str:
        """The default in words, "" if there is none to name."""
        return "" if self.default is None else str(self.default)


class Whole(OptionType):
    """A whole number. Without a default it may be None; ``otherwise`` says in words what holds then."""

    def __init__(self, lowest: int, highest: int, default: int | None = None, *, otherwise: str = "") -> None:
        super().__init__(default, highest, "int")
        self.lowest: Final = lowest
        self._otherwise: Final = otherwise

    def to_wire(self, value: Any) -> Any:
        if value is None and self.default is None:
            return None
        if type(value) is not int or not self.lowest <= value <= self.highest:
            to_highest = f" to {self.highest}" if self.highest < MAX_INT else ""
            or_none = ", or None" if self.default is None else ""
            beyond = "; at most 2^63-1" if type(value) is int and value > MAX_INT else ""
            raise ValueError(f"it is a whole number from {self.lowest}{to_highest}{or_none}{beyond}")
        return None if value == self.default else value

    @property
    def values(self) -> str:
        upward = f"to {self.highest}" if self.highest < MAX_INT else "and more"
        return f"{self.lowest} {upward}, default {self.by_default}"

    @property
    def by_default(self) -> str:
        return self._otherwise or super().by_default


class Choice(OptionType):
    """One of a few words. ``words``: each with its number on the wire, from 0; the first is the default."""

    def __init__(self, **words: int) -> None:
        self.words: Final = tuple(words)
        if list(words.values()) != list(range(len(words))):
            raise ValueError(f"the words of a choice are numbered from 0, in order, not {words}")
        super().__init__(
            self.words[0], len(words) - 1, " / ".join(f"{number} {word}" for word, number in words.items())
        )

    def to_wire(self, value: Any) -> Any:
        if value not in self.words:
            raise ValueError(f"it is {' or '.join(map(repr, self.words))}")
        return self.words.index(value) or None

    @property
    def values(self) -> str:
        return ", ".join(f'`"{word}"`' for word in self.words)


class Moment(OptionType):
    """A moment of the wall clock, in milliseconds since 1970 (``moments.py``).

    A user gives it as a datetime with a time zone (``absolute``), as seconds or a timedelta from now on (``relative``),
    or in either way. What is relative travels as a negative number, of which the leader that admits the call makes a
    moment of its own wall clock."""

    def __init__(self, *, relative: bool = True, absolute: bool = True) -> None:
        super().__init__(None, moments.MOMENT_MAX_MS, "int, ms since 1970; below 0, from now")
        self.varies = True
        self.metavar = "|".join(["TIME"] * relative + ["DATE"] * absolute)
        self.relative: Final = relative
        self.absolute: Final = absolute
        ways = ["seconds", "a timedelta"] * relative + ["a datetime with a time zone"] * absolute
        self._ways: Final = " or ".join(filter(None, (", ".join(ways[:-1]), ways[-1])))

    def is_valid(self, value: object) -> bool:
        return type(value) is int and -moments.FROM_NOW_MAX_MS <= value <= self.highest

    @property
    def on_wire(self) -> str:
        return f"an int from {-moments.FROM_NOW_MAX_MS} to {self.highest}"

    def to_wire(self, value: Any) -> Any:
        if value is None:
            return None
        if self.absolute and isinstance(value, datetime):
            return moments.moment_ms(value)
        if self.relative and (isinstance(value, timedelta | float) or type(value) is int):
            return moments.from_now(value)
        raise ValueError(f"what can be given is {self._ways}, or None")

    def read(self, text: str) -> Any:
        if self.relative and (not self.absolute or moments.is_time(text)):
            return moments.read_time(text)
        try:
            return moments.read_moment(text)
        except ValueError as error:
            raise ValueError(f"{error}{'; or a time from now on, as 30 or 5m' * self.relative}") from None

    @property
    def values(self) -> str:
        return self._ways
