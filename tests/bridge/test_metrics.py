"""What Prometheus and probes see of a bridge."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.processes import TASKS, BridgeProcess, Broker, wait_until
from paceline import Cluster
from paceline.client.relay import Relay
from paceline_bridge import metrics
from paceline_bridge.bridge import Bridge
from paceline_bridge.config import BridgeConfig
from paceline_bridge.counters import STATES, BridgeCounters
from paceline_bridge.metrics import LIVE_WITHIN_S, READY_WITHIN_S, MetricsServer, markdown
from web.test_rules import promtool

ROOT = Path(__file__).parents[2]


def get(address: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def values(text: str) -> dict[tuple[str, ...], float]:
    """(name, values of its labels in the order of these...) -> value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Served:
    def __init__(self) -> None:
        self.counters = BridgeCounters()
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.server = MetricsServer(listener, self.counters)
        self.server.start()


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.server.shutdown()
    served.server.server_close()


def test_the_metrics_are_the_counters(served: Served) -> None:
    counters = served.counters
    counters.state, counters.connected, counters.unacked, counters.connections_lost = "running", True, 7, 2
    counters.count("acked", "celery")
    counters.count("acked", "celery")
    status, text = get(served.address, "/metrics")
    assert status == 200
    found = values(text)
    assert found["paceline_bridge_connected",] == 1
    assert found["paceline_bridge_unacked_messages",] == 7
    assert found["paceline_bridge_connections_lost_total",] == 2
    assert found["paceline_bridge_messages_total", "celery", "acked"] == 2
    assert {name: found["paceline_bridge_state", name] for name in STATES} == {
        name: float(name == "running") for name in STATES
    }


def test_a_version_that_is_none_is_answered_in_plain_text(served: Served) -> None:
    connection = http.client.HTTPConnection(served.address, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": "text/plain;version=a.b"})
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    connection.close()


def test_promtool_finds_nothing_wrong(served: Served) -> None:
    served.counters.count("refused", "plain")
    assert promtool("check", "metrics", data=get(served.address, "/metrics")[1].encode()) == ""


def test_probes_mean_progress(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now))
    counters = served.counters
    assert get(served.address, "/readyz") == (503, "the bridge is starting\n")
    assert get(served.address, "/livez")[0] == 200, "without RabbitMQ it tries again, and a restart would not help"
    counters.state, counters.connected = "running", True
    counters.turned_at = counters.cluster_heard_at = now
    assert get(served.address, "/readyz")[0] == get(served.address, "/livez")[0] == 200
    counters.cluster_heard_at -= READY_WITHIN_S + 1
    status, text = get(served.address, "/readyz")
    assert (status, text.startswith("no leader of the cluster has answered for 6 s")) == (503, True)
    assert get(served.address, "/livez")[0] == 200
    counters.turned_at -= LIVE_WITHIN_S + 1
    status, text = get(served.address, "/livez")
    assert status == 503
    assert "has not turned" in text
    assert get(served.address, "/elsewhere") == (404, "paths: /metrics, /livez, /readyz\n")


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "bridge.md").read_text()
    drawn = text.partition("<!-- metrics: begin -->")[2].partition("<!-- metrics: end -->")[0]
    assert drawn.strip() == markdown(), "put the output of `python -m paceline_bridge.metrics` between the marks"


def test_a_state_that_a_bridge_has_is_one_of_those_that_are_shown() -> None:
    config = BridgeConfig(urls=("amqp://127.0.0.1:1",), queues={"q": ""})
    bridge = Bridge(config, lambda on_news: Relay("127.0.0.1:1", on_news=on_news))
    assert bridge.counters.state in STATES
    bridge.stop()
    bridge.run()
    assert bridge.counters.state in STATES


def test_a_real_bridge_tells_of_its_messages_and_that_it_is_ready(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess]
) -> None:
    queue = broker.declare()
    bridge = BridgeProcess(
        broker.url, cluster.addresses, "--queue", f"{queue}=tasks.record", "--metrics", "127.0.0.1:0"
    )
    bridges.append(bridge)
    bridge.wait_for("connected to RabbitMQ")
    address = bridge.log().partition("metrics at http://")[2].partition("/metrics")[0]
    assert get(address, "/readyz") == (200, "ok\n")
    broker.publish(queue, b'"a"', b'"b"')
    broker.publish(queue, b"{", content_type="application/json")
    name = "paceline_bridge_messages_total"
    wait_until(
        lambda: values(get(address, "/metrics")[1]).get((name, "plain", "acked")) == 3, lambda: "all are settled"
    )
    found = values(get(address, "/metrics")[1])
    assert (found[name, "plain", "refused"], found["paceline_bridge_connected",]) == (1, 1)
    unacked = ("paceline_bridge_unacked_messages",)
    wait_until(lambda: values(get(address, "/metrics")[1])[unacked] == 0, lambda: "none is left")


def test_a_bridge_whose_cluster_has_no_leader_is_not_ready_and_waits_for_one(
    broker: Broker, bridges: list[BridgeProcess]
) -> None:
    queue = broker.declare()
    with Cluster.local(TASKS, nodes=3, workers=1) as cluster:
        bridge = BridgeProcess(
            broker.url, cluster.addresses, "--queue", f"{queue}=tasks.record", "--metrics", "127.0.0.1:0"
        )
        bridges.append(bridge)
        bridge.wait_for("connected to RabbitMQ")
        address = bridge.log().partition("metrics at http://")[2].partition("/metrics")[0]
        assert get(address, "/readyz") == (200, "ok\n")
        for node in cluster.nodes[:2]:
            node.kill()
        status, text = 0, ""

        def is_gone() -> bool:
            nonlocal status, text
            status, text = get(address, "/readyz")
            return status == 503

        wait_until(is_gone, bridge.log)
        assert text.startswith("no leader of the cluster has answered for ")
        assert "please report" not in bridge.log()
        assert bridge.log().count("connected to RabbitMQ") == 1
        assert bridge.terminate() == 0
