"""What is lost by sharing work out: tasks of known length, as many for each worker, on more and more workers.

Each task sleeps for 10 ms, so one worker needs a second for its 100, and so would any number of workers if sharing out
cost nothing. Efficiency is that second over the time that it took, from the first submit to the last result. One worker
shows what a task costs beside its body; where the line falls from there, the scheduler or the machine is at its limit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.client import Client
from paceline.local import Cluster
from paceline_bench.bodies.tasks import nap
from paceline_bench.report.picture import Axis, Picture, Series
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, milliseconds
from paceline_bench.report.stats import median

JOURNAL = "memory"
BODY_S = 0.01
TASKS_PER_WORKER = 100
IDEAL_S = TASKS_PER_WORKER * BODY_S
WARM_UP_PER_WORKER = 2
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Scale:
    """One number of workers: the makespan of each repeat, in seconds."""

    workers: int
    makespans_s: Sequence[float]
    wrong: int

    @property
    def efficiencies(self) -> list[float]:
        return [IDEAL_S / makespan_s for makespan_s in self.makespans_s]

    @property
    def tasks_per_s(self) -> float:
        return self.workers * TASKS_PER_WORKER / median(self.makespans_s)


def counts(most: int) -> list[int]:
    """The powers of two up to ``most``."""
    return [1 << power for power in range(most.bit_length())]


def run(most: int, repeats: int, secure: bool = False) -> Report:
    return report([measure(workers, repeats, secure) for workers in track(counts(most), "scaling: workers")], secure)


def measure(workers: int, repeats: int, secure: bool = False) -> Scale:
    makespans_s, wrong = [], 0
    with (
        Cluster.local(
            "paceline_bench.bodies.tasks", nodes=1, workers=workers, journal=JOURNAL, secure=secure
        ) as cluster,
        cluster.client() as client,
    ):
        makespan_s(client, range(workers * WARM_UP_PER_WORKER))
        for repeat in range(repeats):
            tasks = workers * TASKS_PER_WORKER
            elapsed_s, wrong_here = makespan_s(client, range(repeat * tasks, (repeat + 1) * tasks))
            makespans_s.append(elapsed_s)
            wrong += wrong_here
    return Scale(workers, makespans_s, wrong)


def makespan_s(client: Client, numbers: range) -> tuple[float, int]:
    """Seconds from the first submit to the last result, and how many results were wrong."""
    started_s = time.perf_counter()
    futures = [client.submit(nap, number, BODY_S) for number in numbers]
    results = [future.result(TIMEOUT_S) for future in futures]
    elapsed_s = time.perf_counter() - started_s
    return elapsed_s, sum(result != number for result, number in zip(results, numbers, strict=True))


def report(scales: Sequence[Scale], secure: bool = False) -> Report:
    wrong = sum(scale.wrong for scale in scales)
    rows = []
    for scale in scales:
        low, high = min(scale.efficiencies), max(scale.efficiencies)
        note = (
            f"{median(scale.efficiencies):.1%} of the ideal {milliseconds(IDEAL_S)}, {low:.1%} to {high:.1%}; "
            f"{scale.tasks_per_s:,.0f} tasks/s"
        )
        name = f"{scale.workers} worker{'s' if scale.workers > 1 else ''}, makespan"
        rows.append(ReportRow(name, milliseconds(median(scale.makespans_s)), note))
    return Report(
        verb="scaling",
        journal=JOURNAL,
        rows=rows,
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        pictures=pictures(scales),
        secure=secure,
        details={
            "body_s": BODY_S,
            "tasks_per_worker": TASKS_PER_WORKER,
            "scales": [
                {
                    "workers": scale.workers,
                    "makespans_s": list(scale.makespans_s),
                    "efficiency": median(scale.efficiencies),
                    "tasks_per_s": scale.tasks_per_s,
                }
                for scale in scales
            ],
        },
    )


def pictures(scales: Sequence[Scale]) -> list[Picture]:
    workers = [float(scale.workers) for scale in scales]
    ideal_per_s = [scale.workers / BODY_S for scale in scales]
    axis = Axis("workers", "log2")
    note = f"{TASKS_PER_WORKER} tasks of {milliseconds(BODY_S)} for each worker, {len(scales[0].makespans_s)} times."
    return [
        Picture(
            "Efficiency against workers",
            axis,
            Axis("ideal / actual makespan", unit="percent"),
            [
                Series("ideal", workers, [1.0 for _ in scales], points=False, ideal=True),
                Series("median", workers, [median(scale.efficiencies) for scale in scales]),
            ],
            note,
        ),
        Picture(
            "Throughput against workers",
            axis,
            Axis("tasks/s", "log"),
            [
                Series("ideal", workers, ideal_per_s, points=False, ideal=True),
                Series("median", workers, [scale.tasks_per_s for scale in scales]),
            ],
            note,
        ),
    ]
