"""All promises together, and how events reach them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any

from simulation import oracle as package
from simulation.oracle.entries import events_of
from simulation.oracle.events import Committed, Event
from simulation.oracle.promise import KINDS, Promise
from simulation.oracle.record import Record


def all_promises() -> list[type[Promise]]:
    """Every Promise that a module of this package defines, by name."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    found = [kind for kind in Promise.__subclasses__() if kind.__module__.startswith(package.__name__)]
    return sorted(found, key=lambda kind: kind.__name__)


class Oracle:
    """Hears what happens in one world. Every method raises InvariantBroken for what breaks a promise."""

    def __init__(self, kinds: Iterable[type[Promise]] | None = None) -> None:
        """``kinds``: these promises only, and not all of them."""
        self.record = Record()
        self.promises = [kind(self.record) for kind in (all_promises() if kinds is None else kinds)]
        self._listeners: dict[type[Event], list[Callable[[Any], None]]] = {}
        for method, kind in KINDS.items():
            write = self.record.writes.get(kind)
            hear = [getattr(promise, method) for promise in self.promises if hasattr(promise, method)]
            self._listeners[kind] = ([write] if write is not None else []) + hear

    def hear(self, event: Event) -> None:
        """Something happened. After a committed entry, all hear what it says of tasks, too."""
        for listener in self._listeners[type(event)]:
            listener(event)
        if type(event) is Committed:
            for each in events_of(event):
                self.hear(each)

    def end(self) -> None:
        """All is healed, and every client has what it waits for."""
        for promise in self.promises:
            promise.at_end()
