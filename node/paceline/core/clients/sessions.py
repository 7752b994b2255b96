"""What the leader owes its clients.

A session is one connection of one client to this leader. It exists only here and only while this node leads: after a
leader change a client comes back under a new session and names what it still waits for.

Everything that the leader owes a client travels in Updates, which are numbered from 1. The leader remembers an Update
with results until the client acknowledges its number; then it releases those results. So a result is kept until its
owner has it, and no longer. Of a client that reads but does not acknowledge, the last UNACKNOWLEDGED_LIMIT_TASKS
results are remembered. The Updates before them are forgotten: a later acknowledgement does not release their results,
which stay in the table until the table's own limits drop them, as do the results of a client that never comes back.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from paceline_protocol.messages import Refusal, Result, Update

ITEMS_PER_UPDATE: Final = 1_024
"""How many results, how many refusals and how many accepted Submits one Update names at most."""
BYTES_PER_UPDATE: Final = 4 << 20
UNACKNOWLEDGED_LIMIT_TASKS: Final = 100_000
FAILED_LIMIT_TASKS: Final = 1_000
"""How many failures of one client are remembered, to be told if it leaves before it hears of them."""


class ClientSession:
    """One client's connection to the leader."""

    __slots__ = (
        "_unacknowledged",
        "_unacknowledged_tasks",
        "accept_due",
        "accepted",
        "closed",
        "failed",
        "heard_at",
        "key",
        "next_seq",
        "open_tasks",
        "refused",
        "results",
    )

    def __init__(self, key: bytes, now: float) -> None:
        self.key = key
        self.closed = False
        self.failed: dict[bytes, str] = {}  # tasks with names that failed, and the client is not known to have heard it
        self.heard_at = now
        self.open_tasks = 0  # tasks of this session that have not ended
        self.next_seq = 1
        self.accepted: list[int] = []
        self.accept_due: float | None = None  # when `accepted` is sent even if there is no result to send it with
        self.refused: list[tuple[bytes, int, str]] = []
        self.results: list[Result] = []
        self._unacknowledged: deque[tuple[int, list[bytes]]] = deque()  # Update.seq, ids of its results
        self._unacknowledged_tasks = 0

    def add_failed(self, task_id: bytes, name: str) -> None:
        """The result of this task, which it is owed, is that it failed."""
        if len(self.failed) < FAILED_LIMIT_TASKS:
            self.failed[task_id] = name

    def add_accepted(self, seq: int, due: float) -> None:
        """A Submit is committed. The client is told at ``due``, or with the next result, whichever is earlier."""
        self.accepted.append(seq)
        if self.accept_due is None or due < self.accept_due:
            self.accept_due = due

    def refuse(self, task_id: bytes, refusal: Refusal, detail: str) -> None:
        """A task was refused, or a Wait named a task that the cluster does not know."""
        self.refused.append((task_id, refusal, detail))

    def take_updates(self, now: float) -> list[Update]:
        """The Updates that are due, in order."""
        due = self.results or self.refused or (self.accept_due is not None and self.accept_due <= now)
        if not due:
            return []
        updates = []
        while True:
            refused, self.refused = self.refused[:ITEMS_PER_UPDATE], self.refused[ITEMS_PER_UPDATE:]
            accepted: list[int] = []
            if not self.refused:  # `accepted` means every task of a Submit that was not refused in an earlier Update
                accepted, self.accepted = self.accepted[:ITEMS_PER_UPDATE], self.accepted[ITEMS_PER_UPDATE:]
            results = self._take_results()
            updates.append(Update(self.next_seq, tuple(accepted), tuple(refused), results))
            if results:
                self._remember(self.next_seq, [result[0] for result in results])
            self.next_seq += 1
            if not (self.accepted or self.refused or self.results):
                self.accept_due = None
                return updates

    def _take_results(self) -> tuple[Result, ...]:
        """Take as many results as one Update may carry."""
        waiting = self.results
        if len(waiting) <= 1:
            self.results = []
            return tuple(waiting)
        count = size = 0
        for _, _, payload in waiting[:ITEMS_PER_UPDATE]:
            size += len(payload)
            if count and size > BYTES_PER_UPDATE:
                break
            count += 1
        taken, self.results = tuple(waiting[:count]), waiting[count:]
        return taken

    def _remember(self, seq: int, ids: list[bytes]) -> None:
        """Remember which results to release when the client acknowledges ``seq``."""
        self._unacknowledged.append((seq, ids))
        self._unacknowledged_tasks += len(ids)
        while self._unacknowledged_tasks > UNACKNOWLEDGED_LIMIT_TASKS:
            self._unacknowledged_tasks -= len(self._unacknowledged.popleft()[1])

    def acknowledge(self, ack: int, now: float) -> list[bytes]:
        """The client has processed every Update up to ``ack``. Returns the ids of the results that it has by now."""
        self.heard_at = now
        released: list[bytes] = []
        unacknowledged = self._unacknowledged
        while unacknowledged and unacknowledged[0][0] <= ack:
            released += unacknowledged.popleft()[1]
        self._unacknowledged_tasks -= len(released)
        if self.failed:
            for task_id in released:
                self.failed.pop(task_id, None)
        return released

    def idle(self) -> bool:
        """Whether the leader owes this client nothing, and no task of the client is live."""
        return not (self.open_tasks or self.results or self.refused or self.accepted)
