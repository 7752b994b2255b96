"""A cluster whose leader's own worker is busy, so that every task runs on the other node."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click import ClickException

from paceline.local import Cluster
from paceline_bench.bodies.tasks import hold

TIMEOUT_S = 30.0
POLL_S = 0.01
BODY = "paceline_bench.bodies.tasks"


@contextmanager
def tasks_elsewhere(journal: str, *, secure: bool) -> Iterator[Cluster]:
    """Two nodes with one worker each. Of nodes without a task the leader's own is given the first. Raises
    ClickException."""
    with (
        tempfile.TemporaryDirectory(prefix="pl-elsewhere-") as directory,
        Cluster.local(BODY, nodes=2, workers=1, journal=journal, secure=secure) as cluster,
        cluster.client() as client,
    ):
        gate = Path(directory) / "gate"
        deadline_s = time.monotonic() + TIMEOUT_S
        held = client.submit(hold, str(gate))
        while not _is_leader_busy(client.status()):
            if time.monotonic() > deadline_s:
                raise ClickException("the leader's own node did not take the task that is to keep it busy")
            time.sleep(POLL_S)
        yield cluster
        gate.touch()
        held.result(TIMEOUT_S)


def _is_leader_busy(status: dict[str, Any]) -> bool:
    """Whether its one worker has a task, and the other node has one that is ready."""
    nodes = status["nodes"]  # of a node that the leader has not heard of yet less is known
    return all(node.get("slots") == 1 and node.get("running") == (node["role"] == "leader") for node in nodes)
