# /// script
# dependencies = ["ray==2.60.0"]
# [tool.paceline.rivals]
# ray = { title = "Ray" }
# ///
"""Ray: a local cluster with as many processors as there are to be workers.

https://docs.ray.io/en/latest/ray-core/api/doc/ray.init.html: ``num_cpus``, the dashboard off. ``ray.get`` of a list is
how results of many calls are fetched (https://docs.ray.io/en/latest/ray-core/patterns/ray-get-loop.html). It has
nothing for many calls at once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# On macOS and Windows Ray stays on loopback unless this is set; on Linux it would listen on every interface.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import ray

from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System

OBJECT_STORE_BYTES = 200 * 1024 * 1024


@ray.remote
def noop(number: int) -> int:
    return number


@ray.remote
def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


class RayRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        ray.init(
            num_cpus=setup.workers,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(Path.cwd() / "ray"),
        )
        # So long that each worker gets one, and is started before anything is measured.
        ray.get([nap.remote(number, 0.5) for number in range(setup.workers)], timeout=RESULT_TIMEOUT_S)

    def submit(self, number: int) -> Any:
        return noop.remote(number)

    def result(self, handle: Any) -> int:
        result: int = ray.get(handle, timeout=RESULT_TIMEOUT_S)
        return result

    def burst(self, numbers: range) -> tuple[float, float, list[int]]:
        started_s = time.perf_counter()
        handles = [noop.remote(number) for number in numbers]
        submit_s = time.perf_counter() - started_s
        results: list[int] = ray.get(handles, timeout=RESULT_TIMEOUT_S)
        return submit_s, time.perf_counter() - started_s, results

    def nap(self, number: int, seconds: float, done: Done) -> None:
        future = nap.remote(number, seconds).future()
        future.add_done_callback(lambda future: done(future.result(), time.perf_counter()))

    def close(self) -> None:
        ray.shutdown()
