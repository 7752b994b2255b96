"""What safety costs: one voter and three, with each journal, beside the raw floor.

The clusters run one after the other, for three idle nodes would take their share of the machine; the floor is measured
anew with each, and each ratio is to its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from paceline.client import Cluster
from paceline_bench import latency, throughput
from paceline_bench.floor import Floor
from paceline_bench.report import Check, Report, Row, microseconds
from paceline_bench.stats import median, summarize

VOTERS = (1, 3)
JOURNALS = ("memory", "os", "fsync")
WARM_UP = 200


@dataclass(frozen=True, slots=True)
class Cost:
    """One cluster: seconds, and tasks a second by ``map``, each the median of its rounds."""

    voters: int
    journal: str
    p50_s: float
    p99_s: float
    floor_p50_s: float
    tasks_per_s: float
    wrong: int


def run(samples: int, tasks: int, rounds: int) -> Report:
    """``samples`` tasks one at a time and ``tasks`` in batches, in each of ``rounds``."""
    costs = [measure(voters, journal, samples, tasks, rounds) for voters in VOTERS for journal in JOURNALS]
    return report(costs, samples, tasks, rounds)


def measure(voters: int, journal: str, samples: int, tasks: int, rounds: int) -> Cost:
    p50s, p99s, floors, rates, wrong = [], [], [], [], 0
    with (
        Cluster.local("paceline_bench.tasks", nodes=voters, workers=1, journal=journal) as cluster,
        cluster.client() as client,
        Floor(hops=4) as floor,
    ):
        latency.measure(client, WARM_UP)
        for number in range(rounds):
            floors.append(summarize(floor.measure(samples)).p50)
            durations_s, wrong_here = latency.measure(client, samples)
            summary = summarize(durations_s)
            p50s.append(summary.p50)
            p99s.append(summary.p99)
            elapsed_s, wrong_in_map = throughput.by_map(client, range(number * tasks, (number + 1) * tasks))
            rates.append(tasks / elapsed_s)
            wrong += wrong_here + wrong_in_map
    return Cost(voters, journal, median(p50s), median(p99s), median(floors), median(rates), wrong)


def report(costs: list[Cost], samples: int, tasks: int, rounds: int) -> Report:
    base = next(cost for cost in costs if (cost.voters, cost.journal) == (1, "memory"))
    rows = []
    for cost in costs:
        name = f"{cost.voters} voter{'s' if cost.voters > 1 else ''}, {cost.journal}"
        ratio, to_base = cost.p50_s / cost.floor_p50_s, cost.p50_s / base.p50_s
        note = f"{ratio:.2f} times the floor of {microseconds(cost.floor_p50_s)}, {to_base:.2f} times 1 voter, memory"
        rows.append(Row(f"{name}: p50", microseconds(cost.p50_s), note))
        rows.append(Row(f"{name}: p99", microseconds(cost.p99_s)))
        rows.append(Row(f"{name}: map, tasks/s", f"{cost.tasks_per_s:,.0f}"))
    wrong = sum(cost.wrong for cost in costs)
    return Report(
        verb="durability",
        journal="each",
        rows=rows,
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        details={
            "samples": samples,
            "tasks": tasks,
            "rounds": rounds,
            "clusters": [asdict(cost) for cost in costs],
        },
    )
