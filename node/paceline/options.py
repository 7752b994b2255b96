"""What a task may ask for, with every value checked where it is given, and the form that travels with a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from paceline.errors import ConfigError
from paceline_protocol.messages import AT_MOST_ONCE, COMMITTED, NO_LOG, PRIORITY_DEFAULT, PRIORITY_MAX, Options

Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]
Confirm: TypeAlias = Literal["received", "committed"]
Durability: TypeAlias = Literal["log", "none"]

CHOICES: dict[str, tuple[str, str]] = {
    "delivery": ("at_least_once", "at_most_once"),
    "confirm": ("received", "committed"),
    "durability": ("log", "none"),
}
"""The values of each option that is a choice, its default first. docs/tasks.md says what each promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """How a task is run. Raises ConfigError for what can't be used, or contradicts itself."""

    priority: int = PRIORITY_DEFAULT
    max_attempts: int | None = None
    delivery: Delivery = "at_least_once"
    confirm: Confirm = "received"
    durability: Durability = "log"

    def __post_init__(self) -> None:
        if type(self.priority) is not int or not 0 <= self.priority <= PRIORITY_MAX:
            raise ConfigError(
                f"priority {self.priority!r} can't be used: it is a whole number from 0 to {PRIORITY_MAX}"
            )
        if self.max_attempts is not None and (type(self.max_attempts) is not int or self.max_attempts < 1):
            raise ConfigError(f"max_attempts {self.max_attempts!r} can't be used: it is a whole number from 1, or None")
        for name, values in CHOICES.items():
            value = getattr(self, name)
            if value not in values:
                raise ConfigError(f"{name} {value!r} can't be used: it is {' or '.join(map(repr, values))}")
        if self.delivery == "at_most_once":
            if self.durability == "none":
                raise ConfigError("delivery 'at_most_once' needs the log; leave durability at 'log'")
            if self.max_attempts not in (None, 1):
                raise ConfigError("delivery 'at_most_once' means one attempt; leave max_attempts out")
        if self.durability == "none" and self.confirm == "committed":
            raise ConfigError("with durability 'none' nothing is committed; leave confirm at 'received'")

    @property
    def wire_options(self) -> Options | None:
        """What a Call carries of it beside the priority: None if all is as usual, which is the fast case."""
        options: Options = {}
        if self.max_attempts is not None:
            options["max_attempts"] = self.max_attempts
        if self.delivery == "at_most_once":
            options["delivery"] = AT_MOST_ONCE
        if self.confirm == "committed":
            options["confirm"] = COMMITTED
        if self.durability == "none":
            options["durability"] = NO_LOG
        return options or None
