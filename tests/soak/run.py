"""Hours of everything: three hosts, tasks of every kind, faults of every kind, and nothing may be lost or grow.

    ./dev soak --minutes 120

The nodes run on hosts of their own (network namespaces, so it needs root) with their data on small disks. One fault
follows the other: each of ``soak.faults`` once, in an order that the seed draws, then again. Behind each the cluster
must become well and go on. At the end every task must have the one outcome that its kind allows, each that is to be
kept as a dead one must have been found as that, no outcome may be recorded twice, and the node that was never stopped
must use no more than it did. What was seen is written as a table, a page with plots, and the samples; it ends with 1 if
anything is not as it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path
from random import Random

from hosts.cluster import HostCluster
from hosts.logs import check_logs
from hosts.network import why_not
from paceline_bench.report.page import to_html
from paceline_bench.report.picture import Axis, Picture, Series
from paceline_bench.report.report import Check, Report, ReportRow, milliseconds, show
from paceline_bench.report.stats import percentile
from soak import limits, samples, schedules
from soak.faults import FAULTS, STEADY, Fault
from soak.samples import Sample
from soak.stream import MixedStream

TASKS = Path(__file__).with_name("soak_tasks.py")
DISK_MIB = 512
RATE_PER_S = 40.0
AFTER = 20
"""Tasks that are submitted behind each fault, and end before the next one."""
SAMPLES = 400
SAMPLE_MIN_S = 0.5
CLIENT = "client"
SHOWN = 5


class Sampler(threading.Thread):
    """Looks at every process from time to time, until :meth:`stop`. ``failure``: what ended it before that."""

    def __init__(self, cluster: HostCluster, stream: MixedStream, interval_s: float) -> None:
        super().__init__(name="sampler", daemon=True)
        self.taken: list[Sample] = []
        self.failure: Exception | None = None
        self._cluster = cluster
        self._stream = stream
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._began_s = time.monotonic()

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._interval_s):
                self._look()
        except Exception as error:  # noqa: BLE001 - raised where the thread is joined
            self.failure = error

    def _look(self) -> None:
        at_s = time.monotonic() - self._began_s
        processes = [(node.host.name, node.pid, self._cluster.data_dir(node)) for node in self._cluster.nodes]
        for who, pid, data in (*processes, (CLIENT, self._stream.pid, None)):
            sample = samples.take(at_s, who, pid, data)
            if sample is not None:
                self.taken.append(sample)

    def stop(self) -> list[Sample]:
        self._stopping.set()
        self.join()
        if self.failure is not None:
            raise self.failure
        return self.taken


def soak(cluster: HostCluster, for_s: float, seed: int) -> tuple[Report, list[Sample]]:
    """Raises AssertionError if the cluster does not become well behind a fault."""
    rng, struck = Random(seed), Counter[str]()
    began_s = time.monotonic()
    with cluster.stream(MixedStream, rate_per_s=RATE_PER_S) as stream:
        sampler = Sampler(cluster, stream, max(SAMPLE_MIN_S, for_s / SAMPLES))
        sampler.start()
        for fault in chain.from_iterable(rng.sample(FAULTS, len(FAULTS)) for _ in repeat(None)):
            stream.wait_ended(AFTER, since_s=time.monotonic())
            if time.monotonic() - began_s > for_s:
                break
            _strike(cluster, fault, rng, began_s)
            struck[fault.name] += 1
        taken = sampler.stop()
        stream.finish()
    cluster.wait_healthy()
    totals = cluster.settled_totals()
    check_logs([cluster.data_dir(node) for node in cluster.nodes], cluster.commit_index())
    return _report(stream, struck, totals, taken, seed), taken


def _strike(cluster: HostCluster, fault: Fault, rng: Random, began_s: float) -> None:
    node, lasts_s = fault.victim(cluster, rng), rng.uniform(*fault.lasts_s)
    print(f"{time.monotonic() - began_s:7.1f} s  {fault.name}: {node.host.name}", file=sys.stderr, flush=True)
    fault.strike(cluster, node)
    time.sleep(lasts_s)  # how long it lasts is part of the fault
    fault.undo(cluster, node)
    cluster.wait_healthy()


def _report(
    stream: MixedStream, struck: Counter[str], totals: dict[str, int], taken: Sequence[Sample], seed: int
) -> Report:
    wrong, dead = stream.misjudged(), stream.dead_otherwise()
    grows = [line for who in (STEADY, CLIENT) for line in samples.growth(taken, who)]
    took_s = [ending.at_s - stream.submitted[number] for number, ending in stream.ended.items() if not ending.error]
    rows = [
        ReportRow("tasks submitted", f"{len(stream.submitted):,}", f"{RATE_PER_S:g} a second, seed {seed}"),
        ReportRow("tasks that ran again", f"{len(stream.ran_again()):,}"),
        ReportRow("dead tasks found and discarded", f"{len(stream.told('dead')):,}"),
        *_uses(taken),
        ReportRow("outcomes recorded", f"{totals['recorded_total']:,}"),
        ReportRow("submit to result, p50", milliseconds(percentile(took_s, 50)), "across all faults, all kinds"),
        ReportRow("submit to result, max", milliseconds(max(took_s))),
        *(ReportRow(f"fault: {name}", f"{count:,}") for name, count in sorted(struck.items())),
        *(ReportRow(f"ended: {name}", f"{count:,}") for name, count in sorted(stream.counts().items())),
    ]
    checks = [
        Check(
            "every task has the one outcome that its kind allows",
            not wrong,
            f"{len(wrong)} have not: {dict(list(wrong.items())[:SHOWN])}" if wrong else "",
        ),
        Check(
            "each task that failed for good and asked for that was kept as a dead one, and found once",
            not dead,
            f"{len(dead)} were not: {dead[:SHOWN]}" if dead else "",
        ),
        Check("no outcome is recorded that nobody asked for", totals["recorded_total"] <= len(stream.submitted)),
        Check(
            f"nothing grows in {STEADY} and in the client, which were never started anew", not grows, "; ".join(grows)
        ),
    ]
    return Report("soak", "fsync", rows, checks, pictures=_pictures(taken), details={"struck": dict(struck)})


def _uses(taken: Sequence[Sample]) -> list[ReportRow]:
    """What the processes used that were never started anew: at first, at last, and at most."""
    rows = []
    for who in (STEADY, CLIENT):
        own = [sample for sample in taken if sample.who == who]
        for measure, unit in (("rss_mib", "MiB"), ("descriptors", ""), ("threads", "")):
            values = [float(getattr(sample, measure)) for sample in own]
            if values:
                shown = f"{values[0]:.0f}, {values[-1]:.0f}, {max(values):.0f} {unit}".rstrip()
                rows.append(ReportRow(f"{measure.partition('_')[0]} of {who}", shown, "first, last, most"))
    return rows


def _pictures(taken: Sequence[Sample]) -> list[Picture]:
    measures = {
        "resident memory": ("rss_mib", "MiB"),
        "open descriptors": ("descriptors", "descriptors"),
        "threads": ("threads", "threads"),
        "data directory": ("journal_mib", "MiB"),
    }
    names = sorted({sample.who for sample in taken})
    pictures = []
    for title, (measure, unit) in measures.items():
        lines = []
        for name in names:
            own = [(sample.at_s / 60, float(getattr(sample, measure))) for sample in taken if sample.who == name]
            known = [(minute, value) for minute, value in own if value >= 0]
            if known:
                lines.append(Series(name, *zip(*known, strict=True), points=False))
        pictures.append(
            Picture(title, Axis("minutes"), Axis(unit), lines, "A line that jumps is a node that was started anew.")
        )
    return pictures


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1, help="of the order of faults")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where soak.html and soak.csv are written")
    parser.add_argument("--schedules", action="store_true", help="schedules alone, on three nodes of this machine")
    parser.add_argument("--limits", action="store_true", help="limits alone, likewise, until all tasks have ended")
    parser.add_argument("--tasks", type=int, default=100_000, help="of --limits")
    parser.add_argument("--keys", type=int, default=1_000, help="of --limits")
    asked = parser.parse_args()
    if asked.schedules or asked.limits:
        if asked.schedules:
            report = schedules.run(asked.minutes, asked.seed)
        else:
            report = limits.run(asked.tasks, asked.keys, asked.seed)
        show([report])
        return 0 if report.ok else 1
    reason = why_not()
    if reason:
        parser.error(reason)
    with tempfile.TemporaryDirectory() as directory, HostCluster(Path(directory), TASKS, DISK_MIB) as cluster:
        report, taken = soak(cluster, asked.minutes * 60, asked.seed)
    show([report])
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "soak.html").write_text(to_html([report]), encoding="utf-8")
        (asked.out / "soak.csv").write_text(samples.as_csv(taken))
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
