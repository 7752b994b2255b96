"""What the leader owes its clients.

A session is one connection of one client to this leader. It exists only here and only while this node leads: after a
leader change a client comes back under a new session and names what it still waits for.

Everything a client is owed travels in Updates, numbered from 1. An Update that carried results is remembered until the
client acknowledges its number; then those results are released. So a result is kept until its owner has it, and no
longer. Of a client that reads but does not acknowledge, UNACKNOWLEDGED_LIMIT_TASKS results are remembered. The Updates
before those are forgotten: an acknowledgement that comes later does not release their results, which stay in the table
until its own limits drop them, as those of a client that never came back do.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from paceline_protocol.messages import Refusal, Result, Update

ITEMS_PER_UPDATE: Final = 1_024
"""Also the most refusals, and the most accepted batches, that one Update names."""
BYTES_PER_UPDATE: Final = 4 << 20
UNACKNOWLEDGED_LIMIT_TASKS: Final = 100_000


class ClientSession:
    """One client's connection to the leader."""

    __slots__ = (
        "_unacknowledged",
        "_unacknowledged_tasks",
        "accept_due",
        "accepted",
        "closed",
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
        self.heard_at = now
        self.open_tasks = 0  # tasks of this session that have not ended
        self.next_seq = 1
        self.accepted: list[int] = []
        self.accept_due: float | None = None  # when `accepted` goes out without waiting for a result
        self.refused: list[tuple[bytes, int, str]] = []
        self.results: list[Result] = []
        self._unacknowledged: deque[tuple[int, list[bytes]]] = deque()  # Update.seq, ids of its results
        self._unacknowledged_tasks = 0

    def add_accepted(self, seq: int, due: float) -> None:
        """A batch is committed; tell the client at ``due``, or with the next result."""
        self.accepted.append(seq)
        if self.accept_due is None or due < self.accept_due:
            self.accept_due = due

    def refuse(self, task_id: bytes, refusal: Refusal, detail: str) -> None:
        """A task, or a question about one, was refused."""
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
            if not self.refused:  # `accepted` means all of a batch that was not refused before
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
        """As many results as one Update may carry."""
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
        """These results are released when the client acknowledges ``seq``."""
        self._unacknowledged.append((seq, ids))
        self._unacknowledged_tasks += len(ids)
        while self._unacknowledged_tasks > UNACKNOWLEDGED_LIMIT_TASKS:
            self._unacknowledged_tasks -= len(self._unacknowledged.popleft()[1])

    def acknowledge(self, ack: int, now: float) -> list[bytes]:
        """The client has processed every Update up to ``ack``. Returns the ids of the results it now has."""
        self.heard_at = now
        released: list[bytes] = []
        unacknowledged = self._unacknowledged
        while unacknowledged and unacknowledged[0][0] <= ack:
            released += unacknowledged.popleft()[1]
        self._unacknowledged_tasks -= len(released)
        return released

    def idle(self) -> bool:
        """Nothing is owed and nothing runs for this client."""
        return not (self.open_tasks or self.results or self.refused or self.accepted)
