"""What the web process answers over HTTP, with a node that is played."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.exposition import choose_encoder

from paceline.web.http import CONNECTIONS_MAX, encoder_for
from paceline.web.link import NodeSilent
from paceline.web.server import NodeHandler, WebServer, targets
from web.bodies import of_a_cluster


class PlayedLink:
    def __init__(self) -> None:
        self.body: dict[str, Any] | None = of_a_cluster()

    def ask(self) -> dict[str, Any]:
        if self.body is None:
            raise NodeSilent(1.0)
        return self.body


class Served:
    def __init__(self) -> None:
        self.link = PlayedLink()
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self._server = WebServer(listener, self.link, node_pid=1)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text, dict(response.getheaders())

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.close()


def test_metrics_are_those_of_the_node_and_of_its_process(served: Served) -> None:
    status, text, headers = served.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert 'paceline_tasks_executed_total{outcome="succeeded",task="add"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_openmetrics_is_spoken_to_whoever_asks_for_it(served: Served) -> None:
    status, text, headers = served.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain;version=a.b",
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text; version=2.x",
        "application/openmetrics-text; version=1.0.0-rc; charset=utf-8",
        "text/plain; version=" + 5_000 * "9",
        "application/openmetrics-text; version=2.\r\n x",
        "text/plain; version=\x00",
        "application/openmetrics-text; version=1.0.0, text/plain; version=\u00b2",
    ],
)
def test_a_version_that_is_none_is_answered_in_plain_text_and_not_repeated(served: Served, accept: str) -> None:
    status, text, headers = served.get("/metrics", Accept=accept)
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "paceline_tasks_executed_total{" in text


def test_what_a_scraper_asks_for_is_what_it_gets() -> None:
    prometheus = (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3"
    )
    for accept in ("", "*/*", "text/plain", prometheus):
        assert encoder_for(accept)[1] == choose_encoder(accept)[1]


def test_requests_that_fail_for_one_cause_are_a_line_for_each_power_of_ten(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise KeyError("as if")

    monkeypatch.setattr(NodeHandler, "_live", fail)
    for _ in range(100):
        with pytest.raises(http.client.RemoteDisconnected):
            served.get("/livez")
    lines = [record for record in caplog.records if record.name == "paceline.web" and record.levelname == "ERROR"]
    assert [line.getMessage().partition(";")[0] for line in lines] == [
        "a request could not be answered",
        "10 requests could not be answered",
        "100 requests could not be answered",
    ]


def test_a_node_that_answers_is_live_and_one_that_does_not_is_not(served: Served) -> None:
    assert served.get("/livez")[:2] == (200, "ok\n")
    served.link.body = None
    for path in ("/livez", "/readyz", "/metrics", "/sd"):
        status, text, _ = served.get(path)
        assert status == 503
        assert "did not turn within 1 s" in text


def test_a_node_that_does_not_do_its_part_is_live_and_not_ready_and_says_why(served: Served) -> None:
    assert served.get("/readyz")[:2] == (200, "ok\n")
    assert served.link.body is not None
    served.link.body["not_ready"] = ["no leader is known", "0 of 2 workers are ready"]
    assert served.get("/readyz")[:2] == (503, "no leader is known\n0 of 2 workers are ready\n")
    assert served.get("/livez")[0] == 200


def test_other_paths_are_not_found_and_the_answer_names_those_there_are(served: Served) -> None:
    assert served.get("/etc/passwd")[:2] == (404, "paths: /metrics, /livez, /readyz, /sd\n")
    assert served.get("/livez?verbose=1")[0] == 200
    assert served.get("/metrics", method="POST")[0] == 501


def test_a_head_request_has_the_headers_alone(served: Served) -> None:
    status, text, headers = served.get("/livez", method="HEAD")
    assert (status, text, headers["Content-Length"]) == (200, "", "3")


def test_when_there_are_too_many_connections_the_oldest_is_closed(served: Served) -> None:
    silent = [socket.create_connection(served.address, timeout=10) for _ in range(CONNECTIONS_MAX)]
    try:
        assert served.get("/livez")[0] == 200
        assert silent[0].recv(1) == b""
    finally:
        for connection in silent:
            connection.close()


def test_bytes_that_are_no_request_harm_nobody(served: Served) -> None:
    for hostile in (b"\x00\xff" * 100 + b"\r\n\r\n", b"GET " + b"a" * 70_000 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(served.address, timeout=10) as connection:
            connection.sendall(hostile)
            while connection.recv(65_536):
                pass
    assert served.get("/livez")[0] == 200


def test_the_document_of_http_sd_lists_the_nodes_with_labels_to_relabel_by(served: Served) -> None:
    assert served.link.body is not None
    served.link.body["targets"] = [["n1", "10.0.0.1:7077", "10.0.0.1:9077", "leader"]]
    _, text, headers = served.get("/sd")
    assert headers["Content-Type"] == "application/json"
    (group,) = json.loads(text)
    assert group["targets"] == ["10.0.0.1:9077"]
    assert group["labels"]["__meta_paceline_role"] == "leader"
    assert all(isinstance(value, str) for value in group["labels"].values())


def test_metrics_on_loopback_are_listed_for_nodes_of_this_machine_alone() -> None:
    body = of_a_cluster() | {
        "node_id": "n1",
        "targets": [
            ["n1", "10.0.0.1:7077", "127.0.0.1:9077", "leader"],  # who is asked is asked from its own machine
            ["n2", "10.0.0.2:7077", "127.0.0.1:9077", "voter"],
            ["n3", "10.0.0.3:7077", "10.0.0.3:9077", "voter"],
            ["n4", "127.0.0.1:7078", "127.0.0.1:9078", "voter"],
            ["n5", "10.0.0.1:7079", "127.0.0.1:9079", "voter"],  # beside n1, with a cluster file
        ],
    }
    local = [group["targets"] for group in targets(body, is_local=True)]
    assert local == [["127.0.0.1:9077"], ["10.0.0.3:9077"], ["127.0.0.1:9078"], ["127.0.0.1:9079"]]


def test_metrics_on_loopback_are_not_listed_for_who_asks_from_another_machine() -> None:
    body = of_a_cluster() | {
        "node_id": "n1",
        "targets": [
            ["n1", "10.0.0.1:7077", "10.0.0.1:9077", "leader"],
            ["n2", "10.0.0.1:7078", "127.0.0.1:9078", "voter"],
        ],
    }
    assert [group["targets"] for group in targets(body, is_local=False)] == [["10.0.0.1:9077"]]


def test_a_node_that_names_no_address_does_not_keep_the_others_from_being_found() -> None:
    body = of_a_cluster() | {"node_id": "n1", "targets": [["n1", "127.0.0.1:7077", "127.0.0.1:9077", "leader"]]}
    whole = targets(body, is_local=True)
    assert len(whole) == 1
    for strange in ("x:y", "x:99999", "[::"):
        with_it = body | {"targets": [*body["targets"], ["z", "127.0.0.1:7079", strange, "worker"]]}
        assert targets(with_it, is_local=True) == whole
