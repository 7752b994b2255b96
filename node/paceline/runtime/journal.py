"""Where the replicated log is written down: the shell's end of ``Persist``.

The reactor submits each Persist in order and sends what it promises only once the journal says that it is durable. A
journal may answer at once or later, from a thread of its own that wakes the reactor; it never reorders.

With ``journal = "memory"`` there is none: the core counts everything as durable, and a restart is a new node.
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
