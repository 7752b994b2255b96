"""Results that their owners have received, until a RELEASE entry is proposed, for many tasks together."""

from __future__ import annotations

from math import inf
from typing import Final

from paceline.core.scheduling.draft import Propose
from paceline_protocol.codec import join_ids
from paceline_protocol.messages import EntryKind

RELEASE_TASKS: Final = 256
"""Under load ids are released as soon as there are so many: to release thousands at once would delay other tasks."""
RELEASE_AT_ONCE_TASKS: Final = 4_096
"""In one turn. A client that reads slowly acknowledges many together."""


class Releases:
    """``due``: the earliest deadline. It may be too early; find_due() computes it again."""

    __slots__ = ("_at", "_ids", "_interval_s", "_propose", "due")

    def __init__(self, propose: Propose, interval_s: float) -> None:
        """``interval_s``: how long a result waits for others to be released with it, at most."""
        self.due = inf
        self._propose = propose
        self._interval_s = interval_s
        self._ids: list[bytes] = []
        self._at = inf

    def add(self, ids: list[bytes], now: float) -> None:
        """The owners of these results have received them."""
        if ids:
            if not self._ids:
                self._at = now + self._interval_s
                self.due = min(self.due, self._at)
            self._ids += ids

    def propose(self, now: float) -> None:
        """Propose the releases that are due, after the outcomes that were proposed before."""
        if now >= self._at or len(self._ids) >= RELEASE_TASKS:
            some, self._ids = self._ids[:RELEASE_AT_ONCE_TASKS], self._ids[RELEASE_AT_ONCE_TASKS:]
            self._propose(EntryKind.RELEASE, join_ids(some), None)
            self._at = inf
            if self._ids:
                self._at = self.due = -inf

    def find_due(self, is_logging: bool) -> None:
        """Compute the deadline again. ``is_logging``: while nothing may be proposed, nothing is due."""
        self.due = self._at if is_logging else inf
