"""Machines that are told nothing but the name and the keys of their cluster."""

from __future__ import annotations

from pathlib import Path

from hosts.checks import check_outcomes
from hosts.cluster import HostCluster
from integration.conftest import wait_until

TASKS = 100


def test_three_hosts_find_each_other_by_multicast_form_one_cluster_and_all_run_tasks(
    cluster: HostCluster, tmp_path: Path
) -> None:
    assert not any("--join" in node._command for node in cluster.nodes)
    before = cluster.settled_totals()
    gate = tmp_path / "gate"
    with cluster.stream() as stream:
        stream.wait_ended(TASKS)
        stream.hold(len(cluster.nodes), gate)  # one for each worker
        wait_until(lambda: all(cluster.running(node) for node in cluster.nodes), "all three nodes run a task")
        gate.touch()
        stream.finish()
    check_outcomes(cluster, before, stream)
    assert {run.namespace for run in stream.runs()} == {node.host.inode for node in cluster.nodes}
    assert stream.ran_again() == {}
    bodies = [cluster.status(node) for node in cluster.nodes]
    for node, body in zip(cluster.nodes, bodies, strict=True):
        assert body is not None
        assert body["node_id"] == node.id
        assert body["cluster_id"] == bodies[0]["cluster_id"] != ""
        assert body["other_clusters"] == []
        assert body["fault_tolerance"] == 1
        assert sorted(row["role"] for row in body["nodes"]) == ["leader", "voter", "voter"]
        assert {row["address"].split(":")[0] for row in body["nodes"]} == {one.host.address for one in cluster.nodes}
