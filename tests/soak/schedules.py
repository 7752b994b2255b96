"""Schedules for minutes, while leaders are killed and all nodes are: each moment has its task, and no moment two.

    ./dev soak --schedules --minutes 60

Three real nodes with their logs on disk, and two dozen schedules of seconds. One fault follows the other: the leader is
killed with SIGKILL and started again, and now and then all nodes are. Each run of a task leaves a line with the id of
the task, which follows from its schedule and its moment; at the end these are counted.

A task that is run at least once may run again behind the death of a node, and then alone. One that is run at most once
may have no run if the cluster says that it is lost.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from paceline import Client, Cluster, NamedTask, TaskLost, Timetable, cron, every
from paceline.client import ScheduledTask
from paceline.core.state.schedules import fired_id
from paceline_bench.report.report import Check, Report, ReportRow
from paceline_protocol.moments import moment_ms
from paceline_protocol.when import next_after

TASKS: Final = Path(__file__).with_name("soak_tasks.py")
NODES: Final = 3
CALM_S: Final = (4.0, 9.0)
"""Between two faults: time for an election and some moments."""
DOWN_S: Final = (0.5, 3.0)
ALL_EVERY: Final = 4
"""So many faults take all nodes once, and the leader otherwise."""
DEADLINE_S: Final = 60.0
SHOWN: Final = 5
INTERVALS_S: Final = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10)
EXPRESSIONS: Final = ("* * * * * *", "*/2 * * * * *", "*/3 * * * * *", "1/5 * * * * *", "*/7 * * * * *", "30 * * * * *")


class ScheduledRun(NamedTuple):
    """One begun run of a task, as it told it."""

    task_id: bytes
    at_s: float  # time.monotonic()


class JudgedRuns(NamedTuple):
    """Moments, each (schedule, milliseconds)."""

    skipped: list[tuple[str, int]]
    doubled: list[tuple[str, int]]
    unknown: int  # runs of what is no moment
    ran_again: int  # moments whose node died, and whose task another one ran


def judge(
    expected: Mapping[bytes, tuple[str, int]],
    runs: Iterable[ScheduledRun],
    kills_s: Sequence[float],
    once: Set[str],
    lost: Set[bytes],
) -> JudgedRuns:
    """``expected``: the moments by the ids of their tasks. ``kills_s``: when nodes were killed. ``once``: the schedules
    whose tasks run at most once. ``lost``: the tasks of which the cluster says that they are."""
    begun: dict[bytes, list[float]] = defaultdict(list)
    for run in runs:
        begun[run.task_id].append(run.at_s)
    skipped, doubled, ran_again = [], [], 0
    for task_id, (name, moment) in expected.items():
        at_s = sorted(begun.get(task_id, ()))
        if not at_s and not (name in once and task_id in lost):
            skipped.append((name, moment))
        ran_again += len(at_s) > 1
        pairs = pairwise(at_s)
        if len(at_s) > 1 and (name in once or not all(any(a < kill < b for kill in kills_s) for a, b in pairs)):
            doubled.append((name, moment))
    return JudgedRuns(skipped, doubled, len(begun.keys() - expected.keys()), ran_again)


def timetables(start: datetime) -> dict[str, Timetable]:
    """By the names of their schedules. Those with an even number run their tasks at most once."""
    each = [every(seconds=seconds, start=start) for seconds in INTERVALS_S]
    each += [cron(expression, tz=zone) for expression in EXPRESSIONS for zone in ("Europe/Berlin",)]
    return {f"soak {number:02}": timetable for number, timetable in enumerate(each)}


def soak(cluster: Cluster, runs_path: Path, for_s: float, seed: int) -> Report:
    """Raises AssertionError if the cluster does not become well behind a fault."""
    rng, kills_s, struck = Random(seed), list[float](), {"leader killed": 0, "all nodes killed": 0}
    tables = timetables(datetime.now(UTC) + timedelta(seconds=2))
    once = {name for number, name in enumerate(tables) if number % 2 == 0}
    first_ms: dict[str, int] = {}
    began_s = time.monotonic()
    with cluster.client() as client:
        for name, timetable in tables.items():
            options = {"delivery": "at_most_once", "result_ttl": 86_400} if name in once else {}
            target = NamedTask("soak_tasks.leave_id", **options)
            client.add_schedule(name, timetable, target, args=[str(runs_path)], misfire="all", misfire_limit=1_000)
            (told,) = client.schedules(name)
            first = told.next if told.fired == 0 else told.last
            assert first is not None, "it fires for ever"
            assert told.fired <= 1, "it was added a moment ago"
            first_ms[name] = moment_ms(first)
    while time.monotonic() < began_s + for_s:
        time.sleep(rng.uniform(*CALM_S))  # how long it is calm is part of the run
        takes_all = (sum(struck.values()) + 1) % ALL_EVERY == 0
        leader = cluster.leader
        victims = list(cluster.nodes) if takes_all or leader is None else [leader]
        struck["all nodes killed" if takes_all else "leader killed"] += 1
        print(f"{time.monotonic() - began_s:7.1f} s  {len(victims)} nodes are killed", file=sys.stderr, flush=True)
        for node in victims:
            kills_s.append(time.monotonic())
            node.kill()
        time.sleep(rng.uniform(*DOWN_S))
        for node in victims:
            node.restart()
        cluster.wait_ready(DEADLINE_S)
    with cluster.client() as client:
        told = _ended(client)
        expected = {
            fired_id(each.name, moment): (each.name, moment)
            for each in told
            for moment in _moments(each, first_ms[each.name])
        }
        runs = read_runs(runs_path)
        begun = {run.task_id for run in runs}
        silent = [task_id for task_id, (name, _) in expected.items() if task_id not in begun and name in once]
        lost = {each for each in silent if isinstance(client.task(each).exception(DEADLINE_S), TaskLost)}
    return _report(told, expected, judge(expected, runs, kills_s, once, lost), struck, len(lost), seed)


def _ended(client: Client) -> list[ScheduledTask]:
    """The schedules, once none fires any more and all that they have made has ended."""
    for each in list(client.schedules()):
        client.pause_schedule(each.name, DEADLINE_S)
    until_s = time.monotonic() + DEADLINE_S
    while client.live_tasks().tasks:
        assert time.monotonic() < until_s, "tasks do not end"
        time.sleep(0.1)
    return list(client.schedules())


def _moments(told: ScheduledTask, first_ms: int) -> Iterable[int]:
    last_ms = 0 if told.last is None else moment_ms(told.last)
    moment = first_ms
    while moment and moment <= last_ms:
        yield moment
        moment = next_after(told.when.wire, moment)


def read_runs(path: Path) -> list[ScheduledRun]:
    """What the tasks have told."""
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [ScheduledRun(bytes.fromhex(task_id), float(at_s)) for task_id, at_s in (line.split() for line in lines)]


def _report(
    told: Sequence[ScheduledTask],
    expected: Mapping[bytes, tuple[str, int]],
    judged: JudgedRuns,
    struck: Mapping[str, int],
    lost: int,
    seed: int,
) -> Report:
    fired, missed = sum(each.fired for each in told), sum(each.missed for each in told)
    rows = [
        ReportRow("schedules", f"{len(told):,}", f"seed {seed}"),
        ReportRow("moments", f"{len(expected):,}"),
        *(ReportRow(f"fault: {name}", f"{count:,}") for name, count in struck.items()),
        ReportRow("tasks that ran again", f"{judged.ran_again:,}", "as their node died"),
        ReportRow("tasks that were lost", f"{lost:,}", "at most once, as their node died"),
    ]
    checks = [
        Check("no moment is left out", not judged.skipped, f"{len(judged.skipped)}: {judged.skipped[:SHOWN]}"),
        Check("no moment has run twice", not judged.doubled, f"{len(judged.doubled)}: {judged.doubled[:SHOWN]}"),
        Check("nothing ran that is no moment", not judged.unknown, f"{judged.unknown}"),
        Check("the cluster counts the same", fired == len(expected) and not missed, f"{fired} fired, {missed} missed"),
    ]
    return Report("soak of schedules", "os", rows, checks, details={"struck": dict(struck)})


def run(minutes: float, seed: int) -> Report:
    """The whole of it, on nodes of its own."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with Cluster.local(TASKS, nodes=NODES, workers=2, journal="os", environment=environment) as cluster:
            return soak(cluster, Path(directory) / "runs", minutes * 60, seed)
