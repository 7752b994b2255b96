"""A leader with very many tasks in its queue: what they weigh, and how soon an urgent one gets through, and
one of another queue.

Two nodes serve different tasks. The worker of the second is kept busy, so that its tasks wait at the leader; the urgent
task runs on the first, whose worker is free, and so does that of another queue, which is not urgent. Both are measured
before and after the queue is filled, in one run.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import msgpack  # type: ignore[import-untyped]
import psutil

from paceline.local import Cluster
from paceline.worker.registry import Task
from paceline_bench.bodies import memory_tasks
from paceline_bench.bodies.tasks import noop
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.picture import distributions
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow

JOURNAL = "fsync"
TASKS_PER_CLIENT = 100_000
ARGUMENT_BYTES = 100
WARM_UP = 500
TIMEOUT_S = 300.0
STEPS = 4
RSS_LIMIT_BYTES = 1e9
P99_LIMIT = 3.0
OTHERS_P50_LIMIT = 2.0
URGENT: Final = noop.options(priority=9)
OF_ANOTHER_QUEUE: Final = noop.options(queue="another")


def run(tasks: int, samples: int, secure: bool = False) -> Report:
    """Queue ``tasks`` of 100 bytes of arguments; ``samples`` urgent ones before and after."""
    with (
        tempfile.TemporaryDirectory(prefix="paceline-bench-") as directory,
        Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, journal=JOURNAL, secure=secure) as cluster,
    ):
        cluster.add_node("paceline_bench.bodies.memory_tasks", workers=1)
        leader = psutil.Process(cluster.nodes[0].pid)
        gate = str(Path(directory, "gate"))
        padding = bytes(ARGUMENT_BYTES - len(msgpack.packb((None, gate, b""))) - 1)
        rss = [leader.memory_info().rss]
        empty, wrong = _one_by_one(cluster, URGENT, samples)
        others_empty, wrong_of_others = _one_by_one(cluster, OF_ANOTHER_QUEUE, samples)
        started_s = time.perf_counter()
        for step in track(range(STEPS), "memory: quarters of the queue"):
            _fill(cluster, gate, padding, tasks * (step + 1) // STEPS - tasks * step // STEPS)
            rss.append(leader.memory_info().rss)
        filled_s = time.perf_counter() - started_s
        full, wrong_full = _one_by_one(cluster, URGENT, samples)
        others_full, wrong_of_others_full = _one_by_one(cluster, OF_ANOTHER_QUEUE, samples)
        rss_after = leader.memory_info().rss
        with cluster.client() as client:
            waiting = client.status()["queued"]
        # What waits is not run: the nodes end with the block, and the gate is never opened.
    before, after = LatencyHistogram(empty), LatencyHistogram(full)
    others_before, others_after = LatencyHistogram(others_empty), LatencyHistogram(others_full)
    ratio, others_ratio = after.p99_s / before.p99_s, others_after.p50_s / others_before.p50_s
    wrong += wrong_full + wrong_of_others + wrong_of_others_full
    per_task = (rss[-1] - rss[0]) / tasks
    return Report(
        verb="memory",
        journal=JOURNAL,
        rows=[
            ReportRow("tasks that wait", f"{waiting:,}", f"{ARGUMENT_BYTES} bytes each; accepted in {filled_s:.0f} s"),
            ReportRow(
                "leader, RSS",
                f"{rss_after / 1e6:,.0f} MB",
                f"{rss[0] / 1e6:.0f} MB before; {per_task:.0f} bytes a task",
            ),
            ReportRow("urgent task, p99, queue full to empty", f"{ratio:.2f}", f"{before.count:,} samples of each"),
            ReportRow("task of another queue, p50, full to empty", f"{others_ratio:.2f}"),
        ],
        latencies=[
            before.latency("urgent task, queue empty"),
            after.latency("urgent task, queue full"),
            others_before.latency("task of another queue, empty"),
            others_after.latency("task of another queue, full"),
        ],
        pictures=[distributions("An urgent task, one at a time", {"queue empty": before, "queue full": after})],
        checks=[
            Check("every task waits", waiting >= tasks - 10, f"{waiting:,} of {tasks:,}"),
            Check("every result is the one asked for", wrong == 0),
            Check("the leader takes less than 1 GB", rss_after < RSS_LIMIT_BYTES),
            Check("an urgent task's p99 is at most 3 times that of an empty queue", ratio <= P99_LIMIT, is_figure=True),
            Check(
                "a task of another queue has at most twice the p50 of before",
                others_ratio <= OTHERS_P50_LIMIT,
                is_figure=True,
            ),
        ],
        details={
            "rss_bytes": [*rss, rss_after],
            "bytes_per_task": per_task,
            "empty": {"p50_s": before.p50_s, "p99_s": before.p99_s},
            "full": {"p50_s": after.p50_s, "p99_s": after.p99_s},
            "p99_ratio": ratio,
            "of_another_queue": {"empty_p50_s": others_before.p50_s, "full_p50_s": others_after.p50_s},
        },
        secure=secure,
    )


def _fill(cluster: Cluster, gate: str, padding: bytes, tasks: int) -> None:
    """Submit with several clients, one after the other, since each client keeps what it has submitted."""
    for start in range(0, tasks, TASKS_PER_CLIENT):
        with cluster.client() as client:
            count = min(TASKS_PER_CLIENT, tasks - start)
            futures = [client.submit(memory_tasks.queued, gate, padding) for _ in range(count)]
            for future in futures:
                future.accepted(TIMEOUT_S)


def _one_by_one(cluster: Cluster, chosen: Task[[int], int], samples: int) -> tuple[list[float], int]:
    """Seconds of each round trip of such a task, and how many results were wrong."""
    clock = time.perf_counter
    durations_s, wrong = [], 0
    with cluster.client() as client:
        for number in range(-WARM_UP, samples):
            started_s = clock()
            result = client.submit(chosen, number).result(timeout=30)
            if number >= 0:
                durations_s.append(clock() - started_s)
            wrong += result != number
    return durations_s, wrong
