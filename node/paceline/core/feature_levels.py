"""Which features the nodes of a cluster have in common, while some of them are of another version.

Every replica must be able to read the whole log. So the log itself has a number that says what may stand in it: the
cluster's **feature level**, which is part of the configuration. The rules:

- Each version of paceline understands all levels up to its own, :data:`FEATURE_LEVEL`, and nodes announce it.
- The leader raises the level of the cluster, by a configuration entry, once every replica and every other node that is
  heard understands the next one. It never falls: what has been written stays in the log and in snapshots.
- A leader proposes nothing above the cluster's level. A call that needs a higher one is refused, with the level and the
  nodes that are older.
- A node that understands less than the cluster's level neither replicates nor runs tasks, and says so. A node that
  finds such a level in its log stops (:class:`NodeTooOld`).

To bring something new into the log: give it the next level in its table, and that level a row in LEVELS. The tables are
ENTRY_KINDS below, and for the options of a call that of ``paceline_protocol/options.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from paceline_protocol import options
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import Options
from paceline_protocol.messages.work import DEMAND_LEVEL, PARKED_LEVEL, QUIET_LEVEL

LEVELS: Final[dict[int, str]] = {
    1: "tasks, their attempts, results and releases; configurations",
    2: "tasks that wait for a moment, or expire at one",
    3: "tasks that are tried again after they have failed",
    4: "limits of how long tasks run",
    5: "cancelling tasks that run",
    options.RECORDS_LEVEL: "results that are kept for a time, and records of tasks that have ended",
    options.DEFAULTS_LEVEL: "options that nodes announce for calls by name",
    options.DEAD_LEVEL: "dead tasks that are kept, and requeued",
    options.LOST_CLIENTS_LEVEL: "tasks that are cancelled when their client is gone",
    options.DEADLINE_LEVEL: "deadlines of tasks",
    options.ASYNC_LEVEL: "many async tasks at once in a worker",
    options.PROGRESS_LEVEL: "questions between nodes for what running tasks say of themselves",
    QUIET_LEVEL: "nodes that say why they take no tasks",
    options.LISTS_LEVEL: "lists of live tasks, and how attempts were lost",
    DEMAND_LEVEL: "questions of nodes for how many workers there would be use",
    options.QUEUES_LEVEL: "queues",
    options.SCHEDULES_LEVEL: "schedules, and the tasks that they make",
    options.KEYS_LEVEL: "calls with a key",
    options.INPUTS_LEVEL: "tasks that depend on tasks",
    options.LIMITS_LEVEL: "limits of how many tasks run at once",
    options.FAIRNESS_LEVEL: "tasks that take turns by fair keys, and that are altered while they wait",
    options.PLACES_LEVEL: "tags and amounts that tasks ask of nodes",
    options.MODULE_SCHEDULES_LEVEL: "schedules that come with modules, and backfills",
    options.GRAPHS_LEVEL: "graphs, and how many of their tasks are where",
    PARKED_LEVEL: "tasks that give their slots back while they wait for others",
    options.BATCH_LEVEL: "calls that are handed to their function together",
}
"""Level -> the features that it brought."""
FEATURE_LEVEL: Final = max(LEVELS)
"""The highest level that this version understands."""
FIRST_LEVEL: Final = 1
"""The level that every version understands."""

ENTRY_KINDS: Final[dict[int, int]] = {
    EntryKind.NOOP: 1,
    EntryKind.CONFIG: 1,
    EntryKind.ACCEPT: 1,
    EntryKind.OUTCOME: 1,
    EntryKind.RELEASE: 1,
    EntryKind.ATTEMPT: 1,
    EntryKind.RETRY: 3,
    EntryKind.RECORD: options.RECORDS_LEVEL,
    EntryKind.EXPIRE: options.RECORDS_LEVEL,
    EntryKind.DEAD: options.DEAD_LEVEL,
    EntryKind.REQUEUE: options.DEAD_LEVEL,
    EntryKind.DISCARD: options.DEAD_LEVEL,
    EntryKind.QUEUES: options.QUEUES_LEVEL,
    EntryKind.ALTER: options.FAIRNESS_LEVEL,
    EntryKind.HELD: options.INPUTS_LEVEL,
    EntryKind.SCHEDULE: options.SCHEDULES_LEVEL,
    EntryKind.FIRING: options.SCHEDULES_LEVEL,
    EntryKind.BACKFILL: options.MODULE_SCHEDULES_LEVEL,
}
"""Entry kind -> the level that brought it."""
OPTIONS: Final[dict[str, int]] = {option.key: option.level for option in options.OPTIONS}
"""Option of a call -> the level that brought it."""


class NodeTooOld(ValueError):
    """The log, or a snapshot, has what only a later version of paceline can read. The node must stop: going on without
    it would make its state another than that of the others."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(f"{found}; this node is older than the one that wrote it")


def level_of_kind(kind: int) -> int:
    """The level that a log entry of this kind needs."""
    return ENTRY_KINDS[kind]


def level_of_option(key: str) -> int:
    """The level that a call with this option needs."""
    return OPTIONS[key]


@dataclass(frozen=True, slots=True)
class ClusterLevel:
    """The level in force, and the nodes that understand no more than that: why it is not higher. ``is_rising``: all of
    them understand a higher one, and the entry that says so is under way."""

    level: int = FIRST_LEVEL
    older: tuple[str, ...] = ()
    is_rising: bool = False

    def refusal(self, required: int, what: str) -> str:
        """Why ``what``, which needs ``required``, is refused now; "" if it is not."""
        if required <= self.level:
            return ""
        nodes = ", ".join(self.older)
        return (
            f"{what} needs feature level {required}, and the cluster has {self.level}"
            + (f", as these nodes understand no more: {nodes}" if nodes else "")
            + "; upgrade paceline on all nodes"
        )

    def refusal_of(self, asked: Options) -> str:
        """Why a call that asks for these options is refused now; "" if it is not."""
        for key in asked:
            if level_of_option(key) > self.level:
                return self.refusal(level_of_option(key), f"the option {key!r}")
        return ""


def common_level(node_ids: Iterable[str], levels: Mapping[str, int]) -> int:
    """The highest level that all of these nodes understand. A node that has not announced one counts for the first."""
    return min((max(FIRST_LEVEL, levels.get(node_id, 0)) for node_id in node_ids), default=FIRST_LEVEL)


def too_old(understood: int, cluster_level: int) -> str:
    """The text for a node, and for its operator, that understands less than its cluster's level."""
    return (
        f"this node is too old for its cluster: it understands feature level {understood}, and the cluster has "
        f"{cluster_level}. It neither replicates nor runs tasks; upgrade paceline here and start it again"
    )
