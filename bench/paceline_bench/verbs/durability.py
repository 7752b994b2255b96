"""What safety costs: one voter and three, with each journal, beside the raw floor.

The clusters run one after the other, for three idle nodes would take their share of the machine; the floor is measured
anew with each, and each ratio is to its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from paceline.local import Cluster
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.picture import distributions
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, microseconds
from paceline_bench.report.stats import median
from paceline_bench.verbs import latency, throughput
from paceline_bench.verbs.floor import Floor

VOTERS = (1, 3)
JOURNALS = ("memory", "os", "fsync")
WARM_UP = 200


@dataclass(frozen=True, slots=True)
class JournalCost:
    """One cluster: its round trips and those of the floor, and tasks a second by ``map``, the median of the rounds."""

    voters: int
    journal: str
    ours: LatencyHistogram
    floor: LatencyHistogram
    tasks_per_s: float
    wrong: int

    @property
    def name(self) -> str:
        return f"{self.voters} voter{'s' if self.voters > 1 else ''}, {self.journal}"


def run(samples: int, tasks: int, rounds: int) -> Report:
    """``samples`` tasks one at a time and ``tasks`` in batches, in each of ``rounds``."""
    kinds = [(voters, journal) for voters in VOTERS for journal in JOURNALS]
    costs = [measure(*kind, samples, tasks, rounds) for kind in track(kinds, "durability: clusters")]
    return report(costs, samples, tasks, rounds)


def measure(voters: int, journal: str, samples: int, tasks: int, rounds: int) -> JournalCost:
    ours, raw, rates, wrong = [], [], [], 0
    with (
        Cluster.local("paceline_bench.bodies.tasks", nodes=voters, workers=1, journal=journal) as cluster,
        cluster.client() as client,
        Floor(hops=4) as floor,
    ):
        latency.measure(client, WARM_UP)
        for number in range(rounds):
            raw.append(LatencyHistogram(floor.measure(samples)))
            durations_s, wrong_here = latency.measure(client, samples)
            ours.append(LatencyHistogram(durations_s))
            elapsed_s, wrong_in_map = throughput.by_map(client, range(number * tasks, (number + 1) * tasks))
            rates.append(tasks / elapsed_s)
            wrong += wrong_here + wrong_in_map
    return JournalCost(
        voters, journal, LatencyHistogram.merged(ours), LatencyHistogram.merged(raw), median(rates), wrong
    )


def report(costs: list[JournalCost], samples: int, tasks: int, rounds: int) -> Report:
    base = next(cost for cost in costs if (cost.voters, cost.journal) == (1, "memory"))
    rows = []
    for cost in costs:
        p50_s, floor_s = cost.ours.p50_s, cost.floor.p50_s
        note = (
            f"{p50_s / floor_s:.2f} times the floor of {microseconds(floor_s)}, "
            f"{p50_s / base.ours.p50_s:.2f} times 1 voter, memory"
        )
        rows.append(ReportRow(f"{cost.name}: p50", microseconds(p50_s), note))
        rows.append(ReportRow(f"{cost.name}: map, tasks/s", f"{cost.tasks_per_s:,.0f}"))
    wrong = sum(cost.wrong for cost in costs)
    return Report(
        verb="durability",
        journal="each",
        rows=rows,
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        latencies=[cost.ours.latency(cost.name) for cost in costs],
        pictures=[distributions("One task at a time", {cost.name: cost.ours for cost in costs})],
        details={
            "samples": samples,
            "tasks": tasks,
            "rounds": rounds,
            "clusters": [
                {
                    "voters": cost.voters,
                    "journal": cost.journal,
                    "p50_s": cost.ours.p50_s,
                    "p99_s": cost.ours.p99_s,
                    "floor_p50_s": cost.floor.p50_s,
                    "tasks_per_s": cost.tasks_per_s,
                    "wrong": cost.wrong,
                }
                for cost in costs
            ],
        },
    )
