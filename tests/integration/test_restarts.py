"""What was accepted is on disk: it survives the death of every node, and a disk that refuses is no loss."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, settled_status, transferred, wait_until
from paceline import Cluster
from paceline.local.node_process import Node
from paceline.runtime.journal.recovery import find_segments

QUEUED = 300


def data_dir(cluster: Cluster, node: Node) -> Path:
    assert cluster._scratch is not None
    return cluster._scratch.path / f"node{cluster.nodes.index(node)}"


@pytest.fixture
def three_durable_nodes() -> Iterator[Cluster]:
    cluster = Cluster.local(TASKS, nodes=3, workers=1, journal="fsync")
    cluster._command += ["--log-level", "info"]
    with cluster:
        yield cluster


@pytest.mark.parametrize(("nodes", "journal"), [(1, "fsync"), (3, "fsync"), (3, "os")])
def test_when_every_node_is_killed_and_started_again_all_accepted_tasks_are_there(
    tmp_path: Path, nodes: int, journal: str
) -> None:
    with Cluster.local(TASKS, nodes=nodes, workers=1, journal=journal) as cluster:
        ids = [node.id for node in cluster.nodes]
        gate = tmp_path / "gate"
        with cluster.client() as client:
            for _ in range(nodes):
                client.submit("sample_tasks.wait_for", str(gate))
            futures = [client.submit("sample_tasks.record", str(tmp_path), number) for number in range(QUEUED)]
            futures[-1].accepted(DEADLINE_S)
            for future in futures:
                future.accepted(DEADLINE_S)
            accepted = client.status()["accepted_total"]
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.restart()
        cluster.wait_ready(DEADLINE_S)
        assert [node.id for node in cluster.nodes] == ids, "each is the node that it was"
        gate.touch()
        with cluster.client() as client:
            status = settled_status(client)
            assert status["accepted_total"] == accepted == QUEUED + nodes
            assert status["lost_total"] == status["failed_total"] == 0
    ran = {int(path.name.split(".")[0]) for path in tmp_path.iterdir() if path.name != "gate"}
    assert ran == set(range(QUEUED))


def test_a_client_that_waits_gets_its_results_across_a_restart_of_all(
    three_durable_nodes: Cluster, tmp_path: Path
) -> None:
    with three_durable_nodes.client() as client:
        futures = [client.submit("sample_tasks.square", number) for number in range(QUEUED)]
        futures[QUEUED // 3].result(DEADLINE_S)
        for node in three_durable_nodes.nodes:
            node.kill()
        for node in three_durable_nodes.nodes:
            node.restart()
        assert [future.result(DEADLINE_S) for future in futures] == [number**2 for number in range(QUEUED)]


def test_a_node_whose_disk_was_wiped_comes_back_as_another_node(three_durable_nodes: Cluster) -> None:
    leader = three_durable_nodes.leader
    assert leader is not None
    wiped = next(node for node in three_durable_nodes.nodes if node is not leader)
    old_id = wiped.id
    wiped.kill()
    shutil.rmtree(data_dir(three_durable_nodes, wiped))
    wiped.restart()
    three_durable_nodes.wait_ready(DEADLINE_S)
    assert wiped.id not in ("", old_id)
    with three_durable_nodes.client() as client:
        assert client.submit("sample_tasks.square", 7).result(DEADLINE_S) == 49
        wait_until(lambda: wiped.id in {node["id"] for node in client.status()["nodes"]}, "the new node joined")


def test_a_leader_whose_disk_is_full_hands_over_and_stops_and_no_accepted_task_is_lost(
    three_durable_nodes: Cluster,
) -> None:
    leader = three_durable_nodes.leader
    assert leader is not None
    (segment, *_) = find_segments(data_dir(three_durable_nodes, leader) / "journal")
    # A limit on the size of its files stands for a full disk: the write is refused in the middle.
    room = segment.stat().st_size + 2_000
    resource.prlimit(leader.pid, resource.RLIMIT_FSIZE, (room, room))
    with three_durable_nodes.client() as client:
        futures = [client.submit("sample_tasks.square", number) for number in range(QUEUED)]
        assert [future.result(DEADLINE_S) for future in futures] == [number**2 for number in range(QUEUED)]
        wait_until(lambda: not leader.alive, "the node with the full disk stops")
        wait_until(lambda: client.status()["leader_id"] not in ("", leader.id), "another leads")
        status = settled_status(client)
        # What it passed on just before its journal failed may be recorded nowhere: the submitter has it.
        assert 0 < status["accepted_total"] <= QUEUED
        assert status["accepted_total"] == status["succeeded_total"]
    log = leader._log_path.read_text()
    # That it ends only when another leads, unless that takes too long, is for the simulation to show.
    transferred(log, "can't write")
    assert "make room or replace the disk" in log
    assert leader._process.returncode == 64


def run_node(directory: Path) -> subprocess.CompletedProcess[str]:
    options = ("--port", "0", "--workers", "1", "--no-discovery", "--data-dir", str(directory))
    command = [sys.executable, "-m", "paceline", "node", str(TASKS), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_a_data_directory_in_use_or_damaged_is_refused_with_what_to_do() -> None:
    with Cluster.local(TASKS, nodes=1, workers=1, journal="fsync") as cluster:
        node = cluster.nodes[0]
        directory = data_dir(cluster, node)
        second = run_node(directory)
        assert second.returncode == 61
        assert f"in use by process {node.pid}" in second.stderr
        with cluster.client() as client:
            client.submit("sample_tasks.square", 2).result(DEADLINE_S)
        node.kill()
        (segment,) = find_segments(directory / "journal")
        data = bytearray(segment.read_bytes())
        data[40] ^= 1
        segment.write_bytes(data)
        damaged = run_node(directory)
        assert damaged.returncode == 62
        assert "is damaged at byte" in damaged.stderr
        assert "If its cluster has other voters, move its data directory away" in damaged.stderr
        assert "If it was the only one" in damaged.stderr, "as it is here, so that all there is would be moved away"
