"""From submit to result, one task at a time, and the floor of the same hops in the same minutes.

Both are alive for the whole run and take turns, round by round, so that what else the machine does falls on both. They
run on the same processors (``placement.py``), and the ratio is taken within a round.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from paceline.client import Client, Cluster
from paceline_bench.floor import Floor
from paceline_bench.placement import placements
from paceline_bench.report import Check, Report, Row, microseconds
from paceline_bench.stats import median, summarize
from paceline_bench.tasks import noop

JOURNAL = "memory"
WARM_UP = 200
WARM_UP_PLACED = 50


@dataclass
class Rounds:
    """Seconds of each round trip, by round, in one placement."""

    ours_s: list[list[float]] = field(default_factory=list)
    floor_s: list[list[float]] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """p50 over p50, of each round."""
        return [
            summarize(mine).p50 / summarize(theirs).p50 for mine, theirs in zip(self.ours_s, self.floor_s, strict=True)
        ]


def run(samples: int, rounds: int) -> Report:
    """``samples`` round trips of each in each placement, spread over ``rounds``."""
    per_round = max(1, samples // rounds)
    places = placements()
    measured = {place.name: Rounds() for place in places}
    wrong = 0
    with (
        Cluster.local("paceline_bench.tasks", nodes=1, workers=1, journal=JOURNAL) as cluster,
        cluster.client() as client,
        Floor(hops=4) as floor,
    ):
        measure(client, WARM_UP)
        for _ in range(rounds):
            for place in places:
                place.apply([cluster.nodes[0].pid, *floor.pids])
                floor.measure(WARM_UP_PLACED)
                measured[place.name].floor_s.append(floor.measure(per_round))
                measure(client, WARM_UP_PLACED)
                durations_s, wrong_here = measure(client, per_round)
                measured[place.name].ours_s.append(durations_s)
                wrong += wrong_here
        places[-1].apply([])
    return report(measured, wrong)


def measure(client: Client, samples: int) -> tuple[list[float], int]:
    """Seconds of each round trip, and how many results were wrong."""
    clock = time.perf_counter
    durations_s, wrong = [], 0
    for number in range(samples):
        started_s = clock()
        result = client.submit(noop, number).result(timeout=30)
        durations_s.append(clock() - started_s)
        wrong += result != number
    return durations_s, wrong


SHOWN_AS = {"apart": "node and worker on one core, client on another", "anywhere": "wherever the kernel puts them"}


def report(measured: dict[str, Rounds], wrong: int) -> Report:
    """Rows for each placement."""
    rows: list[Row] = []
    details: dict[str, object] = {}
    for name, rounds in measured.items():
        ours = summarize([duration for part in rounds.ours_s for duration in part])
        floor = summarize([duration for part in rounds.floor_s for duration in part])
        ratios = rounds.ratios()
        rows += [
            Row(f"{name}: submit to result, p50", microseconds(ours.p50), f"{ours.count:,} tasks; {SHOWN_AS[name]}"),
            Row(f"{name}: submit to result, p99", microseconds(ours.p99)),
            Row(f"{name}: raw pyzmq, 4 hops, p50", microseconds(floor.p50), "client tcp, worker ipc, same rounds"),
            Row(f"{name}: raw pyzmq, 4 hops, p99", microseconds(floor.p99)),
            Row(f"{name}: ratio of the p50", f"{median(ratios):.2f}", ", ".join(f"{ratio:.2f}" for ratio in ratios)),
        ]
        details[name] = {
            "p50_s": ours.p50,
            "p99_s": ours.p99,
            "floor_p50_s": floor.p50,
            "floor_p99_s": floor.p99,
            "ratio_per_round": ratios,
            "ratio_median": median(ratios),
            "samples": ours.count,
        }
    return Report(
        verb="latency",
        journal=JOURNAL,
        rows=rows,
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        details=details,
    )
