"""Records the messages in ``recorded/`` from real Celery and dramatiq producers, through a real RabbitMQ.

    PYTHONPATH=tests:bench python -m bridge.record

One JSON file for each: the properties that were set, the headers, and the body in base64. Run it again for another
version of a producer; what is the same every time (names, arguments) is what the tests look at.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dramatiq
import pika
from celery import Celery, chain, group, signature
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from paceline_bench.harness.rabbitmq_server import RabbitMQ

RECORDED = Path(__file__).parent / "recorded"
PROPERTIES = ("content_type", "content_encoding", "message_id", "correlation_id", "reply_to", "priority", "expiration")
HOUR_MS = 3_600_000
TYPES = {
    "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "on": date(2026, 1, 2),
    "price": Decimal("1.25"),
    "id": uuid.UUID(int=7),
    "text": b"bytes",
    "raw": b"\xff\x00",
}


def celery_cases(app: Celery) -> dict[str, Callable[[], Any]]:
    add = app.signature("tasks.add", args=(2, 3))
    past, future = datetime.now(UTC) - timedelta(days=1), datetime(2100, 1, 1, tzinfo=UTC)

    @app.task(name="tasks.add", bind=True)
    def tried(task: Any, a: int, b: int) -> None: ...

    def with_retry() -> None:
        """What a worker of Celery's publishes when its task asks for a retry, in its own words."""
        sent = app.amqp.task_protocols[2](str(uuid.uuid4()), "tasks.add", (2, 3), time_limit=10, soft_time_limit=2.5)
        tried.push_request(**sent.headers, args=(2, 3), kwargs={}, called_directly=False, delivery_info={})
        try:
            tried.retry(countdown=3600, throw=False)
        finally:
            tried.pop_request()

    def with_protocol_1() -> None:
        app.conf.task_protocol = 1
        app.amqp._create_task_sender  # noqa: B018 - the protocol is looked up when the app's AMQP part is made
        del app.amqp
        app.send_task("tasks.add", (2,), {"b": 3})
        app.conf.task_protocol = 2
        del app.amqp

    return {
        "celery-2": lambda: app.send_task("tasks.add", (2,), {"b": 3}, priority=6),
        "celery-2-types": lambda: app.send_task("tasks.echo", (TYPES,)),
        "celery-2-ignored": lambda: app.send_task("tasks.add", (2, 3), ignore_result=True),
        "celery-2-gzip": lambda: app.send_task("tasks.add", (2, 3), compression="gzip"),
        "celery-2-bzip2": lambda: app.send_task("tasks.add", (2, 3), compression="bzip2"),
        "celery-2-lzma": lambda: app.send_task("tasks.add", (2, 3), compression="lzma"),
        "celery-2-msgpack": lambda: app.send_task("tasks.add", (2, 3), serializer="msgpack"),
        "celery-2-pickle": lambda: app.send_task("tasks.add", (2, 3), serializer="pickle"),
        "celery-2-eta-past": lambda: app.send_task("tasks.add", (2, 3), eta=past),
        "celery-2-eta": lambda: app.send_task("tasks.add", (2, 3), eta=future),
        "celery-2-expired": lambda: app.send_task(
            "tasks.add", (2, 3), expires=datetime.now(UTC) + timedelta(minutes=1)
        ),
        "celery-2-time-limit": lambda: app.send_task("tasks.add", (2, 3), time_limit=10, soft_time_limit=3),
        "celery-2-retry": with_retry,
        "celery-2-link": lambda: add.apply_async(link=signature("tasks.add", args=(1,), app=app)),
        "celery-2-chain": lambda: chain(add, app.signature("tasks.add", args=(1,))).apply_async(),
        "celery-2-group": lambda: group([add]).apply_async(),
        "celery-1": with_protocol_1,
    }


def dramatiq_cases(broker: RabbitmqBroker) -> dict[str, Callable[[], Any]]:
    @dramatiq.actor(actor_name="tasks.add", queue_name="recorded", broker=broker)
    def add(a: int, b: int) -> None: ...

    @dramatiq.actor(actor_name="tasks.fail", queue_name="recorded", broker=broker, min_backoff=HOUR_MS)
    def fail() -> None:
        raise ValueError("no")

    def with_retry() -> None:
        """What a worker of dramatiq's publishes when its actor fails."""
        again = threading.Event()

        class Enqueued(dramatiq.Middleware):
            def after_enqueue(self, _: object, message: Any, delay: int | None) -> None:
                if message.options.get("retries"):
                    again.set()

        broker.add_middleware(Enqueued())
        worker = dramatiq.Worker(broker, worker_threads=1)
        worker.start()
        fail.send_with_options(max_retries=3, time_limit=60_000)
        again.wait(60.0)
        worker.stop()  # gives back what it has

    return {
        "dramatiq": lambda: add.send(2, b=3),
        "dramatiq-delay": lambda: add.send_with_options(args=(2, 3), delay=10**12),
        "dramatiq-pipeline": lambda: dramatiq.pipeline([add.message(2, 3), add.message(1)], broker=broker).run(),
        "dramatiq-max-age": lambda: add.send_with_options(args=(2, 3), max_age=1000),
        "dramatiq-retries": lambda: add.send_with_options(args=(2, 3), max_retries=3),
        "dramatiq-backoff": lambda: add.send_with_options(
            args=(2, 3), max_retries=3, min_backoff=500, max_backoff=60_000, time_limit=30_000
        ),
        "dramatiq-retry": with_retry,
    }


def record(url: str) -> None:
    app = Celery("recorder", broker=url, backend="rpc://")
    app.conf.task_default_queue = "celery"
    app.conf.accept_content = ["json", "pickle", "msgpack"]
    broker = RabbitmqBroker(url=url)
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for cases, queues in ((celery_cases(app), ("celery",)), (dramatiq_cases(broker), ("recorded", "recorded.DQ"))):
            for name, publish in cases.items():
                publish()
                found = None
                while found is None:
                    for queue in queues:
                        method, properties, body = channel.basic_get(queue, auto_ack=True)
                        if method is not None:
                            found = queue, properties, body
                _write(name, *found)
    broker.close()
    app.close()


def _write(name: str, queue: str, properties: Any, body: bytes) -> None:
    for path in (sys.prefix, str(RECORDED.parents[2])):  # in a traceback; it says nothing about a message either
        body = body.replace(path.encode(), b"/shop")
    fields = {key: getattr(properties, key) for key in PROPERTIES if getattr(properties, key) is not None}
    fields |= {"queue": queue, "headers": properties.headers or {}, "body": base64.b64encode(body).decode()}
    text = json.dumps(fields, indent=1, sort_keys=True, default=str)
    (RECORDED / f"{name}.json").write_text(text.replace(_origin(properties), "producer@host") + "\n")
    print(f"{name}: {len(body)} bytes", file=sys.stderr)


def _origin(properties: Any) -> str:
    """The name of the machine that recorded says nothing about a message."""
    return str((properties.headers or {}).get("origin") or "no-such-origin")


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        server = RabbitMQ(Path(directory))
        server.start()
        try:
            record(server.url)
        finally:
            server.stop()
