"""The data directory of a node that runs is moved, deleted or taken over: it stops by name, and harms no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, settled_status, transferred, wait_until
from integration.test_copied_directories import exit_code, log_of
from integration.test_restarts import QUEUED, data_dir
from paceline import Cluster


def delete(path: Path) -> None:
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)  # its node may write there meanwhile


def test_a_node_whose_directory_was_moved_leaves_the_one_that_began_there_alone() -> None:
    with (
        Cluster.local(TASKS, nodes=1, workers=1, journal="fsync") as first,
        Cluster.local(TASKS, nodes=1, workers=1, journal="fsync") as second,
    ):
        moved, node = data_dir(first, first.nodes[0]), second.nodes[0]
        node.kill()
        identity = json.loads((data_dir(second, node) / "identity.json").read_text())
        old = moved.rename(moved.with_name("old"))
        data_dir(second, node).rename(moved)
        first.nodes[0].terminate()
        assert exit_code(first.nodes[0]) == 70
        assert f"What this node has written is in {old}" in log_of(first.nodes[0])
        assert json.loads((moved / "identity.json").read_text()) == identity
        moved.rename(data_dir(second, node))
        node.restart()
        second.wait_ready(DEADLINE_S)
        assert node.id == identity["node_id"]


@pytest.mark.parametrize("what", [".", "journal"])
def test_a_node_that_votes_alone_stops_once_its_directory_is_deleted_and_says_what_is_lost(what: str) -> None:
    with Cluster.local(TASKS, nodes=1, workers=1, journal="fsync") as cluster:
        (node,) = cluster.nodes
        delete(data_dir(cluster, node) / what)
        assert exit_code(node) == 70
        log = log_of(node)
        assert "if it voted alone, tasks that have not ended are lost" in log
        assert "nothing that was accepted is lost" not in log


def test_a_leader_whose_directory_is_deleted_transfers_the_leadership_and_no_accepted_task_is_lost() -> None:
    cluster = Cluster.local(TASKS, nodes=3, workers=1, journal="fsync")
    cluster._command += ["--log-level", "info"]
    with cluster:
        leader = cluster.leader
        assert leader is not None
        with cluster.client() as client:
            wait_until(lambda: client.status()["fault_tolerance"] == 1, "three vote")
            futures = [client.submit("sample_tasks.square", number) for number in range(QUEUED)]
            delete(data_dir(cluster, leader))
            assert [future.result(DEADLINE_S) for future in futures] == [number**2 for number in range(QUEUED)]
            assert exit_code(leader) == 70
            wait_until(lambda: client.status()["leader_id"] not in ("", leader.id), "another leads")
            status = settled_status(client)
            assert status["accepted_total"] == status["succeeded_total"]
        transferred(log_of(leader), "is gone from its path")
