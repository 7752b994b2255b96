"""Where the replicated log is written down: the shell's end of ``Persist``.

The reactor submits each Persist in order and sends what it promises only once the journal says that it is durable. A
journal may answer at once or later, from a thread of its own that wakes the reactor; it never reorders.
"""

from __future__ import annotations

from typing import Protocol

from paceline.core.consensus import Persist


class Journal(Protocol):
    """The order in which it was submitted is the order in which it becomes durable."""

    def submit(self, persist: Persist) -> None:
        """Start writing."""

    def durable_seq(self) -> int:
        """Everything up to this Persist.seq is durable."""


class MemoryJournal:
    """``journal = "memory"``: what was submitted lives in the core and nowhere else. A restart is a new node."""

    def __init__(self) -> None:
        self._seq = 0

    def submit(self, persist: Persist) -> None:
        self._seq = persist.seq

    def durable_seq(self) -> int:
        return self._seq
