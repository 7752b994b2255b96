"""How long work stands still after a fault on real network stacks. Nothing here judges a time.

    PYTHONPATH=tests python -m hosts.measure --kills 20 --pauses 20 --cuts 20

All rounds run on one cluster. In each, a client on a host of its own submits at a steady rate, open-loop; at a moment
drawn from the seed the leader is killed, stopped, or cut off; once work goes on, it is brought back.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hosts.cluster import HostCluster, HostNode
from hosts.network import why_not
from hosts.stream import Ending
from paceline.demo.pauses import resumed_after_s
from paceline_bench.report.stats import percentile

RATE_PER_S = 200.0
BEFORE_S = (0.5, 1.0)  # of load before the fault: drawn, so that faults do not keep step with heartbeats
AFTER = 100  # tasks that are submitted after the fault, and end before the round is over


@dataclass(frozen=True, slots=True)
class Standstill:
    """What one fault did. Seconds from the fault."""

    next_s: float  # to the next completed task; may be a result that was on its way already
    first_new_s: float  # to the first completion of a task that was submitted after the fault
    resumed_s: float  # to the end of the longest pause in completions


@dataclass(frozen=True, slots=True)
class Fault:
    """``strike`` does it to the leader, ``undo`` brings that node back."""

    name: str
    strike: Callable[[HostCluster, HostNode], object]
    undo: Callable[[HostCluster, HostNode], object]


def _restart(cluster: HostCluster, node: HostNode) -> None:
    node.restart()
    cluster.wait_started(node)


KILL = Fault("kill -9 of the leader", lambda cluster, node: node.kill(), _restart)
PAUSE = Fault("SIGSTOP of the leader", lambda cluster, node: node.pause(), lambda cluster, node: node.resume())
CUT = Fault(
    "the leader's link goes down",
    lambda cluster, node: cluster.hosts.cut(node.host),
    lambda cluster, node: cluster.hosts.join(node.host),
)


def standstills(cluster: HostCluster, fault: Fault, rounds: int, seed: int) -> list[Standstill]:
    """One for each round. A round after which work does not go on, or a task has a wrong end, raises."""
    rng = random.Random(seed)
    return [one_round(cluster, fault, rng.uniform(*BEFORE_S)) for _ in range(rounds)]


def one_round(cluster: HostCluster, fault: Fault, before_s: float) -> Standstill:
    cluster.wait_healthy()
    with cluster.stream(rate_per_s=RATE_PER_S) as stream:
        stream.wait_ended(1)
        time.sleep(before_s)
        leader, _ = cluster.wait_leader()
        struck_at_s = time.monotonic()
        fault.strike(cluster, leader)
        done_at_s = time.monotonic()
        stream.wait_ended(AFTER, since_s=done_at_s)
        fault.undo(cluster, leader)
        stream.finish()
    wrong = stream.wrong()
    if wrong:
        raise RuntimeError(f"after {fault.name} these tasks have no right result: {wrong}")
    return standstill(struck_at_s, done_at_s, stream.submitted, stream.ended)


def standstill(
    struck_at_s: float, done_at_s: float, submitted: Mapping[int, float], ended: Mapping[int, Ending]
) -> Standstill:
    """From when each task was submitted and ended. Some task has to be submitted after the fault, and end.

    To take a link down takes milliseconds, in which tasks still pass. So what counts as after the fault was after
    ``done_at_s``; how long it took is counted from ``struck_at_s``, when it began.
    """
    after_s = [ending.at_s for ending in ended.values() if ending.at_s > done_at_s]
    new_s = [ending.at_s for number, ending in ended.items() if submitted[number] > done_at_s]
    resumed_s = resumed_after_s(struck_at_s, after_s)
    if resumed_s is None or not new_s:
        raise ValueError("no task that was submitted after the fault has ended; let the round go on for longer")
    return Standstill(min(after_s) - struck_at_s, min(new_s) - struck_at_s, resumed_s)


def table(fault: Fault, samples: Iterable[Standstill]) -> str:
    """p50, p99 and the largest, in milliseconds; p99 of fewer than 100 rounds is the largest."""
    rows = list(samples)
    measures = {
        "to the next completed task": [row.next_s for row in rows],
        "to the first task submitted after it": [row.first_new_s for row in rows],
        "to the end of the longest pause": [row.resumed_s for row in rows],
    }
    lines = [f"{fault.name}, {len(rows)} rounds"]
    for what, seconds in measures.items():
        p50, p99, largest = percentile(seconds, 50), percentile(seconds, 99), max(seconds)
        lines.append(f"  {what:<38} p50 {p50 * 1e3:6.0f} ms   p99 {p99 * 1e3:6.0f} ms   max {largest * 1e3:6.0f} ms")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="How long work stands still after a fault of the leader.")
    for name in ("kills", "pauses", "cuts"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    reason = why_not()
    if reason:
        parser.error(reason)
    with tempfile.TemporaryDirectory() as directory, HostCluster(Path(directory)) as cluster:
        for fault, rounds in ((KILL, arguments.kills), (PAUSE, arguments.pauses), (CUT, arguments.cuts)):
            if rounds > 0:
                print(table(fault, standstills(cluster, fault, rounds, arguments.seed)), flush=True)


if __name__ == "__main__":
    main()
