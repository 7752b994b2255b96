# /// script
# dependencies = ["ipyparallel==9.2.0"]
# [tool.paceline.rivals]
# ipyparallel = { title = "ipyparallel" }
# ///
"""ipyparallel: a controller and engines on this machine, with the load-balanced view.

https://ipyparallel.readthedocs.io/en/latest/tutorial/task.html: ``LoadBalancedView``, and
``TaskScheduler.hwm``, how many tasks an engine may hold: 1, the default, where lengths differ; no limit (0) for bursts
of short ones. ``map`` with ``chunksize`` is what it has for many calls at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["IPYTHONDIR"] = str(Path.cwd() / "ipython")

import ipyparallel

from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System

CHUNK_TASKS = 100
HIGH_WATER_TASKS = {"round_trips": 1, "burst": 0, "open_loop": 1}  # 0: no limit


def noop(number: int) -> int:
    return number


def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


class IpyparallelRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        self._cluster = ipyparallel.Cluster(
            n=setup.workers, controller_args=[f"--TaskScheduler.hwm={HIGH_WATER_TASKS[setup.purpose]}"]
        )
        self._client = self._cluster.start_and_connect_sync(activate=False)
        self._view = self._client.load_balanced_view()

    def submit(self, number: int) -> Any:
        return self._view.apply_async(noop, number)

    def result(self, handle: Any) -> int:
        result: int = handle.get(RESULT_TIMEOUT_S)
        return result

    def chunked(self, numbers: range) -> Sequence[int]:
        return list(self._view.map_async(noop, numbers, chunksize=CHUNK_TASKS).get(RESULT_TIMEOUT_S))

    def nap(self, number: int, seconds: float, done: Done) -> None:
        future = self._view.apply_async(nap, number, seconds)
        future.add_done_callback(lambda future: done(future.get(), time.perf_counter()))

    def close(self) -> None:
        self._client.close()
        self._cluster.stop_cluster_sync()
