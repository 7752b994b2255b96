"""A storm of retries: every task fails a few times, at once, and is tried again a moment later."""

from __future__ import annotations

import time

import psutil

from paceline.local import Cluster
from paceline_bench.bodies.timed_tasks import fails
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow

JOURNAL = "fsync"
BACKOFF_S = 0.01
TIMEOUT_S = 600.0
LOG_LIMIT_ENTRIES = 200_000
"""What a leader keeps of its log is bounded by bytes, of which a storm has few: so many entries are far below that."""


def run(tasks: int, times: int, workers: int) -> Report:
    """``tasks`` that fail so many ``times`` each, with a backoff of 10 ms, on one node."""
    wanted = times + 1
    with (
        Cluster.local("paceline_bench.bodies.timed_tasks", nodes=1, workers=workers, journal=JOURNAL) as cluster,
        cluster.client() as client,
    ):
        leader = psutil.Process(cluster.nodes[0].pid)
        before_bytes = leader.memory_info().rss
        started_s = time.perf_counter()
        storm = fails.options(retries=times, backoff=BACKOFF_S, backoff_max=BACKOFF_S)
        futures = [client.submit(storm, times) for _ in range(tasks)]
        wrong, most_entries, most_bytes = 0, 0, before_bytes
        looked_s = 0.0
        for future in track(futures, "retries: tasks"):
            wrong += future.result(timeout=TIMEOUT_S) != wanted
            if time.perf_counter() > looked_s + 0.2:
                looked_s = time.perf_counter()
                most_entries = max(most_entries, client.status()["log_entries"])
                most_bytes = max(most_bytes, leader.memory_info().rss)
        elapsed_s = time.perf_counter() - started_s
        status = client.status()
    attempts = tasks * wanted
    return Report(
        verb="retries",
        journal=JOURNAL,
        rows=[
            ReportRow("all tasks ended", f"{elapsed_s:.2f} s", f"{tasks:,} that fail {times} times each"),
            ReportRow("attempts", f"{attempts / elapsed_s:,.0f} a second"),
            ReportRow("log, at most", f"{most_entries:,} entries"),
            ReportRow("leader, RSS at most", f"{most_bytes / 1e6:.0f} MB", f"{before_bytes / 1e6:.0f} MB before"),
        ],
        checks=[
            Check("each was tried just as often as it should", wrong == 0, f"{wrong} were not"),
            Check("nothing waits any more", status["queued"] + status["delayed"] == 0),
            Check("the log is bounded", most_entries <= LOG_LIMIT_ENTRIES, f"{most_entries:,} entries"),
        ],
        details={
            "elapsed_s": elapsed_s,
            "attempts_per_s": attempts / elapsed_s,
            "log_entries": most_entries,
            "rss_bytes": [before_bytes, most_bytes],
        },
    )
