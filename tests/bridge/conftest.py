"""A real RabbitMQ, a real cluster, and bridges as processes. Every wait has a deadline."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from celery import Celery
from kombu import pools

from bridge.processes import TASKS, BridgeProcess, Broker
from paceline import Cluster
from paceline_bench.harness.rabbitmq_server import RabbitMQ
from paceline_bench.harness.server_process import ServerFailed

Start = Callable[..., BridgeProcess]


def ran_lines(ran: Path, mark: str) -> list[str]:
    return [line for line in ran.read_text().splitlines() if line.startswith(mark)]


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


@pytest.fixture
def dead(broker: Broker) -> str:
    return f"dead-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def start(broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], dead: str) -> Start:
    def start(
        *options: str, url: str = "", ready: str = "connected to RabbitMQ", addresses: Sequence[str] = ()
    ) -> BridgeProcess:
        bridge = BridgeProcess(url or broker.url, addresses or cluster.addresses, "--dead-letter", dead, *options)
        bridges.append(bridge)
        if ready:
            bridge.wait_for(ready)
        return bridge

    return start


@pytest.fixture
def app(broker: Broker) -> Iterator[Celery]:
    """A Celery application as its users have it. Only the name of its queue is this test's."""
    app = Celery("caller", broker=broker.url, backend="rpc://")
    app.conf.task_default_queue = f"celery-{uuid.uuid4().hex[:8]}"
    with broker.channel() as channel:
        channel.queue_declare(app.conf.task_default_queue, durable=True)
    yield app
    # Otherwise their sockets are left to the garbage collector, which complains of them.
    if app.backend.result_consumer._connection is not None:
        app.backend.result_consumer.stop()
    app.close()
    pools.reset()
