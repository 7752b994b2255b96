"""The part of ``paceline demo`` that shows the bridge: it publishes as programs do that know nothing of paceline."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pika.exceptions

from paceline.errors import PacelineError
from paceline_bridge.amqp_url import parameters_of
from paceline_bridge.config import AMQP_VARIABLE, check_url, shown
from paceline_bridge.reasons import connect_reason_of

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
POLL_S = 0.02
CHECK_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Shown:
    """The results of two messages. ``celery`` is None where Celery is not installed."""

    plain: str
    celery: int | None


def check(url: str) -> None:
    """Check the URL before anything is started. Raises ConfigError if it is malformed, PacelineError if RabbitMQ does
    not answer."""
    check_url(url)
    with _connection(url):
        pass


def show(url: str, cluster_path: Path, addresses: Sequence[str], notes: Path, directory: Path) -> Shown:
    """Run a bridge between this RabbitMQ and the demo's cluster, whose task ``note`` writes to ``notes``, and publish.

    Raises PacelineError if RabbitMQ or the bridge does not work.
    """
    prefix = f"paceline-demo-{uuid.uuid4().hex[:8]}"
    plain, celery, dead = f"{prefix}-plain", f"{prefix}-celery", f"{prefix}-dead"
    with _queues(url, plain, celery, dead) as channel:
        # As in RabbitMQ's first tutorial.
        channel.basic_publish("", plain, json.dumps(f"hello from pika {pika.__version__}"))
        options = [
            "--metrics",
            "off",
            "--queue",
            f"{plain}=paceline.demo.tasks.note",
            "--queue",
            celery,
            "--dead-letter",
            dead,
        ]
        with _bridge(url, cluster_path, addresses, options, directory / "bridge.log") as check:
            # First, since it waits for the bridge by itself: a result comes when it runs.
            added = _add(url, celery, check) if importlib.util.find_spec("celery") is not None else None
            return Shown(_note(notes, check), added)


@contextmanager
def _queues(url: str, *names: str) -> Iterator[Any]:
    with _connection(url) as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_declare(name, durable=True)  # and no more, or Celery would not take its own
        try:
            yield channel
        finally:
            for name in names:
                channel.queue_delete(name)


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    parameters = parameters_of(url)
    try:
        parameters.socket_timeout = parameters.stack_timeout = CONNECT_TIMEOUT_S
        with pika.BlockingConnection(parameters) as connection:
            yield connection
    except (pika.exceptions.AMQPError, OSError) as error:
        reason = connect_reason_of(error, tls=parameters.ssl_options is not None, vhost=parameters.virtual_host)
        raise PacelineError(f"RabbitMQ at {shown(url)} can't be used: {reason}; give --amqp the URL of one") from error


@contextmanager
def _bridge(
    url: str, cluster_path: Path, addresses: Sequence[str], options: list[str], log_path: Path
) -> Iterator[Callable[[], None]]:
    """Run ``paceline bridge`` as a user would. Yields a function that raises PacelineError if the bridge has ended."""
    connect = [part for address in addresses for part in ("--connect", address)]
    command = [sys.executable, "-m", "paceline", "bridge", "--cluster", str(cluster_path), *connect, *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PACELINE_")}
    environment[AMQP_VARIABLE] = url
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )

    def check() -> None:
        if process.poll() is not None:
            lines = log_path.read_text(errors="replace").strip().splitlines()
            raise PacelineError(f"the bridge has ended; its last words: {lines[-1] if lines else 'none'}")

    try:
        yield check
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _add(url: str, queue: str, check: Callable[[], None]) -> int:
    """Submit one task through an unchanged Celery application, and return its result."""
    from celery import Celery
    from celery.exceptions import TimeoutError as NotYet
    from kombu.exceptions import KombuError

    app = Celery("demo", broker=url, backend="rpc://")
    app.conf.task_default_queue = queue
    add = app.task(_runs_on_the_cluster, name="paceline.demo.tasks.add")
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    try:
        result = add.delay(4, 4)
        while time.monotonic() < deadline_s:
            check()
            try:
                total: int = result.get(timeout=CHECK_INTERVAL_S)
            except NotYet:
                continue
            return total
        raise PacelineError(f"the task of Celery did not end within {READY_TIMEOUT_S:g} s")
    except (KombuError, OSError) as error:
        raise PacelineError(f"Celery can't use RabbitMQ at {shown(url)}: {error}") from error
    finally:
        app.close()


def _runs_on_the_cluster(a: int, b: int) -> int:
    raise AssertionError


def _note(notes: Path, check: Callable[[], None]) -> str:
    """The text that the plain message's task has written."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while not (notes.exists() and notes.read_text()):
        check()
        if time.monotonic() > deadline_s:
            raise PacelineError(f"the message of pika did not run within {READY_TIMEOUT_S:g} s")
        time.sleep(POLL_S)
    return notes.read_text().strip()
