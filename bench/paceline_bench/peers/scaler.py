# /// script
# dependencies = ["opengris-scaler[zmq]==2.9.0"]
# [tool.paceline.rivals]
# scaler = { title = "opengris-scaler", backend = "ymq" }
# scaler-zmq = { title = "opengris-scaler, ZeroMQ backend", backend = "zmq" }
# ///
"""opengris-scaler: scheduler, object storage and workers of a SchedulerClusterCombo.

https://finos.github.io/opengris-scaler/: a combo for one machine. ``SCALER_NETWORK_BACKEND`` chooses between its own
transport, the default, and ZeroMQ. Equal calls may share their arguments, so every number is another. ``map`` is what
it has for many calls at once; it submits one task for each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System

os.environ["SCALER_NETWORK_BACKEND"] = RivalSetup.read().options[
    "backend"
]  # read when it is imported, and by its children

from scaler import Client, SchedulerClusterCombo


def noop(number: int) -> int:
    return number


def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


class ScalerRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        self._combo = SchedulerClusterCombo(n_workers=setup.workers, logging_level="WARNING")
        self._client = Client(address=self._combo.get_address())
        # So long that each worker gets one, and is started before anything is measured.
        for future in [self._client.submit(nap, number, 0.5) for number in range(setup.workers)]:
            future.result(RESULT_TIMEOUT_S)

    def submit(self, number: int) -> Any:
        return self._client.submit(noop, number)

    def result(self, handle: Any) -> int:
        result: int = handle.result(RESULT_TIMEOUT_S)
        return result

    def chunked(self, numbers: range) -> Sequence[int]:
        return list(self._client.map(noop, numbers))

    def nap(self, number: int, seconds: float, done: Done) -> None:
        future = self._client.submit(nap, number, seconds)
        future.add_done_callback(lambda future: done(future.result(), time.perf_counter()))

    def close(self) -> None:
        self._client.disconnect()
        self._combo.shutdown()
