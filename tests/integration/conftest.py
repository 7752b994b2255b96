"""Real nodes, real workers, real sockets. Every wait has a deadline; no test sleeps in place of a condition."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from paceline import Client, Cluster
from paceline.local.node_process import Node

TASKS = Path(__file__).with_name("sample_tasks.py")
DEADLINE_S = 30.0


def without_settings() -> dict[str, str]:
    """The environment of this process, without what sets paceline."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PACELINE_")}


def wait_until(condition: Callable[[], object], what: str | Callable[[], str], deadline_s: float = DEADLINE_S) -> None:
    """Poll until the condition holds; fail with ``what`` if it does not in time, or with what it says by then."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not in {deadline_s} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.01)


def log_with(node: Node, *texts: str) -> str:
    """The log of a node once it has all of these: it writes its lines a moment after what they tell of."""

    def missing() -> list[str]:
        log = node._log_path.read_text()
        return [text for text in texts if text not in log]

    wait_until(lambda: not missing(), lambda: f"the log of {node.id} has {missing()}")
    return node._log_path.read_text()


def workers_of(pid: int) -> list[psutil.Process]:
    """The worker processes of a node."""
    return children_that_run("paceline.worker", pid)


def children_that_run(program: str, pid: int) -> list[psutil.Process]:
    """Those of one program among the children of a node."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # it has just ended, and may not be waited for yet
            if program in " ".join(child.cmdline()):
                found.append(child)
    return found


def settled_status(client: Client) -> dict[str, object]:
    """The leader's status once every outcome that it passed on is also recorded."""
    status: dict[str, object] = {}

    def settled() -> bool:
        status.update(client.status())
        return status["accepted_total"] == status["recorded_total"] and not status["queued"] and not status["running"]

    wait_until(settled, lambda: f"every outcome is recorded: {status}")
    return status


def transferred(log: str, when: str) -> str | None:
    """What the log of a node has from its leadership transfer on, which it must begin if it leads when ``when`` is
    logged. None if it did not lead: a machine that stands still for an election timeout deposes its leaders."""
    assert when in log, log
    before, after = log.split(when, 1)
    if before.rfind("leading in term") <= before.rfind("no longer leading"):
        return None
    assert "transferring the leadership to node" in after, log
    return after.split("transferring the leadership to node", 1)[1]


@pytest.fixture(scope="module")
def one_node() -> Iterator[Cluster]:
    """A single node that the tests of one module share."""
    with Cluster.local(TASKS, nodes=1, workers=2) as cluster:
        yield cluster


@pytest.fixture
def three_nodes() -> Iterator[Cluster]:
    """Three nodes of its own for each test, because tests kill them. Their logs say who leads."""
    cluster = Cluster.local(TASKS, nodes=3, workers=1)
    cluster._command += ["--log-level", "info"]
    with cluster:
        yield cluster
