"""The bridge beside a Celery worker and a dramatiq worker: the same messages, the same body, one worker process each.

In each round every system finds the same number of messages in its queue, and its rate is that from the first tenth of
the starts to the last. Then one message at a time is published, and the time from its publish to the start of its body
is taken. Systems take turns. Each pair reads the same kind of message: Celery's for Celery's worker and the bridge,
dramatiq's for dramatiq's and the bridge.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from click import ClickException

from paceline.errors import MissingExtra
from paceline.local import Cluster
from paceline_bench.bodies.bridge_body import KIND_VARIABLE, NAME, PATH_VARIABLE, QUEUES, RECORD, URL_VARIABLE
from paceline_bench.harness.rabbitmq_server import RabbitMQ
from paceline_bench.harness.server_process import ServerFailed
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow
from paceline_bench.report.stats import median

JOURNAL = "memory"
SYSTEMS = (("celery", "worker"), ("celery", "bridge"), ("dramatiq", "worker"), ("dramatiq", "bridge"))
TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.0002
WORKERS = {
    "celery": [
        *("celery", "-A", "paceline_bench.bodies.bridge_body", "worker", "--pool=prefork", "--concurrency=1"),
        *("--loglevel=WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"),
    ],
    "dramatiq": ["dramatiq", "paceline_bench.bodies.bridge_body", "--processes", "1", "--threads", "1"],
}


def _message(kind: str, number: int) -> tuple[bytes, dict[str, Any]]:
    """One message as Celery or dramatiq writes it: body and properties."""
    name, arguments = str(uuid.uuid4()), [number, time.monotonic_ns()]
    if kind == "celery":
        body = [arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        headers = {"lang": "py", "task": NAME, "id": name, "retries": 0, "ignore_result": True, "root_id": name}
        properties = {"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": name}
        return json.dumps(body).encode(), {**properties, "headers": headers}
    fields = {"queue_name": QUEUES["dramatiq"], "actor_name": NAME, "args": arguments, "kwargs": {}, "options": {}}
    return json.dumps({**fields, "message_id": name, "message_timestamp": int(time.time() * 1e3)}).encode(), {}


def _declare(channel: Any, kind: str) -> None:
    """Declare the queue with the arguments that the system itself uses, or the system would refuse it."""
    queue, arguments = QUEUES[kind], {}
    if kind == "dramatiq":
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.XQ"}
    channel.queue_declare(queue, durable=True, arguments=arguments)


@contextmanager
def _running(kind: str, system: str, url: str, starts: Path) -> Iterator[None]:
    environment = {**os.environ, URL_VARIABLE: url, PATH_VARIABLE: str(starts)}
    if system == "worker":
        with _process([sys.executable, "-m", *WORKERS[kind]], {**environment, KIND_VARIABLE: kind}):
            yield
        return
    environment[KIND_VARIABLE] = "paceline"
    with Cluster.local("paceline_bench.bodies.bridge_body", nodes=1, workers=1, environment=environment) as cluster:
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


def _read(starts: Path) -> list[tuple[int, int, int]]:
    data = starts.read_bytes() if starts.exists() else b""
    return list(RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]))


def _wait_for(starts: Path, count: int) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    size = count * RECORD.size
    while not starts.exists() or starts.stat().st_size < size:
        if time.monotonic() > deadline_s:
            raise ClickException(
                f"{len(_read(starts))} of {count} tasks started within {TIMEOUT_S:g} s: messages were lost"
            )
        time.sleep(POLL_S)


def run(rounds: int, tasks: int, samples: int) -> Report:
    """Each round: ``tasks`` that wait, then ``samples`` one at a time. Raises MissingExtra and ClickException for what
    is not installed."""
    MissingExtra.check("pika", "rabbitmq")
    missing = [package for package in WORKERS if find_spec(package) is None]
    if missing:
        raise ClickException(
            f"this measures beside workers of {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    rates: dict[tuple[str, str], list[float]] = {pair: [] for pair in SYSTEMS}
    took_s: dict[tuple[str, str], list[float]] = {pair: [] for pair in SYSTEMS}
    with tempfile.TemporaryDirectory(prefix="pl-bridge-") as folder:
        directory = Path(folder)
        (directory / "rabbitmq").mkdir()
        server = RabbitMQ(directory / "rabbitmq")
        try:
            server.start()
            for pair in track([pair for _ in range(rounds) for pair in SYSTEMS], "bridge: systems"):
                rate, each_s = _measure(*pair, server.url, directory, tasks, samples)
                rates[pair].append(rate)
                took_s[pair] += each_s
        except ServerFailed as error:
            raise ClickException(f"RabbitMQ: {error}") from error
        finally:
            server.stop()
    return _report(rates, {pair: LatencyHistogram(took_s[pair]) for pair in SYSTEMS}, tasks)


def _measure(kind: str, system: str, url: str, directory: Path, tasks: int, samples: int) -> tuple[float, list[float]]:
    """(tasks/s, seconds from publish to start). Raises ClickException if a message was lost, or ran twice."""
    import pika

    starts = directory / uuid.uuid4().hex
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        _declare(channel, kind)

        def publish(number: int) -> None:
            body, properties = _message(kind, number)
            properties = {**properties, "delivery_mode": 2}
            channel.basic_publish("", QUEUES[kind], body, pika.BasicProperties(**properties))

        for number in range(tasks):
            publish(number)
        with _running(kind, system, url, starts):
            _wait_for(starts, tasks)
            for number in range(tasks, tasks + samples):
                publish(number)
                _wait_for(starts, number + 1)
    records = _read(starts)
    if sorted(record[0] for record in records) != list(range(tasks + samples)):
        raise ClickException(f"{kind} messages, {system}: not every task started once")
    at_ns = [record[2] for record in records[:tasks]]
    counted = at_ns[tasks // 10 :]
    rate = (len(counted) - 1) / ((counted[-1] - counted[0]) / 1e9)
    return rate, [(started - sent) / 1e9 for _, sent, started in records[tasks:]]


def _report(
    rates: dict[tuple[str, str], list[float]], latencies: dict[tuple[str, str], LatencyHistogram], tasks: int
) -> Report:
    names = {(kind, system): f"{kind} messages, {system}" for kind, system in SYSTEMS}
    faster = {kind: median(rates[kind, "bridge"]) / median(rates[kind, "worker"]) for kind in WORKERS}
    return Report(
        verb="bridge",
        journal=JOURNAL,
        rows=[
            ReportRow(
                f"{names[pair]}, tasks/s, median",
                f"{median(rates[pair]):,.0f}",
                f"{tasks:,} messages, workers: 1; " + ", ".join(f"{rate:,.0f}" for rate in rates[pair]),
            )
            for pair in SYSTEMS
        ],
        latencies=[latencies[pair].latency(f"{names[pair]}, publish to start") for pair in SYSTEMS],
        checks=[
            Check(f"the bridge takes {kind} messages at least as fast as {kind}", ratio >= 1, f"{ratio:.1f} times")
            for kind, ratio in faster.items()
        ],
        details={
            name: {"tasks_per_s": rates[pair], "p50_s": latencies[pair].p50_s, "p99_s": latencies[pair].p99_s}
            for pair, name in names.items()
        },
    )
