"""Requests the cluster's status each second: how full the cluster is, and which tasks it has. The request carries a
description of this bridge, which ``paceline status`` shows.

This runs in a thread of its own, since a request may wait, and with a connection of its own, so that the status shows
the bridge while it has no connection to RabbitMQ, too.

Any node may answer, and one that does not lead knows neither how full the cluster is nor which tasks it has. So
only what a leader says counts as the cluster's answer.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from paceline.client.relay import Relay
from paceline.errors import ClientClosed, PacelineError
from paceline_bridge.config import BridgeConfig, shown
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.troubles import Bindings, Repeats

INTERVAL_S = 1.0
TIMEOUT_S = 2.0
QUEUES_SHOWN = 8

_logger = logging.getLogger("paceline.bridge")


class Watch:
    """``status`` is the last one that a leader gave; empty before the first."""

    def __init__(
        self, relay: Relay, about: Callable[[], Mapping[str, str]], bindings: Bindings, counters: BridgeCounters
    ) -> None:
        self.status: Mapping[str, Any] = {}
        self._relay = relay
        self._about = about
        self._bindings = bindings
        self._counters = counters
        self._repeats = Repeats()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paceline-bridge-status", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._relay.close()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                status = self._relay.status(TIMEOUT_S, self._about())
                if status["queued"] is not None:
                    self._heard(status)
            except ClientClosed:
                return
            except (PacelineError, TimeoutError):
                pass  # the life notices that the cluster is gone when it submits; until then the last status is used
            except Exception:
                text = "the cluster's status can't be had; please report this"
                if (line := self._repeats.line("status", text, time.monotonic())) is not None:
                    _logger.exception("%s", line)
            self._over.wait(INTERVAL_S)

    def _heard(self, status: Mapping[str, Any]) -> None:
        self.status = status
        self._counters.cluster_heard_at = time.monotonic()
        for is_warning, text in self._bindings.check(status):
            _logger.log(logging.WARNING if is_warning else logging.INFO, "%s", text)


def describe(config: BridgeConfig, counters: BridgeCounters) -> dict[str, str]:
    """The description of a bridge for ``paceline status``."""
    queues = sorted(config.queues)
    more = f" and {len(queues) - QUEUES_SHOWN} more" if len(queues) > QUEUES_SHOWN else ""
    return {
        "kind": "bridge",
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "state": "blocked" if counters.blocked else counters.state,
        "rabbitmq": ", ".join(map(shown, config.urls))[:300],
        "queues": ", ".join(queues[:QUEUES_SHOWN])[:1000] + more,
        "unacked": str(counters.unacked),
    }
