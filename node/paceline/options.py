"""What a task may ask for, as users write it: each value is checked where it is given.

What options there are says the table of ``paceline_protocol/options.py``. Type checkers can't read it, so their names
and types stand here too, three times: as the fields of TaskOptions, and as the keywords of ``@task`` and of
``task.options``. A test compares them with the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict

from paceline.errors import ConfigError
from paceline.importing import RUN_AS, imported_name
from paceline_protocol.forms import class_name, module_of
from paceline_protocol.messages.records import PRIORITY_DEFAULT, Options
from paceline_protocol.option_types import QUEUE_NAME_RULE, is_queue_name
from paceline_protocol.options import (
    AFFINITY_WAIT_S,
    BACKOFF_MAX_S,
    BACKOFF_S,
    BY_KEY,
    DEFAULT_QUEUE,
    EXCLUSIONS,
    OPTIONS,
    ORDERS,
    PRIORITY,
    Keyword,
    by_name,
)

Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]
Confirm: TypeAlias = Literal["received", "committed"]
Durability: TypeAlias = Literal["log", "none"]
OnClientLost: TypeAlias = Literal["keep", "cancel"]
Time: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""

Inputs: TypeAlias = Iterable[Any]
"""Futures, or ids of tasks."""
Errors: TypeAlias = type[BaseException] | str | Iterable[type[BaseException] | str]
"""Classes of exceptions, or their names."""

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
    retries: int = 0
    retry_on: Errors | None = None
    dont_retry_on: Errors | None = None
    backoff: Time = BACKOFF_S
    backoff_max: Time = BACKOFF_MAX_S
    jitter: bool = True
    time_limit: Time | None = None
    soft_time_limit: Time | None = None
    cancel_raises: bool = False
    cancel_grace: Time | None = None
    result_ttl: Time | None = None
    keep_dead: bool | Time | None = None
    on_client_lost: OnClientLost = "keep"
    deadline: Time | datetime | None = None
    queue: str = DEFAULT_QUEUE
    idempotency_key: str | None = None
    unique_for: Time | None = None
    fair_key: str | None = None
    tags: Iterable[str] | None = None
    needs: Mapping[str, int] | None = None
    affinity: str | None = None
    affinity_wait: Time = AFFINITY_WAIT_S
    batch: int | None = None
    batch_window: Time | None = None
    after: Inputs = ()
    allow_failed_inputs: bool = False
    max_running: int | None = None
    rate: str | None = None
    limit_key: str | None = None
    graph: str | None = None
    wire_options: Options | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("retry_on", "dont_retry_on"):  # names from now on: an iterator gives what it has once
            object.__setattr__(self, name, _error_names(getattr(self, name)))
        if isinstance(self.tags, Iterable) and not isinstance(self.tags, str | Mapping):
            object.__setattr__(self, "tags", tuple(self.tags))
        if type(self.after) is not tuple and not isinstance(self.after, str | bytes):
            object.__setattr__(self, "after", _listed(self.after))
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
        changed = replace(self, **given)
        check_key(changes.get("unique_for"), changed.idempotency_key)
        return changed


def check_key(unique_for: object, key: object) -> None:
    """Raises ConfigError for a call that says how long it holds a key, and has none."""
    if unique_for is not None and key is None:
        raise ConfigError(
            f"unique_for is {shown(unique_for)}, and there is no key that is held for so long: give idempotency_key, "
            "too, or leave unique_for out"
        )


def _listed(given: Any) -> Any:
    """What a user gives for tasks, read once. What is no list is left to be refused."""
    return tuple(given) if isinstance(given, Iterable) else given


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
    retries: int
    retry_on: Errors | None
    dont_retry_on: Errors | None
    backoff: Time
    backoff_max: Time
    jitter: bool
    time_limit: Time | None
    soft_time_limit: Time | None
    cancel_raises: bool
    cancel_grace: Time | None
    result_ttl: Time | None
    keep_dead: bool | Time | None
    on_client_lost: OnClientLost
    deadline: Time | datetime | None
    queue: str
    idempotency_key: str | None
    unique_for: Time | None
    fair_key: str | None
    tags: Iterable[str] | None
    needs: Mapping[str, int] | None
    affinity: str | None
    affinity_wait: Time
    batch: int | None
    batch_window: Time | None
    after: Inputs
    allow_failed_inputs: bool
    max_running: int | None
    rate: str | None
    limit_key: str | None
    graph: str | None


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
    retries: int | None
    retry_on: Errors | None
    dont_retry_on: Errors | None
    backoff: Time | None
    backoff_max: Time | None
    jitter: bool | None
    time_limit: Time | None
    soft_time_limit: Time | None
    cancel_raises: bool | None
    cancel_grace: Time | None
    result_ttl: Time | None
    keep_dead: bool | Time | None
    on_client_lost: OnClientLost | None
    deadline: Time | datetime | None
    queue: str | None
    idempotency_key: str | None
    unique_for: Time | None
    fair_key: str | None
    tags: Iterable[str] | None
    needs: Mapping[str, int] | None
    affinity: str | None
    affinity_wait: Time | None
    batch: int | None
    batch_window: Time | None
    after: Inputs | None
    allow_failed_inputs: bool | None
    max_running: int | None
    rate: str | None
    limit_key: str | None
    graph: str | None


def _error_names(given: Any) -> Any:
    """What a user gives for exceptions, with the names by which workers know those of the script that runs here. What
    is no exception, and no list of them, is left to be refused."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, type):
        return _error_name(given)
    return tuple(map(_error_name, given)) if isinstance(given, Iterable) else given


def _error_name(given: Any) -> Any:
    if not isinstance(given, type) or module_of(given) not in RUN_AS:
        return given
    module = imported_name(vars(sys.modules[module_of(given)]))
    if module is None:
        raise ConfigError(
            f"{class_name(given)} was typed at a prompt, where no worker can import it; put it in a .py file"
        )
    return f"{module}.{class_name(given)}"


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
    for order in ORDERS:
        if order.is_broken(options):
            raise ConfigError(order.reason)
    return options or None


def options_by_name(chosen: TaskOptions, said: Iterable[str]) -> Options:
    """The map of a call by name alone that gives these keywords: what is given and as usual travels, too, as it counts
    more than what nodes announce."""
    options = dict(chosen.wire_options or {})
    for option in OPTIONS:
        for keyword in option.keywords:
            if keyword.name in said:
                options.setdefault(option.key, keyword.type.usual)
    if PRIORITY.name in said and chosen.priority == PRIORITY_DEFAULT:
        options[PRIORITY.name] = 1
    return by_name(options)


def _packed(chosen: TaskOptions, keyword: Keyword) -> Any:
    """What a keyword's value is in a call; None if it is as usual."""
    value = getattr(chosen, keyword.name)
    try:
        return keyword.type.to_wire(value)
    except ValueError as error:
        raise ConfigError(f"{keyword.name} {shown(value)} can't be used: {error}") from None


def check_queue(name: object) -> None:
    """Raises ConfigError for what is no name of a queue."""
    if not is_queue_name(name):
        raise ConfigError(f"the queue {shown(name)} can't be used: its name has {QUEUE_NAME_RULE}")


def check_graph(name: object) -> None:
    """Raises ConfigError for what is no name of a graph."""
    try:
        if BY_KEY["graph"].type.to_wire(name) is not None:
            return
        reason = "say which graph is meant"
    except ValueError as error:
        reason = str(error)
    raise ConfigError(f"the graph {shown(name)} can't be used: {reason}")


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
