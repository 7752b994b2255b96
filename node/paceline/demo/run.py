"""The demo itself: count, kill the leader halfway, go on, and check the count against one that no cluster made."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from paceline.client import Client, Future
from paceline.demo.nodes import DemoCluster
from paceline.demo.pauses import resumed_after_s
from paceline.demo.tasks import count_words
from paceline.demo.words import count_alone, most_frequent


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The results of the demo. All durations are seconds."""

    files: int
    completed: int
    megabytes: float
    words: int
    elapsed_s: float
    failover_s: float | None
    killed_after: int  # completed tasks
    old_leader: str
    new_leader: str
    top: list[tuple[str, int]]
    alone_s: float
    matches: bool  # the count of the cluster is the count of one process, word for word

    @property
    def ok(self) -> bool:
        return self.matches and self.completed == self.files and self.failover_s is not None

    @property
    def tasks_per_s(self) -> float:
        return self.completed / self.elapsed_s


@dataclass(frozen=True, slots=True)
class DemoProgress:
    """Callbacks for the progress of the demo."""

    completed: Callable[[int], None]  # how many tasks so far
    killed: Callable[[str, int], None]  # node id, tasks completed by then
    checking: Callable[[], None]


class Halfway:
    """Notes when each task completed, and kills the leader after ``kill_after`` of them.

    The futures' callbacks do so, and not the loop that adds the counts up: the loop is slower than the cluster, so that
    it would kill the leader the later the faster the cluster is.
    """

    def __init__(self, cluster: DemoCluster, leader_id: str, kill_after: int, progress: DemoProgress) -> None:
        self.completed_at_s: list[float] = []  # perf_counter
        self.killed_at_s = 0.0
        self._cluster = cluster
        self._leader_id = leader_id
        self._kill_after = kill_after
        self._progress = progress
        self._lock = threading.Lock()  # callbacks come from any thread that reads the client's socket

    def completed(self, _future: Future[Any]) -> None:
        with self._lock:
            self.completed_at_s.append(time.perf_counter())
            if len(self.completed_at_s) == self._kill_after:
                self.killed_at_s = self._cluster.kill(self._leader_id)
                self._progress.killed(self._leader_id, self._kill_after)


def run(cluster: DemoCluster, files: Sequence[str], progress: DemoProgress) -> DemoReport:
    """Counts ``files`` on a started cluster. Raises what a task or the cluster raises."""
    total: Counter[str] = Counter()
    completed = 0
    with Client(*cluster.addresses, cluster=cluster.cluster_path) as client:
        old_leader = client.status()["leader_id"]
        halfway = Halfway(cluster, old_leader, len(files) // 2, progress)
        started_at_s = time.perf_counter()
        futures = [client.submit(count_words, path) for path in files]
        for future in futures:
            future.add_done_callback(halfway.completed)
        for future in client.as_completed(futures):
            total.update(future.result())
            completed += 1
            progress.completed(completed)
        elapsed_s = time.perf_counter() - started_at_s
        new_leader = client.status()["leader_id"]
    progress.checking()
    checked_at_s = time.perf_counter()
    alone = count_alone(files)
    return DemoReport(
        files=len(files),
        completed=completed,
        megabytes=sum(os.path.getsize(path) for path in files) / 1e6,
        words=total.total(),
        elapsed_s=elapsed_s,
        failover_s=resumed_after_s(halfway.killed_at_s, halfway.completed_at_s),
        killed_after=len(files) // 2,
        old_leader=old_leader,
        new_leader=new_leader,
        top=most_frequent(total),
        alone_s=time.perf_counter() - checked_at_s,
        matches=total == alone,
    )
