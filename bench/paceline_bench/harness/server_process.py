"""A server of somebody else's as a child: started, waited for until it answers, and ended with whoever started it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from paceline_bench.harness.processes import kill_all

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
SOCKET_TIMEOUT_S = 1.0
POLL_S = 0.05
TOKEN_VARIABLE = "PACELINE_RIVAL_SERVER"  # noqa: S105 - the name of a variable
INSTALL = "apt-get install redis-server rabbitmq-server"
GUARD = 'exec 3<&0; { read -r _ <&3; kill -KILL 0; } & exec 3<&- </dev/null; exec "$@"'
"""A server does not notice that the harness is gone. So a shell waits beside it, for the end of a pipe from the
harness, and then kills both."""


class ServerFailed(Exception):
    """A server is not installed or did not start; the message says what to do, or its last words."""


class ServerProcess:
    """One running server. It ends when this process ends, whatever ends this process."""

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
        """Wait until the server's port answers the probe with the greeting. Raises ServerFailed."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not _answers(self._port, probe, greeting):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                lines = self._log_path.read_text(errors="replace").strip().splitlines()
                raise ServerFailed(f"it did not start; its last words: {lines[-1] if lines else 'none'}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Kill the server: it has nothing to save."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass  # it is killed, with whatever it started
        finally:
            kill_all(self._process, TOKEN_VARIABLE, self._token)
            assert self._process.stdin is not None
            self._process.stdin.close()


def find_program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise ServerFailed(f"{names[-1]} is not installed; {INSTALL}")
    return found


def free_ports(count: int) -> list[int]:
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
