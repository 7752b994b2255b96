"""Limits of how many run at once, for many keys, while leaders are killed: of no key does one too many run.

    ./dev soak --limits --tasks 100000 --keys 1000

Three real nodes with their logs on disk. Every few seconds the leader is killed with SIGKILL and started again, until
all tasks have ended. Each run of a task leaves a line as it begins and one as it ends, by the clock that all processes
of a machine share; what had not ended as its node was killed ended then. From these follows how many ran at each
moment.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from paceline import Cluster, NamedTask
from paceline_bench.report.report import Check, Report, ReportRow

TASKS: Final = Path(__file__).with_name("soak_tasks.py")
NODES: Final = 3
WORKERS: Final = 4
LIMIT: Final = 3
CALM_S: Final = (5.0, 9.0)
"""Between two kills."""
DOWN_S: Final = (0.5, 2.0)
DEADLINE_S: Final = 60.0
WORK_S: Final = 0.02
SHOWN: Final = 5


class PlaceRun(NamedTuple):
    """A run of a task. ``ended_ns``: None if it has not said so."""

    key: str
    begun_ns: int
    ended_ns: int | None


def read_runs(lines: Iterable[str]) -> list[PlaceRun]:
    """What the tasks have told: lines of (key, which run, "begins" or "ends", when)."""
    begun: dict[str, PlaceRun] = {}
    ended: list[PlaceRun] = []
    for line in lines:
        key, run, what, at_ns = line.split()
        if what == "begins":
            begun[run] = PlaceRun(key, int(at_ns), None)
        else:
            ended.append(begun.pop(run)._replace(ended_ns=int(at_ns)))
    return ended + list(begun.values())


def most_at_once(runs: Iterable[PlaceRun], kills_ns: Sequence[int]) -> Counter[str]:
    """How many ran at once of each key, at most. ``kills_ns``: when nodes were killed, in order. Raises AssertionError
    if one has not ended and no node was killed since."""
    moments: list[tuple[int, int, str]] = []
    for key, begun_ns, told_ns in runs:
        ended_ns = told_ns
        if ended_ns is None:
            kill = bisect_left(kills_ns, begun_ns)
            assert kill < len(kills_ns), f"a task of key {key} has not ended, and no node was killed"
            ended_ns = kills_ns[kill]
        moments += [(begun_ns, 1, key), (ended_ns, -1, key)]
    running, most = Counter[str](), Counter[str]()
    for _at_ns, change, key in sorted(moments):
        running[key] += change
        most[key] = max(most[key], running[key])
    return most


def soak(cluster: Cluster, path: Path, tasks: int, keys: int, seed: int) -> Report:
    """Raises AssertionError if the cluster does not become well behind a kill."""
    rng, kills_ns = Random(seed), list[int]()
    began_s = time.monotonic()
    with cluster.client() as client:
        targets = [NamedTask("soak_tasks.use_place", max_running=LIMIT, limit_key=f"key {key}") for key in range(keys)]
        futures = []
        for number in range(tasks):
            key = number * keys // tasks  # one behind the other, so that many wait for their limits
            futures.append(client.submit(targets[key], str(path), str(key), WORK_S))
        while not all(future.done() for future in futures):
            time.sleep(rng.uniform(*CALM_S))  # how long it is calm is part of the run
            leader = cluster.leader
            if leader is None or all(future.done() for future in futures):
                continue
            done = sum(future.done() for future in futures)
            print(f"{time.monotonic() - began_s:7.1f} s  {done:,} have ended; the leader is killed", file=sys.stderr)
            kills_ns.append(time.monotonic_ns())
            leader.kill()
            time.sleep(rng.uniform(*DOWN_S))
            leader.restart()
            cluster.wait_ready(DEADLINE_S)
        failed = [future for future in futures if future.exception(DEADLINE_S) is not None]
    took_s = time.monotonic() - began_s
    runs = read_runs(path.read_text(encoding="ascii").splitlines())
    most = most_at_once(runs, kills_ns)
    too_many = {key: count for key, count in most.items() if count > LIMIT}
    rows = [
        ReportRow("tasks", f"{tasks:,}", f"seed {seed}"),
        ReportRow("keys", f"{len(most):,}", f"{LIMIT} of each may run at once"),
        ReportRow("time", f"{took_s:,.1f} s", f"{tasks / took_s:,.0f} tasks per second"),
        ReportRow("leaders killed", f"{len(kills_ns):,}"),
        ReportRow("runs", f"{len(runs):,}", f"{len(runs) - tasks:,} more than tasks, as nodes died"),
        ReportRow("keys of which as many ran as may", f"{sum(count == LIMIT for count in most.values()):,}"),
    ]
    checks = [
        Check("of no key one too many ran", not too_many, f"{len(too_many)}: {list(too_many.items())[:SHOWN]}"),
        Check("each task has ended with its result", not failed, f"{len(failed)} have not"),
        Check("leaders were killed", bool(kills_ns), f"{len(kills_ns)}"),
    ]
    return Report("soak of limits", "os", rows, checks, details={})


def run(tasks: int, keys: int, seed: int) -> Report:
    """The whole of it, on nodes of its own."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with Cluster.local(TASKS, nodes=NODES, workers=WORKERS, journal="os", environment=environment) as cluster:
            return soak(cluster, Path(directory) / "runs", tasks, keys, seed)
