"""What values an option can have: on the wire, and as a user writes them. Rows of ``options.py`` are made of these.

Each type answers for both ends. ``is_valid`` and ``on_wire`` are about what travels; ``to_wire``, ``read`` and
``values`` about what a user gives. :meth:`OptionType.to_wire` returns None for what is as usual, which does not travel,
and raises ValueError for what can't be used, with a text that ends the sentence "max_attempts 0 can't be used: ...".
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from paceline_protocol import moments
from paceline_protocol.forms import qualified_name
from paceline_protocol.limits import BATCH_WINDOW_S, MAX_INPUTS, MAX_INT, MAX_QUEUE_CHARS
from paceline_protocol.messages.records import TASK_ID_BYTES
from paceline_protocol.places import (
    PLACE_NAME_RULE,
    TAGS_LIMIT,
    amounts_text,
    checked_amount,
    checked_name,
    is_amounts,
    is_tags,
    is_units,
    read_amount,
    tags_text,
)
from paceline_protocol.rates import HIGHEST_RATE, MOST_STARTS, number_of, shown_rate

ERRORS_CHARS: Final = 500
"""Of the names of exceptions that one option has."""
NO_ERROR: Final = "-"
"""On the wire: none, where that has to be said. No class has this name."""


class OptionType:
    """The value on the wire is an integer, from 0 to ``highest`` unless a type says otherwise. ``varies``: nearly every
    call that has the option has another value."""

    varies: bool = False
    usual: object = 0
    """What says on the wire that it is as usual, for a call that has to say so (``options.by_name``)."""
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


class YesOrNo(OptionType):
    """True or False, of which one is usual; the other travels as 1."""

    def __init__(self, default: bool) -> None:
        words = ("yes", "no") if default else ("no", "yes")
        super().__init__(default, 1, " / ".join(f"{number} {word}" for number, word in enumerate(words)))
        self.metavar = "yes|no"

    def to_wire(self, value: Any) -> Any:
        if type(value) is not bool:
            raise ValueError("it is True or False")
        return None if value is self.default else 1

    def read(self, text: str) -> Any:
        if text not in ("yes", "no"):
            raise ValueError("it is yes or no")
        return text == "yes"

    @property
    def values(self) -> str:
        return "`True`, `False`"

    @property
    def by_default(self) -> str:
        return "yes" if self.default else "no"


class Span(OptionType):
    """A length of time, in milliseconds. A user gives seconds or a timedelta; no time at all is a millisecond. Without
    a default it is a limit: None is for no limit, and no time at all is none, unless the limit ``may_be_zero``."""

    def __init__(
        self, default_s: float | None, highest_ms: int = moments.FROM_NOW_MAX_MS, *, may_be_zero: bool = False
    ) -> None:
        super().__init__(default_s, highest_ms, "int, ms")
        self._may_be_zero: Final = may_be_zero or default_s is not None
        self._default_ms: Final = 0 if default_s is None else moments.span_ms(default_s)
        self.metavar = "TIME"

    def to_wire(self, value: Any) -> Any:
        if value is None and self.default is None:
            return None
        if not (isinstance(value, timedelta | float) or type(value) is int):
            raise ValueError(f"it is seconds or a timedelta{', or None' * (self.default is None)}")
        if not value and not self._may_be_zero:
            raise ValueError("it would leave no time; leave it out, or give None, for no limit")
        span_ms = moments.span_ms(value)
        return None if span_ms == self._default_ms else span_ms

    def read(self, text: str) -> Any:
        return moments.read_time(text)

    @property
    def values(self) -> str:
        return "seconds or a timedelta" + ("" if self.default is None else f", default {self.default:g}")

    @property
    def by_default(self) -> str:
        return "" if self.default is None else f"{self.default:g} seconds"


class GatheringTime(Span):
    """How long something waits for others of its kind. None, and no time at all, is for not at all."""

    def __init__(self) -> None:
        super().__init__(None, highest_ms=BATCH_WINDOW_S * 1_000, may_be_zero=True)

    def to_wire(self, value: Any) -> Any:
        if isinstance(value, timedelta | float | int) and not isinstance(value, bool) and not value:
            return None
        span_ms = super().to_wire(value)
        if span_ms is not None and span_ms > self.highest:
            raise ValueError(f"it is {BATCH_WINDOW_S} seconds at most; what may come later is for the next call")
        return span_ms

    @property
    def values(self) -> str:
        return f"{super().values}, up to {BATCH_WINDOW_S} s"

    @property
    def by_default(self) -> str:
        return "not at all"


KEEP_MAX_DAYS: Final = 366
"""How long anything is kept for whoever may ask."""


class Keep(Span):
    """How long something is kept. None, and nothing else, is for no longer than otherwise."""

    def __init__(self, otherwise: str) -> None:
        """``otherwise``: until when it is kept then, in words."""
        super().__init__(None, highest_ms=KEEP_MAX_DAYS * 86_400_000)
        self._otherwise: Final = otherwise

    def to_wire(self, value: Any) -> Any:
        if isinstance(value, timedelta | float | int) and not isinstance(value, bool) and not value:
            raise ValueError(f"it would be kept for no time; leave it out, or give None, to keep it {self._otherwise}")
        span_ms = super().to_wire(value)
        if span_ms is not None and span_ms > self.highest:
            raise ValueError(f"it is {KEEP_MAX_DAYS} days at most; put what is to last into a database, or a file")
        return span_ms

    @property
    def values(self) -> str:
        return f"{super().values}, up to {KEEP_MAX_DAYS} days"

    @property
    def by_default(self) -> str:
        return self._otherwise


class KeepOrNot(Keep):
    """The same, or True for a time that is usual. False is None."""

    def __init__(self, otherwise: str, usual_days: int) -> None:
        super().__init__(otherwise)
        self._usual_days: Final = usual_days
        self.metavar = "yes|TIME"

    def to_wire(self, value: Any) -> Any:
        if isinstance(value, bool):
            value = timedelta(days=self._usual_days) if value else None
        if not (value is None or isinstance(value, timedelta | float | int)):
            raise ValueError(f"it is True, for {self._usual_days} days, seconds or a timedelta, or None")
        return super().to_wire(value)

    def read(self, text: str) -> Any:
        if text in ("yes", "no"):
            return text == "yes"
        try:
            return super().read(text)
        except ValueError as error:
            raise ValueError(f"{error}; or yes, for {self._usual_days} days") from None

    @property
    def values(self) -> str:
        return f"`True` for {self._usual_days} days, {super().values}"


class Origin(OptionType):
    """The id of a task, in hexadecimal digits. No user gives it."""

    def __init__(self) -> None:
        super().__init__(None, 0, "str, 32 hexadecimal digits")
        self.varies = True

    def is_valid(self, value: object) -> bool:
        return type(value) is str and _ORIGIN.fullmatch(value) is not None

    @property
    def on_wire(self) -> str:
        return "a string of 32 hexadecimal digits"


_ORIGIN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class TaskIds(OptionType):
    """Other tasks, which a call waits for: their ids, joined. A user gives futures, or ids."""

    def __init__(self) -> None:
        super().__init__((), 0, "bin, ids of tasks; or 0 none")
        self.varies = True
        self.metavar = "ID[,ID...]"

    def is_valid(self, value: object) -> bool:
        if type(value) is not bytes:
            return type(value) is int and value == 0
        return 0 < len(value) <= MAX_INPUTS * TASK_ID_BYTES and len(value) % TASK_ID_BYTES == 0

    @property
    def on_wire(self) -> str:
        return f"0, or the ids of 1 to {MAX_INPUTS} tasks, of {TASK_ID_BYTES} bytes each"

    def to_wire(self, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise ValueError("it is a list of futures, or of the ids of tasks")
        joined = b"".join(dict.fromkeys(map(_id_of, value)))
        if len(joined) > MAX_INPUTS * TASK_ID_BYTES:
            raise ValueError(f"it names more than {MAX_INPUTS} tasks; have some others gather them first")
        return joined or None

    def read(self, text: str) -> Any:
        return tuple(text.split(","))

    @property
    def values(self) -> str:
        return "futures, or ids of tasks"

    @property
    def by_default(self) -> str:
        return ""


def _id_of(given: Any) -> bytes:
    """The id of a task, of a future or as a user writes it."""
    found = getattr(given, "task_id", given)
    if isinstance(found, str):
        try:
            found = bytes.fromhex(found.replace("-", ""))
        except ValueError:
            found = b""
    if type(found) is not bytes or len(found) != TASK_ID_BYTES:
        raise ValueError("each of them is a future, or an id of 32 hexadecimal digits as `paceline submit` prints it")
    return found


class Errors(OptionType):
    """Classes of exceptions, by their names as a traceback shows them: those of builtins alone, others with their
    module. They travel as one string, with commas between them. A user gives classes, or their names."""

    def __init__(self, otherwise: str, *, may_be_empty: bool) -> None:
        """``otherwise``: what holds if none is given, in words. ``may_be_empty``: so does an empty list of them."""
        super().__init__(None, 0, "str, names with commas between them")
        self.metavar = "NAME[,NAME...]"
        self.usual = NO_ERROR if may_be_empty else "Exception"
        self._otherwise: Final = otherwise
        self._may_be_empty: Final = may_be_empty

    def is_valid(self, value: object) -> bool:
        return type(value) is str and 0 < len(value) <= ERRORS_CHARS and value.isascii()

    @property
    def on_wire(self) -> str:
        return f"a string of 1 to {ERRORS_CHARS} ASCII characters"

    def to_wire(self, value: Any) -> Any:
        if value is None:
            return None
        names = ",".join(self.names(value))
        if len(names) > ERRORS_CHARS:
            raise ValueError(f"its names take more than {ERRORS_CHARS} characters; name a class that they derive from")
        return names or None

    def names(self, value: Any) -> tuple[str, ...]:
        """Those of the classes that a user gives. Raises ValueError."""
        given = value if isinstance(value, Iterable) and not isinstance(value, str | type) else (value,)
        names = tuple(dict.fromkeys(map(_name_of_error, given)))
        if not names and not self._may_be_empty:
            raise ValueError(f"it names none; leave it out for {self._otherwise}")
        return names

    def read(self, text: str) -> Any:
        return self.names(text.split(","))

    @property
    def values(self) -> str:
        return f"classes of exceptions, or their names; default {self._otherwise}"

    @property
    def by_default(self) -> str:
        return self._otherwise


_ERROR_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.(<locals>|[A-Za-z_]\w*))*", re.ASCII)


def _is_no_error(name: str) -> bool:
    """Whether Python itself has something else by this name. What it does not have, a module may."""
    known = getattr(builtins, name, BaseException)
    return not (isinstance(known, type) and issubclass(known, BaseException))


def _name_of_error(value: Any) -> str:
    """The name of an exception's class that a user gives, in the one way in which a traceback shows it."""
    if isinstance(value, type) and issubclass(value, BaseException):
        value = qualified_name(value)
    if not isinstance(value, str) or not _ERROR_NAME.fullmatch(value) or _is_no_error(value):
        raise ValueError("it is a class of exceptions, its name as 'requests.exceptions.Timeout', or several of them")
    name = value.removeprefix("builtins.")
    known = getattr(builtins, name, None)
    return qualified_name(known) if isinstance(known, type) else name  # IOError is another name of OSError


class QueueName(OptionType):
    """The name of a queue, as ``orders`` or ``video.high``. ``default``: of the queue of those calls that name none."""

    def __init__(self, default: str) -> None:
        super().__init__(default, 0, "str, the name of a queue")
        self.metavar = "QUEUE"
        self.usual = default

    def is_valid(self, value: object) -> bool:
        return is_queue_name(value)

    @property
    def on_wire(self) -> str:
        return f"a string of {QUEUE_NAME_RULE}"

    def to_wire(self, value: Any) -> Any:
        if not self.is_valid(value):
            raise ValueError(f"it is the name of a queue, which has {QUEUE_NAME_RULE}")
        return None if value == self.default else value

    def read(self, text: str) -> Any:
        return text

    @property
    def values(self) -> str:
        return f"{QUEUE_NAME_RULE}, default `{self.default}`"


QUEUE_NAME_RULE: Final = f"1 to {MAX_QUEUE_CHARS} letters, digits, `.`, `-`, `_` and `:`"
_QUEUE_NAME: Final = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_QUEUE_CHARS}}}", re.ASCII)


def is_queue_name(value: object) -> bool:
    """Whether this can be the name of a queue."""
    return type(value) is str and _QUEUE_NAME.fullmatch(value) is not None


class Tags(OptionType):
    """Tags that a node is to have, as ``places.py`` writes them. None is for none, which is 0 on the wire where that
    has to be said."""

    def __init__(self) -> None:
        super().__init__(None, 0, "str, tags; or 0 none")
        self.metavar = "TAG[,TAG...]"

    def is_valid(self, value: object) -> bool:
        return bool(value) and is_tags(value) if type(value) is str else type(value) is int and value == 0

    @property
    def on_wire(self) -> str:
        return "0, or a string of tags, in order, with commas between them"

    def to_wire(self, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, str) or not isinstance(value, Iterable) or isinstance(value, Mapping):
            raise ValueError("it is a list of tags, as ['ssd'], or None")
        tags = set(map(checked_name, value))
        if len(tags) > TAGS_LIMIT:
            raise ValueError(f"it names {len(tags)} tags; {TAGS_LIMIT} at most")
        return tags_text(tags) or None

    def read(self, text: str) -> Any:
        return text.split(",")

    @property
    def values(self) -> str:
        return f"a list of up to {TAGS_LIMIT} tags, each of {PLACE_NAME_RULE}"


class Needs(OptionType):
    """Amounts of resources that a node is to have free, as ``places.py`` writes them. None is for none, likewise."""

    def __init__(self) -> None:
        super().__init__(None, 0, "str, amounts; or 0 none")
        self.metavar = "NAME=AMOUNT[,...]"

    def is_valid(self, value: object) -> bool:
        return bool(value) and is_amounts(value) if type(value) is str else type(value) is int and value == 0

    @property
    def on_wire(self) -> str:
        return "0, or a string of amounts, NAME=AMOUNT, in order, with commas between them"

    def to_wire(self, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise ValueError("it is a dict of resources and amounts, as {'gpu': 1}, or None")
        amounts = {(name := checked_name(key)): checked_amount(name, amount) for key, amount in value.items()}
        if len(amounts) > TAGS_LIMIT:
            raise ValueError(f"it names {len(amounts)} resources; {TAGS_LIMIT} at most")
        return amounts_text(amounts.items()) or None

    def read(self, text: str) -> Any:
        items = [read_amount(item) for item in text.split(",")]
        if len(dict(items)) < len(items):
            raise ValueError("it names a resource twice")
        return dict(items)

    @property
    def values(self) -> str:
        return f"a dict of up to {TAGS_LIMIT} resources and whole amounts"


class Units(OptionType):
    """Units with numbers that a task has, as ``places.py`` writes them. No user gives it."""

    def __init__(self) -> None:
        super().__init__(None, 0, "str, units with their numbers")

    def is_valid(self, value: object) -> bool:
        return is_units(value)

    @property
    def on_wire(self) -> str:
        return "a string of units with their numbers, in order, with commas between them"


class Key(OptionType):
    """A text that a user chooses. None is for none, which is 0 on the wire where that has to be said."""

    def __init__(self, *, varies: bool = True) -> None:
        """``varies``: nearly every call has its own."""
        super().__init__(None, 0, "str, printable; or 0 none")
        self.varies = varies
        self.metavar = "KEY"

    def is_valid(self, value: object) -> bool:
        if type(value) is not str:
            return type(value) is int and value == 0
        return 0 < len(value) <= KEY_CHARS and value.isprintable()  # lone surrogates are not

    @property
    def on_wire(self) -> str:
        return f"0, or a string of 1 to {KEY_CHARS} printable characters"

    def to_wire(self, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("it is a string, or None; of a number or an id give its text, as str(order_id)")
        plain = str.__str__(value)  # of a member of a StrEnum its string
        if not self.is_valid(plain):
            raise ValueError(f"it has 1 to {KEY_CHARS} printable characters; of what is longer give a hash")
        return plain

    def read(self, text: str) -> Any:
        return text

    @property
    def values(self) -> str:
        return f"a string of 1 to {KEY_CHARS} printable characters"


KEY_CHARS: Final = 200
"""Of the key of a call."""


class Rate(OptionType):
    """How many may start in a period, as ``rates.py`` writes it. None is for any number."""

    def __init__(self) -> None:
        super().__init__(None, HIGHEST_RATE, "int, rate; or 0 none")
        self.metavar = "N/s|m|h"

    def to_wire(self, value: Any) -> Any:
        return None if value is None else number_of(value)

    def read(self, text: str) -> Any:
        return shown_rate(number_of(text))

    @property
    def values(self) -> str:
        return f'a string as `"100/s"`, `"10/m"`, `"5/h"`, of up to {MOST_STARTS}'


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
