"""Which results the cluster keeps no longer: those that their owners have received, those that were kept for a time
which is over, and past the limits the oldest.

The leader decides all of it, by its own limits and clock. A RELEASE entry says which, and of the second an EXPIRE
entry: so every replica keeps the same, whatever its own limits are. Results of which that is proposed are in the table
until it is applied; they are no longer counted.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import Final

from paceline.core.scheduling.draft import Propose
from paceline.core.scheduling.retention import Retention
from paceline.core.settings import Settings
from paceline.core.state.records import size_of
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import join_ids
from paceline_protocol.messages.consensus import EntryKind

RELEASE_TASKS: Final = 256
"""Under load ids are released as soon as there are so many: to release thousands at once would delay other tasks."""
RELEASE_AT_ONCE_TASKS: Final = 4_096
"""In one turn, of each sort. A client that reads slowly acknowledges many together; a leader may keep far less than the
one before it did."""


class Releases:
    """``due``: the earliest deadline. It may be too early; find_due() computes it again."""

    __slots__ = (
        "_at",
        "_dropping",
        "_dropping_bytes",
        "_expired",
        "_ids",
        "_interval_s",
        "_limit_bytes",
        "_limit_tasks",
        "_propose",
        "_retention",
        "_table",
        "due",
    )

    def __init__(self, settings: Settings, table: TaskTable, propose: Propose, retention: Retention) -> None:
        self.due = inf
        self._interval_s = settings.release_interval_s  # how long a result waits for others to be released with it
        self._limit_tasks = settings.result_limit_tasks
        self._limit_bytes = settings.result_limit_bytes
        self._table = table
        self._propose = propose
        self._retention = retention
        self._ids: list[bytes] = []  # their owners have them
        self._at = inf
        self._expired: list[bytes] = []  # the time is over for which they were kept
        # Past the limits, proposed, and not applied: the oldest first, each with the bytes of its payload.
        self._dropping: OrderedDict[bytes, int] = OrderedDict()
        self._dropping_bytes = 0

    def add(self, ids: list[bytes], now: float) -> None:
        """The owners of these results have received them."""
        if ids:
            if not self._ids:
                self._at = now + self._interval_s
                self.due = min(self.due, self._at)
            self._ids += ids

    def expire(self, ids: list[bytes]) -> None:
        """The time is over for which these results were kept."""
        if ids:
            self._expired += ids
            self.due = -inf

    def applied(self) -> None:
        """The table has taken in more of the log."""
        results, dropping = self._table.results, self._dropping
        while dropping and (oldest := next(iter(dropping))) not in results:
            self._dropping_bytes -= dropping.pop(oldest)
        if self._is_past_limits():
            self.due = -inf

    def _is_past_limits(self) -> bool:
        table = self._table
        return (
            len(table.results) - len(self._dropping) > self._limit_tasks
            or table.result_bytes - self._dropping_bytes > self._limit_bytes
        )

    def propose(self, now: float) -> None:
        """Propose the releases that are due, after the outcomes that were proposed before."""
        if now >= self._at or len(self._ids) >= RELEASE_TASKS:
            some, self._ids = self._ids[:RELEASE_AT_ONCE_TASKS], self._ids[RELEASE_AT_ONCE_TASKS:]
            self._propose(EntryKind.RELEASE, join_ids(some), None)
            self._at = inf
            if self._ids:
                self._at = self.due = -inf
        if self._expired:
            expired, self._expired = self._expired, []
            self._propose(EntryKind.EXPIRE, join_ids(expired), None)
        if self._is_past_limits():
            self._propose(EntryKind.RELEASE, join_ids(self._drop_oldest()), None)

    def _drop_oldest(self) -> list[bytes]:
        """Take note of the oldest results past the limits, as many as one turn drops."""
        oldest: list[bytes] = []
        for task_id, (_, payload) in self._table.results.items():
            if task_id in self._dropping:
                continue
            if len(oldest) == RELEASE_AT_ONCE_TASKS or not self._is_past_limits():
                break
            record = self._table.records.get(task_id)
            size_bytes = len(payload)
            if record is not None:
                size_bytes += size_of(record)
                self._retention.forget(task_id)
            self._dropping[task_id] = size_bytes
            self._dropping_bytes += size_bytes
            oldest.append(task_id)
        return oldest

    def find_due(self, is_logging: bool) -> None:
        """Compute the deadline again. ``is_logging``: while nothing may be proposed, nothing is due."""
        if not is_logging:
            self.due = inf
        else:
            self.due = -inf if self._expired or self._is_past_limits() else self._at
