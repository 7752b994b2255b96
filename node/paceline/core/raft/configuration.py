"""Which configuration is in force, and which may follow it.

A configuration is in force from the moment its entry is in the log, committed or not (Ongaro's thesis, 4.1). If that
entry is cut, the configuration before it is in force again, so the history of configurations is kept for as long as the
log's entries are. Any majority of one configuration shares a node with any majority of another that differs by one
server. That is why a change moves one server at a time, and why the next change waits until the last one is committed.
"""

from __future__ import annotations

from paceline.core.feature_levels import FEATURE_LEVEL, NodeTooOld
from paceline.core.raft.log import Log
from paceline_protocol.codec import decode_config
from paceline_protocol.errors import PeerViolation
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages.consensus import Config, EntryKind


class ConfigHistory:
    """The configurations of the log, beginning with the one at its snapshot point.

    ``understood``: the highest feature level that this node understands. A configuration of a higher one comes in by no
    way, since what follows it may be unreadable here: each raises NodeTooOld.
    """

    def __init__(self, index: int, config: Config, understood: int = FEATURE_LEVEL) -> None:
        self._understood = understood
        self._history = [(index, self.readable(config))]

    def readable(self, config: Config) -> Config:
        """``config``, if this node understands its level. Raises NodeTooOld."""
        if config.level > self._understood:
            raise NodeTooOld(
                f"its cluster has feature level {config.level}, and this node understands up to {self._understood}"
            )
        return config

    @property
    def index(self) -> int:
        """The index of the entry that holds the current configuration."""
        return self._history[-1][0]

    @property
    def current(self) -> Config:
        return self._history[-1][1]

    @property
    def previous(self) -> Config | None:
        return self._history[-2][1] if len(self._history) > 1 else None

    def at(self, index: int) -> Config:
        """The configuration in force at ``index``, which must not be compacted away."""
        return next(config for at, config in reversed(self._history) if at <= index)

    def append(self, index: int, config: Config) -> None:
        self._history.append((index, self.readable(config)))

    def truncate_from(self, index: int) -> None:
        while len(self._history) > 1 and self.index >= index:
            self._history.pop()

    def restore(self, index: int, config: Config) -> None:
        """A snapshot at ``index`` takes the place of the whole log."""
        self._history = [(index, self.readable(config))]

    def compact(self, to_index: int) -> None:
        while len(self._history) > 1 and self._history[1][0] <= to_index:
            del self._history[0]


def config_history(log: Log, config: Config, understood: int = FEATURE_LEVEL) -> ConfigHistory:
    """The configurations of a log: ``config`` at its snapshot point, and those of its entries. Raises NodeTooOld."""
    history = ConfigHistory(log.snapshot_index, config, understood)
    for entry in log.entries(log.first_index):
        if entry.kind == EntryKind.CONFIG:
            history.append(entry.index, decode_config(entry.data))
    return history


def normal(config: Config) -> Config:
    """``config`` with its ids sorted. Raises ValueError if it has no voter, or if a node has two roles in it."""
    voters, learners = tuple(sorted(set(config.voters))), tuple(sorted(set(config.learners)))
    excluded = tuple(sorted(set(config.excluded)))
    if not voters:
        raise ValueError("a configuration needs at least one voter")
    if both := set(voters) & set(learners):
        raise ValueError(f"{', '.join(sorted(both))} can't be both voter and learner")
    if refused := {*voters, *learners} & set(excluded):
        raise ValueError(f"{', '.join(sorted(refused))} can't be excluded and take part")
    return Config(voters, learners, excluded, config.limit, config.level)


def changed_servers(old: Config, new: Config) -> set[str]:
    """The nodes whose role (none, learner or voter) differs. A promotion is one change. The excluded nodes and the
    number of wanted voters don't affect a quorum, so they may change along with anything."""
    return {
        node_id
        for node_id in {*old.voters, *old.learners, *new.voters, *new.learners}
        if (node_id in old.voters, node_id in old.learners) != (node_id in new.voters, node_id in new.learners)
    }


def check_sane(config: Config) -> None:
    """Whether a leader can have such a configuration in its log, as far as it alone shows. The codec has checked that
    all ids are sorted and nobody is in twice. Raises PeerViolation."""
    if not config.voters:
        raise PeerViolation("a configuration without voters")
    for node_id in (*config.voters, *config.learners, *config.excluded):
        if not 0 < len(node_id) <= MAX_NAME_CHARS:
            raise PeerViolation(f"a configuration with a node id of {len(node_id)} characters")


def check_succession(before: Config, after: Config) -> None:
    """Whether ``after`` can be the next configuration in a log behind ``before``, which has no voters if the log has
    none yet. Raises PeerViolation.

    Every leader proposes by :func:`checked_change`, and its log has ``before`` as this one has. There is one other way
    for a configuration to get into a log: ``paceline cluster recover --unsafe`` makes a node that replicated the log,
    once or still, the sole voter.
    """
    check_sane(after)
    if not before.voters:
        return
    if after.level < before.level:
        raise PeerViolation(f"a configuration of feature level {after.level} behind one of {before.level}")
    changed = changed_servers(before, after)
    if len(changed) > 1 and (len(after.voters) > 1 or after.learners):
        raise PeerViolation(f"a configuration that changes {len(changed)} servers at once")


def checked_change(old: Config, new: Config) -> Config:
    """``new`` as :func:`normal` returns it. Raises ValueError if it is not valid, changes more than one server, or has
    a lower feature level: what was written at the higher level is in the log for good."""
    new = normal(new)
    if new.level < old.level:
        raise ValueError(f"the feature level is {old.level} and never falls, to {new.level} neither")
    changed = changed_servers(old, new)
    if len(changed) > 1:
        raise ValueError(f"one server at a time: {', '.join(sorted(changed))} would change")
    return new
