"""A client that floods a node, and what the others notice of it: for each flood the latency of a normal client before
it and during it, in the same minute and on the same node, and the node's memory.

The normal client submits one task at a time and pauses for PAUSE_S in between, as one that floods too would measure
itself. Each flood has a node of its own, since its memory is measured.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from paceline.client import Client
from paceline.local import Cluster
from paceline_bench.bodies.floods import FLOODS
from paceline_bench.bodies.tasks import noop
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.latency import Latency
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow, duration

JOURNAL = "memory"
PAUSE_S = 0.002
WARM_UP = 200
READY_TIMEOUT_S = 30.0
RESULT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Flooded:
    """What one flood did to the others. ``sent``, ``heard``: messages of the flood, and answers to them."""

    name: str
    what: str
    sent: int
    heard: int
    rss_mib: float  # at most
    idle_rss_mib: float
    idle_p99_s: float
    p50_s: float
    p99_s: float
    max_s: float
    wrong: int


def run(names: Sequence[str], seconds: float) -> Report:
    """Each flood for ``seconds``, and as long without it before."""
    measured: list[Flooded] = []
    latencies: list[Latency] = []
    for name in track(names or list(FLOODS), "floods"):
        flooded, idle, under = measure(name, seconds)
        measured.append(flooded)
        latencies += [idle.latency(f"{name}: before"), under.latency(f"{name}: during")]
    rows = [
        ReportRow(
            each.what,
            f"p99 {duration(each.p99_s)}",
            f"{each.p99_s / each.idle_p99_s:.1f} of idle ({duration(each.idle_p99_s)}); p50 {duration(each.p50_s)}, "
            f"max {duration(each.max_s)}; {each.sent:,} sent, {each.heard:,} answered; "
            f"RSS {each.rss_mib:,.0f} MiB at most, {each.idle_rss_mib:,.0f} before",
        )
        for each in measured
    ]
    wrong = sum(each.wrong for each in measured)
    return Report(
        verb="floods",
        journal=JOURNAL,
        rows=rows,
        checks=[Check("every result of the normal client is the one asked for", wrong == 0)],
        latencies=latencies,
        details={"seconds": seconds, "floods": [asdict(each) for each in measured]},
    )


def measure(name: str, seconds: float) -> tuple[Flooded, LatencyHistogram, LatencyHistogram]:
    """One flood, on a node of its own."""
    with (
        Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, journal=JOURNAL) as cluster,
        cluster.client() as client,
    ):
        node = cluster.nodes[0]
        one_at_a_time(client, WARM_UP * PAUSE_S)
        before_s, wrong_before = one_at_a_time(client, seconds)
        idle_rss_mib = most_rss_mib(node.pid)
        with flooding(name, node.address) as flood:
            during_s, wrong = one_at_a_time(client, seconds)
            sent, heard = count(flood)
            rss_mib = most_rss_mib(node.pid)
    idle, under = LatencyHistogram(before_s), LatencyHistogram(during_s)
    shown = under.latency(name)
    flooded = Flooded(
        name=name,
        what=FLOODS[name].what,
        sent=sent,
        heard=heard,
        rss_mib=rss_mib,
        idle_rss_mib=idle_rss_mib,
        idle_p99_s=idle.latency(name).p99_s,
        p50_s=shown.p50_s,
        p99_s=shown.p99_s,
        max_s=shown.max_s,
        wrong=wrong_before + wrong,
    )
    return flooded, idle, under


def one_at_a_time(client: Client, seconds: float) -> tuple[list[float], int]:
    """Seconds of each round trip, and how many results were wrong."""
    clock = time.perf_counter
    durations_s, wrong, number = [], 0, 0
    end_s = clock() + seconds
    while (started_s := clock()) < end_s:
        number += 1
        wrong += client.submit(noop, number).result(timeout=RESULT_TIMEOUT_S) != number
        durations_s.append(clock() - started_s)
        time.sleep(PAUSE_S)
    return durations_s, wrong


@contextmanager
def flooding(name: str, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that floods the node at ``address`` within the block."""
    command = [sys.executable, "-m", "paceline_bench.bodies.floods", name, address]
    flood = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert flood.stdout is not None
        if flood.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the flood {name!r} did not begin: exit code {flood.wait(READY_TIMEOUT_S)}")
        yield flood
    finally:
        flood.kill()
        flood.communicate()


def count(flood: subprocess.Popen[bytes]) -> tuple[int, int]:
    """How many messages of a flood have left so far, and how many answers have come."""
    assert flood.stdin is not None
    assert flood.stdout is not None
    flood.stdin.write(b"\n")
    flood.stdin.flush()
    sent, heard = map(int, flood.stdout.readline().split())
    return sent, heard


def most_rss_mib(pid: int) -> float:
    """The most memory that a process has had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not tell of a process how much memory it had at most")
