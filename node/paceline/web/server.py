"""A node's HTTP for machines: ``/metrics``, ``/livez``, ``/readyz`` and ``/sd``.

Each answer is made from a reply of the node at that moment, so a probe shows that the node's loop turns, and not only
that a port is open. ``http.py`` bounds the connections.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector

from paceline.config import is_loopback, parse_address
from paceline.errors import ConfigError
from paceline.web.families import MetricsSnapshot
from paceline.web.http import HttpServer, MachineHandler, encoder_for
from paceline.web.link import NodeLink, NodeSilent


class WebServer(HttpServer):
    """Serves on a socket that listens already."""

    def __init__(self, listener: socket.socket, link: NodeLink, node_pid: int) -> None:
        super().__init__(listener, NodeHandler)
        self.link = link
        self._process = ProcessCollector(pid=lambda: node_pid, registry=CollectorRegistry())

    def snapshot(self) -> MetricsSnapshot:
        """The node's metrics now. Raises NodeSilent."""
        return MetricsSnapshot(self.link.ask(), self._process)


class NodeHandler(MachineHandler):
    """One request to a node."""

    server: WebServer

    def answers(self) -> Mapping[str, Callable[[], None]]:
        return {"/metrics": self._metrics, "/livez": self._live, "/readyz": self._ready, "/sd": self._targets}

    def answer(self) -> None:
        try:
            super().answer()
        except NodeSilent as silent:
            self.send_body(HTTPStatus.SERVICE_UNAVAILABLE, f"{silent}\n")

    def _metrics(self) -> None:
        encode, content_type = encoder_for(self.headers.get("Accept", ""))
        self.send_body(HTTPStatus.OK, encode(self.server.snapshot()), content_type)

    def _live(self) -> None:
        self.server.link.ask()
        self.send_body(HTTPStatus.OK, "ok\n")

    def _ready(self) -> None:
        reasons = self.server.link.ask()["not_ready"]
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        self.send_body(status, "".join(f"{reason}\n" for reason in reasons) or "ok\n")

    def _targets(self) -> None:
        asker, asked = self.client_address[0], self.connection.getsockname()[0]
        found = targets(self.server.link.ask(), is_local=asker == asked or is_loopback(asker))
        self.send_body(HTTPStatus.OK, json.dumps(found, indent=2) + "\n", "application/json")


def targets(body: dict[str, Any], *, is_local: bool) -> list[dict[str, Any]]:
    """The document of Prometheus's http_sd: the nodes of the cluster whose metrics the asking program can reach.

    ``is_local``: the program runs on this machine. No other program reaches a node that serves its metrics on loopback.
    Such a node is listed only if it seems to run on this machine: if its address has the host of this node's address,
    or is a loopback address itself.
    """
    here = {parse_address(address)[0] for node_id, address, _, _ in body["targets"] if node_id == body["node_id"]}
    groups = []
    for node_id, address, metrics_address, role in body["targets"]:
        try:
            host = parse_address(address)[0]
            is_on_loopback = is_loopback(parse_address(metrics_address)[0])
        except ConfigError:
            continue  # a node may announce anything; a malformed address must not hide the other nodes
        if not is_on_loopback or (is_local and (host in here or is_loopback(host))):
            labels = {
                "__meta_paceline_node": node_id,
                "__meta_paceline_address": address,
                "__meta_paceline_role": role,
                "__meta_paceline_cluster": body["cluster_name"],
                "__meta_paceline_cluster_id": body["cluster_id"],
            }
            groups.append({"targets": [metrics_address], "labels": labels})
    return groups
