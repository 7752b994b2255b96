"""Whether its peers still follow a leader: numbered rounds of Confirm, and as of when their answers count.

An answer says what was true when the peer gave it, and it may arrive late or twice: frames of a voter that has died
meanwhile still lie in buffers. So an answer never counts as of its arrival. The leader numbers its rounds, and a peer
that answers round N is heard as of the moment at which the leader sent round N (Ongaro's thesis, 6.4.1). An answer to a
round covers the earlier ones.

Each heartbeat begins a round, and so does a read that arrives between heartbeats. A Confirm that is lost is not
repeated: the next round takes its place.
"""

from __future__ import annotations

from collections.abc import Collection

from paceline.core.raft.quorum import majority


class Confirmations:
    """The rounds of one leadership."""

    def __init__(self, remembered_s: float) -> None:
        """``remembered_s``: how long a round is remembered. An answer to an older one says nothing about the
        present."""
        self.last = 0  # the number of the last round
        self._remembered_s = remembered_s
        self._asked_at: dict[int, float] = {}  # round -> when it was sent; the oldest first
        self._answered: dict[str, int] = {}  # peer -> the latest round that it has answered

    def ask(self, now: float) -> int:
        """Begin a round, and return its number."""
        while self._asked_at:
            oldest = next(iter(self._asked_at))
            if self._asked_at[oldest] >= now - self._remembered_s:
                break
            del self._asked_at[oldest]
        self.last += 1
        self._asked_at[self.last] = now
        return self.last

    def answered(self, peer: str, number: int) -> float | None:
        """A peer answers a round. Returns when that round was sent, None if it is not remembered."""
        self._answered[peer] = max(number, self._answered.get(peer, 0))
        return self._asked_at.get(number)

    def keep(self, peers: Collection[str]) -> None:
        """These are the leader's peers from now on. Of others nothing is kept: one that comes back answers anew."""
        self._answered = {peer: number for peer, number in self._answered.items() if peer in peers}

    def answered_by_majority(self, voters: tuple[str, ...], own_id: str) -> int:
        """The latest round that a majority has answered, or answered a later one. The leader counts as having
        answered."""
        numbers = [self.last if voter == own_id else self._answered.get(voter, 0) for voter in voters]
        return sorted(numbers, reverse=True)[majority(len(numbers)) - 1]
