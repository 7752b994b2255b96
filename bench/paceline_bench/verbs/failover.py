"""How long work stands still when the leader is killed, and whether anything was lost or recorded twice.

For each kill: a fresh cluster of three nodes and an open-loop load. The schedule of submissions, and the one of them
before which the leader dies, are fixed beforehand from a seed, so that a slow cluster does not slow down its own load
and thereby hide its pause. No kill is left out: one after which work does not go on is a failed check.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from paceline.client import Client
from paceline.demo.pauses import resumed_after_s
from paceline.local import Cluster
from paceline_bench.bodies.tasks import noop
from paceline_bench.harness.load import Load
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, milliseconds
from paceline_bench.report.stats import percentile

JOURNAL = "memory"
NODES = 3
WORKERS = 1
BEFORE_S = (1.0, 1.5)  # of load before the kill: drawn, so that kills do not keep step with heartbeats
AFTER_S = 3.0
RESULT_TIMEOUT_S = 30.0
RECORD_TIMEOUT_S = 10.0
SETTLE_S = 0.05  # longer than what ended waits for the log


@dataclass(frozen=True, slots=True)
class KillPlan:
    """When each task is submitted (seconds from the start), and before which one the leader is killed."""

    submit_at_s: tuple[float, ...]
    kill_before: int


def schedule(rate_per_s: float, seed: int) -> KillPlan:
    before_s = random.Random(seed).uniform(*BEFORE_S)
    count = round((before_s + AFTER_S) * rate_per_s)
    return KillPlan(tuple(number / rate_per_s for number in range(count)), round(before_s * rate_per_s))


@dataclass(frozen=True, slots=True)
class Kill:
    """The consequences of one kill. Durations are seconds."""

    tasks: int
    resumed_s: float | None  # kill to the end of the longest pause in completions
    first_new_s: float | None  # kill to the first completion of a task that was submitted after it
    slowest_task_s: float  # from when a task was due to be submitted to its result
    latest_submit_s: float  # by how much the load generator was behind its schedule, at worst
    lost: int  # futures that failed, or gave another result, or none
    recorded_twice: int


def run(kills: int, rate_per_s: float, seed: int, secure: bool = False) -> Report:
    outcomes = []
    for number in track(range(kills), "failover: kills"):
        with Cluster.local(
            "paceline_bench.bodies.tasks", nodes=NODES, workers=WORKERS, journal=JOURNAL, secure=secure
        ) as cluster:
            outcomes.append(one_kill(cluster, schedule(rate_per_s, seed + number)))
    return report(outcomes, rate_per_s, seed, secure)


def one_kill(cluster: Cluster, plan: KillPlan) -> Kill:
    """Plays the schedule on a running cluster."""
    with cluster.client() as client:
        for number in range(50):  # connections, code paths and workers are warm before the clock runs
            client.submit(noop, number).result(timeout=RESULT_TIMEOUT_S)
        victim = cluster.leader
        if victim is None:
            raise RuntimeError("a ready cluster has a leader")
        recorded_before = _settled(client)
        load, killed_at_s = _play(client, plan, victim.kill)
        lost = load.wait(RESULT_TIMEOUT_S)
        recorded = _settled(client) - recorded_before
    done_at_s = [moment for moment in load.done_at_s if moment is not None]
    first_new_at_s = min((moment for moment in load.done_at_s[plan.kill_before :] if moment is not None), default=None)
    return Kill(
        tasks=len(plan.submit_at_s),
        resumed_s=resumed_after_s(killed_at_s, done_at_s),
        first_new_s=None if first_new_at_s is None else first_new_at_s - killed_at_s,
        slowest_task_s=max(filter(None, load.latencies_s()), default=0.0),
        latest_submit_s=max(load.behind_s(), default=0.0),
        lost=lost,
        recorded_twice=max(0, recorded - len(plan.submit_at_s)),
    )


def _play(client: Client, plan: KillPlan, kill: Callable[[], None]) -> tuple[Load, float]:
    """The load, and when the leader was killed (perf_counter, seconds)."""
    load = Load(lambda number: client.submit(noop, number), plan.submit_at_s, time.perf_counter() + 0.01)
    killed_at_s = 0.0
    for number, due_at_s in enumerate(load.due_at_s):
        if number == plan.kill_before:
            killed_at_s = time.perf_counter()
            kill()  # returns when the process is dead: what is submitted from here on, another leader does
        time.sleep(max(0.0, due_at_s - time.perf_counter()))
        load.send(number)
    return load, killed_at_s


def _settled(client: Client) -> int:
    """How many outcomes the leader has recorded, once that is as many as it has accepted tasks, or no time is left.

    A result reaches its submitter before its record is committed, so the count may come up a little later. Of what the
    killed leader passed on in its last milliseconds nothing is recorded: the submitters have it.
    """
    deadline_s = time.perf_counter() + RECORD_TIMEOUT_S
    while True:
        time.sleep(SETTLE_S)
        status = client.status(timeout=RESULT_TIMEOUT_S)
        recorded: int = status["recorded_total"]
        idle = recorded == status["accepted_total"] and not status["queued"] and not status["running"]
        if idle or time.perf_counter() > deadline_s:
            return recorded


def report(kills: list[Kill], rate_per_s: float, seed: int, secure: bool = False) -> Report:
    resumed_s = [kill.resumed_s for kill in kills if kill.resumed_s is not None]
    first_new_s = [kill.first_new_s for kill in kills if kill.first_new_s is not None]
    slowest_s = [kill.slowest_task_s for kill in kills]
    lost = sum(kill.lost for kill in kills)
    twice = sum(kill.recorded_twice for kill in kills)
    rows = []
    headline = None
    if resumed_s and first_new_s:
        load = f"{len(kills)} kills -9 of the leader, {NODES} nodes, {rate_per_s:g} tasks/s, seed {seed}"
        headline = ReportRow(
            "from kill -9 of the leader to the next completed task, p50",
            milliseconds(percentile(resumed_s, 50)),
            f"tasks lost: {lost}",
        )
        rows = [
            ReportRow("kill to next completed task, p50", milliseconds(percentile(resumed_s, 50)), load),
            ReportRow("kill to next completed task, max", milliseconds(max(resumed_s))),
            ReportRow("kill to first task submitted after it, p50", milliseconds(percentile(first_new_s, 50))),
            ReportRow("kill to first task submitted after it, max", milliseconds(max(first_new_s))),
            ReportRow(
                "slowest task of a run, p50",
                milliseconds(percentile(slowest_s, 50)),
                "from when it was due to its result",
            ),
            ReportRow("slowest task of a run, max", milliseconds(max(slowest_s))),
        ]
    tasks = sum(kill.tasks for kill in kills)
    return Report(
        verb="failover",
        journal=JOURNAL,
        rows=[
            *rows,
            ReportRow("tasks lost", f"{lost}", f"of {tasks:,}"),
            ReportRow("tasks recorded twice", f"{twice}"),
        ],
        checks=[
            Check("work went on after every kill", len(first_new_s) == len(kills)),
            Check("no task was lost", lost == 0),
            Check("no task was recorded twice", twice == 0),
        ],
        details={"rate_per_s": rate_per_s, "seed": seed, "kills": [asdict(kill) for kill in kills]},
        secure=secure,
        headline=headline,
    )
