"""RabbitMQ gives up a consumer that keeps a message for longer than ``consumer_timeout``, and closes its channel."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu import Queue, pools

from bridge.processes import DEADLINE_S, BridgeProcess, Broker, wait_until
from bridge.test_metrics import get, values
from paceline import Cluster
from paceline_bench.harness.rabbitmq_server import RabbitMQ

SETTINGS = "consumer_timeout = 6000\n"  # ms; half an hour by default
LOOK_OFTEN = "application:set_env(rabbit, channel_tick_interval, 200)."
"""Each channel that is opened then looks for such messages so often, in ms, and not once a minute. It is no setting of
the file."""


ACKED = ("paceline_bridge_messages_total", "celery", "acked")
COUNTING = {"x-queue-type": "quorum", "x-delivery-limit": 3}
"""After so many deliveries a message is lost."""


@pytest.fixture(scope="module")
def broker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Beside the one of all tests, which says whether RabbitMQ is there at all."""
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq-timeout"), SETTINGS)
    try:
        server.start()
        server.control("eval", LOOK_OFTEN)
        yield Broker(server)
    finally:
        server.stop()


def test_a_message_that_is_kept_for_too_long_comes_again_once_and_its_task_runs_once_and_is_answered(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], ran: Path, tmp_path: Path
) -> None:
    app = Celery("caller", broker=broker.url, backend="rpc://")
    queue = app.conf.task_default_queue = f"celery-{uuid.uuid4().hex[:8]}"
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments=COUNTING)
    app.conf.task_queues = [Queue(queue, queue_arguments=COUNTING)]
    bridge = BridgeProcess(broker.url, cluster.addresses, "--queue", queue, "--metrics", "127.0.0.1:0")
    bridges.append(bridge)
    bridge.wait_for("/metrics")
    address = bridge.log().partition("metrics at http://")[2].partition("/metrics")[0]
    go = tmp_path / "go"
    try:
        result = app.send_task("tasks.wait_for", (str(go),))
        bridge.wait_for(f"RabbitMQ closed the channel that consumes {queue}: PRECONDITION_FAILED")
        bridge.wait_for("its consumer_timeout is 6 s, which is shorter than the bridge keeps messages")
        bridge.wait_for(f"consuming {queue}", times=2)
        # The task waits on, and its message is acknowledged before the broker gives it up once more.
        wait_until(lambda: values(get(address, "/metrics")[1]).get(ACKED) == 1, bridge.log)
        assert bridge.log().count("RabbitMQ closed the channel") == 1
        go.touch()
        assert result.get(timeout=DEADLINE_S) == str(go)
        assert app.send_task("tasks.add", (4, 4)).get(timeout=DEADLINE_S) == 8
    finally:
        if app.backend.result_consumer._connection is not None:
            app.backend.result_consumer.stop()
        app.close()
        pools.reset()
    assert ran.read_text().splitlines().count(str(go)) == 1
