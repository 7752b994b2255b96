"""The replicated table of tasks: what every voter holds equal, byte for byte.

Accepted tasks, their lost attempts, results, released ids, totals. Only :meth:`TaskTable.apply` changes it, only from
committed log entries, and it reads no clock. One outcome per task: the first OUTCOME entry in the log that names it;
later ones are counted and dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from paceline.core.settings import Settings
from paceline.core.state.released_ids import ReleasedIds
from paceline.core.state.task import Task
from paceline_protocol.codec import decode_calls, decode_outcomes, split_ids
from paceline_protocol.messages import EntryKind, Outcome, TaskEnd

TOTALS = ("accepted", "succeeded", "failed", "cancelled", "lost", "duplicates")
_TOTAL_OF_END = {
    TaskEnd.SUCCEEDED: "succeeded",
    TaskEnd.FAILED: "failed",
    TaskEnd.CANCELLED: "cancelled",
    TaskEnd.LOST: "lost",
}


class TaskTable:
    """The replicated state. Equal on every node that has applied the same entries.

    ``tasks``: accepted and not ended; what of them is replicated never changes, so that a snapshot can be packed while
    they come and end. ``lost_attempts``: of those that used up any, how many. ``results``: ended, until the owner has
    the result or the retention limits (``result_limit_tasks``, ``result_limit_bytes``) push the oldest out.
    ``released``: ids of tasks that are over, oldest first, at most ``released_limit_tasks``; a copy of such a task that
    comes late is not accepted again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tasks: dict[bytes, Task] = {}
        self.lost_attempts: dict[bytes, int] = {}
        # Ordered, for taking the oldest: a plain dict would search for it past all the places of those already gone.
        self.results: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self.result_bytes = 0
        self.released = ReleasedIds(settings.released_limit_tasks)
        self.totals: dict[str, int] = dict.fromkeys(TOTALS, 0)

    @property
    def recorded(self) -> int:
        """Outcomes recorded, each task once."""
        return sum(self.totals[name] for name in _TOTAL_OF_END.values())

    def knows(self, task_id: bytes) -> bool:
        """Whether this id was accepted, as far as the table remembers."""
        return task_id in self.tasks or task_id in self.results or task_id in self.released

    def apply(self, kind: int, data: bytes, decoded: Any = None) -> None:
        """Apply one committed entry. ``decoded``: what the proposer already parsed from ``data``.

        Raises ValueError for a kind that this version does not know: the node must not go on as if it were nothing.
        """
        if kind == EntryKind.ACCEPT:
            self._accept(decoded if decoded is not None else [Task(call) for call in decode_calls(data)])
        elif kind == EntryKind.OUTCOME:
            self._record(decoded if decoded is not None else decode_outcomes(data))
        elif kind == EntryKind.RELEASE:
            self._release(split_ids(data))
        elif kind == EntryKind.ATTEMPT:
            for task_id in split_ids(data):
                if task_id in self.tasks:
                    self.lost_attempts[task_id] = self.lost_attempts.get(task_id, 0) + 1
        elif kind not in (EntryKind.NOOP, EntryKind.CONFIG):
            raise ValueError(f"log entry of unknown kind {kind}; this node is older than the one that wrote it")

    def _accept(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            if not self.knows(task.id):
                self.tasks[task.id] = task
                self.totals["accepted"] += 1

    def _record(self, outcomes: Iterable[Outcome]) -> None:
        tasks, totals = self.tasks, self.totals
        for task_id, _attempt, end, payload, _duration_us in outcomes:
            if tasks.pop(task_id, None) is None:
                totals["duplicates"] += 1
                continue
            if self.lost_attempts:
                self.lost_attempts.pop(task_id, None)
            totals[_TOTAL_OF_END[end]] += 1  # type: ignore[index]
            self.results[task_id] = (end, payload)
            self.result_bytes += len(payload)
        limit_tasks, limit_bytes = self._settings.result_limit_tasks, self._settings.result_limit_bytes
        while len(self.results) > limit_tasks or self.result_bytes > limit_bytes:
            self._drop_result(next(iter(self.results)))

    def _release(self, ids: Iterable[bytes]) -> None:
        for task_id in ids:
            if task_id in self.results:
                self._drop_result(task_id)

    def _drop_result(self, task_id: bytes) -> None:
        _, payload = self.results.pop(task_id)
        self.result_bytes -= len(payload)
        self.released.add(task_id)
