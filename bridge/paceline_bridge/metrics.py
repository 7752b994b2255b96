"""The metrics of a bridge: its counters at ``/metrics``, and probes, served by a thread of their own.

``/livez``: the bridge's loop turned within LIVE_WITHIN_S, or the bridge is between two tries. ``/readyz``: it takes
messages, that is, RabbitMQ and the cluster are both there, and its leader has answered within READY_WITHIN_S.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from paceline.web.http import HttpServer, MachineHandler, encoder_for
from paceline_bridge.counters import STATES, BridgeCounters

LIVE_WITHIN_S = 10.0
"""A tick comes every 0.1 s; RabbitMQ's own limits end a connection that hangs much later."""


READY_WITHIN_S = 5.0
"""The cluster is asked each second. The client gives it up after half a minute, in which its leader may change."""


class BridgeMetric(NamedTuple):
    """One metric, and how its value is read from the counters. ``kind`` is gauge or counter."""

    name: str
    kind: str
    help: str
    value: Callable[[BridgeCounters], float]


def _gauge(name: str, help: str, value: Callable[[BridgeCounters], float]) -> BridgeMetric:
    return BridgeMetric(f"paceline_bridge_{name}", "gauge", help, value)


METRICS = (
    _gauge("connected", "1 while RabbitMQ and the cluster are both there.", lambda now: now.connected),
    _gauge("blocked", "1 while RabbitMQ takes no publishes.", lambda now: now.blocked),
    _gauge("unacked_messages", "Messages taken and not acknowledged.", lambda now: now.unacked),
    _gauge("unacked_bytes", "What they take, about.", lambda now: now.unacked_bytes),
    _gauge("held_messages", "Messages whose dead letter or reply RabbitMQ does not take now.", lambda now: now.held),
    _gauge(
        "outstanding_tasks",
        "Tasks at the cluster that have not ended, but for delayed ones.",
        lambda now: now.outstanding,
    ),
    _gauge(
        "delayed_tasks",
        "Delayed tasks at the cluster that have not ended, and those that have waited to be tried again.",
        lambda now: now.delayed,
    ),
    _gauge("window_tasks", "How many tasks may be at the cluster.", lambda now: now.window),
    BridgeMetric(
        "paceline_bridge_connections_lost_total",
        "counter",
        "Times that RabbitMQ or the cluster was lost, and all was begun anew.",
        lambda now: now.connections_lost,
    ),
)


def families(counters: BridgeCounters) -> Iterator[Metric]:
    """The metrics of a bridge: as many series as there are states, results and protocols."""
    for spec in METRICS:
        value = float(spec.value(counters))
        if spec.kind == "counter":
            yield CounterMetricFamily(spec.name.removesuffix("_total"), spec.help, value=value)
        else:
            yield GaugeMetricFamily(spec.name, spec.help, value=value)
    state = GaugeMetricFamily("paceline_bridge_state", "1 for the state that the bridge is in.", labels=["state"])
    for name in STATES:
        state.add_metric([name], float(counters.state == name))
    yield state
    messages = CounterMetricFamily(
        "paceline_bridge_messages",
        "Messages, by what became of them and whose they are.",
        labels=["result", "protocol"],
    )
    for (result, protocol), count in sorted(counters.messages.copy().items()):
        messages.add_metric([result, protocol], count)
    yield messages


def markdown() -> str:
    """The table of docs/bridge.md."""
    rows = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for family in families(BridgeCounters(messages={("acked", "plain"): 0})):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = [label for sample in family.samples[:1] for label in sample.labels]
        rows.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |")
    return "\n".join(rows)


class MetricsServer(HttpServer):
    """Serves the counters of one bridge on a socket that listens, in a thread of its own until the process ends."""

    def __init__(self, listener: socket.socket, counters: BridgeCounters) -> None:
        super().__init__(listener, BridgeHandler)
        self.counters = counters

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="paceline-bridge-metrics", daemon=True).start()

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus_client."""
        return families(self.counters)


class BridgeHandler(MachineHandler):
    """One request to a bridge."""

    server: MetricsServer

    def answers(self) -> Mapping[str, Callable[[], None]]:
        return {"/metrics": self._metrics, "/livez": self._live, "/readyz": self._ready}

    def _metrics(self) -> None:
        encode, content_type = encoder_for(self.headers.get("Accept", ""))
        self.send_body(HTTPStatus.OK, encode(self.server), content_type)

    def _live(self) -> None:
        counters = self.server.counters
        silent_s = time.monotonic() - counters.turned_at
        if counters.connected and silent_s > LIVE_WITHIN_S:
            self.send_body(HTTPStatus.SERVICE_UNAVAILABLE, f"the bridge's loop has not turned for {silent_s:.0f} s\n")
        else:
            self.send_body(HTTPStatus.OK, "ok\n")

    def _ready(self) -> None:
        counters = self.server.counters
        silent_s = time.monotonic() - counters.cluster_heard_at
        if counters.state != "running":
            self.send_body(HTTPStatus.SERVICE_UNAVAILABLE, f"the bridge is {counters.state}\n")
        elif silent_s > READY_WITHIN_S:
            self.send_body(
                HTTPStatus.SERVICE_UNAVAILABLE, f"no leader of the cluster has answered for {silent_s:.0f} s\n"
            )
        else:
            self.send_body(HTTPStatus.OK, "ok\n")


if __name__ == "__main__":
    print(markdown())
