"""From submit to result, one task at a time, on the leader's own node and on another, and the floor of the same hops in
the same minutes.

All are alive for the whole run and take turns, round by round, so that what else the machine does falls on all. They
run on the same processors (``placement.py``), and the ratio is taken within a round. A task for another node has two
hops more, between the nodes; the floor of those hops is not measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from paceline.client import Client
from paceline.local import Cluster
from paceline_bench.bodies.tasks import noop
from paceline_bench.harness.elsewhere import tasks_elsewhere
from paceline_bench.harness.placement import placements
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.latency import Latency
from paceline_bench.report.picture import Picture, distributions
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, microseconds
from paceline_bench.report.stats import median
from paceline_bench.verbs.floor import Floor

JOURNAL = "memory"
WARM_UP = 200
WARM_UP_PLACED = 50


@dataclass
class Rounds:
    """The round trips of each round, in one placement."""

    ours: list[LatencyHistogram] = field(default_factory=list)
    floor: list[LatencyHistogram] = field(default_factory=list)
    elsewhere: list[LatencyHistogram] = field(default_factory=list)  # of tasks for another node than the leader's

    def ratios(self) -> list[float]:
        """p50 over p50, of each round."""
        return [mine.p50_s / theirs.p50_s for mine, theirs in zip(self.ours, self.floor, strict=True)]

    def elsewhere_ratios(self) -> list[float]:
        """p50 of tasks for another node over p50 of those for the leader's, of each round."""
        return [there.p50_s / here.p50_s for there, here in zip(self.elsewhere, self.ours, strict=True)]


def run(samples: int, rounds: int, secure: bool = False) -> Report:
    """``samples`` round trips of each in each placement, spread over ``rounds``."""
    per_round = max(1, samples // rounds)
    places = placements()
    measured = {place.name: Rounds() for place in places}
    wrong = 0
    with (
        Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, journal=JOURNAL, secure=secure) as cluster,
        cluster.client() as client,
        tasks_elsewhere(JOURNAL, secure=secure) as other_cluster,
        other_cluster.client() as other_client,
        Floor(hops=4, secure=secure) as floor,
    ):
        measure(client, WARM_UP)
        measure(other_client, WARM_UP)
        pids = [node.pid for node in (*cluster.nodes, *other_cluster.nodes)]
        for _ in track(range(rounds), "latency: rounds"):
            for place in places:
                place.apply([*pids, *floor.pids])
                floor.measure(WARM_UP_PLACED)
                measured[place.name].floor.append(LatencyHistogram(floor.measure(per_round)))
                rounds_here = measured[place.name]
                for each, histograms in ((client, rounds_here.ours), (other_client, rounds_here.elsewhere)):
                    measure(each, WARM_UP_PLACED)
                    durations_s, wrong_here = measure(each, per_round)
                    histograms.append(LatencyHistogram(durations_s))
                    wrong += wrong_here
        places[-1].apply([])
    return report(measured, wrong, secure)


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


SHOWN_AS = {"apart": "nodes and workers on one core, client on another", "anywhere": "wherever the kernel puts them"}


def report(measured: dict[str, Rounds], wrong: int, secure: bool = False) -> Report:
    """Rows for each placement."""
    rows: list[ReportRow] = []
    latencies: list[Latency] = []
    pictures: list[Picture] = []
    details: dict[str, object] = {}
    headline: ReportRow | None = None
    for name, rounds in measured.items():
        ours, floor = LatencyHistogram.merged(rounds.ours), LatencyHistogram.merged(rounds.floor)
        elsewhere = LatencyHistogram.merged(rounds.elsewhere)
        ratios, elsewhere_ratios = rounds.ratios(), rounds.elsewhere_ratios()
        rows += [
            ReportRow(
                f"{name}: submit to result, p50", microseconds(ours.p50_s), f"{ours.count:,} tasks; {SHOWN_AS[name]}"
            ),
            ReportRow(
                f"{name}: raw pyzmq, 4 hops, p50", microseconds(floor.p50_s), "client tcp, worker ipc, same rounds"
            ),
            ReportRow(
                f"{name}: ratio of the p50", f"{median(ratios):.2f}", ", ".join(f"{ratio:.2f}" for ratio in ratios)
            ),
            ReportRow(
                f"{name}: on another node, p50",
                microseconds(elsewhere.p50_s),
                f"{elsewhere.count:,} tasks; the rows above are of the leader's own node",
            ),
            ReportRow(
                f"{name}: another node over the leader's, p50",
                f"{median(elsewhere_ratios):.2f}",
                ", ".join(f"{ratio:.2f}" for ratio in elsewhere_ratios),
            ),
        ]
        ratio = f"raw ZeroMQ over the same hops: {microseconds(floor.p50_s)}, in ratio {median(ratios):.2f}"
        headline = ReportRow("from submit to result, p50", microseconds(ours.p50_s), ratio)  # of the last placement
        latencies += [
            ours.latency(f"{name}: submit to result"),
            elsewhere.latency(f"{name}: submit to result, on another node"),
            floor.latency(f"{name}: raw pyzmq, 4 hops"),
        ]
        lines = {
            "paceline, submit to result": ours,
            "paceline, on another node": elsewhere,
            "raw pyzmq, the same hops": floor,
        }
        pictures.append(distributions(f"One task at a time: {SHOWN_AS[name]}", lines))
        details[name] = {
            "p50_s": ours.p50_s,
            "p99_s": ours.p99_s,
            "elsewhere_p50_s": elsewhere.p50_s,
            "elsewhere_p99_s": elsewhere.p99_s,
            "elsewhere_ratio_median": median(elsewhere_ratios),
            "floor_p50_s": floor.p50_s,
            "floor_p99_s": floor.p99_s,
            "ratio_per_round": ratios,
            "ratio_median": median(ratios),
            "samples": ours.count,
        }
    return Report(
        verb="latency",
        journal=JOURNAL,
        rows=rows,
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        latencies=latencies,
        pictures=pictures,
        details=details,
        secure=secure,
        headline=headline,
    )
