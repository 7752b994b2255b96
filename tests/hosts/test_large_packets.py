"""A node that large packets do not reach is heard, by its quick connection, and can't be given anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.machines import PORT, Machines
from hosts.network import NetworkError
from integration.conftest import wait_until
from paceline import Client

NAMES = ("a", "b", "c")
TASKS = 12  # more than the workers of two nodes take at once
LARGE_BYTES = 20_000  # many packets


@pytest.fixture
def machines(namespaces: None, tmp_path: Path) -> Iterator[Machines]:
    with Machines(tmp_path, *NAMES) as machines:
        for name in NAMES:
            machines.start(name, "--expect", "3")
        machines.wait_together()
        yield machines


def test_its_tasks_run_elsewhere_and_its_log_says_what_it_lacks(machines: Machines) -> None:
    [leader_id] = machines.leaders()
    leader, alone, _ = sorted(NAMES, key=lambda name: machines.nodes[name].id != leader_id)
    client = Client(f"{machines.hosts[leader].address}:{PORT}", cluster=machines.cluster_path)
    with machines.hosts[leader].entered():
        assert client.submit("host_tasks.fill", b"", 1).result(10) == b"\0"
    try:
        try:
            machines.hosts.swallow_large(machines.hosts[alone])
        except NetworkError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no link can be made so here: {error}")
        large = [client.submit("host_tasks.fill", bytes(LARGE_BYTES), 1) for _ in range(TASKS)]
        assert [future.result(30) for future in large] == [b"\0"] * TASKS
        lacks = f"node {leader_id} at {machines.hosts[leader].address}:{PORT} reaches this node by its quick connection"
        wait_until(lambda: lacks in machines.log(alone), "the log says it")
    finally:
        client.close(0)
