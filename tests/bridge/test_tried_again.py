"""Retries and time limits between a real RabbitMQ and a real cluster, with producers that know of no bridge."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bridge.conftest import Start, ran_lines
from bridge.processes import DEADLINE_S, Broker, wait_until
from paceline import Client, Cluster
from paceline_bridge.window import WINDOW_MAX

HOUR_MS = 3_600_000
LONG_S = 2 * DEADLINE_S
MakeActor = Callable[[str], "dramatiq.Actor[Any, Any]"]


@pytest.fixture
def actor(broker: Broker) -> Iterator[MakeActor]:
    """Makes actors of an unmodified producer, with a queue of this test's, which is made with its first message."""
    queue = f"dramatiq-{uuid.uuid4().hex[:8]}"
    producer = RabbitmqBroker(url=broker.url)

    def make(name: str) -> dramatiq.Actor[Any, Any]:
        def body(*args: Any) -> None: ...

        return dramatiq.actor(body, actor_name=name, queue_name=queue, broker=producer)

    yield make
    producer.close()


def test_limits_of_celery_end_tasks_as_its_own_workers_do(app: Celery, start: Start) -> None:
    start("--queue", app.conf.task_default_queue)
    hard = app.send_task("tasks.sleep", (LONG_S,), time_limit=1, soft_time_limit=0.75)
    with pytest.raises(SoftTimeLimitExceeded):
        hard.get(timeout=DEADLINE_S)
    killed = app.send_task("tasks.sleep", (LONG_S,), time_limit=0.5)
    with pytest.raises(TimeLimitExceeded) as raised:
        killed.get(timeout=DEADLINE_S)
    assert raised.value.args == (0.5,)
    assert (killed.state, app.send_task("tasks.add", (1, 2), time_limit=60).get(timeout=DEADLINE_S)) == ("FAILURE", 3)


def test_a_task_is_tried_again_as_often_as_a_message_of_dramatiq_says(
    actor: MakeActor, start: Start, ran: Path
) -> None:
    third = actor("tasks.third_time")
    enough, too_few, over = (f"third-{uuid.uuid4().hex[:8]}" for _ in range(3))
    third.send_with_options(args=(too_few,), max_retries=1, min_backoff=1)
    third.send_with_options(args=(enough,), max_retries=5, min_backoff=300)
    third.send_with_options(args=(over,))
    bridge = start("--queue", third.queue_name)
    wait_until(lambda: len(ran_lines(ran, enough)) == 3, bridge.log)
    when_s = [float(line.split()[1]) for line in ran_lines(ran, enough)]
    assert when_s[1] - when_s[0] >= 0.3
    assert when_s[2] - when_s[1] >= 0.6
    bridge.wait_for("a task tasks.third_time failed, and nobody waits for its result: ConnectionError: try ")
    wait_until(lambda: len(ran_lines(ran, too_few)) == 2, bridge.log)
    assert len(ran_lines(ran, over)) == 1, "how often an actor is tried at dramatiq's workers is in no message"


def test_a_limit_of_dramatiq_is_raised_in_the_task(actor: MakeActor, start: Start) -> None:
    sleep = actor("tasks.sleep")
    sleep.send_with_options(args=(LONG_S,), time_limit=300)
    bridge = start("--queue", sleep.queue_name)
    bridge.wait_for("a task tasks.sleep failed, and nobody waits for its result: SoftTimeLimitExceeded: ")


def test_more_tasks_that_wait_to_be_tried_again_than_the_window_has_places_keep_no_other_waiting(
    actor: MakeActor, start: Start, cluster: Cluster, ran: Path
) -> None:
    fail, record = actor("tasks.fail"), actor("tasks.record")
    with Client(*cluster.addresses) as client:
        before = client.status()["delayed"]
        for _ in range(WINDOW_MAX + 100):
            fail.send_with_options(args=("no",), max_retries=1, min_backoff=HOUR_MS)
        line = f"other-{uuid.uuid4().hex[:8]}"
        record.send(line)
        bridge = start("--queue", fail.queue_name)
        wait_until(lambda: ran_lines(ran, line) == [line], bridge.log)
        wait_until(lambda: client.status()["delayed"] == before + WINDOW_MAX + 100, lambda: str(client.status()))
    assert "refused" not in bridge.log()
    assert bridge.terminate() == 0
