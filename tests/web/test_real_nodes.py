"""Real nodes and their web processes: who listens where, who outlives whom, and what a probe says."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from integration.conftest import children_that_run, wait_until, without_settings
from paceline import Cluster
from paceline.config import METRICS_PORT_OFFSET, ClusterFile, NodeConfig
from paceline.errors import ConfigError, PortInUse
from paceline.local.node_process import Node
from paceline.runtime.children.web_child import open_web

TASKS = Path(__file__).parents[1] / "integration" / "sample_tasks.py"


def get(node: Node, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{node.metrics_address}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def web_processes(node: Node) -> list[psutil.Process]:
    return children_that_run("paceline.web", node.pid)


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with Cluster.local(TASKS, nodes=3, workers=1, secure=True, metrics=True) as cluster:
        yield cluster


def test_every_node_answers_probes_and_lists_all_of_them(three: Cluster) -> None:
    def all_are_listed(node: Node) -> bool:
        listed = {group["targets"][0] for group in json.loads(get(node, "/sd")[1])}
        return listed == {each.metrics_address for each in three.nodes}

    for node in three.nodes:
        assert get(node, "/livez") == (200, "ok\n")
        # One that has just become a learner hears a moment later that others vote already.
        wait_until(lambda node=node: get(node, "/readyz") == (200, "ok\n"), "every node is ready")
        wait_until(lambda node=node: all_are_listed(node), "every node lists every node")


def test_tasks_are_counted_where_they_ran_and_the_cluster_by_its_leader(three: Cluster) -> None:
    with three.client() as client:
        assert len(list(client.map("sample_tasks.square", range(50)))) == 50
        address = client.status()["nodes"][0]["metrics"]
    assert address in {node.metrics_address for node in three.nodes}

    def total(name: str) -> float:
        lines = [line for node in three.nodes for line in get(node, "/metrics")[1].splitlines()]
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    assert total('paceline_tasks_executed_total{outcome="succeeded",task="sample_tasks.square"}') >= 50
    assert total('paceline_tasks_finished_total{outcome="succeeded"}') >= 50
    assert total("paceline_is_leader") == 1


def test_nothing_secret_is_told(three: Cluster) -> None:
    assert three.cluster_file is not None
    keys = ClusterFile.load(three.cluster_file).keys
    for node in three.nodes:
        for path in ("/metrics", "/sd", "/readyz", "/livez", "/"):
            text = get(node, path)[1]
            assert keys.secret not in text
            assert keys.public not in text


def test_a_web_process_that_dies_is_replaced_at_the_same_address_and_the_node_goes_on(three: Cluster) -> None:
    node = three.nodes[0]
    (before,) = web_processes(node)
    before.kill()
    before.wait(10)

    def is_back() -> bool:
        return "paceline_web_exits_total 1.0" in get(node, "/metrics")[1]  # the connection waits for the successor

    wait_until(is_back, "another web process answers")
    assert web_processes(node) != [before]
    with three.client() as client:
        assert client.submit("sample_tasks.square", 3).result(timeout=30) == 9


def test_a_node_that_stands_still_is_not_live() -> None:
    with Cluster.local(TASKS, nodes=1, workers=1, metrics=True) as cluster:
        (node,) = cluster.nodes
        os.kill(node.pid, signal.SIGSTOP)
        try:
            status, text = get(node, "/livez")
            assert status == 503
            assert "did not turn within 1 s" in text
        finally:
            os.kill(node.pid, signal.SIGCONT)
        wait_until(lambda: get(node, "/livez")[0] == 200, "it is live again")


def test_a_web_process_ends_with_its_node() -> None:
    with Cluster.local(TASKS, nodes=1, workers=1, metrics=True) as cluster:
        (node,) = cluster.nodes
        (web,) = web_processes(node)
        node.kill()
        web.wait(10)


def test_a_local_cluster_serves_no_metrics_unless_it_is_asked_to() -> None:
    with Cluster.local(TASKS, nodes=1, workers=1) as cluster:
        (node,) = cluster.nodes
        assert node.metrics_address == ""
        assert web_processes(node) == []


# --- where it listens -------------------------------------------------------------------------------------------


def config(**changes: object) -> NodeConfig:
    settings: dict[str, object] = {"modules": (), "workers": 0, "journal": "memory"}
    return NodeConfig(**settings | changes)  # type: ignore[arg-type]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_the_default_is_loopback_and_a_port_that_follows_from_that_of_the_node() -> None:
    port = next(port for port in (free_port() for _ in range(100)) if 2_000 < port <= 65_535)
    web = open_web(config(port=port - METRICS_PORT_OFFSET), "10.0.0.1:7077")
    assert web is not None
    assert web.address == f"127.0.0.1:{port}"
    web.close()


def test_a_default_port_that_is_taken_gives_way_to_any_free_one_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.WARNING, "paceline.node"):
        port = taken.getsockname()[1]
        web = open_web(config(port=port - METRICS_PORT_OFFSET), "127.0.0.1:7077")
    assert web is not None
    assert web.address != f"127.0.0.1:{port}"
    assert f"they are at {web.address}" in caplog.text
    web.close()


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PortInUse, match=f"{address} is in use.*--metrics"):
            open_web(config(metrics=address), "127.0.0.1:7077")


def test_metrics_for_every_interface_are_announced_at_the_address_of_the_node() -> None:
    web = open_web(config(metrics="0.0.0.0:0"), "10.0.0.1:7077")
    assert web is not None
    assert web.address.startswith("10.0.0.1:")
    web.close()


def test_metrics_can_be_off() -> None:
    assert open_web(config(metrics="off"), "127.0.0.1:7077") is None


@pytest.mark.parametrize("text", ["9077", "localhost", "", "[::1]", "host:99999", "host:", ":9077"])
def test_an_address_without_host_or_port_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--metrics: .*write HOST:PORT, \[IPV6\]:PORT, or off"):
        config(metrics=text).validate()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"--metrics: can't listen on 192\.0\.2\.1:9077: .*an address of this machine"
    ):
        open_web(config(metrics="192.0.2.1:9077"), "127.0.0.1:7077")


def test_a_node_on_the_command_line_says_where_its_metrics_are(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paceline", "node", "--workers", "0", "--port", "0", "--journal", "memory"]
    environment = without_settings()
    process = subprocess.Popen(
        [*command, "--no-discovery"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"PACELINE_METRICS": "127.0.0.1:0"},
        cwd=tmp_path,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert ", metrics at http://127.0.0.1:" in line
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
