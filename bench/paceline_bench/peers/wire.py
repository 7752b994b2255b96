"""The rival's side of the wire: what one file of this directory has to give, and how it is measured.

``python -m paceline_bench.peers.wire MODULE`` makes the one :class:`System` that the module defines and answers
each line of JSON on stdin by one on stdout; ``rivals/process.py`` is the other end. The loops that measure are here, so
that they are the same for every system. The rival's interpreter has nothing but the standard library and the packages
of the rival.

    (start)                                  -> {"ready": VERSIONS, "can": [...]} or {"failed": REASON}
    {"do": "round_trips", "numbers": [a, b]} -> {"durations_s": [...], "wrong": n}
    {"do": "burst", ...}                     -> {"submit_s": s, "total_s": s, "wrong": n}
    {"do": "chunked", ...}                   -> {"total_s": s, "wrong": n}
    {"do": "open_loop", "due_s": [...], "lengths_s": [...]} -> {"latencies_s": [s or null, ...], "wrong": n}
    {"do": "stop"}                           -> the end, as that of stdin is

Any of them may be answered by {"failed": REASON}. After that the process can only be stopped.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any, BinaryIO

SETUP_VARIABLE = "PACELINE_RIVAL"
"""The environment of a rival and of all that it starts: its RivalSetup, as JSON. No two processes of the harness have
the same, so that what a rival leaves behind is known by it."""
RESULT_TIMEOUT_S = 60.0
OPEN_LOOP_START_S = 0.05
OPEN_LOOP_DRAIN_S = 60.0
CLOSE_TIMEOUT_S = 10.0

Done = Callable[[int, float], None]
"""Is told a result, and when it was there (perf_counter, seconds)."""


@dataclass(frozen=True, slots=True)
class RivalSetup:
    """The purpose and the settings of one run of a rival. Its workers read them too, from the environment."""

    token: str  # a fresh name, for queues and the like
    workers: int
    purpose: str  # round_trips, burst or open_loop: some systems are to be configured for one or the other
    servers: dict[str, str]  # redis, rabbitmq: their URLs
    options: dict[str, Any]  # of the variant, from the heading of the file
    packages: list[str]  # whose versions are told

    @classmethod
    def read(cls) -> RivalSetup:
        return cls(**json.loads(os.environ[SETUP_VARIABLE]))


class System(ABC):
    """A system with ``workers`` workers, started. Every task gives back the number that it is given."""

    @abstractmethod
    def __init__(self, setup: RivalSetup) -> None:
        """Starts it, and returns when every worker is ready."""

    @abstractmethod
    def submit(self, number: int) -> Any:
        """Submits one task. Gives what ``result`` takes."""

    @abstractmethod
    def result(self, handle: Any) -> int:
        """Waits for it, RESULT_TIMEOUT_S at most."""

    @abstractmethod
    def close(self) -> None:
        """Ends it, as its documentation says."""

    def chunked(self, numbers: range) -> Sequence[int]:
        """All results in order, by what the system has for many calls at once."""
        raise NotImplementedError

    def nap(self, number: int, seconds: float, done: Done) -> None:
        """Submits a task that sleeps. Calls ``done`` when the result is there, from any thread."""
        raise NotImplementedError

    def drain(self) -> None:  # noqa: B027  most have nothing to do here
        """Called after the last ``nap``. A system without callbacks fetches its results here."""

    def round_trips(self, numbers: range) -> tuple[list[float], list[int]]:
        """(seconds of each, results), one at a time."""
        clock, submit, result = time.perf_counter, self.submit, self.result
        durations_s, results = [], []
        for number in numbers:
            started_s = clock()
            results.append(result(submit(number)))
            durations_s.append(clock() - started_s)
        return durations_s, results

    def burst(self, numbers: range) -> tuple[float, float, list[int]]:
        """(seconds until the last was submitted, until the last result, results), one task for each call."""
        started_s = time.perf_counter()
        handles = [self.submit(number) for number in numbers]
        submit_s = time.perf_counter() - started_s
        results = [self.result(handle) for handle in handles]
        return submit_s, time.perf_counter() - started_s, results

    def open_loop(self, due_s: Sequence[float], lengths_s: Sequence[float]) -> list[tuple[float, int] | None]:
        """(seconds from when the task was due to its result, result) of each; None: it has none.

        The sender waits for nothing but the time, so that what is late is not left out (see ``load.py``).
        """
        clock = time.perf_counter
        started_s = clock() + OPEN_LOOP_START_S
        outcomes: list[tuple[float, int] | None] = [None] * len(due_s)
        all_done = threading.Semaphore(0)

        def listener(number: int) -> Done:
            def done(result: int, at_s: float) -> None:
                outcomes[number] = (at_s - started_s - due_s[number], result)
                all_done.release()

            return done

        for number, (moment_s, length_s) in enumerate(zip(due_s, lengths_s, strict=True)):
            rest_s = started_s + moment_s - clock()
            if rest_s > 0:
                time.sleep(rest_s)
            self.nap(number, length_s, listener(number))
        self.drain()
        deadline_s = clock() + OPEN_LOOP_DRAIN_S
        for _ in due_s:
            if not all_done.acquire(timeout=max(0.0, deadline_s - clock())):
                break
        return outcomes


def count_wrong(numbers: Sequence[int], results: Sequence[Any]) -> int:
    missing = abs(len(numbers) - len(results))
    return missing + sum(bool(number != result) for number, result in zip(numbers, results, strict=False))


# --- the process ------------------------------------------------------------------------------------------------


def abilities(system: System) -> list[str]:
    """The optional methods that a system has, beside those that every system has."""
    kind = type(system)
    chunked = ["chunked"] if kind.chunked is not System.chunked else []
    return chunked + (["open_loop"] if kind.nap is not System.nap or kind.open_loop is not System.open_loop else [])


def answer(system: System, request: dict[str, Any]) -> dict[str, Any]:
    """Runs one request. Raises what the system raises."""
    numbers = range(*request.get("numbers", (0, 0)))
    match request["do"]:
        case "round_trips":
            durations_s, results = system.round_trips(numbers)
            return {"durations_s": durations_s, "wrong": count_wrong(numbers, results)}
        case "burst":
            submit_s, total_s, results = system.burst(numbers)
            return {"submit_s": submit_s, "total_s": total_s, "wrong": count_wrong(numbers, results)}
        case "chunked":
            started_s = time.perf_counter()
            chunk_results = system.chunked(numbers)
            total_s = time.perf_counter() - started_s
            return {"total_s": total_s, "wrong": count_wrong(numbers, chunk_results)}
        case "open_loop":
            outcomes = system.open_loop(request["due_s"], request["lengths_s"])
            wrong = sum(outcome is None or outcome[1] != number for number, outcome in enumerate(outcomes))
            return {"latencies_s": [outcome and outcome[0] for outcome in outcomes], "wrong": wrong}
        case unknown:
            raise ValueError(f"no such request: {unknown}")


def rival_in(module: ModuleType) -> type[System]:
    """The one System that a rival's file defines. Raises ValueError if it is not one."""
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, System) and each.__module__ == module.__name__
    )
    return found


def serve(module: str, requests: BinaryIO, say: Callable[[dict[str, Any]], None]) -> None:
    """Run the system from its start to its end. Failures are answered, with their tracebacks on stderr."""
    system: System | None = None
    try:
        setup = RivalSetup.read()
        system = rival_in(importlib.import_module(module))(setup)
        say({"ready": {package: version(package) for package in setup.packages}, "can": abilities(system)})
        for line in requests:
            request = json.loads(line)
            if request["do"] == "stop":
                break
            say(answer(system, request))
    except Exception as error:  # noqa: BLE001  it is told to the harness, which says it to the user
        traceback.print_exc()
        say({"failed": f"{type(error).__name__}: {error}"})
    finally:
        if system is not None:
            system.close()


def end_session() -> None:
    """SIGKILL for all that is left in this process's session, and for itself: nobody else may be there to do it."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


def watch(pipe: int) -> None:
    """Ends everything some seconds after the harness has closed its end, if that was not done by then."""
    poll = select.poll()
    poll.register(pipe, 0)  # the end alone, which needs no asking
    poll.poll()
    time.sleep(CLOSE_TIMEOUT_S)
    end_session()


def main(module: str) -> None:
    """Run as a rival's process. A rival may print, and that must not get between the answers: only this function has
    the pipes of the harness."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    threading.Thread(target=watch, args=(requests.fileno(),), daemon=True).start()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)

    def say(fields: dict[str, Any]) -> None:
        answers.write(json.dumps(fields).encode() + b"\n")
        answers.flush()

    try:
        serve(module, requests, say)
    finally:
        end_session()


if __name__ == "__main__":
    # By its name: the rivals import it so, and must not get a second one of each class.
    importlib.import_module("paceline_bench.peers.wire").main(sys.argv[1])
