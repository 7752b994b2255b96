# /// script
# dependencies = ["dramatiq[rabbitmq,redis]==2.2.1", "redis==8.1.0"]
# [tool.paceline.rivals.dramatiq]
# title = "dramatiq, RabbitMQ and Redis results"
# servers = ["rabbitmq", "redis"]
# open_loop_note = "to the end of the body"
# ///
"""dramatiq: one process for each worker, with one thread.

https://dramatiq.io/guide.html#workers: ``--processes`` and ``--threads``. A worker holds two messages
for each thread, by default, and one (``dramatiq_queue_prefetch``) here where some tasks are long.
https://dramatiq.io/cookbook.html#results: the Results middleware, with Redis. ``group`` enqueues many, each in a
message of its own, so there is no row for many at once.

Results are fetched in the order of submission, so an open loop can't be told from here when each arrived; its tasks
say when their bodies ended, on this machine's clock. The way back of the result is left out, in dramatiq's favour.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System

STOP_TIMEOUT_S = 10.0

setup = RivalSetup.read()
broker = RabbitmqBroker(url=setup.servers["rabbitmq"])
broker.add_middleware(Results(backend=RedisBackend(url=setup.servers["redis"])))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=setup.token, store_results=True)
def noop(number: int) -> int:
    return number


@dramatiq.actor(queue_name=setup.token, store_results=True)
def nap(number: int, seconds: float) -> list[float]:
    time.sleep(seconds)
    return [number, time.perf_counter()]


class DramatiqRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        self._naps: list[tuple[Any, Done]] = []
        size = ["--processes", str(setup.workers), "--threads", "1"]
        prefetch = {"dramatiq_queue_prefetch": "1"} if setup.purpose == "open_loop" else {}
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "dramatiq", __name__, *size], stdin=subprocess.DEVNULL, env=os.environ | prefetch
        )
        self.result(self.submit(0))

    def submit(self, number: int) -> Any:
        return noop.send(number)

    def result(self, handle: Any) -> int:
        result: int = handle.get_result(block=True, timeout=int(RESULT_TIMEOUT_S * 1e3))
        return result

    def nap(self, number: int, seconds: float, done: Done) -> None:
        self._naps.append((nap.send(number, seconds), done))

    def drain(self) -> None:
        for handle, done in self._naps:
            number, at_s = handle.get_result(block=True, timeout=int(RESULT_TIMEOUT_S * 1e3))
            done(number, at_s)

    def close(self) -> None:
        broker.close()
        self._worker.terminate()
        self._worker.wait(STOP_TIMEOUT_S)
