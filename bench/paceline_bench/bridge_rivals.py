"""The bridge beside a Celery worker and a dramatiq worker: the same messages, the same body, one worker process each.

    python -m paceline_bench.bridge_rivals --rounds 3

It needs the packages celery and dramatiq beside the extra rabbitmq, and rabbitmq-server. In each round every system
finds the same number of messages in its queue, and its rate is that from the first tenth of the starts to the last.
Then one message at a time is published, and the time from its publish to the start of its body is taken. Systems take
turns. Each pair reads the same kind of message: Celery's for Celery's worker and the bridge, dramatiq's for dramatiq's
and the bridge. It ends with 1 if a message was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika

from paceline.client import Cluster
from paceline_bench.bridge_body import KIND_VARIABLE, NAME, PATH_VARIABLE, QUEUES, RECORD, URL_VARIABLE
from paceline_bench.rabbitmq_server import RabbitMQ

SYSTEMS = (("celery", "worker"), ("celery", "bridge"), ("dramatiq", "worker"), ("dramatiq", "bridge"))
TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.0002
WORKERS = {
    "celery": [
        *("celery", "-A", "paceline_bench.bridge_body", "worker", "--pool=prefork", "--concurrency=1"),
        *("--loglevel=WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"),
    ],
    "dramatiq": ["dramatiq", "paceline_bench.bridge_body", "--processes", "1", "--threads", "1"],
}


def message(kind: str, number: int) -> tuple[bytes, dict[str, Any]]:
    """As Celery and dramatiq write it."""
    name, arguments = str(uuid.uuid4()), [number, time.monotonic_ns()]
    if kind == "celery":
        body = [arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        headers = {"lang": "py", "task": NAME, "id": name, "retries": 0, "ignore_result": True, "root_id": name}
        properties = {"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": name}
        return json.dumps(body).encode(), {**properties, "headers": headers}
    fields = {"queue_name": QUEUES["dramatiq"], "actor_name": NAME, "args": arguments, "kwargs": {}, "options": {}}
    return json.dumps({**fields, "message_id": name, "message_timestamp": int(time.time() * 1e3)}).encode(), {}


def declare(channel: Any, kind: str) -> None:
    """With what each of them declares it with, or it would refuse the queue."""
    queue, arguments = QUEUES[kind], {}
    if kind == "dramatiq":
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.XQ"}
    channel.queue_declare(queue, durable=True, arguments=arguments)


@contextmanager
def running(kind: str, system: str, url: str, starts: Path) -> Iterator[None]:
    environment = {**os.environ, URL_VARIABLE: url, PATH_VARIABLE: str(starts)}
    if system == "worker":
        with _process([sys.executable, "-m", *WORKERS[kind]], {**environment, KIND_VARIABLE: kind}):
            yield
        return
    environment[KIND_VARIABLE] = "paceline"
    with Cluster.local("paceline_bench.bridge_body", nodes=1, workers=1, environment=environment) as cluster:
        connect = ["--connect", cluster.addresses[0], "--queue", QUEUES[kind], "--log-level", "warning"]
        bridge = [sys.executable, "-m", "paceline", "bridge", *connect]
        with _process(bridge, {**environment, "PACELINE_AMQP": url}):
            yield


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read(starts: Path) -> list[tuple[int, int, int]]:
    data = starts.read_bytes() if starts.exists() else b""
    return list(RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]))


def wait_for(starts: Path, count: int) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    size = count * RECORD.size
    while not starts.exists() or starts.stat().st_size < size:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"{len(read(starts))} of {count} tasks started within {TIMEOUT_S:g} s: messages were lost")
        time.sleep(POLL_S)


def measure(kind: str, system: str, url: str, directory: Path, tasks: int, samples: int) -> tuple[float, list[float]]:
    """(tasks/s, seconds from publish to start)."""
    starts = directory / uuid.uuid4().hex
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        declare(channel, kind)

        def publish(number: int) -> None:
            body, properties = message(kind, number)
            properties = {**properties, "delivery_mode": 2}
            channel.basic_publish("", QUEUES[kind], body, pika.BasicProperties(**properties))

        for number in range(tasks):
            publish(number)
        with running(kind, system, url, starts):
            wait_for(starts, tasks)
            for number in range(tasks, tasks + samples):
                publish(number)
                wait_for(starts, number + 1)
    records = read(starts)
    if sorted(record[0] for record in records) != list(range(tasks + samples)):
        raise SystemExit(f"{kind} messages, {system}: not every task started once")
    at_ns = [record[2] for record in records[:tasks]]
    counted = at_ns[tasks // 10 :]
    rate = (len(counted) - 1) / ((counted[-1] - counted[0]) / 1e9)
    return rate, [(started - sent) / 1e9 for _, sent, started in records[tasks:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--samples", type=int, default=300)
    options = parser.parse_args()
    rates: dict[tuple[str, str], list[float]] = {pair: [] for pair in SYSTEMS}
    latencies: dict[tuple[str, str], list[float]] = {pair: [] for pair in SYSTEMS}
    with tempfile.TemporaryDirectory(prefix="pl-bridge-") as folder:
        directory = Path(folder)
        (directory / "rabbitmq").mkdir()
        server = RabbitMQ(directory / "rabbitmq")
        try:
            server.start()
            for _ in range(options.rounds):
                for pair in SYSTEMS:
                    rate, took_s = measure(*pair, server.url, directory, options.tasks, options.samples)
                    rates[pair].append(rate)
                    latencies[pair] += took_s
        finally:
            server.stop()
    print(f"{options.tasks} messages and {options.samples} single ones in each of {options.rounds} rounds, 1 worker")
    for kind, system in SYSTEMS:
        median = statistics.median(latencies[kind, system]) * 1e6
        each = ", ".join(f"{rate:,.0f}" for rate in rates[kind, system])
        name = "bridge" if system == "bridge" else f"{kind} worker"
        print(
            f"{kind} messages, {name}: {statistics.median(rates[kind, system]):,.0f} tasks/s ({each}), "
            f"publish to start p50 {median:,.0f} us"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
