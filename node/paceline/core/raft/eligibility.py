"""Whether a node may stand for election, and what those hear that may not.

The intuition. A node that was removed while it was away stands for ever: nobody sends it the entry that says so. So
whoever it asks for a vote tells it which configuration has no place for it. It takes that as true only if the entry
comes later in the log than the configuration it goes by itself, which each node compares by (term, index). Such pairs
grow along every log: one that is smaller than a committed pair stands before it there, or was never committed.

What this module guarantees:

- A voter may stand. So may one whose removal is in its log but not known to be committed: its log may be the longest
  one left, so that nobody else could win without its vote (Ongaro's thesis, 4.2.2).
- One that was told of its removal does not stand, until its log holds a later configuration than the one it was told
  of. What it is told is committed, so others have that entry and can win without it.
- It tells others only of a configuration that is committed.
"""

from __future__ import annotations

from paceline.core.raft.configuration import ConfigHistory
from paceline.core.raft.log import Log
from paceline_protocol.messages import Removed


class Eligibility:
    """One node's right to stand for election."""

    def __init__(self, node_id: str, log: Log, configs: ConfigHistory) -> None:
        self._node_id = node_id
        self._log = log
        self._configs = configs
        self._removed_at = (0, 0)  # (term, index) from which on others know it to be no voter

    @property
    def is_removed(self) -> bool:
        """Whether this node was told of a configuration, later than the one it goes by, in which it does not vote."""
        return self._removed_at > self._config_position()

    def may_campaign(self) -> bool:
        if self.is_removed:
            return False
        if self._node_id in self._configs.current.voters:
            return True
        previous = self._configs.previous
        return previous is not None and self._node_id in previous.voters and not self._config_committed()

    def heard(self, removed: Removed) -> None:
        """Somebody says that this node is removed. Of any term: it speaks of what is committed."""
        self._removed_at = max(self._removed_at, (removed.term, removed.index))

    def answer_to(self, candidate: str) -> Removed | None:
        """What to tell one that asks for votes: nothing, unless it is known to be no voter."""
        voters = self._configs.current.voters
        if not voters or candidate in voters or not self._config_committed():
            return None
        return Removed(*self._config_position())

    def _config_committed(self) -> bool:
        return self._configs.index <= self._log.commit_index

    def _config_position(self) -> tuple[int, int]:
        """(term, index) of the entry that put the current configuration in force, or of the snapshot that covers it."""
        index = max(self._configs.index, self._log.snapshot_index)
        return self._log.term_at(index) or 0, index
