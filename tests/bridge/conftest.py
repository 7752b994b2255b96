"""A real RabbitMQ, a real cluster, and bridges as processes. Every wait has a deadline."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.processes import TASKS, BridgeProcess, Broker
from paceline import Cluster
from paceline_bench.harness.rabbitmq_server import RabbitMQ
from paceline_bench.harness.server_process import ServerFailed


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all tests, which use queues of their own. On CI its absence is a failure."""
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.start()
    except ServerFailed as error:
        server.stop()
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no RabbitMQ: {error}")
    try:
        yield Broker(server)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tasks.record notes what ran."""
    path = tmp_path_factory.mktemp("ran") / "ran"
    path.touch()
    return path


@pytest.fixture(scope="module")
def cluster(ran: Path) -> Iterator[Cluster]:
    with Cluster.local(TASKS, nodes=1, workers=2, environment={"BRIDGE_TEST_RAN": str(ran)}) as cluster:
        yield cluster


@pytest.fixture
def bridges() -> Iterator[list[BridgeProcess]]:
    """What a test starts and puts here is stopped with it."""
    started: list[BridgeProcess] = []
    yield started
    for bridge in started:
        bridge.kill()
