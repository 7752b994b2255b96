"""Whether the others still follow a leader: what it asks them, and as of when their answers count.

An answer says what was so when it was given, and it may come late: frames of a voter that is gone by now lie in
buffers, and arrive twice. So no answer counts as of when it came. Each question has a number, and who answers it is
heard as of the moment at which it was asked (Ongaro's thesis, 6.4.1). An answer to a later one covers the earlier ones.

Every heartbeat asks, and so do reads that came since. One that is lost is not repeated: the next takes its place.
"""

from __future__ import annotations

from paceline.core.raft.quorum import majority


class Confirmations:
    """Those of one leadership."""

    def __init__(self, remembered_s: float) -> None:
        """``remembered_s``: an answer to an older question says nothing of now."""
        self.last = 0
        self._remembered_s = remembered_s
        self._asked_at: dict[int, float] = {}  # by number, those that are remembered; oldest first
        self._answered: dict[str, int] = {}

    def ask(self, now: float) -> int:
        """The number of the question that is asked now."""
        while self._asked_at:
            oldest = next(iter(self._asked_at))
            if self._asked_at[oldest] >= now - self._remembered_s:
                break
            del self._asked_at[oldest]
        self.last += 1
        self._asked_at[self.last] = now
        return self.last

    def answered(self, peer: str, number: int) -> float | None:
        """When that was asked; None if it is not remembered."""
        self._answered[peer] = max(number, self._answered.get(peer, 0))
        return self._asked_at.get(number)

    def answered_by_majority(self, voters: tuple[str, ...], own_id: str) -> int:
        """The last question that a majority has answered, it or a later one. The leader itself answers at once."""
        numbers = [self.last if voter == own_id else self._answered.get(voter, 0) for voter in voters]
        return sorted(numbers, reverse=True)[majority(len(numbers)) - 1]
