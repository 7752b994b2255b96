"""Every node killed with SIGKILL while many tasks wait: whether all are there afterwards, and how long that takes."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from paceline.local import Cluster
from paceline_bench.bodies.tasks import hold, noop
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow

JOURNAL = "fsync"
NODES = 3
TIMEOUT_S = 300.0
STEPS = 10


def run(tasks: int) -> Report:
    """Queue ``tasks``, kill all three nodes, start them again, and let the tasks run."""
    with (
        tempfile.TemporaryDirectory(prefix="paceline-bench-") as directory,
        Cluster.local("paceline_bench.bodies.tasks", nodes=NODES, workers=1, journal=JOURNAL) as cluster,
    ):
        gate = Path(directory, "gate")
        with cluster.client() as client:
            for _ in range(NODES * 3):  # more than the workers, and what their nodes keep ready, can begin
                client.submit(hold, str(gate))
            for step in track(range(STEPS), "restart: tenths of the tasks accepted"):
                numbers = range(tasks * step // STEPS, tasks * (step + 1) // STEPS)
                for future in [client.submit(noop, number) for number in numbers]:
                    future.accepted(TIMEOUT_S)
            before = client.status()
        for node in cluster.nodes:
            node.kill()
        killed_s = time.perf_counter()
        for node in cluster.nodes:
            node.restart()
        cluster.wait_ready(TIMEOUT_S)
        ready_s = time.perf_counter() - killed_s
        with cluster.client() as client:
            after = client.status()
            gate.touch()
            while (status := client.status())["recorded_total"] < before["accepted_total"]:
                if time.perf_counter() - killed_s > TIMEOUT_S:
                    break
                time.sleep(0.05)
            all_done_s = time.perf_counter() - killed_s
    missing = before["accepted_total"] - after["accepted_total"]
    unfinished = status["accepted_total"] - status["succeeded_total"]
    return Report(
        verb="restart",
        journal=JOURNAL,
        rows=[
            ReportRow(
                "tasks accepted before the kill", f"{before['accepted_total']:,}", f"{NODES} nodes, kill -9 at once"
            ),
            ReportRow("kill to a leader that accepts", f"{ready_s:.2f} s", "the start of the processes included"),
            ReportRow("kill to the end of the last task", f"{all_done_s:.2f} s"),
        ],
        checks=[
            Check("every accepted task is there again", missing == 0, f"{missing} missing" if missing else ""),
            Check("and every one was run", unfinished == 0, f"{unfinished} not" if unfinished else ""),
        ],
        details={"ready_s": ready_s, "all_done_s": all_done_s, "accepted": before["accepted_total"]},
    )
