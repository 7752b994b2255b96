"""Which results the cluster keeps no longer: those that their owners have received, those that were kept for a time
which is over, and past the limits the oldest. But none that a live task depends on: those are *held*, and go once no
such task is left. Of those whose owners have them a HELD entry says that, for the next leader.

The leader decides all of it, by its own limits and clock. A RELEASE entry says which, and of the second an EXPIRE
entry: so every replica keeps the same, whatever its own limits are. Results of which that is proposed are in the table
until it is applied; they are no longer counted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container
from math import inf
from typing import Final

from paceline.core.scheduling.draft import Propose
from paceline.core.scheduling.inputs import Inputs
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
        "_held",
        "_ids",
        "_inputs",
        "_interval_s",
        "_leaving",
        "_limit_bytes",
        "_limit_tasks",
        "_propose",
        "_retention",
        "_table",
        "due",
    )

    def __init__(
        self, settings: Settings, table: TaskTable, propose: Propose, retention: Retention, inputs: Inputs | None = None
    ) -> None:
        """``inputs``: what live tasks depend on."""
        self.due = inf
        self._inputs = inputs if inputs is not None else Inputs()
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
        # Proposed, and not applied: (index, ids), looked into for what tasks want to depend on.
        self._leaving: deque[tuple[int, Container[bytes]]] = deque()
        # Needed by live tasks, and else they would be released, or expire, which is the value.
        self._held: dict[bytes, bool] = dict.fromkeys(table.held, False)
        self._inputs.unneeded += [task_id for task_id in self._held if task_id not in self._inputs.needed]
        if self._inputs.unneeded:
            self.due = -inf

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

    def has_proposed(self, task_id: bytes) -> bool:
        """Whether a result that is in the table is about to leave it."""
        for number, (index, ids) in enumerate(self._leaving):
            if isinstance(ids, list):  # whoever asks once asks often
                self._leaving[number] = index, frozenset(ids)
        return any(task_id in ids for _, ids in self._leaving)

    def _drop(self, kind: int, ids: list[bytes]) -> None:
        self._leaving.append((self._propose(kind, join_ids(ids), None), ids))

    def _hold_needed(self, ids: list[bytes], *, expired: bool) -> list[bytes]:
        """Those of these results on which no live task depends. The others wait until that is so."""
        needed = self._inputs.needed
        if not needed:
            return ids
        new = [task_id for task_id in ids if task_id in needed and task_id not in self._held]
        self._held.update(dict.fromkeys([task_id for task_id in ids if task_id in needed], expired))
        if new and not expired:  # of the others the record says when they expire
            self._propose(EntryKind.HELD, join_ids(new), None)
        return [task_id for task_id in ids if task_id not in needed]

    def _take_unneeded(self) -> None:
        """Nothing depends on these any more. Some are due by now."""
        unneeded, self._inputs.unneeded = self._inputs.unneeded, []
        needed = self._inputs.needed
        for task_id in unneeded:
            if task_id not in needed and task_id in self._held:
                (self._expired if self._held.pop(task_id) else self._ids).append(task_id)
                self._at = -inf

    def applied(self, index: int) -> None:
        """The table has taken in the log up to this entry."""
        while self._leaving and self._leaving[0][0] <= index:
            self._leaving.popleft()
        results, dropping = self._table.results, self._dropping
        while dropping and (oldest := next(iter(dropping))) not in results:
            self._dropping_bytes -= dropping.pop(oldest)
        if self._is_past_limits():
            self.due = -inf

    def _is_past_limits(self) -> bool:
        table = self._table
        return (
            len(table.results) - len(self._dropping) - self._inputs.kept_tasks > self._limit_tasks
            or table.result_bytes - self._dropping_bytes - self._inputs.kept_bytes > self._limit_bytes
        )

    def propose(self, now: float) -> None:
        """Propose the releases that are due, after the outcomes that were proposed before."""
        if self._inputs.unneeded:
            self._take_unneeded()
        if now >= self._at or len(self._ids) >= RELEASE_TASKS:
            some, self._ids = self._ids[:RELEASE_AT_ONCE_TASKS], self._ids[RELEASE_AT_ONCE_TASKS:]
            if some := self._hold_needed(some, expired=False):
                self._drop(EntryKind.RELEASE, some)
            self._at = inf
            if self._ids:
                self._at = self.due = -inf
        if self._expired:
            expired, self._expired = self._expired, []
            if expired := self._hold_needed(expired, expired=True):
                self._drop(EntryKind.EXPIRE, expired)
        if self._is_past_limits() and (oldest := self._drop_oldest()):
            self._drop(EntryKind.RELEASE, oldest)

    def _drop_oldest(self) -> list[bytes]:
        """Take note of the oldest results past the limits, as many as one turn drops."""
        oldest: list[bytes] = []
        for task_id, (_, payload) in self._table.results.items():
            if task_id in self._dropping or task_id in self._inputs.needed:
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
