"""ReadIndex: which entry a leader must have applied before it may answer a read (Raft paper, section 8).

A leader that was deposed may not know it yet, and its successor may have committed more since. So for each read the
leader notes its commit index, and asks the voters whether they still follow it. Once a majority has answered a round of
Confirm that began after the read arrived, no other leader can have committed anything before the read arrived, and the
noted index covers all that was committed by then.

Reads that arrive between two rounds (``confirmations.py``) share the next one.
"""

from __future__ import annotations

from collections import deque

WAITING_LIMIT_READS = 10_000
"""Beyond it a read is refused, until earlier ones are confirmed."""


class ReadIndex:
    """The reads of one leadership. Those that are not confirmed when it ends never are."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, int]] = deque()  # (round that confirms it, ticket, index)

    def add(self, ticket: int, index: int, last_round: int) -> bool:
        """Take a read that arrived after ``last_round`` began. False if too many wait."""
        if len(self._waiting) >= WAITING_LIMIT_READS:
            return False
        self._waiting.append((last_round + 1, ticket, index))
        return True

    def __bool__(self) -> bool:
        """Whether any read waits."""
        return bool(self._waiting)

    def wants_round(self, last_round: int) -> bool:
        """Whether a read waits for a later round than ``last_round``."""
        return bool(self._waiting) and self._waiting[-1][0] > last_round

    def take_confirmed(self, through: int) -> list[tuple[int, int]]:
        """(ticket, index) of each read that is safe, given that a majority has answered the round ``through``."""
        confirmed = []
        while self._waiting and self._waiting[0][0] <= through:
            _, ticket, index = self._waiting.popleft()
            confirmed.append((ticket, index))
        return confirmed
