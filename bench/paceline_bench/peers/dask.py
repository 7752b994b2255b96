# /// script
# dependencies = ["distributed==2026.8.0"]
# [tool.paceline.rivals]
# dask = { title = "Dask.distributed" }
# ///
"""Dask.distributed: a LocalCluster of processes with one thread each.

https://distributed.dask.org/en/stable/api.html#distributed.Client.submit: ``pure=False``, or equal calls are answered
from what was computed before; https://docs.dask.org/en/stable/deploying-python.html: one thread for Python code, the
dashboard off. ``Client.map`` with ``batch_size`` is what it has for many calls.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from distributed import Client, LocalCluster

from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System


def noop(number: int) -> int:
    return number


def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


class DaskRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        self._cluster = LocalCluster(
            n_workers=setup.workers, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        )
        self._client = Client(self._cluster)
        self._client.wait_for_workers(setup.workers, RESULT_TIMEOUT_S)

    def submit(self, number: int) -> Any:
        return self._client.submit(noop, number, pure=False)

    def result(self, handle: Any) -> int:
        result: int = handle.result(RESULT_TIMEOUT_S)
        return result

    def burst(self, numbers: range) -> tuple[float, float, list[int]]:
        """Fetch the results of many futures with ``gather``, as Dask's documentation does."""
        started_s = time.perf_counter()
        handles = [self.submit(number) for number in numbers]
        submit_s = time.perf_counter() - started_s
        results = self._client.gather(handles)
        return submit_s, time.perf_counter() - started_s, results

    def chunked(self, numbers: range) -> Sequence[int]:
        results: list[int] = self._client.gather(self._client.map(noop, numbers, pure=False))
        return results

    def nap(self, number: int, seconds: float, done: Done) -> None:
        future = self._client.submit(nap, number, seconds, pure=False)
        future.add_done_callback(lambda future: done(future.result(), time.perf_counter()))

    def close(self) -> None:
        self._client.close()
        self._cluster.close()
