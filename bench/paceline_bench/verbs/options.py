"""What each option costs a task that does nothing: one at a time, and many at once.

All are of one cluster in one run and take turns, round by round, and each is held against a task that asks for nothing
in the same round. An option that keeps more of a task, or has it told first, costs what that takes; a task without it
pays nothing, which ``latency`` and ``throughput`` show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from paceline.client import Client
from paceline.local import Cluster
from paceline_bench.bodies.tasks import noop
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, microseconds
from paceline_bench.report.stats import median

JOURNAL = "memory"
WARM_UP = 20
NOTHING = "nothing"
FAR_S = 3_600.0

Chosen = Callable[[int], Any]
"""The number of a call -> what is submitted."""


def _always(**options: Any) -> Chosen:
    chosen = noop.options(**options)
    return lambda _number: chosen


OPTIONS: dict[str, Chosen] = {
    NOTHING: lambda _number: noop,
    "priority": _always(priority=7),
    "max_attempts": _always(max_attempts=5),
    "delivery": _always(delivery="at_most_once"),
    "confirm": _always(confirm="committed"),
    "durability": _always(durability="none"),
    "delay of 1 ms": _always(delay=0.001),
    "expires": _always(expires=FAR_S),
    "deadline": _always(deadline=FAR_S),
    "retries": _always(retries=3),
    "time_limit": _always(time_limit=FAR_S),
    "soft_time_limit": _always(soft_time_limit=FAR_S),
    "cancel_raises": _always(cancel_raises=True),
    "result_ttl": _always(result_ttl=60),
    "keep_dead": _always(keep_dead=True),
    "on_client_lost": _always(on_client_lost="cancel"),
    "queue": _always(queue="other"),
    "fair_key": lambda number: noop.options(fair_key=f"tenant {number}"),
    "needs": _always(needs={"memory_mb": 1}),
    "affinity": _always(affinity="model"),
    "max_running": _always(max_running=1_000_000, limit_key="all"),
    "max_running=1": _always(max_running=1, limit_key="one"),
    "idempotency_key": lambda number: noop.options(idempotency_key=f"order {number}"),
}


def run(samples: int, tasks: int, rounds: int) -> Report:
    """``samples`` round trips of each option, and ``tasks`` of each at once, both spread over ``rounds``."""
    trips: dict[str, list[LatencyHistogram]] = {name: [] for name in OPTIONS}
    rates: dict[str, list[float]] = {name: [] for name in OPTIONS}
    wrong, number = 0, 0
    a_round, at_once = max(1, samples // rounds), max(1, tasks // rounds)
    with (
        Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, journal=JOURNAL) as cluster,
        cluster.client() as client,
    ):
        for _ in track(range(rounds), "options: rounds"):
            for name, chosen in OPTIONS.items():
                wrong += _one_by_one(client, chosen, range(number, number + WARM_UP))[1]
                number += WARM_UP
                durations_s, wrong_here = _one_by_one(client, chosen, range(number, number + a_round))
                number += a_round
                elapsed_s, wrong_at_once = _at_once(client, chosen, range(number, number + at_once))
                number += at_once
                trips[name].append(LatencyHistogram(durations_s))
                rates[name].append(at_once / elapsed_s)
                wrong += wrong_here + wrong_at_once
    p50_ratios = {
        name: median([mine.p50_s / base.p50_s for mine, base in zip(trips[name], trips[NOTHING], strict=True)])
        for name in OPTIONS
    }
    rate_ratios = {
        name: median([mine / base for mine, base in zip(rates[name], rates[NOTHING], strict=True)]) for name in OPTIONS
    }
    return Report(
        verb="options",
        journal=JOURNAL,
        rows=[
            ReportRow(
                name,
                f"{p50_ratios[name]:.2f}",
                f"p50 {microseconds(median([each.p50_s for each in trips[name]]))}; at once "
                f"{rate_ratios[name]:.2f}, {median(rates[name]):,.0f} tasks/s",
            )
            for name in OPTIONS
        ],
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        details={"p50_ratio": p50_ratios, "rate_ratio": rate_ratios},
    )


def _one_by_one(client: Client, chosen: Chosen, numbers: range) -> tuple[list[float], int]:
    """Seconds of each round trip, and how many results were wrong."""
    clock = time.perf_counter
    durations_s, wrong = [], 0
    for number in numbers:
        target = chosen(number)
        started_s = clock()
        result = client.submit(target, number).result(timeout=30)
        durations_s.append(clock() - started_s)
        wrong += result != number
    return durations_s, wrong


def _at_once(client: Client, chosen: Chosen, numbers: range) -> tuple[float, int]:
    """Seconds until all have ended, and how many results were wrong."""
    targets = [chosen(number) for number in numbers]
    started_s = time.perf_counter()
    futures = [client.submit(target, number) for target, number in zip(targets, numbers, strict=True)]
    results = [future.result(timeout=120) for future in futures]
    elapsed_s = time.perf_counter() - started_s
    return elapsed_s, sum(result != number for result, number in zip(results, numbers, strict=True))
