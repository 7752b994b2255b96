"""The sessions of one leader, and which of them have an Update due.

What a client is owed is added here and not directly to its session, so that no session is overlooked:
:meth:`SessionTable.take_updates` looks only at the sessions that are owed something.
"""

from __future__ import annotations

from math import inf

from paceline.core.clients.sessions import ClientSession
from paceline_protocol.messages import Refusal, Update


class SessionTable:
    """Sessions by connection. ``due``: the earliest moment at which an `accepted` is sent without a result. ``unheard``
    is emptied by the leader."""

    __slots__ = ("_limit", "_owed", "by_key", "due", "unheard")

    def __init__(self, limit: int) -> None:
        """``limit``: how many sessions; one more replaces an idle one."""
        self.by_key: dict[bytes, ClientSession] = {}
        self.due = inf
        self.unheard: dict[bytes, str] = {}  # failed tasks, with names, whose clients left before they heard of it
        self._owed: dict[bytes, ClientSession] = {}
        self._limit = limit

    def get(self, key: bytes) -> ClientSession | None:
        """The session of a connection, if it said Hello to this leader."""
        return self.by_key.get(key)

    def open(self, key: bytes, now: float) -> None:
        """A client said Hello on a connection."""
        if key not in self.by_key:
            if len(self.by_key) >= self._limit:
                self._forget_oldest_idle()
            self.by_key[key] = ClientSession(key, now)

    def close(self, key: bytes) -> None:
        """The connection is gone. What the client was owed stays in the table until it asks again."""
        session = self.by_key.pop(key, None)
        self._owed.pop(key, None)
        if session is not None:
            session.closed = True
            self.unheard |= session.failed

    def expire(self, before: float) -> None:
        """Close the sessions of clients that wait for nothing and were last heard before ``before``."""
        for session in [each for each in self.by_key.values() if each.heard_at < before and each.idle()]:
            self.close(session.key)

    def _forget_oldest_idle(self) -> None:
        idle = [session for session in self.by_key.values() if session.idle()]
        if idle:
            self.close(min(idle, key=lambda session: session.heard_at).key)

    # --- what clients are owed ----------------------------------------------------------------------------------

    def add_result(self, session: ClientSession, task_id: bytes, end: int, payload: bytes) -> None:
        """A task ended."""
        if not session.closed:
            session.results.append((task_id, end, payload))
            self._owed[session.key] = session

    def add_accepted(self, session: ClientSession, seq: int, due: float) -> None:
        """A batch is committed; the client is told at ``due``, or with the next result."""
        if not session.closed:
            session.add_accepted(seq, due)
            self.due = min(self.due, due)
            self._owed[session.key] = session

    def refuse(self, session: ClientSession, task_id: bytes, refusal: Refusal, detail: str) -> None:
        """A task, or a question about one, was refused."""
        session.refuse(task_id, refusal, detail)
        self._owed[session.key] = session

    @property
    def owes(self) -> bool:
        """Whether any session is owed something."""
        return bool(self._owed)

    def take_updates(self, now: float) -> list[tuple[bytes, Update]]:
        """The Updates that are due, by connection."""
        updates: list[tuple[bytes, Update]] = []
        for key, session in list(self._owed.items()):
            updates += [(key, update) for update in session.take_updates(now)]
            if session.accept_due is None:
                del self._owed[key]
        return updates

    def find_due(self) -> None:
        """Find the next deadline. Cost: the number of sessions that are owed something."""
        due = [session.accept_due for session in self._owed.values() if session.accept_due is not None]
        self.due = min(due, default=inf)
