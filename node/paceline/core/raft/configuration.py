"""Which configuration is in force, and which may follow it.

A configuration is in force from the moment its entry is in the log, committed or not (Ongaro's thesis, 4.1). So it goes
back when that entry is cut, and the log's history of configurations is kept as long as its entries are. Two
configurations that differ by one server always share a quorum; that is why a change moves one server at a time, and why
the next one waits until the last is committed.
"""

from __future__ import annotations

from paceline.core.feature_levels import FEATURE_LEVEL, NodeTooOld
from paceline.core.raft.log import Log
from paceline_protocol.codec import decode_config
from paceline_protocol.messages import Config, EntryKind


class ConfigHistory:
    """The configurations in the log, the one at its snapshot point first.

    ``understood``: the highest feature level that this node understands. A configuration of a higher one comes in by no
    way, since what follows it may be unreadable here: each raises NodeTooOld.
    """

    def __init__(self, index: int, config: Config, understood: int = FEATURE_LEVEL) -> None:
        self._understood = understood
        self._history = [(index, self._readable(config))]

    def _readable(self, config: Config) -> Config:
        if config.level > self._understood:
            raise NodeTooOld(
                f"its cluster has feature level {config.level}, and this node understands up to {self._understood}"
            )
        return config

    @property
    def index(self) -> int:
        """The entry that put the current configuration in force."""
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
        self._history.append((index, self._readable(config)))

    def truncate_from(self, index: int) -> None:
        while len(self._history) > 1 and self.index >= index:
            self._history.pop()

    def restore(self, index: int, config: Config) -> None:
        """A snapshot at ``index`` takes the place of the whole log."""
        self._history = [(index, self._readable(config))]

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
    """Sorted; ValueError if no voter is left, or a node is two of voter, learner and excluded."""
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
    """The nodes whose part differs: absent, learner or voter. A promotion is one change. Who is excluded, and how many
    voters are wanted, changes nothing for a quorum and goes along with any change."""
    return {
        node_id
        for node_id in {*old.voters, *old.learners, *new.voters, *new.learners}
        if (node_id in old.voters, node_id in old.learners) != (node_id in new.voters, node_id in new.learners)
    }


def checked_change(old: Config, new: Config) -> Config:
    """``new``, normal. ValueError if it is not valid, does not follow from ``old`` by one server's change, or has a
    lower feature level: what has been written at the higher one is in the log for good."""
    new = normal(new)
    if new.level < old.level:
        raise ValueError(f"the feature level is {old.level} and never falls, to {new.level} neither")
    changed = changed_servers(old, new)
    if len(changed) > 1:
        raise ValueError(f"one server at a time: {', '.join(sorted(changed))} would change")
    return new
