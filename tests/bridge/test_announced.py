"""What a message does not say, the decorator of its task says, between a real RabbitMQ and a real cluster."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from celery import Celery
from celery.exceptions import TimeLimitExceeded
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bridge.conftest import Start, ran_lines
from bridge.processes import DEADLINE_S, Broker, wait_until


@pytest.fixture
def mark() -> str:
    return f"asks-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def producer(broker: Broker) -> Iterator[RabbitmqBroker]:
    made = RabbitmqBroker(url=broker.url)
    yield made
    made.close()


def actor(producer: RabbitmqBroker, name: str) -> dramatiq.Actor[Any, Any]:
    def body(*args: Any) -> None: ...

    return dramatiq.actor(body, actor_name=name, queue_name=f"dramatiq-{uuid.uuid4().hex[:8]}", broker=producer)


def test_a_task_of_celery_is_tried_again_and_its_caller_gets_the_result(
    app: Celery, start: Start, ran: Path, mark: str
) -> None:
    start("--queue", app.conf.task_default_queue)
    assert app.send_task("tasks.asks_to_be_tried", (mark,)).get(timeout=DEADLINE_S) == mark
    assert len(ran_lines(ran, mark)) == 3


def test_a_limit_of_celery_that_is_given_counts_more_than_the_one_of_the_task(app: Celery, start: Start) -> None:
    start("--queue", app.conf.task_default_queue)
    killed = app.send_task("tasks.asks_for_a_limit", (DEADLINE_S,))
    with pytest.raises(TimeLimitExceeded) as raised:
        killed.get(timeout=DEADLINE_S)
    assert raised.value.args == (0.5,)
    assert app.send_task("tasks.asks_for_a_limit", (1.0,), time_limit=60).get(timeout=DEADLINE_S) == 1.0


def test_a_message_of_dramatiq_is_tried_as_often_as_the_task_says_unless_it_says_that_itself(
    producer: RabbitmqBroker, start: Start, ran: Path, mark: str
) -> None:
    tried = actor(producer, "tasks.asks_to_be_tried")
    tried.send_with_options(args=(f"{mark}-once",), max_retries=0)
    tried.send(f"{mark}-open")
    bridge = start("--queue", tried.queue_name)
    wait_until(lambda: len(ran_lines(ran, f"{mark}-open")) == 3, bridge.log)
    bridge.wait_for("a task tasks.asks_to_be_tried failed, and nobody waits for its result: ConnectionError: try 1")
    assert len(ran_lines(ran, f"{mark}-once")) == 1


def test_a_plain_message_asks_for_what_its_task_says(broker: Broker, start: Start, ran: Path, mark: str) -> None:
    queue = broker.declare()
    broker.publish(queue, mark.encode())
    bridge = start("--queue", f"{queue}=tasks.asks_to_be_tried")
    wait_until(lambda: len(ran_lines(ran, mark)) == 3, bridge.log)


def test_a_message_that_asks_for_what_its_task_rules_out_is_a_dead_letter(
    producer: RabbitmqBroker, broker: Broker, start: Start, ran: Path, dead: str, mark: str
) -> None:
    once = actor(producer, "tasks.asks_to_run_once")
    once.send_with_options(args=(f"{mark}-twice",), max_retries=3)
    once.send_with_options(args=(f"{mark}-once",), max_retries=0)
    bridge = start("--queue", once.queue_name)
    properties, _ = broker.take(dead)
    assert properties.headers["x-paceline-reason"] == "cluster"
    assert "leave retries out" in properties.headers["x-paceline-detail"]
    wait_until(lambda: len(ran_lines(ran, f"{mark}-once")) == 1, bridge.log)
    assert ran_lines(ran, f"{mark}-twice") == []
