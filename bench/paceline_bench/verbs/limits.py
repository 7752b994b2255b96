"""A task that keeps its only worker for good, with a time limit: how soon after the limit the next task begins.

From the limit to the next beginning lie the kill, its being noticed, and the way to the worker that stood ready.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from paceline.errors import TaskTimedOut
from paceline.local import Cluster
from paceline_bench.bodies.timed_tasks import began, hangs
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow

JOURNAL = "memory"
LIMIT_S = 0.3
TIMEOUT_S = 60.0
RECOVERS_S = 0.3
"""Until another worker stands ready for the next one that is killed."""
BACK_LIMIT_S = 0.05


def run(kills: int) -> Report:
    backs_s, not_timed_out = [], 0
    with (
        tempfile.TemporaryDirectory(prefix="paceline-bench-") as directory,
        Cluster.local("paceline_bench.bodies.timed_tasks", nodes=1, workers=1, journal=JOURNAL) as cluster,
        cluster.client() as client,
    ):
        client.submit(began, 0.0).result(timeout=TIMEOUT_S)
        for number in track(range(kills), "limits: tasks killed"):
            path = Path(directory, str(number))
            hanging = client.submit(hangs.options(time_limit=LIMIT_S), str(path))
            next_s = client.submit(began, 0.0).result(timeout=TIMEOUT_S)  # the moment at which it began
            not_timed_out += not isinstance(hanging.exception(TIMEOUT_S), TaskTimedOut)
            backs_s.append(next_s - float(path.read_text(encoding="ascii")) - LIMIT_S)
            time.sleep(RECOVERS_S)
    back = LatencyHistogram(backs_s)
    return Report(
        verb="limits",
        journal=JOURNAL,
        rows=[
            ReportRow("the next task begins after the limit, p50", f"{back.p50_s * 1e3:.1f} ms", f"{kills} killed"),
            ReportRow("the last", f"{max(backs_s) * 1e3:.1f} ms", "one node with one worker"),
        ],
        latencies=[back.latency("begun after the limit of the one before")],
        checks=[
            Check("each of them ended as TIMED_OUT", not_timed_out == 0, f"{not_timed_out} did not"),
            Check("the slot is back within 50 ms", max(backs_s) <= BACK_LIMIT_S, is_figure=True),
        ],
        details={"back_s": backs_s},
    )
