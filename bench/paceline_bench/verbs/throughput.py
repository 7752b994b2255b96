"""How many tasks that do nothing one client gets through in a second, by ``map`` and by ``submit``.

The two take turns. Arguments are distinct and every result is compared with its own argument.
"""

from __future__ import annotations

import time

from paceline.client import Client, NamedTask
from paceline.local import Cluster
from paceline.worker.registry import Task
from paceline_bench.bodies.tasks import noop
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow
from paceline_bench.report.stats import median

JOURNAL = "memory"
WARM_UP = 2_000


def run(tasks: int, repeats: int, workers: int, secure: bool = False) -> Report:
    rates: dict[str, list[float]] = {"map": [], "submit": []}
    wrong = 0
    with (
        Cluster.local(
            "paceline_bench.bodies.tasks", nodes=1, workers=workers, journal=JOURNAL, secure=secure
        ) as cluster,
        cluster.client() as client,
    ):
        by_map(client, range(WARM_UP))
        for repeat in track(range(repeats), "throughput: repeats"):
            numbers = range(repeat * tasks, (repeat + 1) * tasks)
            for name, measure in (("map", by_map), ("submit", by_submit)):
                elapsed_s, wrong_here = measure(client, numbers)
                rates[name].append(tasks / elapsed_s)
                wrong += wrong_here
    return report(rates, tasks, workers, wrong, secure)


def by_map(client: Client, numbers: range, task: Task[..., int] | NamedTask | str = noop) -> tuple[float, int]:
    """(seconds, wrong results) of a task that gives back its argument."""
    started_s = time.perf_counter()
    results = list(client.map(task, numbers))
    elapsed_s = time.perf_counter() - started_s
    return elapsed_s, count_wrong(numbers, results)


def by_submit(client: Client, numbers: range, task: Task[..., int] | NamedTask | str = noop) -> tuple[float, int]:
    """(seconds, wrong results) of a task that gives back its argument."""
    started_s = time.perf_counter()
    futures = [client.submit(task, number) for number in numbers]
    results = [future.result(timeout=120) for future in futures]
    elapsed_s = time.perf_counter() - started_s
    return elapsed_s, count_wrong(numbers, results)


def count_wrong(numbers: range, results: list[int]) -> int:
    missing = abs(len(numbers) - len(results))
    return missing + sum(number != result for number, result in zip(numbers, results, strict=False))


def report(rates: dict[str, list[float]], tasks: int, workers: int, wrong: int, secure: bool = False) -> Report:
    return Report(
        verb="throughput",
        journal=JOURNAL,
        rows=[
            ReportRow(
                f"{name}, tasks/s, median",
                f"{median(values):,.0f}",
                f"{tasks:,} tasks, workers: {workers}; " + ", ".join(f"{value:,.0f}" for value in values),
            )
            for name, values in rates.items()
        ],
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        details={
            "tasks": tasks,
            "workers": workers,
            "tasks_per_s": rates,
            "tasks_per_s_median": {name: median(values) for name, values in rates.items()},
        },
        secure=secure,
        headline=ReportRow("tasks a second, no-ops of one client", f"{max(map(median, rates.values())):,.0f}"),
    )
