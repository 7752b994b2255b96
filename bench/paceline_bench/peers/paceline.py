# /// script
# [tool.paceline.rivals]
# paceline-memory = { title = "paceline, journal memory", journal = "memory", packages = ["paceline", "pyzmq"] }
# paceline-fsync = { title = "paceline, journal fsync", journal = "fsync", packages = ["paceline", "pyzmq"] }
# ///
"""paceline itself, as the others are measured: one node, this interpreter, one task for each call."""

from __future__ import annotations

import time
from collections.abc import Sequence

from paceline.client import Future
from paceline.local import Cluster
from paceline_bench.bodies.tasks import nap, noop
from paceline_bench.peers.wire import RESULT_TIMEOUT_S, Done, RivalSetup, System


class PacelineRival(System):
    def __init__(self, setup: RivalSetup) -> None:
        journal = setup.options["journal"]
        self._cluster = Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=setup.workers, journal=journal)
        self._client = self._cluster.__enter__().client()

    def submit(self, number: int) -> Future[int]:
        return self._client.submit(noop, number)

    def result(self, handle: Future[int]) -> int:
        return handle.result(RESULT_TIMEOUT_S)

    def chunked(self, numbers: range) -> Sequence[int]:
        return list(self._client.map(noop, numbers))

    def nap(self, number: int, seconds: float, done: Done) -> None:
        future = self._client.submit(nap, number, seconds)
        future.add_done_callback(lambda future: done(future.result(), time.perf_counter()))

    def close(self) -> None:
        self._client.close()
        self._cluster.__exit__(None, None, None)
