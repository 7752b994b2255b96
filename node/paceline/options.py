"""What a task may ask for, as users write it: each value is checked where it is given.

What options there are says the table of ``paceline_protocol/options.py``. Type checkers can't read it, so their names
and types stand here too, three times: as the fields of TaskOptions, and as the keywords of ``@task`` and of
``task.options``. A test compares them with the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict

from paceline.errors import ConfigError
from paceline_protocol.forms import class_name
from paceline_protocol.messages.records import PRIORITY_DEFAULT, Options
from paceline_protocol.options import EXCLUSIONS, OPTIONS, PRIORITY, Keyword

Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]
Confirm: TypeAlias = Literal["received", "committed"]
Durability: TypeAlias = Literal["log", "none"]
Time: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""

SHOWN_LIMIT_CHARS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How a task is run: docs/tasks.md says what each option does. Raises ConfigError for what can't be used, or
    contradicts itself.

    ``wire_options`` is what a Call carries of it beside the priority: None if all is as usual, which is the fast case.
    A moment that is relative to the call's admission is still so there (``moments.py``).
    """

    priority: int = PRIORITY_DEFAULT
    max_attempts: int | None = None
    delivery: Delivery = "at_least_once"
    confirm: Confirm = "received"
    durability: Durability = "log"
    delay: Time | None = None
    eta: datetime | None = None
    expires: Time | datetime | None = None
    wire_options: Options | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wire_options", _wire_options(self))

    def changed(self, changes: OptionChanges) -> Self:
        """The same with other options; None keeps what is here. Of two keywords that say the same, as ``delay`` and
        ``eta`` do, the one that is given takes the place of the other. Raises ConfigError."""
        given: dict[str, Any] = {}
        check_names("options()", changes)
        for name, value in changes.items():
            rivals = _RIVALS[name]
            if value is not None:
                given = {**rivals, **given, name: value}
        return replace(self, **given)


def _rivals() -> dict[str, dict[str, Any]]:
    """Keyword -> those that say the same in other ways, with their defaults."""
    found: dict[str, dict[str, Any]] = {PRIORITY.name: {}}
    for option in OPTIONS:
        for keyword in option.keywords:
            found[keyword.name] = {each.name: each.type.default for each in option.keywords if each is not keyword}
    return found


_RIVALS = _rivals()


def check_names(what: str, given: Iterable[str], *others: str) -> None:
    """Raises TypeError for a keyword that is no option, as any function does; it names those that there are."""
    for name in given:
        if name not in _RIVALS:
            there_are = ", ".join((*others, *_RIVALS))
            raise TypeError(f"{what} got an unexpected keyword argument {name!r}; there are {there_are}")


class OptionKeywords(TypedDict, total=False):
    """What ``@task(...)`` takes."""

    priority: int
    max_attempts: int | None
    delivery: Delivery
    confirm: Confirm
    durability: Durability
    delay: Time | None
    eta: datetime | None
    expires: Time | datetime | None


class OptionChanges(TypedDict, total=False):
    """What ``task.options(...)`` takes: None keeps what the task has."""

    priority: int | None
    max_attempts: int | None
    delivery: Delivery | None
    confirm: Confirm | None
    durability: Durability | None
    delay: Time | None
    eta: datetime | None
    expires: Time | datetime | None


def _wire_options(chosen: TaskOptions) -> Options | None:
    """The map that travels. Raises ConfigError."""
    _packed(chosen, PRIORITY)  # only checked here: it travels apart
    options: Options = {}
    for option in OPTIONS:
        given = {keyword.name: value for keyword in option.keywords if (value := _packed(chosen, keyword)) is not None}
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} say the same in different ways; give one of them")
        for value in given.values():
            options[option.key] = value
    for exclusion in EXCLUSIONS:
        if exclusion.holds(options):
            raise ConfigError(exclusion.reason)
    return options or None


def _packed(chosen: TaskOptions, keyword: Keyword) -> Any:
    """What a keyword's value is in a call; None if it is as usual."""
    value = getattr(chosen, keyword.name)
    try:
        return keyword.type.to_wire(value)
    except ValueError as error:
        raise ConfigError(f"{keyword.name} {shown(value)} can't be used: {error}") from None


def check_seconds(name: str, value: object) -> None:
    """Raises ConfigError for a timeout that is no number of seconds, which nobody would find out before it counts."""
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and float(value) >= 0:
            return
    except OverflowError:
        pass  # an int that no float holds
    raise ConfigError(f"{name} is {shown(value)}, and must be a number of seconds from 0; math.inf is for ever")


def shown(value: object) -> str:
    """What a user gave, for the message that refuses it: it may be long, and its repr may fail, as that of an int of
    4,301 digits does."""
    try:
        text = repr(value)
    except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001 - it is of the user's, and refused in any case
        return f"of type {class_name(type(value))}"
    return text if len(text) <= SHOWN_LIMIT_CHARS else f"{text[:SHOWN_LIMIT_CHARS]}..."
