"""Three nodes are stopped and started again, one after the other, while tasks come at a steady rate: what that costs
whoever waits for them. ``./dev rolling-restart`` prints the figures, and fails if a task fails or runs twice.

With ``--from PYTHON`` the nodes begin with the paceline that this Python has, and each comes back with this one: an
upgrade.

A pause is a time in which no task ended. Tasks come a few milliseconds apart here, whether earlier ones have ended or
not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from paceline import Client, Cluster, Future
from paceline.local.node_process import Node

TASKS = """
import os
from paceline import task

@task
def note(path: str, number: int) -> int:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, b"%d\\n" % number)
    finally:
        os.close(file)
    return number
"""
DRAIN_S = 30.0
READY_S = 60.0
RESULT_S = 60.0
CALM_S = 5.0


@dataclass
class Load:
    """Tasks that come at a steady rate, from a thread of its own, until :meth:`stop`."""

    client: Client
    path: Path
    rate: float
    futures: list[Future[int]] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Raises whatever a task has raised."""
        self._stopped.set()
        self._thread.join()
        for number, future in enumerate(self.futures):
            assert future.result(RESULT_S) == number

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            future = self.client.submit("rolling_tasks.note", str(self.path), len(self.futures))
            future.add_done_callback(lambda _: self.ended_at.append(time.monotonic()))
            self.futures.append(future)
            due += 1 / self.rate

    def longest_pause_s(self, since: float, until: float) -> float:
        """The longest time within these moments in which no task ended."""
        moments = [since, *(at for at in sorted(self.ended_at) if since < at < until), until]
        return max(later - earlier for earlier, later in pairwise(moments))

    def run_twice(self) -> list[int]:
        runs = Counter(map(int, self.path.read_text().split()))
        assert len(runs) == len(self.futures), "each has run"
        return [number for number, count in runs.items() if count > 1]


@dataclass
class Restart:
    """Of one node: when it was told to stop, had ended, and was ready again."""

    was_leader: bool
    stopped_at: float
    ended_at: float
    ready_at: float


def restart(cluster: Cluster, node: Node) -> Restart:
    """Stop a node and start it again, as a release would."""
    was_leader, stopped_at = node.is_leader, time.monotonic()
    node.terminate()
    node.wait_stopped(stopped_at + DRAIN_S)
    ended_at = time.monotonic()
    node._command[0] = sys.executable  # it may have been started with another
    node.restart()
    cluster.wait_ready(READY_S)
    return Restart(was_leader, stopped_at, ended_at, time.monotonic())


def rolling(rounds: int, rate: float, between_s: float, first_python: str) -> int:
    """Print the figures. Returns the exit code."""
    restarts: list[Restart] = []
    with tempfile.TemporaryDirectory() as name:
        module, path = Path(name) / "rolling_tasks.py", Path(name) / "ran"
        module.write_text(TASKS)
        described = Cluster.local(module, nodes=3, workers=2, journal="fsync", drain_timeout=DRAIN_S)
        if first_python:
            described._command[0] = first_python
        with described as cluster, cluster.client() as client:
            load = Load(client, path, rate)
            load.start()
            time.sleep(between_s)
            calm_at = time.monotonic()
            time.sleep(CALM_S)
            began_at = time.monotonic()
            for number in range(rounds * len(cluster.nodes)):
                restarts.append(restart(cluster, cluster.nodes[number % len(cluster.nodes)]))
                time.sleep(between_s)
            ended_at = time.monotonic()
            load.stop()
        twice = load.run_twice()
    print(f"before: longest pause {ms(load.longest_pause_s(calm_at, began_at))} in {CALM_S:g} s")
    for each in restarts:
        stopping = load.longest_pause_s(each.stopped_at, each.ended_at + 0.1)
        starting = load.longest_pause_s(each.ended_at, each.ready_at + between_s)
        print(
            f"{'leader' if each.was_leader else 'follower'}: stopped within {ms(each.ended_at - each.stopped_at)}, "
            f"ready {each.ready_at - each.ended_at:.1f} s later; longest pause {ms(stopping)} while it stopped, "
            f"{ms(starting)} while it started"
        )
    print(
        f"{len(restarts)} restarts under {rate:g} tasks/s: {len(load.futures)} tasks, 0 failed, {len(twice)} run "
        f"twice, longest pause {ms(load.longest_pause_s(began_at, ended_at))}"
    )
    return 1 if twice else 0


def ms(seconds: float) -> str:
    return f"{1_000 * seconds:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of three restarts each")
    parser.add_argument("--rate", type=float, default=500.0, help="tasks a second")
    parser.add_argument("--between", type=float, default=1.0, help="seconds from a node's return to the next stop")
    parser.add_argument(
        "--from", default="", metavar="PYTHON", dest="first_python", help="the nodes begin with its paceline"
    )
    asked = parser.parse_args()
    return rolling(asked.rounds, asked.rate, asked.between, asked.first_python)


if __name__ == "__main__":
    sys.exit(main())
