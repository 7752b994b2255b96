"""Results that their owners have, until the log is told that they need not be kept any longer: of many tasks together,
as it costs an entry.
"""

from __future__ import annotations

from math import inf
from typing import Final

from paceline.core.scheduling.draft import Propose
from paceline_protocol.codec import join_ids
from paceline_protocol.messages import EntryKind

RELEASE_TASKS: Final = 256
"""Under load ids are released as soon as there are so many, as thousands at once would hold up what runs."""


class Releases:
    """``due``: nothing here is due earlier. It may come early and find nothing; find_due() finds it anew."""

    __slots__ = ("_at", "_ids", "_interval_s", "_propose", "due")

    def __init__(self, propose: Propose, interval_s: float) -> None:
        """``interval_s``: how long a result waits for others to be released with it, at most."""
        self.due = inf
        self._propose = propose
        self._interval_s = interval_s
        self._ids: list[bytes] = []
        self._at = inf

    def add(self, ids: list[bytes], now: float) -> None:
        """The owners of these results have them."""
        if ids:
            if not self._ids:
                self._at = now + self._interval_s
                self.due = min(self.due, self._at)
            self._ids += ids

    def propose(self, now: float) -> None:
        """Propose what is due, behind the outcomes that were proposed before."""
        if now >= self._at or len(self._ids) >= RELEASE_TASKS:
            self._propose(EntryKind.RELEASE, join_ids(self._ids), None)
            self._ids = []
            self._at = inf

    def find_due(self, is_logging: bool) -> None:
        """Find the deadline anew. Without a log to propose to, nothing is due."""
        self.due = self._at if is_logging else inf
