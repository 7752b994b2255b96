"""Nodes on hosts whose networks are odd: several interfaces, none yet, other addresses, names in place of numbers.

Unlike ``cluster.py`` this leaves to the test what is done to a host before its node starts, and asks each node over
loopback, which works whatever is done to its network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from hosts.cluster import TASKS, HostNode
from hosts.network import Host, Hosts, ip
from hosts.probe import Probe
from integration.conftest import wait_until, without_settings
from paceline.config import new_cluster

PORT = 7077
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
PER_NAMESPACE = Path("/etc/netns")
"""`ip netns exec` mounts what is in the folder of a namespace over the same files of /etc."""


class Machines:
    """A context manager: hosts without nodes yet."""

    def __init__(self, directory: Path, *names: str) -> None:
        self.hosts = Hosts(*names)
        self.nodes: dict[str, HostNode] = {}
        self._directory = directory
        self._probes: dict[str, Probe] = {}
        self._environment = without_settings()
        self._file = new_cluster(len(names))
        self.cluster_path = directory / "cluster.toml"
        self.cluster_path.touch(mode=0o600)
        self.cluster_path.write_text(self._file.dumps())

    def __enter__(self) -> Machines:
        self.hosts.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for probe in self._probes.values():
            probe.close()
        for node in self.nodes.values():
            if node.alive:
                node.terminate()
        for node in self.nodes.values():
            node.wait_stopped(time.monotonic() + STOP_TIMEOUT_S)
        self.hosts.close()

    def start(self, name: str, *options: str) -> HostNode:
        """Start the node of a host, or start it again with what it had."""
        if name in self.nodes:
            self.nodes[name].kill()
        host = self.hosts[name]
        (self._directory / name).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "paceline", "node", str(TASKS), "--cluster", str(self.cluster_path)]
        command += ["--port", str(PORT), "--workers", "1", "--metrics", "off", "--log-level", "info"]
        command += ["--data-dir", str(self._directory / name / "data"), *options]
        node = self.nodes[name] = HostNode(host, command, self._directory / name / "log", self._environment)
        node.wait_announced("address", time.monotonic() + START_TIMEOUT_S)  # and its id
        if name not in self._probes:
            self._probes[name] = Probe(replace(host, address="127.0.0.1"), PORT, self._file)
        return node

    def status(self, name: str) -> dict[str, Any] | None:
        return self._probes[name].status()

    def log(self, name: str) -> str:
        return (self._directory / name / "log").read_text()

    def leaders(self) -> set[str]:
        """Whom the nodes name as their leader: one, if they are one cluster that works."""
        bodies = [self.status(name) for name, node in self.nodes.items() if node.alive]
        return {"" if body is None else str(body["leader_id"]) for body in bodies}

    def addresses(self, name: str) -> dict[str, str]:
        """Where this node says that each is, by host."""
        ids = {node.id: host for host, node in self.nodes.items()}
        body = self.status(name)
        return {} if body is None else {ids.get(row["id"], row["id"]): row["address"] for row in body["nodes"]}

    def wait_together(self, names: Sequence[str] | None = None) -> None:
        """Wait until these nodes, or all, follow one leader and vote."""
        wanted = set(names or self.nodes)

        def why_not() -> str:
            leaders = self.leaders()
            if len(leaders) != 1 or "" in leaders:
                return f"the leaders are {leaders}"
            name = next(name for name in wanted if self.nodes[name].alive)
            body = self.status(name)
            rows = [] if body is None else body["nodes"]
            here = [row for row in rows if row["alive"] and row["role"] in ("leader", "voter")]
            return "" if len(here) == len(wanted) else f"{name} sees {rows}"

        wait_until(lambda: not why_not(), lambda: f"{wanted} are together: {why_not()}")

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``paceline ARGUMENTS`` on a host."""
        return subprocess.run(
            self.hosts[name].command(sys.executable, "-m", "paceline", *arguments),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env=self._environment | {"PACELINE_CLUSTER": str(self.cluster_path)},
        )

    def cli_status(self, name: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.command(name, "status", "--json").stdout)
        return body


def add_interface(host: Host, name: str, address: str) -> None:
    """An interface that leads nowhere, with a carrier, as a bridge of containers has it."""
    ip("-n", host.namespace, "link", "add", name, "type", "veth", "peer", "name", f"{name}-end"[:15])
    ip("-n", host.namespace, "link", "set", f"{name}-end"[:15], "up")
    ip("-n", host.namespace, "address", "add", address, "dev", name)
    ip("-n", host.namespace, "link", "set", name, "up")


@contextmanager
def files_of_etc(host: Host, **files: str) -> Iterator[Path]:
    """Files of /etc as what is started on the host sees them; yields the folder in which they can be rewritten."""
    directory = PER_NAMESPACE / host.namespace
    directory.mkdir(parents=True)
    try:
        for name, text in files.items():
            (directory / name.replace("_", ".")).write_text(text)
        yield directory
    finally:
        shutil.rmtree(directory)
