"""Data directories that were copied, put back or cloned, with real processes: each is found out, named, and harms
nobody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, settled_status, wait_until
from integration.test_restarts import data_dir
from paceline import Client, Cluster
from paceline.local.node_process import Node


@pytest.fixture
def three_durable_nodes() -> Iterator[Cluster]:
    with Cluster.local(TASKS, nodes=3, workers=1, journal="fsync") as cluster:
        yield cluster


def block_copy(source: Path, destination: Path) -> None:
    """As a snapshot of a whole disk: what is copied can't be told from the original by its inodes."""
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(source, destination)
    path = destination / "identity.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "inode": path.stat().st_ino}))


def follower_of(cluster: Cluster) -> Node:
    with cluster.client() as client:
        wait_until(lambda: client.status()["fault_tolerance"] == 1, "three vote")
        leader_id = client.status()["leader_id"]
    return next(node for node in cluster.nodes if node.id != leader_id)


def run_tasks(client: Client, count: int) -> None:
    for future in [client.submit("sample_tasks.square", number) for number in range(count)]:
        future.result(DEADLINE_S)


def exit_code(node: Node) -> int:
    wait_until(lambda: not node.alive, lambda: f"it ends: {log_of(node)}", 60.0)
    return node._process.wait(DEADLINE_S)


def log_of(node: Node) -> str:
    return node._log_path.read_text()


def run_on(cluster: Cluster, directory: Path) -> tuple[int, str]:
    """The exit code and the log of a node with its own port, on a data directory that somebody has copied."""
    command = [*cluster._command, "--data-dir", str(directory), "--join", cluster.addresses[0]]
    node = Node(command, directory.with_suffix(".log"), None)
    try:
        return exit_code(node), log_of(node)
    finally:
        node.kill()


def test_a_node_does_not_start_on_a_directory_that_was_put_back(three_durable_nodes: Cluster, tmp_path: Path) -> None:
    node = follower_of(three_durable_nodes)
    directory = data_dir(three_durable_nodes, node)
    shutil.copytree(directory, tmp_path / "copy")  # while it runs
    node.kill()
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "copy", directory)
    node.restart()
    assert exit_code(node) == 65
    assert "it is a copy of the directory that its node wrote" in log_of(node)
    assert "start it with --moved, once" in log_of(node)


def test_a_voter_whose_disk_was_put_back_counts_for_nothing_and_ends(
    three_durable_nodes: Cluster, tmp_path: Path
) -> None:
    node = follower_of(three_durable_nodes)
    directory = data_dir(three_durable_nodes, node)
    block_copy(directory, tmp_path / "copy")
    before = node.id
    with three_durable_nodes.client() as client:
        run_tasks(client, 50)
        settled_status(client)
        node.kill()
        block_copy(tmp_path / "copy", directory)
        node.restart()
        assert exit_code(node) == 65
        assert re.search(r"it keeps entry \d+ of the log, and its journal ends at entry \d+", log_of(node))
        assert "move its data directory away and start it again: it joins as a new node" in log_of(node)
        row = next(each for each in client.status()["nodes"] if each["id"] == before)
        assert row["forgotten"]
        assert row["behind"] > 0
        assert client.status()["fault_tolerance"] == 0
        leader = three_durable_nodes.leader
        assert leader is not None
        wait_until(lambda: f"node {before} has lost what it had promised" in log_of(leader), lambda: log_of(leader))
        shutil.rmtree(directory)  # which is what it says is to be done
        node.restart()
        wait_until(lambda: client.status()["fault_tolerance"] == 1, "a new node takes its place", 60.0)
        assert before not in [each["id"] for each in client.status()["nodes"] if each["role"] == "voter"]
        run_tasks(client, 10)


def test_a_copy_beside_its_original_ends_and_the_original_goes_on(three_durable_nodes: Cluster, tmp_path: Path) -> None:
    node = follower_of(three_durable_nodes)
    block_copy(data_dir(three_durable_nodes, node), tmp_path / "copy")
    code, log = run_on(three_durable_nodes, tmp_path / "copy")
    assert code == 69
    assert f"node {node.id} runs twice" in log
    assert node.address in log
    assert node.alive
    with three_durable_nodes.client() as client:
        wait_until(lambda: client.status()["fault_tolerance"] == 1, "the original counts as before")
        said = f"node {node.id} runs twice: at {node.address}, and, begun later, at "
        wait_until(lambda: any(said in log_of(each) for each in three_durable_nodes.nodes), "it is said")
        run_tasks(client, 10)


def test_an_older_copy_beside_its_original_ends_too(three_durable_nodes: Cluster, tmp_path: Path) -> None:
    node = follower_of(three_durable_nodes)
    block_copy(data_dir(three_durable_nodes, node), tmp_path / "copy")
    for _ in range(2):
        node.kill()
        node.restart()
        node.wait_announced("ready", time.monotonic() + DEADLINE_S)
    assert run_on(three_durable_nodes, tmp_path / "copy")[0] == 69
    assert node.alive


def test_machines_from_one_image_become_different_nodes_and_form_a_cluster(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paceline", "node", str(TASKS), "--workers", "1", "--metrics", "off"]
    command += ["--no-discovery", "--expect", "3"]
    image = Node([*command, "--port", "0", "--data-dir", str(tmp_path / "image")], tmp_path / "image.log", None)
    image.wait_announced("address", time.monotonic() + DEADLINE_S)
    port = int(image.address.rpartition(":")[2])
    image.kill()
    nodes = []
    try:
        for number in range(3):
            directory = tmp_path / f"m{number}"
            block_copy(tmp_path / "image", directory)
            seeds = [] if not number else ["--join", f"127.0.0.1:{port}"]
            options = ["--port", str(port if not number else 0), "--data-dir", str(directory), *seeds]
            nodes.append(Node([*command, *options], tmp_path / f"m{number}.log", None))
        with Client(f"127.0.0.1:{port}") as client:
            wait_until(lambda: client.status(DEADLINE_S)["fault_tolerance"] == 1, "all three vote", 60.0)
            assert len({each["id"] for each in client.status()["nodes"]}) == 3
        said = "their data directories are copies, and belong to no cluster yet"
        wait_until(lambda: sum(said in log_of(each) for each in nodes) == 2, "both say so")
    finally:
        for node in nodes:
            node.kill()


def test_moved_is_refused_without_a_directory() -> None:
    command = [sys.executable, "-m", "paceline", "node", str(TASKS), "--journal", "memory", "--moved"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 40
    assert "--moved is of a data directory" in ended.stderr


def test_moved_is_refused_together_with_fresh() -> None:
    command = [sys.executable, "-m", "paceline", "node", str(TASKS), "--fresh", "--moved"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 40
    assert "leave out one" in ended.stderr
