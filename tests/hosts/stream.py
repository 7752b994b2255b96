"""The tests' end of a load: starts the client process, follows what it writes, and knows what became of each task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hosts.load import END_TIMEOUT_S, HELD_FROM
from hosts.network import Host
from integration.conftest import wait_until

TESTS = Path(__file__).parents[1]
RATE_PER_S = 100.0
FINISH_TIMEOUT_S = END_TIMEOUT_S + 10.0
LOG_TAIL_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Ending:
    """How one task ended for its submitter. ``lost``: how many of its attempts were lost, if somebody has asked."""

    at_s: float
    result: int | None
    error: str
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a task's code."""

    number: int
    namespace: int
    pid: int
    at_s: float


class Stream:
    """A context manager: a client on ``host`` that submits until :meth:`finish`. Times are monotonic seconds.

    ``module``: the client's program.
    """

    module = "hosts.load"

    def __init__(
        self,
        host: Host,
        addresses: list[str],
        cluster_path: Path,
        directory: Path,
        *,
        environment: Mapping[str, str],
        rate_per_s: float = RATE_PER_S,
        first: int = 0,
    ) -> None:
        directory.mkdir()
        self.submitted: dict[int, float] = {}
        self.ended: dict[int, Ending] = {}
        self.accepted: dict[int, float] = {}  # of held tasks only
        self._first = first
        self._other: list[dict[str, Any]] = []
        self._record = directory / "record"
        self._record.touch()
        self._runs = directory / "runs"
        self._runs.touch()
        self._unread = b""
        self._offset = 0
        self._log = directory / "log"
        command = [sys.executable, "-m", self.module, *addresses, "--cluster", str(cluster_path)]
        command += ["--record", str(self._record), "--runs", str(self._runs)]
        command += ["--rate", str(rate_per_s), "--first", str(first)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                host.command(*command),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_with_tests(environment),
                start_new_session=True,
            )

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # a command was on its way to a process that is gone

    @property
    def pid(self) -> int:
        return self._process.pid

    # --- what happens -------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Take in what was written since."""
        with self._record.open("rb") as record:
            record.seek(self._offset)
            data = record.read()
        self._offset += len(data)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        number, at_s = line["number"], line["at_s"]
        match line["event"]:
            case "submitted":
                self.submitted[number] = at_s
            case "ended":
                assert number not in self.ended, f"task {number} ended twice"
                self.ended[number] = Ending(at_s, line.get("result"), line.get("error", ""))
            case "accepted":
                self.accepted[number] = at_s
            case _:
                self._other.append(line)

    def ended_since(self, at_s: float) -> int:
        """How many tasks have ended that were submitted after this moment."""
        self.read()
        return sum(self.submitted[number] > at_s for number in self.ended)

    def wait_ended(self, count: int, since_s: float = 0.0) -> None:
        """Wait until ``count`` tasks have ended that were submitted after ``since_s``."""

        def enough() -> bool:
            assert self._process.poll() is None, f"the load ended by itself{self._log_tail()}"
            return self.ended_since(since_s) >= count

        wait_until(enough, lambda: f"{count} tasks that were submitted after the fault end{self._log_tail()}")

    def hold(self, count: int, gate: Path) -> list[int]:
        """Submit tasks that end once ``gate`` is there; their numbers, once they are submitted."""
        self.read()
        before = set(self.submitted)
        self._command(f"hold {count} {gate}")

        def held() -> list[int]:
            self.read()
            return sorted(number for number in set(self.submitted) - before if number >= self._first + HELD_FROM)

        wait_until(lambda: len(held()) == count, "the held tasks are submitted")
        return held()

    def finish(self) -> None:
        """Submit no more, and wait until everything that was submitted has ended."""
        self._command("stop")
        code = self._process.wait(FINISH_TIMEOUT_S)
        self.read()
        assert code == 0, f"the load ended with {code}{self._log_tail()}"
        assert self._other[-1]["event"] == "finished", self._other[-1]

    def _command(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def _log_tail(self) -> str:
        text = self._log.read_text(errors="replace").strip()[-LOG_TAIL_CHARS:]
        return f"\n\nThe end of its output:\n{text}" if text else ""

    # --- what came of it ----------------------------------------------------------------------------------------

    def wrong(self) -> dict[int, Ending | None]:
        """Every task that did not end with its right result."""
        return {
            number: self.ended.get(number)
            for number in self.submitted
            if number not in self.ended or self.ended[number].result != number * number
        }

    def runs(self) -> list[Run]:
        rows = [line.split() for line in self._runs.read_text().splitlines()]
        return [Run(int(number), int(namespace), int(pid), float(at_s)) for number, namespace, pid, at_s in rows]

    def ran_again(self) -> dict[int, int]:
        """How often each task ran that ran more than once."""
        return {number: count for number, count in Counter(run.number for run in self.runs()).items() if count > 1}


def _with_tests(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the programs of the tests find each other."""
    path = os.pathsep.join([str(TESTS), *filter(None, [environment.get("PYTHONPATH")])])
    return {**environment, "PYTHONPATH": path}


def now_s() -> float:
    """The clock of every record here."""
    return time.monotonic()
