"""From submit to result, one task at a time, and the floor of the same hops in the same minutes.

Both are alive for the whole run and take turns, round by round, so that what else the machine does falls on both. The
ratio is taken within a round.
"""

from __future__ import annotations

import time

from paceline.client import Client, Cluster
from paceline_bench.floor import Floor
from paceline_bench.report import Check, Report, Row, microseconds
from paceline_bench.stats import median, summarize
from paceline_bench.tasks import noop

JOURNAL = "memory"
WARM_UP = 200


def run(samples: int, rounds: int) -> Report:
    """``samples`` round trips of each, spread over ``rounds``."""
    per_round = max(1, samples // rounds)
    ours_s: list[list[float]] = []
    floor_s: list[list[float]] = []
    wrong = 0
    with (
        Cluster.local("paceline_bench.tasks", nodes=1, workers=1, journal=JOURNAL) as cluster,
        cluster.client() as client,
        Floor(hops=4) as floor,
    ):
        measure(client, WARM_UP)
        for _ in range(rounds):
            floor_s.append(floor.measure(per_round))
            durations_s, wrong_here = measure(client, per_round)
            ours_s.append(durations_s)
            wrong += wrong_here
    return report(ours_s, floor_s, wrong)


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


def report(ours_s: list[list[float]], floor_s: list[list[float]], wrong: int) -> Report:
    ours = summarize([duration for part in ours_s for duration in part])
    floor = summarize([duration for part in floor_s for duration in part])
    ratios = [summarize(mine).p50 / summarize(theirs).p50 for mine, theirs in zip(ours_s, floor_s, strict=True)]
    return Report(
        verb="latency",
        journal=JOURNAL,
        rows=[
            Row("submit to result, p50", microseconds(ours.p50), f"{ours.count:,} tasks, one at a time"),
            Row("submit to result, p99", microseconds(ours.p99)),
            Row("raw pyzmq, 4 hops, p50", microseconds(floor.p50), "client tcp, worker ipc, same rounds"),
            Row("raw pyzmq, 4 hops, p99", microseconds(floor.p99)),
            Row("ratio of the p50, median of rounds", f"{median(ratios):.2f}", ", ".join(f"{r:.2f}" for r in ratios)),
        ],
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        details={
            "p50_s": ours.p50,
            "p99_s": ours.p99,
            "floor_p50_s": floor.p50,
            "floor_p99_s": floor.p99,
            "ratio_per_round": ratios,
            "ratio_median": median(ratios),
            "samples": ours.count,
        },
    )
