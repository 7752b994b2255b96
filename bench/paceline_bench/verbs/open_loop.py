"""Latency under a load that does not wait: tasks arrive as they would from many independent clients.

The load is that of ``load.py``: a Poisson process, and latencies from when a task was due. Unless rates are given they
are shares of what the same cluster, client and load generator get through when everything is due at once, measured
first. Bodies sleep; see ``tasks.nap``.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from paceline.client import Client, Future
from paceline.local import Cluster
from paceline_bench.bodies.tasks import nap, noop
from paceline_bench.harness.load import Load, poisson
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.latency import Latency
from paceline_bench.report.picture import Axis, Picture, Series, distributions
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, duration

JOURNAL = "memory"
SHARES = (0.5, 0.8, 0.95)
WARM_UP = 200
START_S = 0.01  # from the making of a schedule to its beginning
DRAIN_TIMEOUT_S = 60.0
ACHIEVED_AT_LEAST = 0.99
QUEUE_TASKS = 10  # fewer are no queue: a moment in which the machine does something else holds up as many
TASKS_MAX = 1_000_000
"""How many tasks one rate has at most, since each is kept until its rate is done. A higher rate is offered for a
shorter time."""
WIDE = 10  # rates further apart than that are drawn on a logarithmic axis


@dataclass(frozen=True, slots=True)
class Body:
    """How long a task takes its worker. ``capacity_tasks``: how many are due at once to measure the throughput."""

    name: str
    capacity_tasks: int
    short_s: float = 0.0
    long_s: float = 0.0
    long_share: float = 0.0

    def lengths_s(self, tasks: int, seed: int) -> list[float]:
        draw = random.Random(f"bodies {seed}").random
        return [self.long_s if draw() < self.long_share else self.short_s for _ in range(tasks)]


BODIES = {
    body.name: body
    for body in (
        Body("noop", 50_000),
        Body("1ms", 5_000, short_s=0.001),
        Body("bimodal", 3_000, short_s=0.001, long_s=0.1, long_share=0.01),
    )
}


@dataclass(frozen=True, slots=True)
class LoopSetup:
    """The settings that all rates share."""

    body: Body
    seconds: float
    seed: int
    workers: int
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of one rate. ``share``: the rate as a share of the throughput, if it was chosen so."""

    rate_per_s: float
    share: float | None
    tasks: int
    offered_per_s: float  # by the schedule that was drawn, which is the rate but for chance
    achieved_per_s: float
    late_tasks: int  # not done by the end
    short: LatencyHistogram
    long: LatencyHistogram
    behind: LatencyHistogram  # how late the sender was
    wrong: int

    @property
    def saturated(self) -> bool:
        too_few = self.achieved_per_s < ACHIEVED_AT_LEAST * self.offered_per_s
        return too_few and self.late_tasks >= QUEUE_TASKS

    @property
    def name(self) -> str:
        share = f" ({self.share:.0%})" if self.share is not None else ""
        return f"{self.rate_per_s:,.0f}/s{share}{', saturated' if self.saturated else ''}"


def run(rates: Sequence[float], setup: LoopSetup) -> Report:
    """``rates`` in tasks a second; empty: SHARES of the throughput."""
    trials: list[Trial] = []
    with (
        Cluster.local(
            "paceline_bench.bodies.tasks", nodes=1, workers=setup.workers, journal=JOURNAL, secure=setup.secure
        ) as cluster,
        cluster.client() as client,
    ):
        for number in range(WARM_UP):
            client.submit(noop, number).result(timeout=30)
        throughput_per_s, wrong = capacity(client, setup)
        chosen: list[tuple[float, float | None]] = [(rate_per_s, None) for rate_per_s in sorted(rates)]
        chosen = chosen or [(share * throughput_per_s, share) for share in SHARES]
        if wrong:
            chosen = []  # what is left of it would be in the way, and nothing is to be had by its shares
        for rate_per_s, share in track(chosen, "open-loop: rates"):
            seconds = seconds_of(rate_per_s, setup)
            load = _load(client, setup, poisson(rate_per_s, seconds, setup.seed))
            trials.append(outcome(load, setup, rate_per_s, share, load.play(DRAIN_TIMEOUT_S)))
            if trials[-1].wrong:
                break  # as above
    return report(trials, throughput_per_s, wrong, setup)


def seconds_of(rate_per_s: float, setup: LoopSetup) -> float:
    """For how long a rate is offered."""
    return min(setup.seconds, TASKS_MAX / rate_per_s)


def capacity(client: Client, setup: LoopSetup) -> tuple[float, int]:
    """Tasks a second through this load generator when all are due at once, and how many results were wrong."""
    load = _load(client, setup, [0.0] * setup.body.capacity_tasks)
    wrong = load.play(DRAIN_TIMEOUT_S)
    last_s = max((done_s for done_s in load.done_at_s if done_s is not None), default=math.inf)
    return setup.body.capacity_tasks / (last_s - load.started_at_s), wrong


def _load(client: Client, setup: LoopSetup, due_s: Sequence[float]) -> Load:
    lengths_s = setup.body.lengths_s(len(due_s), setup.seed)

    def submit(number: int) -> Future[int]:
        return client.submit(nap, number, lengths_s[number])

    def submit_noop(number: int) -> Future[int]:
        return client.submit(noop, number)

    gc.collect()  # before the schedule begins, since none is done while it lasts
    return Load(submit if setup.body.short_s else submit_noop, due_s, time.perf_counter() + START_S)


def outcome(load: Load, setup: LoopSetup, rate_per_s: float, share: float | None, wrong: int) -> Trial:
    """The results of a load that was played.

    Achieved is what was done by the end of the schedule. The time that the longest body takes in any case is allowed
    for, so that the last tasks do not count as a backlog.
    """
    body, tasks, seconds = setup.body, len(load.due_at_s), seconds_of(rate_per_s, setup)
    end_s = load.started_at_s + seconds + max(body.short_s, body.long_s)
    in_time = sum(done_s is not None and done_s <= end_s for done_s in load.done_at_s)
    short, long = LatencyHistogram(), LatencyHistogram()
    for length_s, latency_s in zip(body.lengths_s(tasks, setup.seed), load.latencies_s(), strict=True):
        if latency_s is not None:
            (short if length_s == body.short_s else long).record(latency_s)
    offered_per_s, achieved_per_s = tasks / seconds, in_time / seconds
    behind = LatencyHistogram(load.behind_s())
    late_tasks = tasks - in_time
    return Trial(rate_per_s, share, tasks, offered_per_s, achieved_per_s, late_tasks, short, long, behind, wrong)


def report(trials: Sequence[Trial], throughput_per_s: float, wrong: int, setup: LoopSetup) -> Report:
    """``wrong`` results when all were due at once; those of the trials are in them."""
    wrong += sum(each.wrong for each in trials)
    load = f"body {setup.body.name}, workers: {setup.workers}"
    return Report(
        verb="open-loop",
        journal=JOURNAL,
        rows=[
            ReportRow("all due at once, tasks/s", f"{throughput_per_s:,.0f}", load),
            *(_row(each, setup) for each in trials),
        ],
        checks=[Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else "")],
        latencies=[latency for each in trials for latency in _latencies(each, setup.body)],
        pictures=pictures(trials, setup.body),
        details={
            "body": setup.body.name,
            "seconds": setup.seconds,
            "seed": setup.seed,
            "workers": setup.workers,
            "throughput_per_s": throughput_per_s,
            "trials": [_details(each) for each in trials],
        },
        secure=setup.secure,
    )


def _row(each: Trial, setup: LoopSetup) -> ReportRow:
    late = f"; the sender was {duration(each.behind.p99_s)} late at p99" if each.behind.count else ""
    seconds = seconds_of(each.rate_per_s, setup)
    note = f"of {each.offered_per_s:,.0f}/s offered for {seconds:.3g} s, seed {setup.seed}{late}"
    return ReportRow(f"{each.name}: achieved, tasks/s", f"{each.achieved_per_s:,.0f}", note)


def _latencies(each: Trial, body: Body) -> list[Latency]:
    if not body.long_share:
        kinds = [(each.name, each.short)]
    else:
        kinds = [
            (f"{each.name}: bodies of {length_s * 1e3:g} ms", histogram)
            for length_s, histogram in ((body.short_s, each.short), (body.long_s, each.long))
        ]
    return [histogram.latency(name) for name, histogram in kinds if histogram.count]


def _details(each: Trial) -> dict[str, object]:
    return {
        "rate_per_s": each.rate_per_s,
        "share": each.share,
        "tasks": each.tasks,
        "offered_per_s": each.offered_per_s,
        "achieved_per_s": each.achieved_per_s,
        "late_tasks": each.late_tasks,
        "saturated": each.saturated,
        "p50_s": each.short.p50_s if each.short.count else None,
        "p99_s": each.short.p99_s if each.short.count else None,
        "sender_behind_p99_s": each.behind.p99_s if each.behind.count else None,
        "wrong": each.wrong,
    }


def pictures(trials: Sequence[Trial], body: Body) -> list[Picture]:
    """Pictures of the latencies. If there are short and long bodies, only of the short ones."""
    measured = [each for each in trials if each.short.count]
    if not measured:
        return []
    note = f"Only the bodies of {body.short_s * 1e3:g} ms. " if body.long_share else ""
    hollow = [number for number, each in enumerate(measured) if each.saturated]
    saturated = "Hollow: saturated; the queue grows, and the latency with it." if hollow else ""
    offered = [each.offered_per_s for each in measured]
    lines = [
        Series(name, offered, [each.short.percentile_s(percent) for each in measured], hollow=hollow)
        for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9))
    ]
    return [
        Picture(
            "Latency against offered load",
            Axis("offered load, tasks/s", "log" if max(offered) > WIDE * min(offered) else "linear"),
            Axis("latency", "log", "s"),
            lines,
            (note + saturated).strip(),
        ),
        distributions("Latency at each load", {each.name: each.short for each in measured}, note.strip()),
    ]
