"""Hosts that large packets do not reach, or do not leave. Their nodes are heard, by their quick connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosts.conftest import shaping
from hosts.machines import PORT, Machines
from integration.conftest import wait_until
from paceline import Client

NAMES = ("a", "b", "c")
TASKS = 12  # more than the workers of two nodes take at once
LARGE_BYTES = 20_000  # many packets
MUCH_BYTES = 300_000  # all tasks together take longer, at the slowest, than the kernel keeps a connection


@pytest.fixture
def machines(namespaces: None, tmp_path: Path) -> Iterator[Machines]:
    with Machines(tmp_path, *NAMES) as machines:
        for name in NAMES:
            machines.start(name, "--expect", "3")
        machines.wait_together()
        yield machines


def leader_first(machines: Machines) -> tuple[str, str, str]:
    [leader_id] = machines.leaders()
    leader, one, other = sorted(NAMES, key=lambda name: machines.nodes[name].id != leader_id)
    return leader, one, other


@contextmanager
def client_on(machines: Machines, name: str) -> Iterator[Client]:
    """Its threads and sockets are on that host."""
    client = Client(f"{machines.hosts[name].address}:{PORT}", cluster=machines.cluster_path)
    with machines.hosts[name].entered():
        assert client.submit("host_tasks.fill", b"", 1).result(10) == b"\0"
    try:
        yield client
    finally:
        client.close(0)


def run(client: Client, size: int) -> None:
    large = [client.submit("host_tasks.fill", bytes(size), 1) for _ in range(TASKS)]
    assert [future.result(60) for future in large] == [b"\0"] * TASKS


def test_tasks_of_a_node_that_they_do_not_reach_run_elsewhere_and_its_log_says_what_it_lacks(
    machines: Machines,
) -> None:
    leader, alone, _ = leader_first(machines)
    with client_on(machines, leader) as client:
        with shaping():
            machines.hosts.swallow_large(machines.hosts[alone])
        run(client, LARGE_BYTES)
        lacks = f"node {machines.nodes[leader].id} at {machines.hosts[leader].address}:{PORT} reaches this node by its "
        wait_until(lambda: f"{lacks}quick connection alone" in machines.log(alone), "the log says it")


def test_a_leader_that_they_do_not_leave_is_followed_by_another_however_much_it_sends(machines: Machines) -> None:
    leader, one, _ = leader_first(machines)
    with client_on(machines, one) as client:
        with shaping():
            machines.hosts.swallow_large(machines.hosts[leader], outgoing=True)
        run(client, MUCH_BYTES)
    assert leader_first(machines)[0] != leader
