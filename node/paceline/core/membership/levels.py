"""Feature levels as one node sees them: its own, that of its log, and what its peers say. See ``feature_levels.py``."""

from __future__ import annotations

from paceline.core.feature_levels import FIRST_LEVEL, ClusterLevel, common_level
from paceline.core.membership.directory import Directory
from paceline.core.membership.identity import Identity
from paceline.core.raft.consensus import Consensus
from paceline.core.settings import Settings


class Levels:
    """Reads the settings, the log's configuration and the directory of peers, and changes nothing."""

    def __init__(self, settings: Settings, identity: Identity, consensus: Consensus, directory: Directory) -> None:
        self.understood = settings.feature_level  # by this node
        self._expect = settings.expect
        self._identity = identity
        self._consensus = consensus
        self._directory = directory

    @property
    def in_log(self) -> int:
        """The level in this node's log, 0 if the log is blank."""
        config = self._consensus.config
        return config.level if config.voters else 0

    def of_cluster(self, now: float) -> int:
        """The feature level of this node's cluster, as its log or its peers say; 0 if it knows none."""
        return max(self.in_log, self._directory.cluster_level(now, self._identity.cluster_id))

    def of_nodes(self, now: float) -> dict[str, int]:
        """The levels that this node, the live nodes of its cluster and the blank ones, which are about to join,
        understand; 0 for a node that has not announced it."""
        levels = self._directory.feature_levels(now, self._identity.cluster_id)
        levels[self._identity.node_id] = self.understood
        return levels

    def to_begin_with(self, now: float) -> int:
        """The level of a cluster that this node forms: the highest that all nodes which it hears understand. The first
        one, while fewer than the expected ones have said what they understand: the others are to be voters, too."""
        levels = self.of_nodes(now)
        known = sum(1 for level in levels.values() if level)
        return common_level(levels, levels) if known >= self._expect else FIRST_LEVEL

    def in_force(self, now: float) -> ClusterLevel:
        """Leader: the level in force, and the nodes that understand no higher one, though this node does."""
        config = self._consensus.config
        if self.understood <= config.level:
            return ClusterLevel(config.level)
        levels = self.of_nodes(now)
        nodes = sorted({*config.voters, *config.learners, *levels})
        older = tuple(each for each in nodes if levels.get(each, 0) <= config.level)
        return ClusterLevel(config.level, older, is_rising=not older)

    def may_take_part(self, node_id: str) -> bool:
        """Leader: whether a node understands the level in force, as far as it has announced that."""
        return self._directory.level_of(node_id) >= self._consensus.config.level
