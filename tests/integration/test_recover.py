"""Two of three disks are gone for good: the third goes on, when a person says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from integration.conftest import DEADLINE_S, TASKS, log_with, settled_status, wait_until
from paceline import Client, Cluster
from paceline.core.state.table import TaskTable
from paceline.errors import JournalCorrupt
from paceline.local.node_process import Node
from paceline.runtime.journal.recovery import read_journal

QUEUED = 100
NODES = 3


def recover(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paceline", "cluster", "recover", "--data-dir", str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def table_on(directory: Path) -> TaskTable:
    """What this disk says of tasks. A node that is writing may be seen in the middle of it: then nothing."""
    table = TaskTable()
    try:
        for entry in read_journal(directory / "journal").entries:
            table.apply(entry.kind, entry.data)
    except JournalCorrupt:
        return TaskTable()
    return table


def voters(client: Client) -> set[str]:
    return {row["id"] for row in client.status()["nodes"] if row["role"] in ("leader", "voter")}


def test_one_survivor_of_three_goes_on_with_all_that_it_had_and_a_lost_voter_never_mixes(tmp_path: Path) -> None:
    gate, ran = tmp_path / "gate", tmp_path / "ran"
    ran.mkdir()
    with Cluster.local(TASKS, nodes=NODES, workers=1, journal="fsync") as cluster:
        assert cluster._scratch is not None
        directories = [cluster._scratch.path / f"node{number}" for number in range(NODES)]
        survivor, old_ids = cluster.nodes[0], [node.id for node in cluster.nodes]
        with cluster.client() as client:
            for _ in range(NODES):
                client.submit("sample_tasks.wait_for", str(gate))
            futures = [client.submit("sample_tasks.record", str(ran), number) for number in range(QUEUED)]
            for future in futures:
                future.accepted(DEADLINE_S)
            accepted = NODES + QUEUED
            wait_until(lambda: table_on(directories[0]).totals.accepted == accepted, "the survivor has all of them")
        running = recover(directories[0], "--unsafe")
        assert running.returncode == 61
        assert f"in use by process {survivor.pid}" in running.stderr
        for node in cluster.nodes:
            node.kill()
        returned = tmp_path / "returned"
        shutil.move(directories[2], returned)
        shutil.rmtree(directories[1])

        assert recover(directories[0]).returncode == 66
        done = recover(directories[0], "--unsafe", "--json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["node"], said["queued"]) == (survivor.id, len(table_on(directories[0]).tasks))
        assert said["queued"] >= NODES
        assert set(said["lost_voters"]) == set(old_ids[1:])

        for node in cluster.nodes:
            node.restart()
        cluster.wait_ready(DEADLINE_S)
        assert survivor.id == old_ids[0]
        log_with(survivor, said["recovered_at"])  # it warns of the recovery
        gate.touch()
        with Client(survivor.address) as client:
            status = settled_status(client)
            assert status["accepted_total"] == NODES + QUEUED
            assert status["lost_total"] == status["failed_total"] == 0
            assert {int(path.name.split(".")[0]) for path in ran.iterdir()} == set(range(QUEUED))
            now_ids = {node.id for node in cluster.nodes}
            wait_until(lambda: voters(client) == now_ids, "three vote again")
            assert now_ids.isdisjoint(old_ids[1:])

            options = ["--data-dir", str(returned), "--join", survivor.address]
            old_voter = Node([*cluster._command, *options], tmp_path / "returned.log", None)
            try:
                old_voter.wait_announced("address", time.monotonic() + DEADLINE_S)
                for node in (old_voter, survivor):
                    log = node._log_path
                    wait_until(lambda log=log: "belongs to another cluster" in log.read_text(), "it is reported")
                assert old_voter.id == old_ids[2]
                assert client.submit("sample_tasks.square", 7).result(DEADLINE_S) == 49
                assert voters(client) == now_ids
                assert old_voter.id not in {row["id"] for row in client.status()["nodes"]}
            finally:
                old_voter.kill()
