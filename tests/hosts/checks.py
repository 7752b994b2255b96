"""What every test here asserts at its end: nothing was lost, nothing was recorded twice."""

from __future__ import annotations

from hosts.cluster import HostCluster
from hosts.logs import check_logs
from hosts.stream import Stream

UNRECORDED_S = 2.0
"""A leader whose time is over notices that within its lease, 0.25 s; a machine that is busy may take longer."""


def check_outcomes(
    cluster: HostCluster, before: dict[str, int], *streams: Stream, leader_failed_s: tuple[float, float] | None = None
) -> None:
    """Every task of these finished streams ended with its right result, and was recorded once.

    ``before``: the settled totals from before the streams. If leaders failed between two moments, tasks that ended
    around then may be unrecorded: results are passed on before they are committed, and who has one asks no more.
    """
    for stream in streams:
        assert stream.wrong() == {}
        assert {run.number for run in stream.runs()} == set(stream.submitted), "what has a result also ran"
    cluster.wait_healthy()
    totals = cluster.settled_totals()
    grown = {name: totals[name] - before[name] for name in totals}
    submitted = sum(len(stream.submitted) for stream in streams)
    assert grown["failed_total"] == grown["cancelled_total"] == grown["lost_total"] == 0, grown
    unrecorded_limit = 0 if leader_failed_s is None else ended_around(*leader_failed_s, streams)
    print(f"{submitted} submitted, {grown}, ran again: {sum(len(stream.ran_again()) for stream in streams)}")
    assert submitted - unrecorded_limit <= grown["recorded_total"] <= submitted, grown
    check_logs([cluster.data_dir(node) for node in cluster.nodes], cluster.commit_index())


def ended_around(from_s: float, to_s: float, streams: tuple[Stream, ...]) -> int:
    at_s = [ending.at_s for stream in streams for ending in stream.ended.values()]
    return sum(from_s - UNRECORDED_S < moment_s < to_s + UNRECORDED_S for moment_s in at_s)
