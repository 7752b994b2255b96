"""Redis and RabbitMQ for the rivals that need them: private ones, on free loopback ports, with what they keep in a
temporary directory. Nothing of an installed server's configuration is read, and nothing of it is changed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from paceline_bench.harness.rabbitmq_server import RabbitMQ
from paceline_bench.harness.server_process import HOST, ServerFailed, ServerProcess, find_program, free_ports


class Servers(AbstractContextManager["Servers"]):
    """The running servers, by name: those of the wanted ones that could be started."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self.urls: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._running: list[ServerProcess | RabbitMQ] = []
        self._directory = tempfile.TemporaryDirectory(prefix="pl-servers-", ignore_cleanup_errors=True)
        starts: dict[str, Callable[[Path], str]] = {"redis": self._redis, "rabbitmq": self._rabbitmq}
        try:
            for name in sorted(wanted):
                directory = Path(self._directory.name) / name
                directory.mkdir()
                try:
                    self.urls[name] = starts[name](directory)
                    self.versions[name] = version_in((directory / "log").read_text(errors="replace"))
                except ServerFailed as error:
                    self._reasons[name] = f"{name}: {error}"
        except BaseException:
            self.close()
            raise

    def why_not(self, servers: Sequence[str]) -> str:
        """Why a rival that needs them can't run. Empty: it can."""
        return "; ".join(self._reasons[name] for name in servers if name in self._reasons)

    def _redis(self, directory: Path) -> str:
        """Keeps nothing on disk, as a cache does: the fastest that it can be."""
        (port,) = free_ports(1)
        memory_only = ["--save", "", "--appendonly", "no"]
        command = [
            find_program("redis-server"),
            "--bind",
            HOST,
            "--port",
            str(port),
            *memory_only,
            "--dir",
            str(directory),
        ]
        self._start(ServerProcess(command, {}, directory, port), b"PING\r\n", b"+PONG")
        return f"redis://{HOST}:{port}/0"

    def _rabbitmq(self, directory: Path) -> str:
        broker = RabbitMQ(directory)
        self._running.append(broker)
        broker.start()
        return broker.url

    def _start(self, server: ServerProcess, probe: bytes, greeting: bytes) -> None:
        self._running.append(server)
        server.wait_ready(probe, greeting)

    def close(self) -> None:
        for server in reversed(self._running):
            server.stop()
        self._directory.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def version_in(log: str) -> str:
    """Both servers begin their logs with it."""
    found = re.search(r"(?:Redis version=|RabbitMQ )(\d+(?:\.\d+)+)", log)
    return found[1] if found else "unknown"
