"""Leadership and votes go where a person wants them, while tasks go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, log_with, settled_status, transferred, wait_until
from paceline import Client, Cluster
from paceline.errors import RequestRefused
from paceline_protocol.messages.client import AdminOp

TASKS = 300


def voters(client: Client) -> set[str]:
    return {row["id"] for row in client.status()["nodes"] if row["role"] in ("leader", "voter")}


def test_a_leader_that_is_stopped_under_load_hands_over_and_loses_nothing(three_nodes: Cluster, tmp_path: Path) -> None:
    leader = three_nodes.leader
    assert leader is not None
    with three_nodes.client() as client:
        term = client.status()["term"]
        futures = [client.submit("sample_tasks.record", str(tmp_path), number) for number in range(TASKS)]
        futures[TASKS // 10].result(DEADLINE_S)
        os.kill(leader.pid, signal.SIGTERM)
        futures += [client.submit("sample_tasks.record", str(tmp_path), TASKS + number) for number in range(TASKS)]
        assert [future.result(DEADLINE_S) for future in futures] == list(range(2 * TASKS))
        status = settled_status(client)
        assert status["leader_id"] != leader.id
        assert status["term"] > term
        assert status["recorded_total"] == 2 * TASKS
    wait_until(lambda: not leader.alive, "the node that is stopped ends")
    log = leader._log_path.read_text()
    since = transferred(log, "stopping on SIGTERM")
    assert since is None or "no longer leading" in since, f"it led until it ended: {log}"


def test_leadership_goes_to_the_node_that_is_named_and_votes_come_and_go(three_nodes: Cluster) -> None:
    leader = three_nodes.leader
    assert leader is not None
    follower, other = (node for node in three_nodes.nodes if node is not leader)
    first, second = follower.id, other.id
    with three_nodes.client() as client:

        def wait_voters(*expected: str) -> None:
            # Whoever is asked in the middle of an election may not know the last change yet.
            wait_until(lambda: voters(client) == set(expected), lambda: f"{expected} vote: {client.status()['nodes']}")

        wait_voters(leader.id, first, second)
        assert f"node {first} leads" in client.change_cluster(AdminOp.TRANSFER, first)
        log_with(follower, "leading in term")
        assert "does not replicate" in client.change_cluster(AdminOp.REMOVE, second)
        wait_voters(leader.id, first)
        assert "3 voters" in client.change_cluster(AdminOp.PROMOTE, second)
        wait_voters(leader.id, first, second)
        assert "does not replicate" in client.change_cluster(AdminOp.REMOVE, first)  # by way of the next leader
        wait_voters(leader.id, second)
        with pytest.raises(RequestRefused, match="unknown"):
            client.change_cluster(AdminOp.REMOVE, "nobody")
        assert client.submit("sample_tasks.square", 7).result(DEADLINE_S) == 49
