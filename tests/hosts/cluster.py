"""A cluster with one node on each of three hosts, and one more host for clients.

The nodes are started as an operator would: the same cluster file and the same command everywhere, no address of another
node. So every test here rests on multicast discovery.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from hosts.network import Host, Hosts
from hosts.probe import Probe
from hosts.stream import RATE_PER_S, Stream
from integration.conftest import wait_until, without_settings
from paceline.config import new_cluster
from paceline.local.node_process import Node

NODES = ("node1", "node2", "node3")
CLIENT = "client"
PORT = 7077
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0
TASKS = Path(__file__).with_name("host_tasks.py")
AnyStream = TypeVar("AnyStream", bound=Stream)
TOTALS = ("accepted_total", "recorded_total", "succeeded_total", "failed_total", "cancelled_total", "lost_total")


class HostNode(Node):
    """A node process on a host of its own."""

    def __init__(self, host: Host, command: list[str], log_path: Path, environment: Mapping[str, str]) -> None:
        self.host = host
        self.paused = False
        super().__init__(host.command(*command), log_path, environment)

    def pause(self) -> None:
        """SIGSTOP: the machine is there, the node does nothing. Its workers go on."""
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def __repr__(self) -> str:
        return f"<{self.host.name}: {super().__repr__()}>"


class HostCluster:
    """A context manager: three nodes, ready. Each is seen through its own eyes: there is no view from above.

    ``tasks``: the module that they run. ``disk_mib``: each node's data is on a disk of this size, which can be filled.
    """

    def __init__(self, directory: Path, tasks: Path = TASKS, disk_mib: int | None = None) -> None:
        self.hosts = Hosts(*NODES, CLIENT)
        self.nodes: list[HostNode] = []
        self.terms: dict[str, list[int]] = {name: [] for name in NODES}  # of each node, as it was seen to grow
        self._directory = directory
        self._tasks = tasks
        self._disk_mib = disk_mib
        self._disks: list[Path] = []
        self._probes: dict[str, Probe] = {}
        self._streams = 0
        self._environment = without_settings()
        self.cluster_path = directory / "cluster.toml"
        self._file = new_cluster(len(NODES))
        self.cluster_path.touch(mode=0o600)
        self.cluster_path.write_text(self._file.dumps())

    def __enter__(self) -> HostCluster:
        try:
            self.hosts.__enter__()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        for name in NODES:
            host = self.hosts[name]
            (self._directory / name).mkdir()
            self._add_disk(self._directory / name / "disk")
            command = [sys.executable, "-m", "paceline", "node", str(self._tasks), "--cluster", str(self.cluster_path)]
            command += ["--port", str(PORT), "--workers", "1", "--data-dir", str(self._data_path(name))]
            command += ["--log-level", "info"]
            self.nodes.append(HostNode(host, command, self._directory / name / "log", self._environment))
            self._probes[name] = Probe(host, PORT, self._file)
        self.wait_started(*self.nodes)
        self.wait_healthy()

    def _add_disk(self, path: Path) -> None:
        path.mkdir()
        if self._disk_mib is not None:
            _run("mount", "-t", "tmpfs", "-o", f"size={self._disk_mib}m", "tmpfs", str(path))
            self._disks.append(path)

    def _data_path(self, name: str) -> Path:
        return self._directory / name / "disk" / "data"

    def wait_started(self, *nodes: HostNode) -> None:
        """Wait until nodes that were just started, or started again, are ready."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        for node in nodes:
            node.wait_announced("ready", deadline_s)

    def close(self) -> None:
        """Everything ends, whatever state the test left it in."""
        for probe in self._probes.values():
            probe.close()
        for node in self.nodes:
            if node.alive and node.paused:
                node.resume()
            node.terminate()
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for node in self.nodes:
            node.wait_stopped(deadline_s)
        for disk in self._disks:
            _run("umount", "--lazy", str(disk))
        self._disks.clear()
        self.hosts.close()

    # --- who says what ------------------------------------------------------------------------------------------

    def status(self, node: HostNode) -> dict[str, Any] | None:
        """What this node says; None if it says nothing."""
        body = self._probes[node.host.name].status()
        if body is not None:
            seen = self.terms[node.host.name]
            assert not seen or body["term"] >= seen[-1], f"the term of {node} fell from {seen[-1]} to {body['term']}"
            seen.append(body["term"])
        return body

    def wait_status(self, node: HostNode) -> dict[str, Any]:
        """What this node says, for nodes that can speak."""
        bodies: list[dict[str, Any] | None] = []

        def told() -> bool:
            bodies.append(self.status(node))
            return bodies[-1] is not None

        wait_until(told, f"{node} answers")
        assert bodies[-1] is not None
        return bodies[-1]

    def leader(self) -> tuple[HostNode, int] | None:
        """The node that says that it leads, and in which term; the latest, if an older one does not know better."""
        bodies = [(node, self.status(node)) for node in self.nodes if node.alive and not node.paused]
        leading = [(body["term"], node) for node, body in bodies if body is not None and body["leader_id"] == node.id]
        if not leading:
            return None
        term, node = max(leading, key=lambda pair: pair[0])
        return node, term

    def wait_leader(self, *, after_term: int = 0, besides: HostNode | None = None) -> tuple[HostNode, int]:
        """Wait until a node leads in a term later than ``after_term``, and is not ``besides``."""
        found: list[tuple[HostNode, int]] = []

        def led() -> bool:
            leader = self.leader()
            if leader is None or leader[0] is besides or leader[1] <= after_term:
                return False
            found.append(leader)
            return True

        wait_until(led, f"a node leads in a term after {after_term}, and it is not {besides}")
        return found[0]

    def followers(self, leader: HostNode) -> list[HostNode]:
        return [node for node in self.nodes if node is not leader]

    def leader_named_by(self, node: HostNode) -> str | None:
        """The id of the leader that one node knows, empty if it knows none; None if it says nothing."""
        body = self.status(node)
        return None if body is None else str(body["leader_id"])

    def running(self, node: HostNode) -> int:
        """How many tasks this node runs, as it says; 0 if it says nothing."""
        body = self.status(node)
        return 0 if body is None else sum(row["running"] for row in body["nodes"] if row["is_self"])

    def data_dir(self, node: HostNode) -> Path:
        return self._data_path(node.host.name)

    def commit_index(self) -> int:
        """Up to where all nodes agree that the log is committed, as each of them knows."""
        return min(int(self.wait_status(node)["commit_index"]) for node in self.nodes)

    # --- what holds again after every fault ---------------------------------------------------------------------

    def illness(self) -> str:
        """What is wrong with the cluster; empty if all is as it was after the start."""
        bodies = []
        for node in self.nodes:
            body = self.status(node) if node.alive and not node.paused else None
            if body is None:
                return f"{node} does not answer"
            bodies.append(body)
        if len({(body["cluster_id"], body["leader_id"], body["term"]) for body in bodies}) > 1:
            return f"the nodes don't follow one leader: {[(body['leader_id'], body['term']) for body in bodies]}"
        leading = [body for body in bodies if body["leader_id"] == body["node_id"]]
        if not leading:
            return "nobody leads"
        leader = leading[0]
        rows = [row for row in leader["nodes"] if row["role"] in ("leader", "voter") and row["alive"]]
        if {row["id"] for row in rows} != {node.id for node in self.nodes} or leader["forming"]:
            return f"the voters are not the three nodes: {leader['nodes']} {leader['forming']}"
        silent = [row["id"] for row in rows if row.get("slots") != 1]
        return f"no tasks go to {silent}" if silent else ""

    def wait_healthy(self) -> None:
        wait_until(lambda: not self.illness(), lambda: f"the cluster is well: {self.illness()}")

    def settled_totals(self) -> dict[str, int]:
        """The counts of the replicated table, once every node has the same and no outcome is on its way."""
        totals: dict[str, int] = {}

        def settled() -> bool:
            bodies = [self.status(node) for node in self.nodes]
            views = [{name: body[name] for name in TOTALS} for body in bodies if body is not None]
            if len(views) < len(self.nodes) or any(view != views[0] for view in views):
                return False
            totals.update(views[0])
            working = any(body["queued"] or body["running"] for body in bodies if body is not None)
            return not working and totals["accepted_total"] == totals["recorded_total"]

        wait_until(settled, lambda: f"every outcome is recorded everywhere: {totals}")
        return totals

    # --- clients ------------------------------------------------------------------------------------------------

    def stream(
        self, kind: type[AnyStream] = Stream, *, beside: HostNode | None = None, rate_per_s: float = RATE_PER_S
    ) -> AnyStream:
        """A load from the host of the clients, or from the host of a node. Numbers of tasks differ between streams."""
        self._streams += 1
        host = self.hosts[CLIENT] if beside is None else beside.host
        return kind(
            host,
            [f"{self.hosts[name].address}:{PORT}" for name in NODES],
            self.cluster_path,
            self._directory / f"stream{self._streams}",
            environment=self._environment,
            rate_per_s=rate_per_s,
            first=self._streams * 1_000_000,
        )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_TIMEOUT_S)
