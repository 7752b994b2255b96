"""A rival at work: the process that runs its file, and all that this starts, until they are stopped.

``peers/wire.py`` is the other end. Every answer has a deadline. What the rival starts is in its session or, where it
leaves that, has its environment: both are killed at the end, whether the rival stopped by itself or not.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
import uuid
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from paceline_bench.harness.processes import kill_all
from paceline_bench.peers.wire import SETUP_VARIABLE, RivalSetup
from paceline_bench.rivals.files import PEERS, RivalVariant

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1
READ_BYTES = 1 << 20
REASON_CHARS = 200


class RivalFailed(Exception):
    """A rival did not start, did not answer, or said that it failed; the message says why."""


class RivalProcess(AbstractContextManager["RivalProcess"]):
    """Started and ready, with ``workers`` workers."""

    def __init__(
        self,
        peer: RivalVariant,
        python: Path,
        workers: int,
        purpose: str,
        servers: dict[str, str],
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pl-", ignore_cleanup_errors=True)
        self._first = 0
        self._unread = b""
        setup = RivalSetup(
            f"bench-{uuid.uuid4().hex[:12]}", workers, purpose, servers, peer.options, list(peer.packages)
        )
        self._setup = json.dumps(asdict(setup))
        here = Path(self._directory.name)
        # The rival's interpreter finds this package, and nothing that is installed beside it.
        (here / "path").mkdir()
        (here / "path" / PEERS.parent.name).symlink_to(PEERS.parent)
        path = [str(here / "path")] + ([] if peer.path.parent == PEERS else [str(peer.path.parent)])
        (here / "work").mkdir()
        self._log_path = here / "log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-m", "paceline_bench.peers.wire", peer.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=here / "work",
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path), SETUP_VARIABLE: self._setup},
                start_new_session=True,
            )
        try:
            started_s = time.perf_counter()
            ready = self._answer(start_timeout_s)
            self.start_s = time.perf_counter() - started_s
        except BaseException:
            self.close()
            raise
        self.versions: dict[str, str] = ready["ready"]
        self.can: list[str] = ready["can"]

    def ask(self, do: str, tasks: int, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """``tasks`` tasks of one kind, with numbers that this process was not given before. Raises RivalFailed."""
        numbers = [self._first, self._first + tasks]
        self._first += tasks
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, "numbers": numbers, **fields}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended; that there is no answer says so with its reason
        return self._answer(timeout_s)

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._line(time.monotonic() + timeout_s, timeout_s))
        if "failed" in fields:
            raise RivalFailed(fields["failed"][:REASON_CHARS])
        return fields

    def _line(self, deadline_s: float, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            ended = self._process.poll() is not None
            readable, _, _ = select.select([pipe], [], [], 0 if ended else POLL_S)
            part = os.read(pipe, READ_BYTES) if readable else b""
            # Its children may hold the pipe open when it is gone, so the end of the pipe is not waited for.
            if ended and not part:
                raise RivalFailed(f"it ended with {self._process.returncode}{self._last_words()}")
            if time.monotonic() > deadline_s:
                raise RivalFailed(f"no answer within {timeout_s:g} s{self._last_words()}")
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _last_words(self) -> str:
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        return f"; its last words: {lines[-1][:REASON_CHARS]}" if lines else ""

    def close(self) -> None:
        """Ends it and all that it started: asked first, so that it can tidy up, then killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it is gone already
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass  # it had its time
        finally:
            kill_all(self._process, SETUP_VARIABLE, self._setup)
            self._process.stdout.close()
            self._directory.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
