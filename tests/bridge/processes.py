"""A broker that tests restart, and bridges that they kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika

from paceline_bench.harness.rabbitmq_server import RabbitMQ

TASKS = Path(__file__).with_name("bridge_tasks.py")
DEADLINE_S = 60.0


def wait_until(condition: Callable[[], object], what: Callable[[], str], deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not in {deadline_s} s: {what()}"
        time.sleep(0.02)


class Broker:
    """RabbitMQ, and what tests ask of it by plain pika."""

    def __init__(self, server: RabbitMQ) -> None:
        self.server = server
        self.url = server.url

    def restart(self) -> None:
        self.server.stop_server()
        self.server.start()

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            yield connection.channel()

    def declare(self, **arguments: Any) -> str:
        """A durable queue of a name that nobody had before."""
        name = f"q-{uuid.uuid4().hex[:8]}"
        with self.channel() as channel:
            channel.queue_declare(name, durable=True, arguments=arguments or None)
        return name

    def publish(self, queue: str, *bodies: bytes, **properties: Any) -> None:
        """With confirms."""
        with self.channel() as channel:
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2, **properties))

    def depth(self, queue: str) -> int:
        """Messages that wait. What is delivered and not acknowledged is not among them."""
        with self.channel() as channel:
            count: int = channel.queue_declare(queue, passive=True).method.message_count
            return count

    def held(self, queues: Sequence[str]) -> int:
        """Messages of these queues, with those that are delivered and not acknowledged."""
        rows = self.server.control("list_queues", "--quiet", "--no-table-headers", "name", "messages").splitlines()
        counts = dict(row.split("\t") for row in rows)
        return sum(int(counts[queue]) for queue in queues)

    def take(self, queue: str) -> tuple[Any, bytes]:
        """The next message, with its properties."""
        found: list[tuple[Any, bytes]] = []

        def got() -> bool:
            with self.channel() as channel:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is not None:
                    found.append((properties, body))
            return bool(found)

        wait_until(got, lambda: f"a message in {queue}")
        return found[0]


class BridgeProcess:
    """``paceline bridge`` as a process; its log is a file."""

    def __init__(self, url: str, cluster_addresses: Sequence[str], *options: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - kill() closes it
        connect = [part for address in cluster_addresses for part in ("--connect", address)]
        environment = {**os.environ, "PACELINE_AMQP": url}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "paceline", "bridge", *connect, *options],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def log(self) -> str:
        log = self._log.fileno()  # its offset is the bridge's, too, which a seek would move
        return os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")

    def wait_for(self, text: str, times: int = 1) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.log()
            return self.log().count(text) >= times

        wait_until(there, lambda: f"{text!r} in the log:\n{self.log()}")

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        self._log.close()
