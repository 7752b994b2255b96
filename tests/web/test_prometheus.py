"""A real Prometheus scrapes a loaded cluster of three nodes, and everything that is shown has something to show."""

from __future__ import annotations

import json
import math
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import wait_until
from paceline import Client, Cluster, NamedTask
from paceline.errors import PacelineError
from web.test_dashboard import expressions, with_values
from web.test_real_nodes import free_port, get
from web.test_rules import RULES, promtool
from web.tools import tool

TASKS = Path(__file__).with_name("load_tasks.py")
CONFIG = """
global:
  scrape_interval: 500ms
  evaluation_interval: 500ms
rule_files:
  - {rules}
scrape_configs:
  - job_name: paceline
    http_sd_configs:
      - url: http://{address}/sd
        refresh_interval: 1s
"""
NAP, FAIL = NamedTask("load_tasks.nap"), NamedTask("load_tasks.fail")
CRASH = NamedTask("load_tasks.crash", max_attempts=2, keep_dead=60)
INTERVAL = "5s"
DEADLINE_S = 60.0


class Load:
    """A client that keeps the cluster busy, with tasks that succeed, fail, and kill their workers, to the end."""

    def __init__(self, cluster: Cluster) -> None:
        self._client: Client = cluster.client()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            futures = [self._client.submit(NAP, 0.002) for _ in range(200)]
            futures += [self._client.submit(FAIL) for _ in range(5)]
            futures.append(self._client.submit(CRASH))
            for future in futures:
                try:
                    future.result(timeout=DEADLINE_S)
                except (PacelineError, ValueError):
                    pass  # as it should

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close(0)


class Prometheus:
    """``text``: its configuration."""

    def __init__(self, directory: Path, text: str) -> None:
        program = tool("prometheus")  # before anything is opened: without it the test is skipped
        self._url = f"http://127.0.0.1:{free_port()}"
        config = directory / "prometheus.yml"
        config.write_text(text)
        self._log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer; None while it does not serve yet."""
        try:
            with urllib.request.urlopen(
                f"{self._url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code != 503:
                raise AssertionError(error.read().decode()) from error
            return None

    def has_data(self, expression: str) -> bool:
        data = self.ask("/api/v1/query", query=expression)
        return any(not math.isnan(float(series["value"][1])) for series in data["result"]) if data else False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.local(TASKS, nodes=3, workers=1, journal="os", metrics=True) as running:
        load = Load(running)
        yield running
        load.stop()


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    text = CONFIG.format(rules=RULES, address=cluster.nodes[0].metrics_address)
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), text)
    yield server
    server.stop()


def test_it_finds_every_node_through_one(cluster: Cluster, prometheus: Prometheus) -> None:
    addresses = {node.metrics_address for node in cluster.nodes}

    def all_are_up() -> bool:
        data = prometheus.ask("/api/v1/targets")
        active = data["activeTargets"] if data else ()
        return {each["labels"]["instance"] for each in active if each["health"] == "up"} == addresses

    wait_until(all_are_up, "Prometheus scrapes the three nodes", DEADLINE_S)


def test_every_expression_of_the_dashboard_has_data(prometheus: Prometheus) -> None:
    waiting = list(expressions(of_bridges=False))
    end = time.monotonic() + DEADLINE_S
    while waiting:
        assert time.monotonic() < end, f"no data for {waiting}"
        waiting = [each for each in waiting if not prometheus.has_data(with_values(each[1], INTERVAL))]


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        data = prometheus.ask("/api/v1/rules")
        return [rule for group in data["groups"] for rule in group["rules"]] if data else []

    wait_until(lambda: rules() and all(rule["health"] != "unknown" for rule in rules()), "all rules ran", DEADLINE_S)
    assert [(rule["name"], rule["lastError"]) for rule in rules() if rule["health"] != "ok"] == []


def test_promtool_finds_nothing_wrong_with_what_a_leader_serves(cluster: Cluster) -> None:
    texts = [get(node, "/metrics")[1] for node in cluster.nodes]
    for text in texts:
        assert promtool("check", "metrics", data=text.encode()) == ""
