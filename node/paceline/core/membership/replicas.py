"""The rule that says which nodes should replicate the log and vote. It decides from which nodes are heard, and how far
each has caught up, and changes one server at a time.

Voters are kept odd: two voters tolerate no more failures than one, and stop when either fails. So with two nodes
there is one voter and one learner; with three or four, three voters; five and more give five only if the operator
asks for it. Growing passes through an even number, so it starts only when enough learners have caught up to reach the
next odd one.

A voter that has been silent for long is replaced: first a learner that was heard without a gap is promoted, then the
silent voter is removed. Without a spare node the number of voters shrinks to the odd number that the others can
support. If two of three voters are left, all three stay: one voter alone would tolerate nothing, and the third may come
back.

While no majority of the voters is heard, no voter is removed. While one is heard, each step leaves a configuration of
which the nodes that are heard are a majority, too. The leader never removes itself; it transfers the leadership first
(``Consensus.transfer_leadership``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from paceline.core.raft.quorum import majority, wanted_voters
from paceline_protocol.messages.consensus import Config

SMALLEST_SHRUNK = 3
"""The rule never leaves fewer voters than this. An operator may ask for fewer."""


class Liveness:
    """Since when each node has been heard without a gap, or has been silent, as one leader has seen it since its first
    review."""

    def __init__(self) -> None:
        self._heard_since: dict[str, float] = {}
        self._silent_since: dict[str, float] = {}

    def review(self, alive: frozenset[str], replicas: Iterable[str], now: float) -> None:
        """Note which nodes are heard now. Nodes that neither replicate nor are heard are forgotten."""
        self._heard_since = {node_id: self._heard_since.get(node_id, now) for node_id in alive}
        self._silent_since = {
            node_id: self._silent_since.get(node_id, now) for node_id in replicas if node_id not in alive
        }

    def steady(self, duration_s: float, now: float) -> frozenset[str]:
        """The nodes that have been heard without a gap for ``duration_s``."""
        return frozenset(node_id for node_id, since in self._heard_since.items() if now - since >= duration_s)

    def silent_s(self, node_id: str, now: float) -> float:
        """How long this replica has been silent; 0.0 if it is heard, or does not replicate."""
        return now - self._silent_since.get(node_id, now)


def next_config(
    config: Config,
    *,
    own_id: str,
    alive: frozenset[str],
    caught_up: frozenset[str],
    steady: frozenset[str],
    gone: frozenset[str],
    limit: int,
) -> Config | None:
    """The next single-server change, or None if the configuration is as it should be.

    ``own_id``: the leader, which calls this. ``alive``: nodes heard lately, the leader included. ``caught_up``:
    learners whose log has reached the commit index. ``steady``: nodes that have been heard for long without a gap.
    ``gone``: replicas that have been silent for long, never the leader. Ids are taken in order, so every leader
    decides alike.
    """
    alive -= set(config.excluded)
    lost = [node_id for node_id in config.learners if node_id in gone]
    if lost:
        return without(config, lost[0])
    change = None
    if len(alive.intersection(config.voters)) >= majority(len(config.voters)):
        change = _fewer_voters(config, own_id, alive, gone, limit)
        if change is None:
            change = _more_voters(config, alive, caught_up, steady, gone, limit)
    return change if change is not None else _more_learners(config, alive, limit)


def without(config: Config, node_id: str) -> Config:
    """``config`` in which the node neither votes nor replicates."""
    return replace(config, voters=_minus(config.voters, node_id), learners=_minus(config.learners, node_id))


def with_voter(config: Config, node_id: str) -> Config:
    """``config`` in which the node votes, even if it was excluded."""
    voters, learners = _plus(config.voters, node_id), _minus(config.learners, node_id)
    return replace(config, voters=voters, learners=learners, excluded=_minus(config.excluded, node_id))


def with_learner(config: Config, node_id: str) -> Config:
    """``config`` in which the node replicates and does not vote, even if it was excluded."""
    voters, learners = _minus(config.voters, node_id), _plus(config.learners, node_id)
    return replace(config, voters=voters, learners=learners, excluded=_minus(config.excluded, node_id))


def _supported(config: Config, alive: frozenset[str], gone: frozenset[str], limit: int) -> int:
    """How many voters there should be. A voter that has been silent for a moment only counts as alive."""
    return wanted_voters(len(alive | (set(config.voters) - gone)), limit)


def _fewer_voters(
    config: Config, own_id: str, alive: frozenset[str], gone: frozenset[str], limit: int
) -> Config | None:
    count = len(config.voters)
    dead = [node_id for node_id in config.voters if node_id in gone]
    is_even = count % 2 == 0
    if count > limit:  # the operator wants fewer
        return without(config, dead[0]) if dead else with_learner(config, least_needed(config, own_id, alive))
    if count <= SMALLEST_SHRUNK:
        return None
    too_many = count > _supported(config, alive, gone, limit)
    if dead and (is_even or (too_many and len(dead) > 1)):
        return without(config, dead[0])
    if is_even and too_many:
        return with_learner(config, least_needed(config, own_id, alive))
    return None


def least_needed(config: Config, own_id: str, alive: frozenset[str]) -> str:
    """The voter to remove: a silent one rather than one that is heard; among equals, the last by id."""
    return max((node_id for node_id in config.voters if node_id != own_id), key=lambda it: (it not in alive, it))


def _more_voters(
    config: Config,
    alive: frozenset[str],
    caught_up: frozenset[str],
    steady: frozenset[str],
    gone: frozenset[str],
    limit: int,
) -> Config | None:
    is_even = len(config.voters) % 2 == 0
    missing = _supported(config, alive, gone, limit) - len(config.voters)
    dead = gone.intersection(config.voters)
    ready = [node_id for node_id in config.learners if node_id in alive and node_id in caught_up]
    if dead:  # a node that comes and goes must not take a dead voter's place
        ready = [node_id for node_id in ready if node_id in steady]
    grows = missing > 0 and (len(ready) >= missing or is_even)
    replaces = missing >= 0 and not is_even and len(dead) > 0
    return with_voter(config, ready[0]) if ready and (grows or replaces) else None


def _more_learners(config: Config, alive: frozenset[str], limit: int) -> Config | None:
    replicas = {*config.voters, *config.learners}
    candidates = sorted(alive - replicas - set(config.excluded))
    if candidates and len(replicas & alive) < min(len(alive), limit) and len(replicas) < 2 * limit:
        return with_learner(config, candidates[0])
    return None


def _plus(node_ids: tuple[str, ...], node_id: str) -> tuple[str, ...]:
    return tuple(sorted({*node_ids, node_id}))


def _minus(node_ids: tuple[str, ...], node_id: str) -> tuple[str, ...]:
    return tuple(other for other in node_ids if other != node_id)
