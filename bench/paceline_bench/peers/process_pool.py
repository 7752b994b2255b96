# /// script
# [tool.paceline.rivals]
# process-pool = { title = "ProcessPoolExecutor (this machine only)" }
# ///
"""concurrent.futures.ProcessPoolExecutor, of the standard library: pipes, and no other machine.

https://docs.python.org/3/library/concurrent.futures.html#processpoolexecutor, with nothing to configure but the
workers; ``map`` has ``chunksize``, which the documentation recommends for very long iterables.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor

from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System

CHUNK_TASKS = 100


def noop(number: int) -> int:
    return number


def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


class ProcessPoolRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        self._pool = ProcessPoolExecutor(setup.workers)
        list(self._pool.map(nap, range(setup.workers), [0.1] * setup.workers))  # so long that each worker gets one

    def submit(self, number: int) -> Future[int]:
        return self._pool.submit(noop, number)

    def result(self, handle: Future[int]) -> int:
        return handle.result(RESULT_TIMEOUT_S)

    def chunked(self, numbers: range) -> Sequence[int]:
        return list(self._pool.map(noop, numbers, chunksize=CHUNK_TASKS))

    def nap(self, number: int, seconds: float, done: Done) -> None:
        future = self._pool.submit(nap, number, seconds)
        future.add_done_callback(lambda future: done(future.result(), time.perf_counter()))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
