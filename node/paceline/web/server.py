"""HTTP for machines: ``/metrics``, ``/livez``, ``/readyz`` and ``/sd``.

Each answer is made from what the node says at that moment, so a probe means that its loop turns, and not that a port is
open. Connections are bounded: when one more comes than CONNECTIONS_MAX, the oldest is closed. Whoever sends nothing for
IDLE_LIMIT_S loses its connection too, and each carries one request.
"""

from __future__ import annotations

import json
import logging
import socket
from collections import OrderedDict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from paceline.config import is_loopback, parse_address
from paceline.web.families import Snapshot
from paceline.web.link import NodeLink, NodeSilent

CONNECTIONS_MAX = 32
IDLE_LIMIT_S = 5.0
PATHS = "paths: /metrics, /livez, /readyz, /sd\n"

_TEXT = "text/plain; charset=utf-8"
_logger = logging.getLogger("paceline.web")


class WebServer(ThreadingMixIn, HTTPServer):
    """Serves on a socket that listens already."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, link: NodeLink, node_pid: int) -> None:
        super().__init__(listener.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.link = link
        self._process = ProcessCollector(pid=lambda: node_pid, registry=CollectorRegistry())
        self._open: OrderedDict[socket.socket, None] = OrderedDict()

    def snapshot(self) -> Snapshot:
        """What the node is like now. Raises NodeSilent."""
        return Snapshot(self.link.ask(), self._process)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open[request] = None
        if len(self._open) > CONNECTIONS_MAX:
            oldest, _ = self._open.popitem(last=False)
            try:
                oldest.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has just ended by itself
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _logger.debug("a request ended early", exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: WebServer
    server_version = "paceline"
    sys_version = ""
    timeout = IDLE_LIMIT_S

    def do_GET(self) -> None:
        answer = {
            "/": self._paths,
            "/metrics": self._metrics,
            "/livez": self._live,
            "/readyz": self._ready,
            "/sd": self._targets,
        }.get(self.path.partition("?")[0])
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, PATHS)
            return
        try:
            answer()
        except NodeSilent as silent:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, f"{silent}\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _paths(self) -> None:
        self._send(HTTPStatus.OK, PATHS)

    def _metrics(self) -> None:
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._send(HTTPStatus.OK, encode(self.server.snapshot()), content_type)

    def _live(self) -> None:
        self.server.link.ask()
        self._send(HTTPStatus.OK, "ok\n")

    def _ready(self) -> None:
        reasons = self.server.link.ask()["not_ready"]
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        self._send(status, "".join(f"{reason}\n" for reason in reasons) or "ok\n")

    def _targets(self) -> None:
        body = json.dumps(targets(self.server.link.ask()), indent=2) + "\n"
        self._send(HTTPStatus.OK, body, "application/json")

    def _send(self, status: HTTPStatus, body: str | bytes, content_type: str = _TEXT) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        _logger.debug(format, *args)


def targets(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The document of Prometheus's http_sd for the nodes of the cluster that can be scraped from this machine.

    A node that serves its metrics on loopback is one of them only if it is of this machine, as far as can be told: if
    it is this one, or itself listens on loopback alone.
    """
    groups = []
    for node_id, address, metrics_address, role in body["targets"]:
        is_near = node_id == body["node_id"] or is_loopback(parse_address(address)[0])
        if is_near or not is_loopback(parse_address(metrics_address)[0]):
            labels = {
                "__meta_paceline_node": node_id,
                "__meta_paceline_address": address,
                "__meta_paceline_role": role,
                "__meta_paceline_cluster": body["cluster_name"],
                "__meta_paceline_cluster_id": body["cluster_id"],
            }
            groups.append({"targets": [metrics_address], "labels": labels})
    return groups
