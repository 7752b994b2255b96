"""A private RabbitMQ, on free loopback ports, with what it keeps in a directory that it is given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from paceline_bench.harness.server_process import HOST, ServerProcess, find_program, free_ports

RABBITMQ_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
CONTROL_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmqctl", "rabbitmqctl")
"""Debian's programs of these names on the path are others, which ask for root and read /etc."""
CONTROL_LIMIT_S = 60.0


class RabbitMQ:
    """One broker. Stopped and started again it has the same address, and what was durable.

    With Erlang's distribution on loopback, too. The port mapper is ours: RabbitMQ would start it as a daemon.
    """

    def __init__(self, directory: Path, settings: str = "") -> None:
        """``settings``: more lines for rabbitmq.conf."""
        self._directory = directory
        self._settings = settings
        self.port, self._distribution, self._mapper_port = free_ports(3)
        self._mapper: ServerProcess | None = None
        self._server: ServerProcess | None = None
        self._environment: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}/%2F"

    def start(self) -> None:
        """Returns when it takes connections. Raises ServerFailed."""
        directory = self._directory
        if self._mapper is None:
            mapper_directory = directory / "epmd"
            mapper_directory.mkdir()
            names = [find_program("epmd"), "-address", HOST, "-port", str(self._mapper_port)]
            self._mapper = ServerProcess(names, {}, mapper_directory, self._mapper_port)
            # Asked for the names that it knows (NAMES_REQ), it begins with its port.
            self._mapper.wait_ready(b"\x00\x01n", self._mapper_port.to_bytes(4, "big"))
        (directory / "plugins").write_text("[].\n")
        (directory / "rabbitmq.conf").write_text(f"loopback_users.guest = true\n{self._settings}")
        self._environment = environment = {
            "HOME": str(directory),  # Erlang keeps its cookie there
            "RABBITMQ_NODENAME": f"paceline-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(directory / "no-such-file"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "logs"),
            "RABBITMQ_LOGS": "-",
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._mapper_port),
        }
        self._server = ServerProcess([find_program(*RABBITMQ_PROGRAMS)], environment, directory, self.port)
        # The first byte of a method frame: Connection.Start
        self._server.wait_ready(b"AMQP\x00\x00\x09\x01", b"\x01")

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl, as an operator does. Returns what it prints. Raises CalledProcessError."""
        command = [find_program(*CONTROL_PROGRAMS), *arguments]
        environment = os.environ | self._environment
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=CONTROL_LIMIT_S, env=environment
        ).stdout

    def stop_server(self) -> None:
        """The broker only, to be started again."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def stop(self) -> None:
        self.stop_server()
        if self._mapper is not None:
            self._mapper.stop()
            self._mapper = None
