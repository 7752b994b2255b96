"""Redis and RabbitMQ for the rivals that need them: private ones, on free loopback ports, with what they keep in a
temporary directory. Nothing of an installed server's configuration is read, and nothing of it is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from paceline_bench.rival_process import kill_all

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
SOCKET_TIMEOUT_S = 1.0
POLL_S = 0.05
TOKEN_VARIABLE = "PACELINE_RIVAL_SERVER"
INSTALL = "apt-get install redis-server rabbitmq-server"
RABBITMQ_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
"""Debian's program of that name on the path is another one, which asks for root and reads /etc."""


GUARD = 'exec 3<&0; { read -r _ <&3; kill -KILL 0; } & exec 3<&- </dev/null; exec "$@"'
"""A server does not notice that the harness is gone. So a shell waits beside it, for the end of a pipe from the
harness, and then kills both."""


class ServerFailed(Exception):
    """A server is not installed or did not start; the message says what to do, or its last words."""


class Server:
    """One server, started. It ends with whoever started it, whatever ends that."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], directory: Path, port: int) -> None:
        self._token = uuid.uuid4().hex
        self._log_path = directory / "log"
        self._port = port
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=os.environ | environment | {TOKEN_VARIABLE: self._token},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, probe: bytes, greeting: bytes) -> None:
        """Until its port answers the probe with the greeting. Raises ServerFailed."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not _answers(self._port, probe, greeting):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                lines = self._log_path.read_text(errors="replace").strip().splitlines()
                raise ServerFailed(f"it did not start; its last words: {lines[-1] if lines else 'none'}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """There is nothing that it has to save."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass  # it is killed, with whatever it started
        finally:
            kill_all(self._process, TOKEN_VARIABLE, self._token)
            assert self._process.stdin is not None
            self._process.stdin.close()


class Servers(AbstractContextManager["Servers"]):
    """Those of the wanted ones that start, by name."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self.urls: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._running: list[Server] = []
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
        (port,) = _free_ports(1)
        memory_only = ["--save", "", "--appendonly", "no"]
        command = [_program("redis-server"), "--bind", HOST, "--port", str(port), *memory_only, "--dir", str(directory)]
        self._start(Server(command, {}, directory, port), b"PING\r\n", b"+PONG")
        return f"redis://{HOST}:{port}/0"

    def _rabbitmq(self, directory: Path) -> str:
        """With Erlang's distribution on loopback too. The port mapper is ours: RabbitMQ would start it as a daemon."""
        port, distribution, mapper = _free_ports(3)
        mapper_directory = directory / "epmd"
        mapper_directory.mkdir()
        names = [_program("epmd"), "-address", HOST, "-port", str(mapper)]
        # Asked for the names that it knows (NAMES_REQ), it begins with its port.
        self._start(Server(names, {}, mapper_directory, mapper), b"\x00\x01n", mapper.to_bytes(4, "big"))
        (directory / "plugins").write_text("[].\n")
        (directory / "rabbitmq.conf").write_text("loopback_users.guest = true\n")
        environment = {
            "HOME": str(directory),  # Erlang keeps its cookie there
            "RABBITMQ_NODENAME": f"paceline-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(directory / "no-such-file"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "logs"),
            "RABBITMQ_LOGS": "-",
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(mapper),
        }
        server = Server([_program(*RABBITMQ_PROGRAMS)], environment, directory, port)
        self._start(server, b"AMQP\x00\x00\x09\x01", b"\x01")  # the first byte of a method frame: Connection.Start
        return f"amqp://guest:guest@{HOST}:{port}/%2F"

    def _start(self, server: Server, probe: bytes, greeting: bytes) -> None:
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


def _program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise ServerFailed(f"{names[-1]} is not installed; {INSTALL}")
    return found


def _free_ports(count: int) -> list[int]:
    """Asked for together, so that they differ."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _answers(port: int, probe: bytes, greeting: bytes) -> bool:
    try:
        with socket.create_connection((HOST, port), SOCKET_TIMEOUT_S) as connection:
            connection.settimeout(SOCKET_TIMEOUT_S)
            connection.sendall(probe)
            return connection.recv(len(greeting)) == greeting
    except OSError:
        return False
