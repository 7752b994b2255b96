"""Where the microseconds of a round trip go: by the stamps of sampled tasks, each task by itself.

A sample is a call that the client traces. Its stages are what lies between two stamps that follow each other, and what
the caller saw before the first and after the last; so they add up, task by task, to the round trip that was measured
around them. Only one call of EVERY is sampled, and the others are shown beside, where it is seen what a trace costs.

All processes are on this machine, whose monotonic clock they share. Stamps of two machines would not compare.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from paceline.client import Client
from paceline.local import Cluster
from paceline_bench.bodies.tasks import noop
from paceline_bench.harness.elsewhere import tasks_elsewhere
from paceline_bench.harness.placement import Placement, placements
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.report import Check, Report, ReportRow, microseconds
from paceline_protocol.messages.trace import Stage

JOURNAL = "memory"
EVERY = 4
WARM_UP = 200
TIMEOUT_S = 30.0

STAGE_BEFORE = {
    Stage.LEADER_IN: "client to leader",
    Stage.DISPATCHED: "in the leader",
    Stage.NODE_IN: "leader to node",
    Stage.WORKER_START: "node to worker",
    Stage.WORKER_END: "in the worker",
    Stage.LEADER_BACK: "worker to leader",
    Stage.CLIENT_BACK: "leader to client",
}
"""What the time before each stamp was for: of a hop, to pack and send, to wake the receiver up, to receive and unpack.
The first hop ends in the leader when its turn begins, the last begins there, and has all that it does with an outcome
before that is sent."""
CALLER = "in the caller"
"""The time before the call is submitted and after its result has arrived: packing the arguments, unpacking the
result."""


@dataclass
class Round:
    """Round trips, one at a time. ``sampled_ns``: by the id of the task, what the caller measured."""

    sampled_ns: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # (started, ended)
    other_s: list[float] = field(default_factory=list)
    stamps: dict[bytes, dict[Stage, int]] = field(default_factory=dict)
    wrong: int = 0


def run(samples: int, secure: bool = False) -> Report:
    """``samples`` round trips in each placement, on the leader's own node and on another, one of EVERY sampled."""
    places = placements()
    measured: dict[str, Round] = {}
    with (
        Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, journal=JOURNAL, secure=secure) as cluster,
        tasks_elsewhere(JOURNAL, secure=secure) as other_cluster,
    ):
        for place in places:
            measured[place.name] = measure(cluster, place, samples)
            measured[f"{place.name}, on another node"] = measure(other_cluster, place, samples)
        places[-1].apply([])
    return report(measured, secure)


def measure(cluster: Cluster, place: Placement, samples: int) -> Round:
    place.apply(node.pid for node in cluster.nodes)
    with cluster.client(trace_every=EVERY) as client:
        _round_trips(client, WARM_UP)
        return _round_trips(client, samples)


def _round_trips(client: Client, samples: int) -> Round:
    clock, done = time.monotonic_ns, Round()
    for number in range(samples):
        started_ns = clock()
        future = client.submit(noop, number)
        result = future.result(timeout=TIMEOUT_S)
        ended_ns = clock()
        done.wrong += result != number
        if number % EVERY == 0:  # the client's first call, and then every so many; the warm-up ends with a whole number
            done.sampled_ns[future.task_id] = started_ns, ended_ns
        else:
            done.other_s.append((ended_ns - started_ns) / 1e9)
    client.status()  # what the leader sent before its answer is here now
    done.stamps = client.take_traces()
    return done


def stages_of(stamps: Mapping[Stage, int], started_ns: int, ended_ns: int) -> dict[str, int]:
    """Nanoseconds by stage, in order. They add up to the whole; one is negative if stamps are not in order."""
    moments = sorted(stamps)
    stages = {STAGE_BEFORE[stage]: stamps[stage] - stamps[before] for before, stage in pairwise(moments)}
    outside_ns = (stamps[moments[0]] - started_ns) + (ended_ns - stamps[moments[-1]])
    return {**stages, CALLER: outside_ns}


def report(measured: Mapping[str, Round], secure: bool = False) -> Report:
    """Rows for each placement. A share is of the sum of all round trips, so that the shares add up."""
    rows: list[ReportRow] = []
    details: dict[str, object] = {}
    missing = disordered = wrong = 0
    for name, done in measured.items():
        tasks = [
            stages_of(done.stamps[task_id], *times_ns)
            for task_id, times_ns in done.sampled_ns.items()
            if task_id in done.stamps
        ]
        missing += len(done.sampled_ns) - len(tasks)
        disordered += sum(min(task.values()) < 0 for task in tasks)
        wrong += done.wrong
        if not tasks:
            continue
        whole_ns = [sum(task.values()) for task in tasks]
        shown: dict[str, dict[str, float]] = {}
        for stage in [*STAGE_BEFORE.values(), CALLER]:
            spans_ns = [task[stage] for task in tasks if stage in task]
            if spans_ns:
                spans, share = _histogram(spans_ns), sum(spans_ns) / sum(whole_ns)
                shown[stage] = {"p50_s": spans.p50_s, "p99_s": spans.p99_s, "share": share}
                note = f"{100 * share:.1f} % of the whole, p99 {microseconds(spans.p99_s)}"
                rows.append(ReportRow(f"{name}: {stage}, p50", microseconds(spans.p50_s), note))
        whole = _histogram(whole_ns)
        others = f"p99 {microseconds(whole.p99_s)}, {whole.count:,} tasks"
        if done.other_s:
            others += f"; {microseconds(LatencyHistogram(done.other_s).p50_s)} those between that are not sampled"
        rows.append(ReportRow(f"{name}: round trip, p50", microseconds(whole.p50_s), others))
        details[name] = {"stages": shown, "whole": {"p50_s": whole.p50_s, "p99_s": whole.p99_s, "count": whole.count}}
    return Report(
        verb="latency --stages",
        journal=JOURNAL,
        rows=rows,
        checks=[
            Check("every result is the one asked for", wrong == 0, f"{wrong} wrong" if wrong else ""),
            Check("every sampled task has its stamps", missing == 0, f"{missing} have not" if missing else ""),
            Check("its stages are in order and within its round trip", disordered == 0),
        ],
        details=details,
        secure=secure,
    )


def _histogram(spans_ns: Iterable[int]) -> LatencyHistogram:
    """A histogram of spans. Stamps that are out of order give a negative span, which a check of the report catches."""
    return LatencyHistogram(max(0, span_ns) / 1e9 for span_ns in spans_ns)
