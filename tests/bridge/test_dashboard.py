"""The dashboard's row of bridges, on a real Prometheus that scrapes a real bridge."""

from __future__ import annotations

import time
from pathlib import Path

from bridge.processes import BridgeProcess, Broker
from paceline import Cluster
from web.test_dashboard import expressions, with_values
from web.test_prometheus import DEADLINE_S, INTERVAL, Prometheus

CONFIG = """
global:
  scrape_interval: 500ms
scrape_configs:
  - job_name: bridges
    static_configs:
      - targets: ["{address}"]
"""


def test_every_expression_about_bridges_has_data(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], tmp_path: Path
) -> None:
    queue = broker.declare()
    options = ("--queue", f"{queue}=tasks.echo", "--metrics", "127.0.0.1:0")
    bridge = BridgeProcess(broker.url, cluster.addresses, *options)
    bridges.append(bridge)
    bridge.wait_for("consuming")
    address = bridge.log().partition("metrics at http://")[2].partition("/metrics")[0]
    prometheus = Prometheus(tmp_path, CONFIG.format(address=address))
    try:
        waiting = list(expressions(of_bridges=True))
        assert len(waiting) > 4
        end = time.monotonic() + DEADLINE_S
        while waiting:
            assert time.monotonic() < end, f"no data for {waiting}"
            broker.publish(queue, b'"a"')
            waiting = [each for each in waiting if not prometheus.has_data(with_values(each[1], INTERVAL))]
    finally:
        prometheus.stop()
