"""What a node counts while it works, for whoever asks. It only watches: nothing depends on it.

The rules of this module: plain integers and buckets that were made beforehand, no clock, and nothing that grows with
the number of tasks, or of task names beyond ``NAMES_LIMIT``. What happens to a task costs a few additions.

A leader counts what happens to tasks in the cluster while it leads; every node counts what ran on it. So a sum over all
nodes counts each task once, whoever led; but for what one leader had counted and not committed when another took over.
"""

from __future__ import annotations

from typing import Final

from paceline.core.measures.histogram import DURATION_BOUNDS_US, LATENCY_BOUNDS_US, Histogram
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.schedules import Fired

NAMES_LIMIT: Final = 200
"""Task names that are counted apart: the first that were run here. All others are counted together, as OTHER."""
OTHER: Final = "other"
_LOST: Final = int(TaskEnd.LOST)


class NameTally:
    """The attempts of one task name that ended on this node."""

    __slots__ = ("ended", "run_us")

    def __init__(self) -> None:
        self.ended: list[int] = [0] * (max(TaskEnd) + 1)  # by TaskEnd
        self.run_us = 0  # of those that ran to their end


class Tally:
    """What one node has counted since it started."""

    __slots__ = (
        "_leaderless_since",
        "accepted",
        "by_name",
        "dead_dropped",
        "dispatch_latency",
        "duration",
        "election",
        "finished",
        "leader_changes",
        "missed_moments",
        "moments",
        "queue_wait",
        "recovered",
        "redelivered",
        "refused",
        "retried",
        "submitted",
    )

    def __init__(self) -> None:
        # Of a leader.
        self.submitted = 0
        self.accepted = 0  # committed
        self.redelivered = 0
        self.retried = 0  # attempts that failed, and are followed by another
        self.recovered = 0  # handed out, after an earlier leader had accepted them and no node had them
        self.dead_dropped = 0  # dead tasks that the limits left no room for
        self.moments: list[int] = [0] * (max(Fired) + 1)  # of schedules, by Fired
        self.missed_moments = 0  # that had no task, as nobody could fire them in time
        self.refused: list[int] = [0] * (max(Refusal) + 1)  # by Refusal
        self.finished: list[int] = [0] * (max(TaskEnd) + 1)  # by TaskEnd
        self.queue_wait = Histogram(DURATION_BOUNDS_US)
        self.dispatch_latency = Histogram(LATENCY_BOUNDS_US)
        # Of every node.
        self.duration = Histogram(DURATION_BOUNDS_US)
        self.by_name: dict[str, NameTally] = {}
        self.leader_changes = 0
        self.election = Histogram(LATENCY_BOUNDS_US)
        self._leaderless_since = -1.0

    def executed(self, name: str, end: int, duration_us: int) -> None:
        """An attempt ended here: ran to its end, or was lost with its worker."""
        row = self.by_name.get(name)
        if row is None:
            row = self._row(name)
        row.ended[end] += 1
        if end != _LOST:
            row.run_us += duration_us
            self.duration.observe(duration_us)

    def _row(self, name: str) -> NameTally:
        if len(self.by_name) >= NAMES_LIMIT:
            name = OTHER
        return self.by_name.setdefault(name, NameTally())

    def refuse(self, refusal: int) -> None:
        """A call was not admitted."""
        self.refused[refusal] += 1

    def leader_known(self, leader_id: str, now: float) -> None:
        """This node knows another leader, or ("") none any more."""
        if not leader_id:
            self._leaderless_since = now
            return
        self.leader_changes += 1
        if self._leaderless_since >= 0.0:
            self.election.observe_s(now - self._leaderless_since)
            self._leaderless_since = -1.0
