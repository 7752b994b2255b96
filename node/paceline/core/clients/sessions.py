"""What the leader owes its clients.

A session is one connection of one client to this leader. It exists only here and only while this node leads: after a
leader change a client comes back under a new session and names what it still waits for.

Everything that the leader owes a client travels in Updates, which are numbered from 1. The leader remembers an Update
until the client acknowledges its number; then it releases the results in it. So a result is kept until its owner has
it, and no longer. The results of a client that never comes back stay in the table until the table's limits drop them.

A client that does not read must not fill the leader's memory. So only a window of bytes is under way to each client:
what is beyond it waits here until the client acknowledges. If too much waits, the session is *cut off*: nothing more is
added to it, and it is closed once the client has acknowledged what it was sent. The client then comes back, as after a
change of leaders, and asks for what it lacks (``session_table.py``).
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final, TypeVar

from paceline_protocol.messages.client import Refusal, Update
from paceline_protocol.messages.records import Result

ITEMS_PER_UPDATE: Final = 1_024
"""How many results, how many refusals and how many accepted Submits one Update names at most."""
BYTES_PER_UPDATE: Final = 4 << 20
ITEM_BYTES: Final = 256
"""What a result or a refusal counts for beside its payload or its text: more than it takes. So there are so few under
way that one acknowledgement of them all does not take long."""
ACCEPTED_BYTES: Final = 64
"""What an accepted Submit counts for while it waits: more than it takes. Once it is sent nothing of it is kept."""
FAILED_LIMIT_TASKS: Final = 1_000
"""How many failures of one client are remembered, to be told if it leaves before it hears of them."""


_Item = TypeVar("_Item")


class ClientSession:
    """One client's connection to the leader."""

    __slots__ = (
        "_under_way",
        "_under_way_bytes",
        "_window_bytes",
        "accept_due",
        "accepted",
        "acknowledged_at",
        "asked_for",
        "client_id",
        "closed",
        "failed",
        "heard_at",
        "is_cut_off",
        "key",
        "lent",
        "next_seq",
        "open_tasks",
        "refused",
        "results",
        "waiting_bytes",
        "waits_too",
    )

    def __init__(self, key: bytes, client_id: bytes, now: float, window_bytes: int) -> None:
        """``window_bytes``: once so much is under way and not acknowledged, results and refusals wait."""
        self.key = key
        self.client_id = client_id
        self.closed = False
        self.is_cut_off = False
        self.failed: dict[bytes, str] = {}  # tasks with names that failed, and the client is not known to have heard it
        self.heard_at = now
        self.acknowledged_at = now  # when it last acknowledged something new
        self.open_tasks = 0  # tasks of this session that have not ended
        # Tasks of other sessions, of which it is told the results as well -> whether it only reads them
        self.waits_too: dict[bytes, bool] = {}
        self.lent: set[bytes] = set()  # of the results that wait to be sent, those that it reads: nothing releases them
        self.next_seq = 1
        self.accepted: deque[int] = deque()
        self.accept_due: float | None = None  # when `accepted` is sent even if there is no result to send it with
        self.refused: deque[tuple[bytes, int, str]] = deque()
        self.results: deque[Result] = deque()
        self.asked_for: set[bytes] = set()  # of `results`, those that are there since the client asked for them
        self.waiting_bytes = 0  # of what waits to be sent
        self._window_bytes = window_bytes
        self._under_way: deque[tuple[int, list[bytes], int]] = deque()  # Update.seq, ids of its results, bytes
        self._under_way_bytes = 0

    def add_result(self, task_id: bytes, end: int, payload: bytes) -> None:
        """A task ended."""
        self.results.append((task_id, end, payload))
        self.waiting_bytes += len(payload) + ITEM_BYTES

    def add_failed(self, task_id: bytes, name: str) -> None:
        """The result of this task, which it is owed, is that it failed."""
        if len(self.failed) < FAILED_LIMIT_TASKS:
            self.failed[task_id] = name

    def add_accepted(self, seq: int, due: float) -> None:
        """A Submit is committed. The client is told at ``due``, or with the next result, whichever is earlier."""
        self.accepted.append(seq)
        self.waiting_bytes += ACCEPTED_BYTES
        if self.accept_due is None or due < self.accept_due:
            self.accept_due = due

    def refuse(self, task_id: bytes, refusal: Refusal, detail: str) -> None:
        """A task was refused, or a Wait named a task that the cluster does not know."""
        self.refused.append((task_id, refusal, detail))
        self.waiting_bytes += len(detail) + ITEM_BYTES

    def take_update(self, now: float) -> Update | None:
        """The next Update, if one is due and has room in the window."""
        if not self.has_due(now):
            return None
        update = self._next_update()
        if not self.accepted:
            self.accept_due = None
        return update

    def has_due(self, now: float) -> bool:
        """Whether an Update is due and has room in the window."""
        return self._may_send(accepted_too=self.accept_due is not None and self.accept_due <= now)

    @property
    def has_window(self) -> bool:
        """Whether results and refusals may be sent before the client acknowledges."""
        return self._under_way_bytes < self._window_bytes

    def _may_send(self, *, accepted_too: bool) -> bool:
        if self.has_window:
            return bool(self.results or self.refused or (accepted_too and self.accepted))
        return accepted_too and bool(self.accepted) and not self.refused

    def _next_update(self) -> Update:
        refused: tuple[tuple[bytes, int, str], ...] = ()
        results: tuple[Result, ...] = ()
        size = 0
        if self.has_window:
            refused = _take(self.refused, ITEMS_PER_UPDATE)
            results = self._take_results()
            if self.asked_for:
                self.asked_for.difference_update([result[0] for result in results])
            size = self.waiting_bytes - ACCEPTED_BYTES * len(self.accepted)
            if self.refused or self.results:
                size = sum([ITEM_BYTES + len(detail) for _, _, detail in refused])
                size += sum([ITEM_BYTES + len(payload) for _, _, payload in results])
            self.waiting_bytes -= size
        accepted: tuple[int, ...] = ()
        if not self.refused:  # `accepted` means every task of a Submit that was not refused in an earlier Update
            accepted = _take(self.accepted, ITEMS_PER_UPDATE)
            self.waiting_bytes -= ACCEPTED_BYTES * len(accepted)
        seq = self.next_seq
        self.next_seq += 1
        if size:
            ids = [result[0] for result in results]
            if self.lent:
                own = [task_id for task_id in ids if task_id not in self.lent]
                self.lent.difference_update(ids)
                ids = own
            self._under_way.append((seq, ids, size))
            self._under_way_bytes += size
        return Update(seq, accepted, refused, results)

    def _take_results(self) -> tuple[Result, ...]:
        """Take as many results as one Update may carry."""
        waiting = self.results
        if len(waiting) <= 1:
            return _take(waiting, 1)
        count = size = 0
        for _, _, payload in islice(waiting, ITEMS_PER_UPDATE):
            size += len(payload)
            if count and size > BYTES_PER_UPDATE:
                break
            count += 1
        return _take(waiting, count)

    def acknowledge(self, ack: int, now: float) -> list[bytes]:
        """The client has processed every Update up to ``ack``. Returns the ids of the results that it has by now."""
        self.heard_at = now
        released: list[bytes] = []
        under_way = self._under_way
        while under_way and under_way[0][0] <= ack:
            _, ids, size = under_way.popleft()
            released += ids
            self._under_way_bytes -= size
            self.acknowledged_at = now
        if self.failed:
            for task_id in released:
                self.failed.pop(task_id, None)
        return released

    def drop_waiting(self) -> None:
        """Forget what waits to be sent. The session is cut off, as its client would miss that."""
        self.is_cut_off = True
        self.lent.clear()
        self.results.clear()
        self.asked_for.clear()
        self.refused.clear()
        self.accepted.clear()
        self.accept_due = None
        self.waiting_bytes = 0

    @property
    def is_under_way(self) -> bool:
        """Whether the client was sent something that it has not acknowledged."""
        return bool(self._under_way)

    @property
    def is_drained(self) -> bool:
        """Whether the client has acknowledged all that it was sent, and nothing waits to be sent."""
        return not (self._under_way or self.is_owed)

    @property
    def is_owed(self) -> bool:
        """Whether something waits to be sent to the client."""
        return bool(self.results or self.refused or self.accepted)

    def idle(self) -> bool:
        """Whether the leader owes this client nothing, and no task that it waits for is live."""
        return not (self.open_tasks or self.waits_too or self.is_owed)


def _take(waiting: deque[_Item], count: int) -> tuple[_Item, ...]:
    """The first ``count`` of these, or as many as there are. The cost of the others is no part of it."""
    if not waiting:
        return ()
    if len(waiting) <= count:
        taken = tuple(waiting)
        waiting.clear()
        return taken
    return tuple([waiting.popleft() for _ in range(count)])
