"""A real cluster on this machine for the length of a ``with`` block: for tests, demonstrations and notebooks.

    with Cluster.local("tasks.py", nodes=3) as cluster, cluster.client() as client:
        client.submit("tasks.add", 2, 3).result()

The nodes are processes like any other node: they elect a leader, start workers, and can be killed. Two pipes tie each
node to this process. On one the node announces its address and later that it is ready, as JSON lines. The other is
never written; when it ends, the node knows that this process is gone, so no node outlives a script that crashed.

With ``secure`` the cluster has a file with keys of its own, as `paceline init` writes it, and every connection is
encrypted. The file is removed with the block, or with the last of its processes if a signal ends the block.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from paceline.client.client import Client
from paceline.config import ASYNC_SLOTS, LOOPBACK_HOST, ClusterFile, new_cluster
from paceline.errors import ClusterFailed, ConfigError
from paceline.importing import refuse_while_importing
from paceline.local.node_process import Node, leader_id_of
from paceline.local.scratch import ScratchDirectory
from paceline.options import shown
from paceline.worker.registry import check_module

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
ADDED = ("--expect", "0", "--metrics", "off", "--drain-timeout", "0")
"""The settings of a node that joins later."""
CLUSTER_FILE_NAME = "cluster.toml"


class Cluster:
    """Nodes of this machine that form one cluster. Made by :meth:`local`. Raises UsedWhileImporting in a worker that
    imports its modules: a script that starts a cluster of its own workers does so under ``if __name__ == "__main__":``.
    """

    def __init__(
        self,
        command: list[str],
        nodes: int,
        environment: Mapping[str, str] | None,
        *,
        journal: str = "memory",
        cluster_file: ClusterFile | None = None,
    ) -> None:
        refuse_while_importing("Cluster.local()")
        self._command = command
        self._cluster_file = cluster_file
        self._journal = journal
        self._wanted_nodes = nodes
        self._environment = environment
        self._scratch: ScratchDirectory | None = None
        self._pid = 0  # of the process that started it
        self._started = 0
        self.nodes: list[Node] = []

    @classmethod
    def local(
        cls,
        *modules: str | Path | ModuleType,
        nodes: int = 1,
        workers: int = 2,
        max_workers: int | None = None,
        async_slots: int = ASYNC_SLOTS,
        max_parked: int | None = None,
        journal: str = "memory",
        secure: bool = False,
        metrics: bool = False,
        drain_timeout: float = 0.0,
        environment: Mapping[str, str] | None = None,
    ) -> Cluster:
        """Describe a cluster; entering its ``with`` block starts it and waits until it is ready.

        ``modules`` hold the tasks: module names, paths of .py files, or modules. ``environment`` replaces that of the
        nodes and their workers. ``max_workers``: so many each node has while tasks wait, and ``workers`` otherwise;
        None: always as many. ``async_slots``: how many async tasks each node runs at once, beside what its
        ``workers`` run. ``max_parked``: how many tasks of each node give their slots back while they wait for others;
        None: 64, or 8 for each worker. With ``journal`` "fsync" or "os" each node keeps its log on disk, for as long as
        the block: a node that is killed can be started again. ``secure`` encrypts every connection, with new keys.
        ``drain_timeout``: so many seconds what a node runs may take to end once that is terminated; then another one
        runs it. With ``metrics`` each node serves them, at its ``metrics_address``. Raises ConfigError for what can't
        be used.
        """
        _check_count("nodes", nodes, 1)
        _check_count("async_slots", async_slots, 1)
        drain = f"--drain-timeout={drain_timeout}"
        options = [
            drain,
            "--journal",
            journal,
            "--expect",
            str(nodes),
            "--metrics",
            "127.0.0.1:0" if metrics else "off",
        ]
        if max_parked is not None:
            _check_count("max_parked", max_parked, 0)
            options += ["--max-parked", str(max_parked)]
        cluster_file = new_cluster(nodes) if secure else None
        if async_slots != ASYNC_SLOTS:
            options += ["--async-slots", str(async_slots)]
        command = [*_node_command(modules, workers, max_workers), *options]
        return cls(command, nodes, environment, journal=journal, cluster_file=cluster_file)

    def __enter__(self) -> Cluster:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of the nodes that listen, or did."""
        return tuple(node.address for node in self.nodes if node.address)

    @property
    def cluster_file(self) -> Path | None:
        """Where the keys of a running secure cluster are, for ``--cluster``; None if it has none."""
        if self._cluster_file is None or self._scratch is None:
            return None
        return self._scratch.path / CLUSTER_FILE_NAME

    @property
    def leader(self) -> Node | None:
        """The node that leads, as the cluster's status says; None if there is no status in time, or it names a node
        that is not of this object. Raises ClusterFailed outside of the block."""
        self._check_running("leader")
        leader_id = leader_id_of(self.addresses, self._cluster_file)
        return next((node for node in self.nodes if node.id == leader_id), None)

    def client(self, **options: Any) -> Client:
        """A client of this cluster, with its keys if it has any; ``options`` are those of Client. Raises ClusterFailed
        outside of the block: without addresses it would find whatever else runs on this machine."""
        self._check_running("client()")
        return Client(*self.addresses, **{"cluster": self._cluster_file} | options)

    def start(self, timeout: float = START_TIMEOUT_S) -> None:
        """Start the processes. Returns once all of them listen; there may be no leader yet."""
        if self._scratch is not None:
            raise ClusterFailed("this cluster runs already")
        deadline_s = time.monotonic() + timeout
        self._pid = os.getpid()
        self.nodes.clear()  # of an earlier block
        self._started = 0
        self._scratch = ScratchDirectory("paceline-local-")
        if self._cluster_file is not None and (path := self.cluster_file):
            path.touch(mode=0o600)  # before there is a secret in it
            path.write_text(self._cluster_file.dumps())
        self._start_node()
        # The others need an address to join.
        self.nodes[0].wait_announced("address", deadline_s)
        for _ in range(1, self._wanted_nodes):
            self._start_node("--join", self.nodes[0].address)
        for node in self.nodes[1:]:
            node.wait_announced("address", deadline_s)

    def wait_ready(self, timeout: float = START_TIMEOUT_S) -> None:
        """Wait until every node has workers and knows a leader that accepts tasks. Three nodes then survive the loss of
        one, since a leader accepts nothing before it has its first voters. Raises ClusterFailed, with the node's
        output."""
        deadline_s = time.monotonic() + timeout
        for node in self.nodes:
            if node.alive or not node.ready:
                node.wait_announced("ready", deadline_s)

    def add_node(self, *modules: str | Path | ModuleType, workers: int = 2, timeout: float = START_TIMEOUT_S) -> Node:
        """Start one more node, which may serve other tasks than those there are, and wait until it is ready. Raises
        ClusterFailed if it does not start, and outside of the block; then there is one node less, as before."""
        self._check_running("add_node()")
        deadline_s = time.monotonic() + timeout
        command = [*_node_command(modules, workers), *ADDED, "--journal", self._journal]
        node = self._start_node("--join", self.addresses[0], command=command)
        try:
            node.wait_announced("ready", deadline_s)
        except BaseException:
            self.nodes.remove(node)
            node.kill()
            raise
        return node

    def stop(self, timeout: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM to every node, SIGKILL to those that still live after ``timeout`` seconds. Stopping twice is fine.

        Does nothing in a forked child, which leaves the block as its parent does: the cluster is the parent's."""
        if os.getpid() != self._pid:
            return
        deadline_s = time.monotonic() + timeout
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.wait_stopped(deadline_s)
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _check_running(self, what: str) -> None:
        if self._scratch is None:
            raise ClusterFailed(
                f"{what} of a cluster that does not run: use it within its block, `with Cluster.local(...) as cluster:`"
            )

    def _start_node(self, *options: str, command: list[str] | None = None) -> Node:
        assert self._scratch is not None
        directory = self._scratch.path
        number = self._started
        self._started += 1
        settings = [] if self._journal == "memory" else ["--data-dir", str(directory / f"node{number}")]
        if path := self.cluster_file:
            settings += ["--cluster", str(path), "--bind", LOOPBACK_HOST]
        log_path = directory / f"node{number}.log"
        command = [*(command or self._command), *settings, *options]
        node = Node(command, log_path, self._environment, self._cluster_file, self._scratch)
        self.nodes.append(node)
        return node


def _check_count(name: str, value: object, lowest: int) -> None:
    if type(value) is not int or value < lowest:
        raise ConfigError(f"{name} is {shown(value)}, and must be a whole number from {lowest}")


def _node_command(
    modules: Iterable[str | Path | ModuleType], workers: int, max_workers: int | None = None
) -> list[str]:
    _check_count("workers", workers, 0 if max_workers is None else 1)
    counts = ["--workers", str(workers)]
    if max_workers is not None:
        _check_count("max_workers", max_workers, 1)
        if max_workers < workers:
            raise ConfigError(
                f"max_workers is {max_workers}, and workers is {workers}, which are the fewest; say fewer"
            )
        counts = ["--min-workers", str(workers), "--max-workers", str(max_workers)]
    specs = [_module_spec(module) for module in modules]
    options = ["--port", "0", *counts, "--no-discovery"]
    return [sys.executable, "-P", "-m", "paceline", "node", *specs, *options]


def _module_spec(module: str | Path | ModuleType) -> str:
    if isinstance(module, str | Path):
        spec = str(module)
        check_module(spec)  # "-h" would be an option
        return spec
    if not isinstance(module, ModuleType):
        raise ConfigError(
            f"{shown(module)} is no module of tasks; give a module, its dotted name, or the path of a .py file"
        )
    found = getattr(module, "__spec__", None)
    name = found.name if found is not None else module.__name__
    # A script that is run has the name __main__, which means something else in a node.
    if name != "__main__":
        return str(name)
    file: str | None = getattr(module, "__file__", None)
    if file is None:
        raise ConfigError("tasks typed into an interpreter have no file that a node could load; save them in a module")
    return file
