"""Whether a node may campaign, and what a candidate is told that may not.

The intuition. A node that was removed while it was away would campaign for ever: no leader sends it the entry that
removed it. So a voter that such a node asks for its vote answers with the position of the configuration that excludes
the node. The node believes that only if the position is later in the log than the configuration that it has itself.
Positions are compared as (term, index). These pairs grow along every log, so a pair that is smaller than a committed
one is either before it in the log, or was never committed.

What this module guarantees:

- A voter may campaign. So may a node whose removal is in its log and not known to be committed: its log may be the
  longest one left, so that nobody could win without its vote (Ongaro's thesis, 4.2.2).
- A node that was told of its removal does not campaign until its log holds a later configuration than that one, or a
  leader replicates to it. What it was told of is committed, so a majority has that entry and can win without this node.
  No leader of that configuration replicates to the node. If one that does not know of the removal still did, the node
  is told again when it campaigns, and has asked in vain once more; and what it was told falsely does not last.
- A node tells candidates only of a configuration that is committed.
"""

from __future__ import annotations

from paceline.core.raft.configuration import ConfigHistory
from paceline.core.raft.log import Log
from paceline_protocol.messages.consensus import Removed


class Eligibility:
    """One node's right to campaign."""

    def __init__(self, node_id: str, log: Log, configs: ConfigHistory) -> None:
        self._node_id = node_id
        self._log = log
        self._configs = configs
        self._removed_at = (0, 0)  # (term, index) of the latest configuration that it was told excludes it

    @property
    def is_removed(self) -> bool:
        """Whether this node was told of a configuration, later than its own, in which it does not vote."""
        return self._removed_at > self._config_position()

    def may_campaign(self) -> bool:
        if self.is_removed:
            return False
        if self._node_id in self._configs.current.voters:
            return True
        previous = self._configs.previous
        return previous is not None and self._node_id in previous.voters and not self._config_committed()

    def heard(self, removed: Removed) -> None:
        """A voter says that this node is removed. The term of the message does not matter: it tells what is
        committed."""
        self._removed_at = max(self._removed_at, (removed.term, removed.index))

    def is_replicated_to(self) -> None:
        """A leader has sent this node what its log is to hold."""
        self._removed_at = (0, 0)

    def answer_to(self, candidate: str) -> Removed | None:
        """What to tell a candidate: None, unless a committed configuration excludes it from the voters."""
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
