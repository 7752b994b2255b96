"""What a task costs the leader, with one node to give it to and with hundreds.

The nodes are stubs (``stub/node.py``), and none of them replicates the log. Measured is the processor time of the
leader's process, user and system, over a fixed number of tasks that are submitted at once. What an idle leader uses in
as many seconds is subtracted: heartbeats and hellos are paid by the second and not by the task, and how many seconds a
task takes is the stubs' doing here. The cost with these is shown beside.

Each number of stubs has a fresh leader, and they take turns, round by round; the ratio is taken within a round.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import psutil

from paceline.client import Client
from paceline.local import Cluster
from paceline_bench.harness.placement import placements
from paceline_bench.report.report import Check, Report, ReportRow
from paceline_bench.report.stats import median
from paceline_bench.stub.node import ECHO
from paceline_bench.stub.process import StubNodes
from paceline_bench.verbs import throughput
from paceline_bench.verbs.idle import cpu_s

JOURNAL = "memory"
COUNTS = (1, 16, 256)
WARM_UP = 5_000
IDLE_S = 5.0
SETTLE_S = 0.5
RATIO_LIMIT = 1.3


@dataclass(frozen=True, slots=True)
class LeaderCost:
    """The leader's cost with one number of stubs, in one round."""

    stubs: int
    idle_cpu: float  # of one core
    with_idle_us: float  # the leader's processor time for a task
    task_us: float  # without what it uses while idle
    tasks_per_s: float
    tasks_per_frame: float  # of the Dispatch frames that reached the stubs
    replicas: int  # stubs that the leader took in as learners or voters: must be none
    wrong: int


def run(tasks: int, rounds: int, secure: bool = False) -> Report:
    """``tasks`` with each number of stubs in each of ``rounds``."""
    costs = [[measure(count, tasks, IDLE_S, secure) for count in COUNTS] for _ in range(rounds)]
    return report(costs, tasks, secure)


def measure(count: int, tasks: int, idle_s: float, secure: bool = False) -> LeaderCost:
    """A leader of its own for ``count`` stubs. Where there are processors for it, the leader has one for itself."""
    places = placements()
    try:
        with (
            Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, journal=JOURNAL, secure=secure) as cluster,
            cluster.client() as client,
        ):
            leader = psutil.Process(cluster.nodes[0].pid)
            places[0].apply([leader.pid])
            with StubNodes(cluster, client, count) as stubs:
                stubs.wait_enrolled()
                throughput.by_submit(client, range(WARM_UP), ECHO)
                return _measure(client, leader, stubs, tasks, idle_s)
    finally:
        places[-1].apply([])


def _measure(client: Client, leader: psutil.Process, stubs: StubNodes, tasks: int, idle_s: float) -> LeaderCost:
    time.sleep(SETTLE_S)  # what the last tasks left to do: their records, the release of their results
    idle_from_s, started_s = cpu_s(leader), time.perf_counter()
    time.sleep(idle_s)
    idle_cpu = (cpu_s(leader) - idle_from_s) / (time.perf_counter() - started_s)
    frames_before, sent_before = stubs.dispatched()
    busy_from_s, started_s = cpu_s(leader), time.perf_counter()
    elapsed_s, wrong = throughput.by_submit(client, range(tasks), ECHO)
    time.sleep(SETTLE_S)
    busy_s, whole_s = cpu_s(leader) - busy_from_s, time.perf_counter() - started_s
    frames, sent = stubs.dispatched()
    roles = [node["role"] for node in client.status()["nodes"] if not node["is_self"]]
    return LeaderCost(
        stubs=stubs.count,
        idle_cpu=idle_cpu,
        with_idle_us=busy_s / tasks * 1e6,
        task_us=(busy_s - idle_cpu * whole_s) / tasks * 1e6,
        tasks_per_s=tasks / elapsed_s,
        tasks_per_frame=(sent - sent_before) / (frames - frames_before),
        replicas=len(roles) - roles.count("worker"),
        wrong=wrong,
    )


def report(rounds: list[list[LeaderCost]], tasks: int, secure: bool = False) -> Report:
    """Rows for each number of stubs; the ratios are to the first of them, in the same round."""
    rows: list[ReportRow] = []
    ratios: dict[int, list[float]] = {}
    for same in zip(*rounds, strict=True):
        name = f"{same[0].stubs} stub{'s' if same[0].stubs > 1 else ''}"
        ratio = [cost.task_us / costs[0].task_us for cost, costs in zip(same, rounds, strict=True)]
        ratios[same[0].stubs] = ratio
        frames = f"{median([cost.tasks_per_frame for cost in same]):.1f} tasks a frame"
        with_idle = f"{median([cost.with_idle_us for cost in same]):.1f} us with heartbeats and hellos"
        rows += [
            ReportRow(f"{name}: leader CPU a task", f"{median([cost.task_us for cost in same]):.1f} us", with_idle),
            ReportRow(
                f"{name}: leader idle, CPU", f"{100 * median([cost.idle_cpu for cost in same]):.1f} %", "of one core"
            ),
            ReportRow(
                f"{name}: tasks/s", f"{median([cost.tasks_per_s for cost in same]):,.0f}", f"{tasks:,}; {frames}"
            ),
            ReportRow(f"{name}: ratio", f"{median(ratio):.2f}", ", ".join(f"{value:.2f}" for value in ratio)),
        ]
    costs = [cost for same in rounds for cost in same]
    wrong = sum(cost.wrong for cost in costs)
    fewest, most = rounds[0][0].stubs, rounds[0][-1].stubs
    return Report(
        verb="stub-nodes",
        journal=JOURNAL,
        rows=rows,
        checks=[
            Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else ""),
            Check("no stub replicates the log", not any(cost.replicas for cost in costs)),
            Check(
                f"a task costs the leader at most {RATIO_LIMIT:g} times as much with {most} stubs as with {fewest}",
                median(ratios[most]) <= RATIO_LIMIT,
                is_figure=True,
            ),
            Check(
                f"nor less than 1/{RATIO_LIMIT:g} as much, which no leader can do: idleness was measured wrongly",
                median(ratios[most]) >= 1 / RATIO_LIMIT,
                is_figure=True,
            ),
        ],
        details={"tasks": tasks, "rounds": [[asdict(cost) for cost in same] for same in rounds], "ratios": ratios},
        secure=secure,
    )
