# /// script
# dependencies = ["taskiq==0.13.0", "taskiq-redis==1.2.4"]
# [tool.paceline.rivals]
# taskiq = { title = "Taskiq, Redis list queue and results", servers = ["redis"] }
# ///
"""Taskiq: its own worker command, with one process for each worker.

https://taskiq-python.github.io/available-components/brokers.html: https://github.com/taskiq-python/taskiq-redis:
ListQueueBroker, which acknowledges nothing. Results are asked for by polling
(``wait_result(check_interval=...)``, 0.2 s by default); the interval here is 1 ms, which costs Redis more and Taskiq
less. It has nothing for many calls at once.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from paceline_bench.peers.wire import OPEN_LOOP_START_S, RESULT_TIMEOUT_S, RivalSetup, System

CHECK_INTERVAL_S = 0.001
STOP_TIMEOUT_S = 10.0

setup = RivalSetup.read()
broker = ListQueueBroker(setup.servers["redis"], queue_name=setup.token).with_result_backend(
    RedisAsyncResultBackend(setup.servers["redis"])
)


@broker.task(task_name="noop")
def noop(number: int) -> int:
    return number


@broker.task(task_name="nap")
def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


async def _result(handle: Any) -> int:
    outcome = await handle.wait_result(check_interval=CHECK_INTERVAL_S, timeout=RESULT_TIMEOUT_S)
    number: int = outcome.return_value
    return number


class TaskiqRival(System):
    """Everything that is measured runs inside one event loop, as a program that uses Taskiq would."""

    def __init__(self, setup: RivalSetup) -> None:
        size = ["--workers", str(setup.workers), "--max-threadpool-threads", "1", "--max-async-tasks", "1"]
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "taskiq", "worker", f"{__name__}:broker", *size], stdin=subprocess.DEVNULL
        )
        self._runner = asyncio.Runner()
        self._runner.run(broker.startup())
        self.result(self.submit(0))

    def submit(self, number: int) -> Any:
        return self._runner.run(noop.kiq(number))

    def result(self, handle: Any) -> int:
        return self._runner.run(_result(handle))

    def round_trips(self, numbers: range) -> tuple[list[float], list[int]]:
        async def measure() -> tuple[list[float], list[int]]:
            durations_s, results = [], []
            for number in numbers:
                started_s = time.perf_counter()
                results.append(await _result(await noop.kiq(number)))
                durations_s.append(time.perf_counter() - started_s)
            return durations_s, results

        return self._runner.run(measure())

    def burst(self, numbers: range) -> tuple[float, float, list[int]]:
        """Results one after the other, since thousands that poll at once would be a load of their own."""

        async def measure() -> tuple[float, float, list[int]]:
            started_s = time.perf_counter()
            handles = [await noop.kiq(number) for number in numbers]
            submit_s = time.perf_counter() - started_s
            results = [await _result(handle) for handle in handles]
            return submit_s, time.perf_counter() - started_s, results

        return self._runner.run(measure())

    def open_loop(self, due_s: Sequence[float], lengths_s: Sequence[float]) -> list[tuple[float, int] | None]:
        async def one(number: int, started_s: float) -> tuple[float, int]:
            await asyncio.sleep(started_s + due_s[number] - time.perf_counter())
            result = await _result(await nap.kiq(number, lengths_s[number]))
            return time.perf_counter() - started_s - due_s[number], result

        async def measure() -> list[tuple[float, int] | None]:
            started_s = time.perf_counter() + OPEN_LOOP_START_S
            return list(await asyncio.gather(*(one(number, started_s) for number in range(len(due_s)))))

        return self._runner.run(measure())

    def close(self) -> None:
        self._runner.run(broker.shutdown())
        self._runner.close()
        self._worker.terminate()
        self._worker.wait(STOP_TIMEOUT_S)
