"""A real cluster on this machine for the length of a ``with`` block: for tests, demonstrations and notebooks.

    with Cluster.local("tasks.py", nodes=3) as cluster, cluster.client() as client:
        client.submit("tasks.add", 2, 3).result()

The nodes are processes like any other node: they elect a leader, spawn workers, and can be killed. Two pipes tie each
to this process. On one a node announces its address and later that it is ready, as JSON lines. The other is never
written; its end tells a node that this process is gone, so that no node outlives a script that crashed.

With ``secure`` the cluster has a file with keys of its own, as `paceline init` writes it, and every connection is
encrypted; the file goes with the block, or with the last of its processes if a signal ends the block.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from paceline.client.client import Client
from paceline.client.scratch import ScratchDirectory
from paceline.config import LOOPBACK_HOST, ClusterFile, new_cluster
from paceline.errors import ClusterFailed, PacelineError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
KILL_TIMEOUT_S = 5.0
STATUS_TIMEOUT_S = 5.0
LOG_TAIL_BYTES = 4096
ANNOUNCE_LIMIT_BYTES = 64 * 1024
CLUSTER_FILE_NAME = "cluster.toml"


class Node:
    """One node process of a local cluster."""

    def __init__(
        self,
        command: list[str],
        log_path: Path,
        environment: Mapping[str, str] | None,
        cluster_file: ClusterFile | None = None,
        scratch: ScratchDirectory | None = None,
    ) -> None:
        self.id = ""
        self.address = ""
        self.metrics_address = ""  # "" if it serves none
        self.ready = False
        self._command = command
        self._environment = environment
        self._cluster_file = cluster_file
        self._held = () if scratch is None else (scratch.held,)
        self._log_path = log_path
        self._start(command)

    def _start(self, command: list[str]) -> None:
        self._announced = b""
        announce_read, announce_write = os.pipe()
        parent_read, self._parent_write = os.pipe()
        self._announce_read = announce_read
        command = [*command, "--announce-fd", str(announce_write), "--parent-fd", str(parent_read)]
        try:
            with self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(announce_write, parent_read, *self._held),
                    env=self._environment,
                    # Ctrl-C belongs to the script: it decides when and in which order its nodes stop.
                    start_new_session=True,
                )
        except OSError:
            os.close(announce_read)
            os.close(self._parent_write)
            raise
        finally:
            os.close(announce_write)
            os.close(parent_read)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def is_leader(self) -> bool:
        """Whether this node says that it leads. False if it does not answer, as when it was killed."""
        return self.alive and _leader_id((self.address,), self._cluster_file) == self.id

    def kill(self) -> None:
        """SIGKILL, and wait for the end of the process: nothing is flushed, nobody is told."""
        self._process.kill()
        self._process.wait(KILL_TIMEOUT_S)
        self._close_pipes()

    def restart(self) -> None:
        """Start an ended node again, at its address and with its data directory if it has one. Returns at once:
        :meth:`Cluster.wait_ready` waits. With journal memory it is a new node."""
        if self.alive:
            raise ClusterFailed("the node still runs; kill or terminate it before it is started again")
        port = self.address.rpartition(":")[2]
        self.id, self.ready = "", False
        self._start([*self._command, "--port", port])

    def terminate(self) -> None:
        """SIGTERM: the node leaves. What its workers were running is run again by another."""
        self._process.terminate()

    def wait_stopped(self, deadline_s: float) -> None:
        """SIGKILL at the deadline. Its workers end with it."""
        try:
            self._process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(KILL_TIMEOUT_S)
        self._close_pipes()

    def wait_announced(self, field: str, deadline_s: float) -> None:
        """Read announcements until one has ``field``. Raises ClusterFailed."""
        while not self._take_announcements(field):
            rest_s = deadline_s - time.monotonic()
            if rest_s <= 0:
                raise ClusterFailed(f"a node did not announce its {field} in time{self._log_tail()}")
            poll = select.poll()
            poll.register(self._announce_read, select.POLLIN)
            if poll.poll(int(rest_s * 1000) + 1):
                data = os.read(self._announce_read, 4096)
                if not data:
                    code = self._process.wait(KILL_TIMEOUT_S)
                    raise ClusterFailed(f"a node ended with {_how(code)} while it started{self._log_tail()}")
                self._announced += data
                if len(self._announced) > ANNOUNCE_LIMIT_BYTES:
                    raise ClusterFailed("a node announces something that is no line of JSON")

    def _take_announcements(self, field: str) -> bool:
        found = bool({"address": self.address, "ready": self.ready}[field])
        while b"\n" in self._announced:
            line, _, self._announced = self._announced.partition(b"\n")
            message: dict[str, Any] = json.loads(line)
            if "error" in message:
                raise ClusterFailed(f"a node did not start: {message['error']}{self._log_tail()}")
            self.id = message.get("id", self.id)
            self.address = message.get("address", self.address)
            self.metrics_address = message.get("metrics", self.metrics_address)
            self.ready = message.get("ready", self.ready)
            found = found or field in message
        return found

    def _log_tail(self) -> str:
        with self._log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace").strip()
        return f"\n\nThe end of its output:\n{text}" if text else ""

    def _close_pipes(self) -> None:
        for descriptor in (self._announce_read, self._parent_write):
            if descriptor >= 0:
                os.close(descriptor)
        self._announce_read = self._parent_write = -1

    def __repr__(self) -> str:
        return f"<paceline node {self.id[:8]} at {self.address}, pid {self.pid}>"


class Cluster:
    """Nodes of this machine that form one cluster. Made by :meth:`local`."""

    def __init__(
        self,
        command: list[str],
        nodes: int,
        environment: Mapping[str, str] | None,
        *,
        journal: str = "memory",
        cluster_file: ClusterFile | None = None,
    ) -> None:
        self._command = command
        self._cluster_file = cluster_file
        self._journal = journal
        self._wanted_nodes = nodes
        self._environment = environment
        self._scratch: ScratchDirectory | None = None
        self.nodes: list[Node] = []

    @classmethod
    def local(
        cls,
        *modules: str | Path | ModuleType,
        nodes: int = 1,
        workers: int = 2,
        journal: str = "memory",
        secure: bool = False,
        metrics: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Cluster:
        """Describe a cluster; entering its ``with`` block starts it and waits until it is ready.

        ``modules`` hold the tasks: module names, paths of .py files, or modules. ``environment`` replaces that of the
        nodes and their workers. With ``journal`` "fsync" or "os" each node keeps its log on disk, for as long as the
        block: a node that is killed can be started again. ``secure`` encrypts every connection, with new keys.
        With ``metrics`` each node serves them, at its ``metrics_address``.
        """
        if nodes < 1:
            raise ValueError(f"nodes is {nodes}, and must be at least 1")
        options = ["--journal", journal, "--expect", str(nodes), "--metrics", "127.0.0.1:0" if metrics else "off"]
        cluster_file = new_cluster(nodes) if secure else None
        command = [*_node_command(modules, workers), *options]
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
        return tuple(node.address for node in self.nodes)

    @property
    def cluster_file(self) -> Path | None:
        """Where the keys of a running secure cluster are, for ``--cluster``; None if it has none."""
        if self._cluster_file is None or self._scratch is None:
            return None
        return self._scratch.path / CLUSTER_FILE_NAME

    @property
    def leader(self) -> Node | None:
        """The node that leads, as the cluster says; None if it says none in time or names another."""
        leader_id = _leader_id(self.addresses, self._cluster_file)
        return next((node for node in self.nodes if node.id == leader_id), None)

    def client(self, **options: Any) -> Client:
        """A client of this cluster, with its keys if it has any; ``options`` are those of Client."""
        return Client(*self.addresses, **{"cluster": self._cluster_file} | options)

    def start(self, timeout: float = START_TIMEOUT_S) -> None:
        """Start the processes. Returns once all of them listen; there may be no leader yet."""
        deadline_s = time.monotonic() + timeout
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
        """Wait until every node has workers and knows a leader that accepts tasks. Raises ClusterFailed, with what the
        node printed. Three nodes then survive the loss of one: before its first voters stand, no leader accepts."""
        deadline_s = time.monotonic() + timeout
        for node in self.nodes:
            if node.alive or not node.ready:
                node.wait_announced("ready", deadline_s)

    def add_node(self, *modules: str | Path | ModuleType, workers: int = 2, timeout: float = START_TIMEOUT_S) -> Node:
        """Start one more node, which may serve other tasks than those there are, and wait until it is ready."""
        deadline_s = time.monotonic() + timeout
        command = [*_node_command(modules, workers), "--journal", self._journal, "--expect", "0", "--metrics", "off"]
        self._start_node("--join", self.nodes[0].address, command=command)
        self.nodes[-1].wait_announced("ready", deadline_s)
        return self.nodes[-1]

    def stop(self, timeout: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM to every node, SIGKILL to those that still live after ``timeout`` seconds. Stopping twice is fine."""
        deadline_s = time.monotonic() + timeout
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.wait_stopped(deadline_s)
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _start_node(self, *options: str, command: list[str] | None = None) -> None:
        assert self._scratch is not None
        directory = self._scratch.path
        number = len(self.nodes)
        settings = [] if self._journal == "memory" else ["--data-dir", str(directory / f"node{number}")]
        if path := self.cluster_file:
            settings += ["--cluster", str(path), "--bind", LOOPBACK_HOST]
        log_path = directory / f"node{number}.log"
        command = [*(command or self._command), *settings, *options]
        self.nodes.append(Node(command, log_path, self._environment, self._cluster_file, self._scratch))


def _node_command(modules: Iterable[str | Path | ModuleType], workers: int) -> list[str]:
    specs = [_module_spec(module) for module in modules]
    options = ["--port", "0", "--workers", str(workers), "--no-discovery"]
    return [sys.executable, "-m", "paceline", "node", *specs, *options]


def _leader_id(addresses: tuple[str, ...], cluster_file: ClusterFile | None) -> str:
    client = Client(*addresses, cluster=cluster_file)
    try:
        return str(client.status(STATUS_TIMEOUT_S).get("leader_id", ""))
    except PacelineError:
        return ""
    finally:
        client.close(0)


def _module_spec(module: str | Path | ModuleType) -> str:
    if not isinstance(module, ModuleType):
        return str(module)
    spec = getattr(module, "__spec__", None)
    name = spec.name if spec is not None else module.__name__
    # A script that is run has the name __main__, which means something else in a node.
    if name != "__main__":
        return str(name)
    if module.__file__ is None:
        raise ValueError("tasks typed into an interpreter have no file that a node could load; save them in a module")
    return module.__file__


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.Signals(-code).name})"
