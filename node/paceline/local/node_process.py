"""One node process of a local cluster: this module starts it with two pipes, waits for it, kills it, and restarts it.

On the first pipe the node announces its address, and later that it is ready, as lines of JSON. The second is a lifeline
(``pipes.py``): when it ends, the node knows that this process is gone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline.client.client import Client
from paceline.config import ClusterFile
from paceline.descriptors import check_room_for
from paceline.errors import ClusterFailed, PacelineError
from paceline.local.pipes import let_go, lifeline, pipe
from paceline.local.scratch import ScratchDirectory

KILL_TIMEOUT_S = 5.0
STATUS_TIMEOUT_S = 5.0
LOG_TAIL_BYTES = 4096
START_FILES = 8
"""Both ends of two pipes, its output, its stdin, and what Popen has for a moment. Two of them stay."""
ANNOUNCE_LIMIT_BYTES = 64 * 1024


class Node:
    """One node process of a local cluster."""

    def __init__(
        self,
        command: list[str],
        log_path: Path,
        environment: Mapping[str, str] | None,
        cluster_file: ClusterFile | None = None,
        scratch: ScratchDirectory | None = None,
    ) -> None:
        self.id = ""
        self.address = ""
        self.metrics_address = ""  # "" if it serves none
        self.ready = False
        self._command = command
        self._environment = environment
        self._cluster_file = cluster_file
        self._held = () if scratch is None else (scratch.held,)
        self._log_path = log_path
        self._announce_read = self._parent_write = -1
        self._start(command)

    def _start(self, command: list[str]) -> None:
        check_room_for(START_FILES, "a node of a local cluster")
        self._announced = b""
        self._announce_read, announce_write = pipe()
        try:
            parent_read, self._parent_write = lifeline()
        except OSError:
            os.close(announce_write)
            self._close_pipes()
            raise
        command = [*command, "--announce-fd", str(announce_write), "--parent-fd", str(parent_read)]
        command.append("--no-environment")  # it was all said, and PACELINE_JOIN may be for the node of the machine
        try:
            with self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(announce_write, parent_read, *self._held),
                    env=self._environment,
                    # Ctrl-C belongs to the script: it decides when and in which order its nodes stop.
                    start_new_session=True,
                )
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(announce_write)
            os.close(parent_read)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def is_leader(self) -> bool:
        """Whether this node says that it leads. False if it does not answer, as when it was killed."""
        return self.alive and leader_id_of((self.address,), self._cluster_file) == self.id

    def kill(self) -> None:
        """SIGKILL, and wait for the end of the process: nothing is flushed, nobody is told."""
        self._process.kill()
        self._process.wait(KILL_TIMEOUT_S)
        self._close_pipes()

    def restart(self) -> None:
        """Start an ended node again, at its address and with its data directory if it has one. Returns at once:
        :meth:`Cluster.wait_ready` waits. With journal memory it is a new node."""
        if self.alive:
            raise ClusterFailed("the node still runs; kill or terminate it before it is started again")
        self._close_pipes()  # those of one that ended by itself
        port = self.address.rpartition(":")[2]
        self.id, self.ready = "", False
        self._start([*self._command, "--port", port])

    def terminate(self) -> None:
        """SIGTERM: the node stops. Other nodes run the tasks again that its workers were running, which uses up no
        attempt."""
        self._process.terminate()

    def wait_stopped(self, deadline_s: float) -> None:
        """Wait for the end of the process; SIGKILL at the deadline. The workers end with their node."""
        try:
            self._process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(KILL_TIMEOUT_S)
        self._close_pipes()

    def wait_announced(self, field: str, deadline_s: float) -> None:
        """Read announcements until one has ``field``. Raises ClusterFailed."""
        while not self._take_announcements(field):
            rest_s = deadline_s - time.monotonic()
            if rest_s <= 0:
                raise ClusterFailed(f"a node did not announce its {field} in time{self._log_tail()}")
            poll = select.poll()
            poll.register(self._announce_read, select.POLLIN)
            if poll.poll(int(rest_s * 1000) + 1):
                data = os.read(self._announce_read, 4096)
                if not data:
                    code = self._process.wait(KILL_TIMEOUT_S)
                    raise ClusterFailed(f"a node ended with {_how(code)} while it started{self._log_tail()}")
                self._announced += data
                if len(self._announced) > ANNOUNCE_LIMIT_BYTES:
                    raise ClusterFailed("a node announces something that is no line of JSON")

    def _take_announcements(self, field: str) -> bool:
        found = bool({"address": self.address, "ready": self.ready}[field])
        while b"\n" in self._announced:
            line, _, self._announced = self._announced.partition(b"\n")
            message: dict[str, Any] = json.loads(line)
            if "error" in message:
                raise ClusterFailed(f"a node did not start: {message['error']}{self._log_tail()}")
            self.id = message.get("id", self.id)
            self.address = message.get("address", self.address)
            self.metrics_address = message.get("metrics", self.metrics_address)
            self.ready = message.get("ready", self.ready)
            found = found or field in message
        return found

    def _log_tail(self) -> str:
        with self._log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace").strip()
        return f"\n\nThe end of its output:\n{text}" if text else ""

    def _close_pipes(self) -> None:
        if self._announce_read >= 0:
            os.close(self._announce_read)
        let_go(self._parent_write)
        self._announce_read = self._parent_write = -1

    def __repr__(self) -> str:
        return f"<paceline node {self.id[:8]} at {self.address}, pid {self.pid}>"


def leader_id_of(addresses: tuple[str, ...], cluster_file: ClusterFile | None) -> str:
    client = Client(*addresses, cluster=cluster_file)
    try:
        return str(client.status(STATUS_TIMEOUT_S).get("leader_id", ""))
    except PacelineError:
        return ""
    finally:
        client.close(0)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.Signals(-code).name})"
