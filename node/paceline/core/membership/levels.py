"""Feature levels as one node sees them: its own, that of its log, and what its peers say. See ``feature_levels.py``."""

from __future__ import annotations

from paceline.core.feature_levels import ClusterLevel, common_level
from paceline.core.membership.directory import Directory
from paceline.core.membership.identity import Identity
from paceline.core.raft.consensus import Consensus
from paceline.core.settings import Settings


class Levels:
    """It only looks: at the settings, the log's configuration, and the directory of peers."""

    def __init__(self, settings: Settings, identity: Identity, consensus: Consensus, directory: Directory) -> None:
        self.understood = settings.feature_level  # by this node
        self._identity = identity
        self._consensus = consensus
        self._directory = directory

    @property
    def in_log(self) -> int:
        """What this node's log says, 0 if it is blank."""
        config = self._consensus.config
        return config.level if config.voters else 0

    def of_cluster(self, now: float) -> int:
        """The feature level of this node's cluster, as its log or its peers say; 0 if it knows none."""
        return max(self.in_log, self._directory.cluster_level(now, self._identity.cluster_id))

    def of_nodes(self, now: float) -> dict[str, int]:
        """What this node, the live ones of its cluster and the blank ones, which are about to join, understand; 0 for
        one that has not said."""
        levels = self._directory.feature_levels(now, self._identity.cluster_id)
        levels[self._identity.node_id] = self.understood
        return levels

    def to_begin_with(self, now: float) -> int:
        """The level of a cluster that this node forms: what all who are heard understand."""
        levels = self.of_nodes(now)
        return common_level(levels, levels)

    def in_force(self, now: float) -> ClusterLevel:
        """Leader: what may be proposed, and which nodes understand no more than that, while this one does."""
        config = self._consensus.config
        if self.understood <= config.level:
            return ClusterLevel(config.level)
        levels = self.of_nodes(now)
        nodes = sorted({*config.voters, *config.learners, *levels})
        return ClusterLevel(config.level, tuple(each for each in nodes if levels.get(each, 0) <= config.level))

    def may_take_part(self, node_id: str) -> bool:
        """Whether a node understands what its leader, this one, may write, as far as it has said."""
        return self._directory.level_of(node_id) >= self._consensus.config.level
