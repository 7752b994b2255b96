"""What the core needs to know that the operator may choose. Set once; every node of a cluster should agree on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from paceline.core.clients.session_table import ClientBounds
from paceline.core.feature_levels import FEATURE_LEVEL
from paceline.core.raft.quorum import wanted_voters
from paceline.core.raft.timing import Timing
from paceline_protocol.places import Units

SNAPSHOT_BYTES: Final = 4 << 30
"""A snapshot of so many bytes is taken, however low the limits of a node are: those of its leader may be higher, and
the ids of results, and ids that are remembered, count for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and times of one node's core.

    All durations are seconds of the monotonic clock that the shell passes in as ``now``.
    """

    cluster_name: str
    expect: int = 1  # blank nodes that must consent before a cluster forms; 0: never form one, only join
    pointed: bool = False  # started with addresses and no cluster name: joins only a node that answers it (decision 24)
    voters: int = 3  # 1, 3 or 5: how many nodes replicate the log and vote, once there are as many
    timing: Timing = field(default_factory=Timing)
    feature_level: int = FEATURE_LEVEL  # the highest that this node understands; lower only in tests
    version: str = ""  # of this node's package, shown in the status
    journal: str = "memory"  # shown in the status, with the two that follow; the shell acts on them
    encrypted: bool = False
    runs_tasks: bool = True  # False: this node has no workers, and is to have none
    insecure: bool = False
    worker_max_tasks: int = 0  # a worker that was given so many is replaced; 0: it may run any number
    queues: tuple[str, ...] = ()  # this node takes their tasks alone; none: of all queues
    tags: str = ""  # that this node has, as places.py writes them
    amounts: str = ""  # of resources, likewise: what the tasks that run here may take together
    units: Units = ()  # of those of them whose units have numbers
    max_parked: int = 0  # tasks that have given their slots back as they wait for others; each has a process
    async_slots: int = 1  # async tasks at once in one worker; 1: they run as others do

    node_timeout_s: float = 1.5  # a node silent for this long has lost its tasks
    hello_interval_s: float = 0.1  # to an address that has not answered yet; doubles with each hello
    hello_interval_max_s: float = 5.0
    hello_interval_leaderless_s: float = 0.25  # instead, to a node of a cluster that knows of no leader
    gossip_interval_s: float = 2.0  # to a peer that has
    forget_peer_after_s: float = 60.0
    learner_timeout_s: float = 10.0  # a learner silent for this long leaves the configuration
    recovery_grace_s: float = 0.3  # a new leader waits this long for the nodes' accounts before it runs a task again
    outcome_resend_s: float = 0.5  # a node repeats outcomes that the leader has not seen, large ones a little later
    outcome_window_bytes: int = 8 << 20  # of outcomes, or one batch, that a node has sent and the leader has not seen
    dispatch_window_bytes: int = 8 << 20  # of arguments, or one task, on their way to a node, as far as it has said
    log_linger_s: float = 0.004  # tasks and outcomes wait this long for others to be logged with
    accept_linger_s: float = 0.001  # `accepted` waits this long for a result to travel with
    release_interval_s: float = 0.25  # released ids are logged together

    attempt_limit: int = 5  # lost attempts (worker or node died) before a task ends as LOST
    queue_limit_tasks: int = 2_000_000
    queue_limit_bytes: int = 1 << 30
    payload_limit_bytes: int = 16 << 20
    result_limit_tasks: int = 200_000  # ended and not yet fetched by their owners; the leader's limits count
    result_limit_bytes: int = 256 << 20
    dead_limit_tasks: int = 10_000  # dead tasks that are kept; the leader's limits count
    dead_limit_bytes: int = 64 << 20
    log_keep_entries: int = 2_048  # in memory behind the applied index, for followers that lag a little
    log_keep_bytes: int = 16 << 20
    snapshot_log_entries: int = 100_000  # written to a journal since its last snapshot, before the next is taken
    snapshot_log_bytes: int = 64 << 20
    # A client silent for this long is forgotten, if it waits for nothing; and what ends with it is cancelled.
    session_timeout_s: float = 60.0
    client_bounds: ClientBounds = field(default_factory=ClientBounds)
    peer_limit: int = 1_024
    voter_timeout_s: float = 10.0  # a voter silent for this long is replaced, or left out where that helps
    learner_stable_s: float = 10.0  # a node takes a dead voter's place once it was heard for this long without a gap

    @property
    def snapshot_limit_bytes(self) -> int:
        """A larger snapshot is not taken: what a peer says must not decide how much memory this node uses. A table
        within the limits of the queue and of results makes none: a task takes at most twice what the queue counts for
        it there."""
        return SNAPSHOT_BYTES + 2 * (self.queue_limit_bytes + self.result_limit_bytes + self.dead_limit_bytes)

    @property
    def min_voters(self) -> int:
        """Voters that must stand before a task is accepted: as many as the first cluster should have.

        A cluster forms with one voter and adds the others within a second. What it accepted before would be lost with
        that one machine, and the operator who expects three machines does not expect that.
        """
        return wanted_voters(max(1, self.expect), self.voters)
