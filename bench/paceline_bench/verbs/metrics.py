"""What it costs to be watched: latency with and without metrics, and how soon they come under full load.

Two clusters of one node are alive for the whole run and take turns, round by round. One serves metrics, is scraped each
second, and runs tasks of a thousand names in turn; the other serves none and runs one name. Both are on the same
processors, their web process too. The ratio of the p50 is taken within a round, that of the p99 of all rounds together,
since one has too few samples for it. Then the first is given all that a client can send, and is scraped more often.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from paceline.client import Client, NamedTask
from paceline.local import Cluster
from paceline_bench.bodies.many_tasks import NAMES
from paceline_bench.harness.placement import placements
from paceline_bench.harness.scraper import Scraper
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.picture import distributions
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, duration, microseconds
from paceline_bench.report.stats import median
from paceline_bench.verbs.throughput import by_map

JOURNAL = "memory"
SCRAPE_EVERY_S = 1.0
LOADED_SCRAPE_EVERY_S = 0.2
WARM_UP = 500
BURST_TASKS = 20_000
RATIO_LIMIT = 1.1
ANSWER_LIMIT_S = 0.1


def run(seconds: float, rounds: int) -> Report:
    """``seconds`` of each in a round, and of the full load."""
    with (
        Cluster.local("paceline_bench.bodies.many_tasks", workers=1, journal=JOURNAL, metrics=True) as watched,
        Cluster.local("paceline_bench.bodies.many_tasks", workers=1, journal=JOURNAL) as unwatched,
        watched.client() as watched_client,
        unwatched.client() as unwatched_client,
    ):
        many = [NamedTask(name) for name in NAMES]
        address = watched.nodes[0].metrics_address
        places = placements()
        places[0].apply([watched.nodes[0].pid, unwatched.nodes[0].pid])
        measure(watched_client, many, 0.0, at_least=max(WARM_UP, len(many)))
        measure(unwatched_client, many[:1], 0.0, at_least=WARM_UP)
        with_metrics: list[LatencyHistogram] = []
        without: list[LatencyHistogram] = []
        answers_s: list[float] = []
        wrong = 0
        for number in track(range(rounds), "metrics: rounds"):
            for watch in (True, False) if number % 2 else (False, True):
                if watch:
                    with Scraper(address, SCRAPE_EVERY_S) as scraper:
                        durations_s, wrong_here = measure(watched_client, many, seconds)
                    answers_s += scraper.answers_s
                    with_metrics.append(LatencyHistogram(durations_s))
                else:
                    durations_s, wrong_here = measure(unwatched_client, many[:1], seconds)
                    without.append(LatencyHistogram(durations_s))
                wrong += wrong_here
        places[-1].apply([watched.nodes[0].pid])
        rate_per_s, loaded_s, wrong_here = full_load(watched_client, many[0], address, seconds)
    return report(with_metrics, without, answers_s, loaded_s, rate_per_s, wrong + wrong_here)


def measure(client: Client, tasks: Sequence[NamedTask], seconds: float, at_least: int = 1) -> tuple[list[float], int]:
    """Round trips one after another, of each task in turn, for so long. Seconds of each, and wrong results."""
    clock = time.perf_counter
    durations_s: list[float] = []
    wrong = number = 0
    end_s = clock() + seconds
    while number < at_least or clock() < end_s:
        task = tasks[number % len(tasks)]
        started_s = clock()
        result = client.submit(task, number).result(timeout=30)
        durations_s.append(clock() - started_s)
        wrong += result != number
        number += 1
    return durations_s, wrong


def full_load(client: Client, task: NamedTask, address: str, seconds: float) -> tuple[float, list[float], int]:
    """(tasks a second, seconds of each answer meanwhile, wrong results)"""
    numbers = range(BURST_TASKS)
    wrong = done = 0
    with Scraper(address, LOADED_SCRAPE_EVERY_S) as scraper:
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            _, wrong_here = by_map(client, numbers, task)
            wrong += wrong_here
            done += len(numbers)
        elapsed_s = time.perf_counter() - started_s
    return done / elapsed_s, scraper.answers_s, wrong


def report(
    with_metrics: Sequence[LatencyHistogram],
    without: Sequence[LatencyHistogram],
    answers_s: Sequence[float],
    loaded_s: Sequence[float],
    rate_per_s: float,
    wrong: int,
) -> Report:
    """Rows, and the checks of the two limits."""
    mine, theirs = LatencyHistogram.merged(with_metrics), LatencyHistogram.merged(without)
    ratios = [watched.p50_s / unwatched.p50_s for watched, unwatched in zip(with_metrics, without, strict=True)]
    p50, p99 = median(ratios), mine.p99_s / theirs.p99_s
    slowest_s = max(loaded_s)
    rows = [
        ReportRow(
            "with metrics, p50",
            microseconds(mine.p50_s),
            f"{mine.count:,} tasks of {len(NAMES):,} names, scraped each second",
        ),
        ReportRow("without, p50", microseconds(theirs.p50_s), f"{theirs.count:,} tasks of one name, no metrics"),
        ReportRow("ratio of the p50", f"{p50:.2f}", ", ".join(f"{ratio:.2f}" for ratio in ratios)),
        ReportRow("with metrics, p99", microseconds(mine.p99_s)),
        ReportRow("without, p99", microseconds(theirs.p99_s)),
        ReportRow("ratio of the p99", f"{p99:.2f}", "of all rounds together"),
        ReportRow("answer, one task at a time", duration(max(answers_s)), f"slowest of {len(answers_s)}"),
        ReportRow(
            "answer, full load", duration(slowest_s), f"slowest of {len(loaded_s)}, at {rate_per_s:,.0f} tasks/s"
        ),
    ]
    return Report(
        verb="metrics",
        journal=JOURNAL,
        rows=rows,
        checks=[
            Check("every result is right", wrong == 0, f"{wrong} wrong"),
            Check(
                f"p50 within {RATIO_LIMIT} of that without metrics", p50 <= RATIO_LIMIT, f"{p50:.3f}", is_figure=True
            ),
            Check(
                f"p99 within {RATIO_LIMIT} of that without metrics", p99 <= RATIO_LIMIT, f"{p99:.3f}", is_figure=True
            ),
            Check(
                f"/metrics within {duration(ANSWER_LIMIT_S)} under full load",
                slowest_s <= ANSWER_LIMIT_S,
                duration(slowest_s),
                is_figure=True,
            ),
        ],
        latencies=[mine.latency("with metrics"), theirs.latency("without")],
        pictures=[distributions("One task at a time", {"with metrics": mine, "without": theirs})],
        details={
            "with": [{"p50_s": each.p50_s, "p99_s": each.p99_s} for each in with_metrics],
            "without": [{"p50_s": each.p50_s, "p99_s": each.p99_s} for each in without],
            "answers_s": list(answers_s),
            "answers_under_full_load_s": list(loaded_s),
            "tasks_per_s": rate_per_s,
        },
    )
