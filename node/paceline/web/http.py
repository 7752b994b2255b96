"""A bounded HTTP server for machines, which the web process of a node and a bridge share.

At most CONNECTIONS_MAX connections are open: one more closes the oldest. A connection on which nothing arrives for
IDLE_LIMIT_S is closed, and each carries one request.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from socketserver import ThreadingMixIn
from typing import Any

from prometheus_client.exposition import choose_encoder

CONNECTIONS_MAX = 32
IDLE_LIMIT_S = 5.0

_NO_VERSION = re.compile(r"version\s*=\s*(?![0-9]{1,4}(?:\.[0-9]{1,4})*[ \t]*(?:[;,]|\Z))")
_TEXT = "text/plain; charset=utf-8"
_logger = logging.getLogger("paceline.web")


def encoder_for(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """How whoever sends this header gets metrics, and the Content-Type. For prometheus_client, which fails at a version
    that is not of numbers, or repeats it, such a header says nothing."""
    return choose_encoder("" if _NO_VERSION.search(accept) else accept)


class HttpServer(ThreadingMixIn, HTTPServer):
    """Serves on a socket that listens already."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, handler: type[MachineHandler]) -> None:
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._open: OrderedDict[socket.socket, None] = OrderedDict()
        self._failures = count(1)

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
        if isinstance(sys.exception(), OSError):
            _logger.debug("a request ended early", exc_info=True)
            return
        number = str(next(self._failures))
        if number.rstrip("0") == "1":  # a line for each power of ten
            what = "a request" if number == "1" else f"{number} requests"
            _logger.exception("%s could not be answered; please report this", what)


class MachineHandler(BaseHTTPRequestHandler):
    """One request: GET or HEAD of one of the paths that ``answers`` knows."""

    server_version = "paceline"
    sys_version = ""
    timeout = IDLE_LIMIT_S

    def answers(self) -> Mapping[str, Callable[[], None]]:
        """The function that answers each path. Each ends with :meth:`send_body`."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Answer the request by the function of its path."""
        answers = self.answers()
        answer = answers.get(self.path.partition("?")[0])
        if answer is not None:
            answer()
        else:
            status = HTTPStatus.OK if self.path == "/" else HTTPStatus.NOT_FOUND
            self.send_body(status, f"paths: {', '.join(answers)}\n")

    def send_body(self, status: HTTPStatus, body: str | bytes, content_type: str = _TEXT) -> None:
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
