"""What a promise is: something that hears events and says when they break it."""

from __future__ import annotations

import re
from typing import ClassVar, NoReturn

from simulation.oracle import events
from simulation.oracle.record import Record, Story

KINDS: dict[str, type[events.Event]] = {
    "on_" + re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(): kind
    for name, kind in vars(events).items()
    if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
}
"""The method that hears an event: ``on_told_end`` hears ToldEnd."""


class InvariantBroken(AssertionError):
    """What must never happen has happened."""


class Promise:
    """One promise. A subclass states it as ``says``, and has a method ``on_...`` for each event that may break it.

    The record already has the event when a promise hears it."""

    says: ClassVar[str]

    def __init_subclass__(cls) -> None:
        unknown = [name for name in vars(cls) if name.startswith("on_") and name not in KINDS]
        if unknown:
            raise TypeError(f"{cls.__name__} hears what does not happen: {', '.join(unknown)}")

    def __init__(self, record: Record) -> None:
        self.record = record

    def at_end(self) -> None:
        """All is healed, and every client has what it waits for."""

    def broken(self, how: str, story: Story | None = None) -> NoReturn:
        """Raise InvariantBroken."""
        raise InvariantBroken(f"{how}{'' if story is None else f': {story}'} [{self.says}]")
