"""ReadIndex: up to which entry a leader has to have applied before what it says can't be stale (Raft paper, section 8).

A leader that was deposed may not know it yet, and others may have committed since. So it notes its commit index, and
asks the voters whether they still follow it. Once a majority has answered a question that was asked after the read
came, nobody else can have led before the read came, and the noted index is the last that was committed by then.

Reads that come between two questions (``confirmations.py``) share the next one.
"""

from __future__ import annotations

from collections import deque

WAITING_LIMIT_READS = 10_000
"""Beyond it a read is refused, until earlier ones are confirmed."""


class ReadIndex:
    """The reads of one leadership. They end with it, unconfirmed."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, int]] = deque()  # (number of the question, ticket, index)

    def add(self, ticket: int, index: int, last_question: int) -> bool:
        """A read came, after that question was asked. False if too many wait."""
        if len(self._waiting) >= WAITING_LIMIT_READS:
            return False
        self._waiting.append((last_question + 1, ticket, index))
        return True

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    def wants_question(self, last_question: int) -> bool:
        """Whether a read came after that one."""
        return bool(self._waiting) and self._waiting[-1][0] > last_question

    def take_confirmed(self, through: int) -> list[tuple[int, int]]:
        """(ticket, index) of each read that is safe now that a majority has answered the questions up to this one."""
        confirmed = []
        while self._waiting and self._waiting[0][0] <= through:
            _, ticket, index = self._waiting.popleft()
            confirmed.append((ticket, index))
        return confirmed
