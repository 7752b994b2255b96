"""Tasks that wait for their moment: how late each begins, and what very many cost while they wait.

Those that begin are spread over a window, at random moments, so that the cluster is idle beside them: how late many of
one moment begin is a matter of throughput. The others wait for a moment that does not come while they are measured.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime

import psutil

from paceline.local import Cluster
from paceline_bench.bodies.timed_tasks import began
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.picture import distributions
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow
from paceline_bench.verbs.idle import cpu_s
from paceline_protocol.payload import pack_args

JOURNAL = "fsync"
SUBMIT_PER_S = 20_000
"""So fast they are accepted at least; the first moment comes behind them all."""
TASKS_PER_CLIENT = 100_000
TIMEOUT_S = 300.0
SETTLE_S = 2.0
LATE_LIMIT_S = 0.02
BYTES_LIMIT = 700
FAR_S = 86_400.0
FAR_ARGS = (0.0,)


def run(tasks: int, rate: float, waiting: int, seconds: float, seed: int) -> Report:
    """``tasks`` that begin, ``rate`` a second. Then ``waiting`` that do not, and the leader is looked at for
    ``seconds``."""
    lateness_s, was_ready = _lateness(tasks, rate, random.Random(seed))
    early = sum(each < 0 for each in lateness_s)
    late, last_s = LatencyHistogram(max(0.0, each) for each in lateness_s), max(lateness_s)
    idle_percent, waiting_percent, bytes_each, delayed = _while_they_wait(waiting, seconds)
    args_bytes = sys.getsizeof(pack_args(FAR_ARGS, {}))
    return Report(
        verb="delayed",
        journal=JOURNAL,
        rows=[
            ReportRow("begun after its moment, p50", f"{late.p50_s * 1e3:.2f} ms", f"{tasks:,}, {rate:,.0f} a second"),
            ReportRow("p99", f"{late.p99_s * 1e3:.2f} ms"),
            ReportRow("the last", f"{last_s * 1e3:.2f} ms"),
            ReportRow("while others wait: CPU", f"{waiting_percent:.2f} %", f"{idle_percent:.2f} % before them"),
            ReportRow(
                "each of them, RSS",
                f"{bytes_each:.0f} bytes",
                f"{args_bytes} its arguments; {delayed:,}, at the leader",
            ),
        ],
        latencies=[late.latency("begun after its moment")],
        pictures=[distributions("How late delayed tasks begin", {"delayed": late})],
        checks=[
            Check("all were accepted before the first moment", was_ready),
            Check("none began before its moment", early == 0, f"{early} did"),
            Check("each began at most 20 ms late", last_s <= LATE_LIMIT_S, is_figure=True),
            Check("all others wait", delayed == waiting, f"{delayed:,} of {waiting:,}"),
            Check("each takes at most 700 bytes beside that", bytes_each - args_bytes <= BYTES_LIMIT, is_figure=True),
        ],
        details={
            "late": {"p50_s": late.p50_s, "p99_s": late.p99_s, "max_s": last_s},
            "cpu_percent": {"idle": idle_percent, "waiting": waiting_percent},
            "bytes_per_task": bytes_each,
        },
    )


def _lateness(tasks: int, rate: float, rng: random.Random) -> tuple[list[float], bool]:
    """Seconds from the moment of each task to its beginning, and whether all were accepted before the first moment."""
    with (
        Cluster.local("paceline_bench.bodies.timed_tasks", nodes=1, workers=2, journal=JOURNAL) as cluster,
        cluster.client() as client,
    ):
        first_ms = round((time.time() + SETTLE_S + tasks / SUBMIT_PER_S) * 1e3)
        moments_ms = [first_ms + rng.randrange(max(1, round(tasks / rate * 1e3))) for _ in range(tasks)]
        futures = [
            client.submit(began.options(eta=datetime.fromtimestamp(due_ms / 1e3, UTC)), due_ms / 1e3)
            for due_ms in moments_ms
        ]
        for future in futures:
            future.accepted(TIMEOUT_S)
        was_ready = time.time() * 1e3 < first_ms
        timeout_s = TIMEOUT_S + tasks / rate
        return [future.result(timeout=timeout_s) for future in track(futures, "delayed: tasks begun")], was_ready


def _while_they_wait(tasks: int, seconds: float) -> tuple[float, float, float, int]:
    """Percent of a core that the leader takes before and while these wait, bytes for each, and how many do."""
    with Cluster.local("paceline_bench.bodies.timed_tasks", nodes=1, workers=1, journal=JOURNAL) as cluster:
        leader = psutil.Process(cluster.nodes[0].pid)
        idle_percent, before_bytes = _cpu_percent(leader, seconds), leader.memory_info().rss
        for start in track(range(0, tasks, TASKS_PER_CLIENT), "delayed: tasks that wait"):
            with cluster.client() as client:  # one after the other: each keeps what it has submitted
                far = began.options(delay=FAR_S)
                for future in [client.submit(far, *FAR_ARGS) for _ in range(min(TASKS_PER_CLIENT, tasks - start))]:
                    future.accepted(TIMEOUT_S)
        bytes_each = (leader.memory_info().rss - before_bytes) / tasks
        waiting_percent = _cpu_percent(leader, seconds)
        with cluster.client() as client:
            return idle_percent, waiting_percent, bytes_each, client.status()["delayed"]


def _cpu_percent(process: psutil.Process, seconds: float) -> float:
    time.sleep(SETTLE_S)  # what came before has settled
    started_s, before_s = time.perf_counter(), cpu_s(process)
    time.sleep(seconds)
    return 100 * (cpu_s(process) - before_s) / (time.perf_counter() - started_s)
