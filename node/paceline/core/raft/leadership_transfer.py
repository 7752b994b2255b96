"""Leadership on its way to another voter (Ongaro's thesis, 3.10).

The voter is brought up to date and then stands at once, with every voter's leave. The leader goes on leading until a
higher term says otherwise. Who proposes nothing meanwhile makes sure that the voter catches up, and that its log is as
long as any.

What this module guarantees: the voter is told only while it holds the leader's whole log, once per heartbeat, and not
after the deadline.
"""

from __future__ import annotations


class LeadershipTransfer:
    """One attempt. It is over at ``until``, in the seconds of ``now``, whatever has become of it."""

    def __init__(self, to: str, until: float) -> None:
        self.to = to
        self._until = until
        self._told = False  # since the last heartbeat

    def is_over(self, now: float) -> bool:
        return now >= self._until

    def repeat(self) -> None:
        """A heartbeat: the word may have been lost, so it goes again."""
        self._told = False

    def must_tell(self, match: int, last_index: int) -> bool:
        """Whether the voter, whose log agrees up to ``match``, is to stand now. True once until :meth:`repeat`."""
        if self._told or match < last_index:
            return False
        self._told = True
        return True
