"""What a node counts while it works, for whoever asks. It only watches: nothing depends on it.

The rules of this module: plain integers and buckets that were made beforehand, no clock, and nothing that grows with
the number of tasks, or of task names beyond ``NAMES_LIMIT``. What happens to a task costs a few additions.

A leader counts what happens to tasks in the cluster while it leads; every node counts what ran on it. So a sum over all
nodes counts each task once, whoever led; but for what one leader had counted and not committed when another took over.
"""

from __future__ import annotations

from typing import Final

from paceline_protocol.messages import Refusal, TaskEnd

NAMES_LIMIT: Final = 200
"""Task names that are counted apart: the first that were run here. All others are counted together, as OTHER."""
OTHER: Final = "other"
_LOST: Final = int(TaskEnd.LOST)

LATENCY_BOUNDS_US: Final = (
    *(10, 20, 50, 100, 200, 500),
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000),
)
"""From 10 us to 10 s: what the cluster itself takes."""
DURATION_BOUNDS_US: Final = (
    *(20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 1_800_000_000, 3_600_000_000),
)
"""From 20 us to 1 h: what tasks take, and what they wait."""


class Histogram:
    """How many values were at most each bound, and what they come to together. Microseconds."""

    __slots__ = ("_bounds", "_index", "_middle", "_value_us", "counts", "sum_us")

    def __init__(self, bounds_us: tuple[int, ...]) -> None:
        """``bounds_us`` ascend."""
        self._bounds: list[int] = list(bounds_us)
        self._middle = len(bounds_us) >> 1
        self._value_us = -1  # the last one, and its bucket: what travels together has waited as long
        self._index = 0
        self.counts: list[int] = [0] * (len(bounds_us) + 1)  # of each bucket by itself; the last has no bound
        self.sum_us = 0

    def observe(self, value_us: int) -> None:
        """Count one value. From the low end: the shorter what is measured, the less may measuring it cost."""
        if value_us != self._value_us:
            self._value_us = value_us
            self._index = self._bucket(value_us)
        self.counts[self._index] += 1
        self.sum_us += value_us

    def _bucket(self, value_us: int) -> int:
        bounds, middle = self._bounds, self._middle
        index = middle if value_us > bounds[middle] else 0
        while value_us > bounds[index]:
            index += 1
            if index == len(bounds):
                break
        return index

    def observe_s(self, seconds: float) -> None:
        """Count one value that is a difference of moments. One below zero counts as zero."""
        self.observe(int(seconds * 1_000_000) if seconds > 0.0 else 0)

    def as_dict(self) -> dict[str, object]:
        """``bounds_us``, ``counts`` (one more than bounds), ``sum_us``."""
        return {"bounds_us": list(self._bounds), "counts": list(self.counts), "sum_us": self.sum_us}


class Tally:
    """What one node has counted since it started."""

    __slots__ = (
        "_leaderless_since",
        "accepted",
        "by_name",
        "dispatch_latency",
        "duration",
        "election",
        "finished",
        "leader_changes",
        "queue_wait",
        "redelivered",
        "refused",
        "submitted",
    )

    def __init__(self) -> None:
        # Of a leader.
        self.submitted = 0
        self.accepted = 0  # committed
        self.redelivered = 0
        self.refused: list[int] = [0] * (max(Refusal) + 1)  # by Refusal
        self.finished: list[int] = [0] * (max(TaskEnd) + 1)  # by TaskEnd
        self.queue_wait = Histogram(DURATION_BOUNDS_US)
        self.dispatch_latency = Histogram(LATENCY_BOUNDS_US)
        # Of every node.
        self.duration = Histogram(DURATION_BOUNDS_US)
        self.by_name: dict[str, list[int]] = {}  # [not used, succeeded, failed, not used, lost, us run]
        self.leader_changes = 0
        self.election = Histogram(LATENCY_BOUNDS_US)
        self._leaderless_since = -1.0

    def executed(self, name: str, end: int, duration_us: int) -> None:
        """An attempt ended here: ran to its end, or was lost with its worker."""
        row = self.by_name.get(name)
        if row is None:
            row = self._row(name)
        row[end] += 1
        if end != _LOST:
            row[5] += duration_us
            self.duration.observe(duration_us)

    def _row(self, name: str) -> list[int]:
        if len(self.by_name) >= NAMES_LIMIT:
            name = OTHER
        return self.by_name.setdefault(name, [0, 0, 0, 0, 0, 0])

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
