"""Which nodes should replicate the log and vote: one step at a time, from who is alive and how far each has caught up.

Voters are kept odd: two voters tolerate no more failures than one, and stop when either fails. So with two nodes
there is one voter and one learner; with three or four, three voters; five and more give five only if the operator
asks for it. Growing passes through an even number, so it starts only when enough learners have caught up to reach the
next odd one.
"""

from __future__ import annotations

from paceline_protocol.messages import Config


def wanted_voters(alive: int, limit: int) -> int:
    """How many voters a cluster of so many live nodes should have: the largest odd number within both."""
    count = min(alive, limit)
    return count if count % 2 else count - 1


def next_config(
    config: Config, *, alive: frozenset[str], caught_up: frozenset[str], gone: frozenset[str], limit: int
) -> Config | None:
    """The next single-server change, or None if the configuration is as it should be.

    ``alive``: nodes heard from lately, the leader included. ``caught_up``: learners whose log has reached the commit
    index. ``gone``: learners that have been silent for long. Ids are taken in order, so every leader decides alike.
    """
    lost = [node_id for node_id in config.learners if node_id in gone]
    if lost:
        return Config(config.voters, tuple(node_id for node_id in config.learners if node_id != lost[0]))

    wanted = wanted_voters(len(alive), limit)
    missing = wanted - len(config.voters)
    ready = [node_id for node_id in config.learners if node_id in alive and node_id in caught_up]
    if missing > 0 and (len(ready) >= missing or (len(config.voters) % 2 == 0 and ready)):
        promoted = ready[0]
        return Config(
            tuple(sorted((*config.voters, promoted))),
            tuple(node_id for node_id in config.learners if node_id != promoted),
        )

    replicas = set(config.voters) | set(config.learners)
    candidates = sorted(alive - replicas)
    if candidates and len(replicas & alive) < min(len(alive), limit) and len(replicas) < 2 * limit:
        return Config(config.voters, tuple(sorted((*config.learners, candidates[0]))))
    return None
