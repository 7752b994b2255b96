"""The sessions of one leader, and which of them have an Update due.

What a client is owed is added here and not directly to its session, so that no session is overlooked:
:meth:`SessionTable.take_updates` looks only at the sessions that are owed something and have room in their windows.
One acknowledgement may make room for much, so each turn sends a bounded part: of one client an Update, and of all
clients together as much as TURN_BYTES. The next turn follows at once, and goes on with those that had none.

What waits for one client is bounded, and so is what waits for all: beyond the second bound it is the client that has
acknowledged nothing for the longest time whose session loses what waits for it. Nothing of that is lost for the client.
Whoever is cut off comes back, with a Wait for the tasks that were accepted and its calls for the others.

A task has one session. If another client asks for the same task, by its id, the task goes over to that one, as the
client before may be gone without a word (a bridge that was killed); but it may live, and so it *waits too*: it is told
the result as well. A client that only reads a task waits too, and nothing else: it is told once the end is committed,
and what it acknowledges releases nothing.

For how many tasks sessions wait too is bounded. Past that the ones that were heard longest ago are closed, and nobody
is refused: a client that is gone does not notice, and one that lives is told at its next word that it has no session,
and comes back as one that was cut off does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from paceline.core.clients.sessions import ACCEPTED_BYTES, ClientSession
from paceline_protocol.limits import MAX_DETAIL_CHARS
from paceline_protocol.messages.client import Refusal, Update

TURN_BYTES: Final = 4 << 20
ITEM_TURN_BYTES: Final = 1_024
"""Each result, refusal and accepted Submit takes about as long to be sent as so many bytes more."""
LEFT_AT_ONCE: Final = 2
"""Of what closed sessions waited for too, how much is forgotten for each task that another begins to wait for: more
than one, so that there is never more of it than the bound for those that are open."""
LEFT_IN_REVIEW: Final = 1_000
"""The same, now and then."""


@dataclass(frozen=True, slots=True)
class ClientBounds:
    """``sessions``: how many; one more replaces an idle one. ``window_bytes``: of results and refusals that one client
    was sent and has not acknowledged. ``waiting_bytes``: of what waits to be sent to one client, ``all_waiting_bytes``:
    to all clients together. ``waits_too``: of sessions that wait for a task which has another one, counted once for
    each task, of some 300 bytes; as many as one client has outstanding by itself."""

    sessions: int = 10_000
    window_bytes: int = 16 << 20
    waiting_bytes: int = 64 << 20
    all_waiting_bytes: int = 256 << 20
    waits_too: int = 200_000


class SessionTable:
    """Sessions by connection. ``due``: the earliest moment at which an `accepted` is sent without a result. ``unheard``
    is emptied by the leader."""

    __slots__ = (
        "_bounds",
        "_is_behind",
        "_left",
        "_nobody_is_silent",
        "_owed",
        "_wait_too",
        "_wait_too_count",
        "_waiting_bytes",
        "by_key",
        "due",
        "unheard",
    )

    def __init__(self, bounds: ClientBounds) -> None:
        self.by_key: dict[bytes, ClientSession] = {}
        self.due = inf
        self._bounds = bounds
        self._waiting_bytes = 0  # for all sessions together
        self._nobody_is_silent = False  # of those who could be cut off, since the last Update
        self.unheard: dict[bytes, str] = {}  # failed tasks, with names, whose clients left before they heard of it
        self._owed: dict[bytes, ClientSession] = {}
        self._is_behind = False  # when Updates were taken last, more were due
        self._wait_too: dict[bytes, list[ClientSession]] = {}  # by task
        self._wait_too_count = 0  # of sessions that are open
        self._left: list[ClientSession] = []  # closed, and some of what they waited for too is not forgotten yet

    def get(self, key: bytes) -> ClientSession | None:
        """The session of a connection, if it said Hello to this leader."""
        return self.by_key.get(key)

    def open(self, key: bytes, client_id: bytes, now: float) -> None:
        """A client said Hello on a connection."""
        if key not in self.by_key:
            if len(self.by_key) >= self._bounds.sessions:
                self._forget_oldest_idle()
            self.by_key[key] = ClientSession(key, client_id, now, self._bounds.window_bytes)

    def close(self, key: bytes) -> None:
        """The connection is gone. What the client was owed stays in the table until it asks again."""
        session = self.by_key.pop(key, None)
        self._owed.pop(key, None)
        if session is not None:
            session.closed = True
            self._waiting_bytes -= session.waiting_bytes
            self.unheard |= session.failed
            if session.waits_too:
                self._wait_too_count -= len(session.waits_too)
                self._left.append(session)

    def expire(self, before: float) -> None:
        """Close the sessions of clients that wait for nothing and were last heard before ``before``."""
        self._forget_left(LEFT_IN_REVIEW)
        for session in [each for each in self.by_key.values() if each.heard_at < before and each.idle()]:
            self.close(session.key)

    def _forget_oldest_idle(self) -> None:
        idle = [session for session in self.by_key.values() if session.idle()]
        if idle:
            self.close(min(idle, key=lambda session: session.heard_at).key)

    # --- what clients are owed ----------------------------------------------------------------------------------

    def add_result(
        self, session: ClientSession, task_id: bytes, end: int, payload: bytes, *, is_read: bool = False
    ) -> None:
        """A task ended. ``is_read``: it is another's, which goes on to have its result."""
        if not session.closed and not session.is_cut_off:
            if is_read:
                session.lent.add(task_id)
            before = session.waiting_bytes
            session.add_result(task_id, end, payload)
            self._owed[session.key] = session
            self._bound(session, session.waiting_bytes - before)

    def answer(self, session: ClientSession, task_id: bytes, end: int, payload: bytes) -> None:
        """A client asks for the result of a task that has ended. It may ask again and again while the answer waits for
        room in its window, and gets one. What it was sent, and may not have, is sent again."""
        if task_id not in session.asked_for and not session.is_cut_off:
            session.asked_for.add(task_id)
            self.add_result(session, task_id, end, payload)

    @property
    def somebody_waits_too(self) -> bool:
        """Whether any task has more than one session."""
        return bool(self._wait_too)

    def wait_too(self, task_id: bytes, session: ClientSession, *, reads: bool = False) -> None:
        """Another client has asked for a task of this session, which goes on to wait; or this one ``reads`` a task of
        others. Any session may be closed for that, also this one, which waits for nothing then. Cost: that of few
        tasks, and now and then that of all sessions."""
        if task_id not in session.waits_too and not session.closed:
            session.waits_too[task_id] = reads
            self._wait_too.setdefault(task_id, []).append(session)
            self._wait_too_count += 1
            self._forget_left(LEFT_AT_ONCE)
            if self._wait_too_count > self._bounds.waits_too:
                self._close_silent()

    def waits_itself(self, task_id: bytes, session: ClientSession) -> None:
        """The task is this session's own now, whether it waited for it before or not."""
        if task_id in session.waits_too and not session.closed:
            del session.waits_too[task_id]
            self._wait_too_count -= 1
            self._forget_that_waits(task_id, session)

    def add_result_for_others(self, task_id: bytes, end: int, payload: bytes, *, is_final: bool) -> None:
        """A task ended that may have more sessions than its own. ``is_final``: no leader will ever tell it otherwise;
        who only reads is told nothing else."""
        early: list[ClientSession] = []
        for session in self._wait_too.pop(task_id, ()):
            reads = session.waits_too[task_id]
            if reads and not is_final:
                early.append(session)
                continue
            del session.waits_too[task_id]
            if not session.closed:
                self._wait_too_count -= 1
                self.add_result(session, task_id, end, payload, is_read=reads)
        if early:
            self._wait_too[task_id] = early

    def _close_silent(self) -> None:
        """Too much is waited for too. Close the sessions that were heard longest ago, until there is room for a while:
        all have to be looked at."""
        waiting = [session for session in self.by_key.values() if session.waits_too]
        waiting.sort(key=lambda session: session.heard_at)
        room = self._bounds.waits_too - self._bounds.waits_too // 8
        for session in waiting:
            if self._wait_too_count <= room:
                return
            self.close(session.key)

    def _forget_left(self, count: int) -> None:
        """Forget some of what closed sessions waited for too. To forget all that one did could take a whole turn."""
        while self._left and count > 0:
            session = self._left[-1]
            if session.waits_too:
                task_id, _ = session.waits_too.popitem()
                self._forget_that_waits(task_id, session)
                count -= 1
            else:
                self._left.pop()

    def _forget_that_waits(self, task_id: bytes, session: ClientSession) -> None:
        waiting = self._wait_too[task_id]
        waiting.remove(session)
        if not waiting:
            del self._wait_too[task_id]

    def add_accepted(self, session: ClientSession, seq: int, due: float) -> None:
        """A batch is committed; the client is told at ``due``, or with the next result."""
        if not session.closed and not session.is_cut_off:
            session.add_accepted(seq, due)
            self.due = min(self.due, due)
            self._owed[session.key] = session
            self._bound(session, ACCEPTED_BYTES)

    def refuse(self, session: ClientSession, task_id: bytes, refusal: Refusal, detail: str) -> None:
        """A task, or a question about one, was refused."""
        if not session.closed and not session.is_cut_off:
            before = session.waiting_bytes
            session.refuse(task_id, refusal, detail[:MAX_DETAIL_CHARS])
            self._owed[session.key] = session
            self._bound(session, session.waiting_bytes - before)

    def _bound(self, session: ClientSession, added_bytes: int) -> None:
        """Something was added for a client. Cut off whoever is past a bound."""
        self._waiting_bytes += added_bytes
        if session.waiting_bytes > self._bounds.waiting_bytes:
            session.is_cut_off = True
        if session.is_under_way:
            self._nobody_is_silent = False
        elif self._nobody_is_silent:
            return  # else one result that thousands wait for would have all of them looked at as often
        while self._waiting_bytes > self._bounds.all_waiting_bytes:
            # Who was sent nothing yet had nothing to acknowledge, and would come back to lose the same again.
            silent = [each for each in self.by_key.values() if each.waiting_bytes and each.is_under_way]
            self._nobody_is_silent = not silent
            if not silent:
                return
            slowest = min(silent, key=lambda each: each.acknowledged_at)
            self._waiting_bytes -= slowest.waiting_bytes
            slowest.drop_waiting()
            self._owed.pop(slowest.key, None)

    def acknowledge(self, session: ClientSession, ack: int, now: float) -> list[bytes]:
        """The client has processed every Update up to ``ack``. Returns the ids of the results that it has by now."""
        released = session.acknowledge(ack, now)
        if session.is_cut_off:
            self._close_if_drained(session)
        if not session.closed and session.is_owed:
            self._owed[session.key] = session
        return released

    def _close_if_drained(self, session: ClientSession) -> None:
        if session.is_drained:
            session.failed.clear()  # its client comes back, and hears of them then
            self.close(session.key)

    @property
    def owes(self) -> bool:
        """Whether any session is owed something."""
        return bool(self._owed)

    @property
    def is_behind(self) -> bool:
        """Whether more Updates are due than were taken."""
        return self._is_behind and bool(self._owed)

    def take_updates(self, now: float) -> list[tuple[bytes, Update]]:
        """Updates that are due, by connection: one for each, as far as a turn sends them."""
        updates: list[tuple[bytes, Update]] = []
        left_bytes = TURN_BYTES
        owed = self._owed
        self._is_behind = False
        for key, session in list(owed.items()):
            if left_bytes <= 0:
                self._is_behind = True
                break
            before = session.waiting_bytes
            update = session.take_update(now)
            if update is not None:
                self._nobody_is_silent = False
                size = before - session.waiting_bytes
                updates.append((key, update))
                self._waiting_bytes -= size
                items = len(update.accepted) + len(update.refused) + len(update.results)
                left_bytes -= size + items * ITEM_TURN_BYTES
                if session.has_due(now):  # the others first
                    del owed[key]
                    owed[key] = session
                    self._is_behind = True
                    continue
            if session.accept_due is None or not session.has_window:  # otherwise the acknowledgement brings it back
                del owed[key]
        return updates

    def find_due(self) -> None:
        """Find the next deadline. Cost: the number of sessions that are owed something."""
        due = [session.accept_due for session in self._owed.values() if session.accept_due is not None]
        self.due = min(due, default=inf)
