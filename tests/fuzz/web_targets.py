"""What anybody who reaches the port of the metrics sends there."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from fuzz.target import Target, must
from paceline.web.server import NodeHandler, WebServer
from web.bodies import of_a_cluster

PATHS = (b"/metrics", b"/livez", b"/readyz", b"/sd", b"/")
BODY = of_a_cluster()


class PlayedConnection:
    """What has arrived, and what is answered."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.answer = b""

    def makefile(self, mode: str, size: int) -> io.BytesIO:
        return io.BytesIO(self._data)

    def sendall(self, data: bytes) -> None:
        self.answer += data

    def settimeout(self, seconds: float) -> None:
        """Nothing takes time here."""

    def setsockopt(self, *option: Any) -> None:
        """Nor is there anything to set."""

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 9_077)


class PlayedServer(WebServer):
    """Has no socket. Its node always answers."""

    def __init__(self) -> None:
        self.link: Any = self
        self.asked = 0

    def ask(self) -> dict[str, Any]:
        self.asked += 1
        return BODY

    def snapshot(self) -> Any:
        """What is written of metrics has tests of its own, and costs most of the time."""
        self.ask()
        return _Nothing()


class _Nothing:
    def collect(self) -> Iterable[Any]:
        return ()


def http(data: bytes) -> str:
    """Nothing: each request is answered as one, or not at all, and the node is asked once at most."""
    server = PlayedServer()
    connection: Any = PlayedConnection(data)
    NodeHandler(connection, ("10.0.0.1", 1), server)
    must(server.asked <= 1, "one request asks the node more than once")
    if not connection.answer:
        return "unanswered"
    if not connection.answer.startswith(b"HTTP/"):
        return "answered without a head"  # as HTTP 0.9 has it
    status = connection.answer.split(b" ", 2)[1]
    must(status[:1] in b"2345", f"answered with {status!r}")
    return f"answered {status.decode()}"


def http_seeds() -> Iterable[bytes]:
    for path in PATHS:
        yield b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n"
    yield b"HEAD /livez?x=1 HTTP/1.0\r\n\r\n"
    yield b"POST /metrics HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    yield b"GET /livez\r\n"


TARGETS = (Target("http", http, http_seeds),)
