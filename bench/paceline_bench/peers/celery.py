# /// script
# dependencies = ["celery[redis]==5.7.0", "redis==8.1.0"]
# [tool.paceline.rivals.celery-rabbitmq]
# title = "Celery, RabbitMQ and rpc results"
# servers = ["rabbitmq"]
# open_loop_note = "to the end of the body"
# [tool.paceline.rivals.celery-redis]
# title = "Celery, Redis and Redis results"
# servers = ["redis"]
# open_loop_note = "to the end of the body"
# ///
"""Celery: one worker of the prefork pool.

https://docs.celeryq.dev/en/stable/userguide/optimizing.html: messages that are not written to disk (transient), and a
prefetch multiplier of 64, which it names for short tasks where the round trip matters, or of 1 where some are long.
https://docs.celeryq.dev/en/stable/userguide/workers.html: without gossip, mingle and heartbeat, which one worker has no
use for. ``chunks`` is what it has for many calls at once.

Results are fetched in the order of submission, so an open loop can't be told from here when each arrived; its tasks say
when their bodies ended, on this machine's clock. The way back of the result is left out, in Celery's favour.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery

from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System

CHUNK_TASKS = 100
PREFETCH = {"round_trips": 64, "burst": 64, "open_loop": 1}
START_POLL_S = 0.5
STOP_TIMEOUT_S = 10.0

setup = RivalSetup.read()
app = Celery(
    "rival",
    broker=setup.servers.get("rabbitmq") or setup.servers["redis"],
    backend="rpc://" if "rabbitmq" in setup.servers else setup.servers["redis"],
)
app.conf.update(
    task_default_queue=setup.token,
    task_default_delivery_mode="transient",
    worker_prefetch_multiplier=PREFETCH[setup.purpose],
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(number: int) -> int:
    return number


@app.task(name="nap")
def nap(number: int, seconds: float) -> tuple[int, float]:
    time.sleep(seconds)
    return number, time.perf_counter()


class CeleryRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        self._naps: list[tuple[Any, Done]] = []
        options = ["--pool=prefork", f"--concurrency={setup.workers}", "--loglevel=WARNING"]
        without = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", __name__, "worker", *options, *without], stdin=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + RESULT_TIMEOUT_S
        while not app.control.ping(timeout=START_POLL_S):
            if self._worker.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError("the Celery worker did not start")
        self.result(self.submit(0))

    def submit(self, number: int) -> Any:
        return noop.delay(number)

    def result(self, handle: Any) -> int:
        result: int = handle.get(timeout=RESULT_TIMEOUT_S)
        return result

    def chunked(self, numbers: range) -> Sequence[int]:
        parts = noop.chunks(((number,) for number in numbers), CHUNK_TASKS).apply_async().get(timeout=RESULT_TIMEOUT_S)
        return [result for part in parts for result in part]

    def nap(self, number: int, seconds: float, done: Done) -> None:
        self._naps.append((nap.delay(number, seconds), done))

    def drain(self) -> None:
        for handle, done in self._naps:
            done(*handle.get(timeout=RESULT_TIMEOUT_S))

    def close(self) -> None:
        app.close()
        self._worker.terminate()
        self._worker.wait(STOP_TIMEOUT_S)
