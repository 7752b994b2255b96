"""What a node costs while there is nothing to do: processor time and memory of the node process, not its workers."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import psutil

from paceline.local import Cluster
from paceline_bench.report.progress import track
from paceline_bench.report.report import Report, ReportRow

JOURNAL = "memory"
SETTLE_S = 2.0  # start-up is not idleness


@dataclass(frozen=True, slots=True)
class Idle:
    role: str
    cpu_percent: float  # of one core
    rss_mib: float


def run(seconds: float) -> Report:
    measured = [idle for nodes in track((1, 3), "idle: clusters") for idle in of_cluster(nodes, seconds)]
    rows = []
    for idle in measured:
        rows.append(ReportRow(f"{idle.role}, CPU", f"{idle.cpu_percent:.2f} %", f"of one core, over {seconds:g} s"))
        rows.append(ReportRow(f"{idle.role}, RSS", f"{idle.rss_mib:.1f} MiB", "the node without its workers"))
    return Report(
        verb="idle",
        journal=JOURNAL,
        rows=rows,
        details={"seconds": seconds, "nodes": [asdict(idle) for idle in measured]},
    )


def of_cluster(nodes: int, seconds: float) -> list[Idle]:
    """All nodes of one cluster, over the same seconds."""
    with Cluster.local("paceline_bench.bodies.tasks", nodes=nodes, workers=1, journal=JOURNAL) as cluster:
        leader = cluster.leader
        processes = [(node, psutil.Process(node.pid)) for node in cluster.nodes]
        time.sleep(SETTLE_S)
        started_at_s = time.perf_counter()
        before_s = [cpu_s(process) for _, process in processes]
        time.sleep(seconds)
        after_s = [cpu_s(process) for _, process in processes]
        elapsed_s = time.perf_counter() - started_at_s
        measured = []
        for (node, process), started_s, ended_s in zip(processes, before_s, after_s, strict=True):
            if nodes == 1:
                role = "single node"
            else:
                role = "leader of three" if leader is not None and node.id == leader.id else "follower of three"
            cpu_percent = 100 * (ended_s - started_s) / elapsed_s
            measured.append(Idle(role, cpu_percent, process.memory_info().rss / 2**20))
    return measured


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a process until now, user and system, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)
