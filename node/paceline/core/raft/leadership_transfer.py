"""The transfer of the leadership to another voter (Ongaro's thesis, 3.10).

The leader replicates to the target until the target holds the whole log, and then sends it TimeoutNow. The target
starts an election at once, in which the voters grant their votes although they hear a leader. The old leader leads
until it hears of a higher term. If it proposes nothing meanwhile, the target can catch up, and no other log is longer.

What this module guarantees: TimeoutNow is sent only while the target holds the leader's whole log, once per heartbeat,
and not after the deadline.
"""

from __future__ import annotations


class LeadershipTransfer:
    """One attempt. It is over at ``until``, in the seconds of ``now``, whether it succeeded or not."""

    def __init__(self, to: str, until: float) -> None:
        self.to = to
        self._until = until
        self._told = False  # whether TimeoutNow was sent since the last heartbeat

    def is_over(self, now: float) -> bool:
        return now >= self._until

    def repeat(self) -> None:
        """At each heartbeat: TimeoutNow may have been lost, so it is sent again."""
        self._told = False

    def must_tell(self, match: int, last_index: int) -> bool:
        """Whether to send TimeoutNow to the target, which holds the log up to ``match``. True once until
        :meth:`repeat`."""
        if self._told or match < last_index:
            return False
        self._told = True
        return True
