"""paceline beside the systems that people use today, on this machine and in the same minutes.

Each system runs in an environment of its own, started by its file in ``peers/`` in the configuration that its own
documentation recommends, and is measured by the same loops (``peers/wire.py``). They take turns, round by round, in an
order that moves on by one with each round, and one is stopped before the next is started: nothing that idles takes
processor time from what is measured, but for RabbitMQ and Redis, which are there from beginning to end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from paceline_bench.harness.load import poisson
from paceline_bench.harness.venvs import InstallFailed, default_directory, install
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.progress import track
from paceline_bench.report.report import Report
from paceline_bench.rivals.compare import report
from paceline_bench.rivals.files import chosen, discover
from paceline_bench.rivals.plan import (
    BURST_TASKS,
    CALIBRATION_TASKS,
    LONG_S,
    LONG_SHARE,
    ROUND_TRIP_WORKERS,
    SHORT_S,
    WORKERS,
    Burst,
    Measured,
    Plan,
)
from paceline_bench.rivals.process import RivalFailed, RivalProcess
from paceline_bench.rivals.servers import Servers

REQUEST_TIMEOUT_S = 60.0
TASK_TIMEOUT_S = 0.1  # more for each task of a request: ten times what the slowest system takes


def run(names: Sequence[str], planned: Plan, venvs: Path | None = None) -> Report:
    """``names``: none for all. Raises ValueError for a name that there is not."""
    peers = chosen(discover(), names)
    measured = [Measured(peer) for peer in peers]
    pythons: dict[str, Path] = {}
    for each in track(measured, "rivals: environments"):
        try:
            pythons[each.peer.name] = install(each.peer, venvs or default_directory())
        except InstallFailed as error:
            each.failed = str(error)
    with Servers({server for peer in peers for server in peer.servers}) as servers:
        for each in measured:
            each.failed = each.failed or servers.why_not(each.peer.servers)
        turns = [
            (number, each)
            for number in range(planned.rounds)
            for each in measured[number % len(measured) :] + measured[: number % len(measured)]
        ]
        for number, each in track(turns, "rivals: rounds"):
            if not each.failed:
                needed = {name: servers.urls[name] for name in each.peer.servers}
                take_turn(each, pythons[each.peer.name], needed, planned, number)
    return report(measured, planned, servers.versions)


def take_turn(each: Measured, python: Path, servers: dict[str, str], planned: Plan, number: int) -> None:
    """Measure one system for one round. It is started anew for each of three purposes."""
    try:
        with RivalProcess(each.peer, python, ROUND_TRIP_WORKERS, "round_trips", servers) as process:
            each.versions = process.versions
            each.starts_s.append(process.start_s)
            _round_trips(each, process, planned)
        with RivalProcess(each.peer, python, WORKERS, "burst", servers) as process:
            _bursts(each, process, planned)
        if "open_loop" in process.can:
            with RivalProcess(each.peer, python, WORKERS, "open_loop", servers) as process:
                _open_loop(each, process, planned, planned.seed + number)
    except RivalFailed as error:
        each.failed = f"round {number + 1}: {error}"


def _timeout_s(tasks: int) -> float:
    return REQUEST_TIMEOUT_S + tasks * TASK_TIMEOUT_S


def _round_trips(each: Measured, process: RivalProcess, planned: Plan) -> None:
    for tasks in (planned.warm_up, planned.samples_per_round):
        answer = process.ask("round_trips", tasks, _timeout_s(tasks))
        each.wrong += answer["wrong"]
    each.round_trips.append(LatencyHistogram(answer["durations_s"]))


def _bursts(each: Measured, process: RivalProcess, planned: Plan) -> None:
    for tasks in CALIBRATION_TASKS:
        answer = process.ask("burst", tasks, _timeout_s(tasks))
        each.wrong += answer["wrong"]
    # As many in every round, so that rounds can be compared.
    each.burst_tasks = each.burst_tasks or calibrated(tasks / answer["total_s"], planned.burst_s)
    answer = process.ask("burst", each.burst_tasks, _timeout_s(each.burst_tasks))
    each.bursts.append(Burst(each.burst_tasks, answer["submit_s"], answer["total_s"]))
    each.wrong += answer["wrong"]
    if "chunked" in process.can:
        answer = process.ask("chunked", each.burst_tasks, _timeout_s(each.burst_tasks))
        each.chunked.append(Burst(each.burst_tasks, 0.0, answer["total_s"]))
        each.wrong += answer["wrong"]


def calibrated(tasks_per_s: float, seconds: float) -> int:
    """How many tasks take about ``seconds``, rounded to one digit, within BURST_TASKS."""
    fewest, most = BURST_TASKS
    tasks = float(f"{tasks_per_s * seconds:.0e}")
    return int(min(most, max(fewest, tasks)))


def _open_loop(each: Measured, process: RivalProcess, planned: Plan, seed: int) -> None:
    due_s = poisson(planned.rate_per_s, planned.open_loop_s, seed)
    draw = random.Random(f"bodies {seed}").random
    lengths_s = [LONG_S if draw() < LONG_SHARE else SHORT_S for _ in due_s]
    process.ask("round_trips", planned.warm_up, _timeout_s(planned.warm_up))
    answer = process.ask("open_loop", len(due_s), _timeout_s(len(due_s)), due_s=due_s, lengths_s=lengths_s)
    each.wrong += answer["wrong"]
    each.short.append(
        LatencyHistogram(
            max(0.0, latency_s)
            for latency_s, length_s in zip(answer["latencies_s"], lengths_s, strict=True)
            if latency_s is not None and length_s == SHORT_S
        )
    )
