"""What goes wrong in a soak: one row for each fault.

A fault is struck and, after a while, undone; then the cluster must be well again. ``STEADY`` is never stopped or
started anew: whatever leaks shows there.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from hosts.cluster import NODES, HostCluster, HostNode
from integration.conftest import wait_until, workers_of

STEADY = NODES[2]
FILL_BYTES = 1 << 20
STOP_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """``strike`` and ``undo`` get the cluster and the node that is struck. ``spares_steady``: not for STEADY.

    ``lasts_s``: from when it is struck until it is undone, drawn between these.
    """

    name: str
    strike: Callable[[HostCluster, HostNode], None]
    undo: Callable[[HostCluster, HostNode], None]
    spares_steady: bool = False
    lasts_s: tuple[float, float] = (0.5, 4.0)

    def victim(self, cluster: HostCluster, rng: Random) -> HostNode:
        return rng.choice([node for node in cluster.nodes if not (self.spares_steady and node.host.name == STEADY)])


def _start_again(cluster: HostCluster, node: HostNode) -> None:
    node.restart()
    cluster.wait_started(node)


def _stop(cluster: HostCluster, node: HostNode) -> None:
    node.terminate()
    node.wait_stopped(time.monotonic() + STOP_LIMIT_S)


def _roll(cluster: HostCluster, node: HostNode) -> None:
    """Each node but STEADY is stopped and started again, one after the other, as an upgrade does."""
    for each in cluster.nodes:
        if each.host.name != STEADY:
            _stop(cluster, each)
            _start_again(cluster, each)
            cluster.wait_healthy()


def _kill_worker(cluster: HostCluster, node: HostNode) -> None:
    for worker in workers_of(node.pid):
        with suppress(ProcessLookupError):  # it has just ended by itself, or its node has ended it
            os.kill(worker.pid, signal.SIGKILL)


def _fill_disk(cluster: HostCluster, node: HostNode) -> None:
    """Until nothing more can be written, and the node has noticed and ended by itself."""
    with (cluster.data_dir(node).parent / "filling").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(FILL_BYTES))
        except OSError:
            pass  # it is full
    wait_until(lambda: not node.alive, f"{node} ends, as its disk is full")


def _make_room(cluster: HostCluster, node: HostNode) -> None:
    (cluster.data_dir(node).parent / "filling").unlink()
    node.wait_stopped(time.monotonic() + STOP_LIMIT_S)
    _start_again(cluster, node)


def _nothing(cluster: HostCluster, node: HostNode) -> None:
    """It is over by itself."""


def _heal(cluster: HostCluster, node: HostNode) -> None:
    cluster.hosts.heal()


FAULTS = (
    Fault("node killed", lambda cluster, node: node.kill(), _start_again, spares_steady=True),
    Fault("node stands still", lambda cluster, node: node.pause(), lambda cluster, node: node.resume()),
    Fault("link cut", lambda cluster, node: cluster.hosts.cut(node.host), _heal),
    Fault("not heard", lambda cluster, node: cluster.hosts.silence(node.host), _heal),
    Fault("hears nobody", lambda cluster, node: cluster.hosts.deafen(node.host), _heal),
    Fault("workers killed", _kill_worker, _nothing, lasts_s=(0.0, 0.0)),
    Fault("disk full", _fill_disk, _make_room, spares_steady=True),
    Fault("rolling restart", _roll, _nothing, lasts_s=(0.0, 0.0)),
)
