"""ReadIndex: up to which entry a leader has to have applied before what it says can't be stale (Raft paper, section 8).

A leader that was deposed may not know it yet, and others may have committed since. So it notes its commit index, and
asks the voters whether they still follow it. Once a majority has answered a question that was asked after the read
came, nobody else can have led before the read came, and the noted index is the last that was committed by then.

Reads that come between two questions share the next one. A question that is lost is asked again with the next
heartbeat, under its number; the answer to a later one counts for all that were asked before.
"""

from __future__ import annotations

from collections import deque

from paceline.core.election import majority

WAITING_LIMIT_READS = 10_000
"""Beyond it a read is refused, until earlier ones are confirmed."""


class Reads:
    """The reads of one leadership. They end with it, unconfirmed."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, int]] = deque()  # (number of the question, ticket, index)
        self._asked = 0
        self._answered: dict[str, int] = {}

    def add(self, ticket: int, index: int) -> bool:
        """A read came. False if too many wait."""
        if len(self._waiting) >= WAITING_LIMIT_READS:
            return False
        self._waiting.append((self._asked + 1, ticket, index))
        return True

    def new_question(self) -> int | None:
        """The number of a question to ask now, if a read came since the last one."""
        if not self._waiting or self._waiting[-1][0] <= self._asked:
            return None
        self._asked += 1
        return self._asked

    def open_question(self) -> int | None:
        """The number of the question to repeat, if a read still waits for it."""
        return self._asked if self._waiting and self._waiting[0][0] <= self._asked else None

    def answered(self, voter: str, number: int) -> None:
        self._answered[voter] = max(number, self._answered.get(voter, 0))

    def take_confirmed(self, voters: tuple[str, ...], own_id: str) -> list[tuple[int, int]]:
        """(ticket, index) of each read that is safe now."""
        if not self._waiting:
            return []
        numbers = [self._asked if voter == own_id else self._answered.get(voter, 0) for voter in voters]
        through = sorted(numbers, reverse=True)[majority(len(numbers)) - 1]
        confirmed = []
        while self._waiting and self._waiting[0][0] <= through:
            _, ticket, index = self._waiting.popleft()
            confirmed.append((ticket, index))
        return confirmed
