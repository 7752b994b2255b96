"""Three nodes of one encrypted cluster on this machine, started as a user would start them.

Unlike the nodes of ``Cluster.local`` these have a cluster file and are given no addresses: they find each other by
discovery, on the loopback interface. So the demo kills a node as it runs in production.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from paceline.config import new_cluster
from paceline.demo.tasks import NOTES_VARIABLE
from paceline.local.node_process import Node
from paceline.local.scratch import ScratchDirectory

NODES = 3
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


class DemoCluster:
    """A context manager: ``start`` starts the nodes, and they are gone after the block, however it is left."""

    def __init__(self, scratch: ScratchDirectory, workers: int) -> None:
        directory = scratch.path
        self.nodes: list[Node] = []
        self.cluster_path = directory / "cluster.toml"
        # The demo's cluster has keys of its own, so that two demos on one machine don't find each other.
        self.cluster_path.touch(mode=0o600)
        self.cluster_path.write_text(new_cluster(NODES).dumps())
        self.notes_path = directory / "notes"
        self._environment = {**os.environ, NOTES_VARIABLE: str(self.notes_path)}
        self._scratch = scratch
        options = ["--cluster", str(self.cluster_path), "--bind", "127.0.0.1", "--port", "0", "--workers", str(workers)]
        options += ["--metrics", "127.0.0.1:0"]  # there are three of them
        self._command = [sys.executable, "-P", "-m", "paceline", "node", "paceline.demo.tasks", *options]

    def __enter__(self) -> DemoCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.wait_stopped(deadline_s)

    def start(self) -> None:
        """Returns when every node is ready, and the death of one of them can be survived. Raises ClusterFailed."""
        for number in range(1, NODES + 1):
            path = self._scratch.path / f"node-{number}"
            command = [*self._command, "--data-dir", str(path)]
            self.nodes.append(Node(command, path.with_suffix(".log"), self._environment, scratch=self._scratch))
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        for node in self.nodes:
            node.wait_announced("ready", deadline_s)

    @property
    def addresses(self) -> Sequence[str]:
        return [node.address for node in self.nodes]

    def kill(self, node_id: str) -> float:
        """SIGKILL. Returns the time just before it (perf_counter, seconds); on return the node is dead."""
        node = next(node for node in self.nodes if node.id == node_id)
        killed_at_s = time.perf_counter()
        node.kill()
        return killed_at_s
