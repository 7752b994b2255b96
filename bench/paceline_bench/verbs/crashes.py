"""Tasks that end their worker, among others that do not: how long all of them take, beside Celery.

Both systems get the same tasks in turns, round by round, on two worker processes: some that are short, and among them
some that end their process the first time that they run, or each time, until they have used up five attempts. Celery
is told to run them again, as paceline does. Each round is measured without such tasks, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from click import ClickException

from paceline.errors import TaskLost
from paceline.local import Cluster
from paceline_bench.bodies.crash_body import KIND_VARIABLE, URL_VARIABLE
from paceline_bench.harness.rabbitmq_server import RabbitMQ
from paceline_bench.harness.server_process import ServerFailed
from paceline_bench.report.progress import track
from paceline_bench.report.report import Check, Report, ReportRow
from paceline_bench.report.stats import median

JOURNAL = "memory"
WORKERS = 2
NAP_S = 0.005
LIMIT_RATIO = 1.5
TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
WARM_UP = 20
BODY = "paceline_bench.bodies.crash_body"

Submit = Callable[[str, tuple[Any, ...]], Callable[[], Any]]
"""(name, arguments) -> what waits for the result."""


def _measure(submit: Submit, tasks: int, crashes: int, name: str) -> float:
    """Seconds from the first submit to the last result. Raises ClickException if one is missing or wrong."""
    crashing_numbers = {tasks * number // crashes for number in range(crashes)}
    with tempfile.TemporaryDirectory(prefix="pl-crash-") as directory:
        started_s = time.monotonic()
        results = []
        for number in range(tasks):
            crashing = number in crashing_numbers
            arguments = (number, NAP_S, directory) if crashing else (number, NAP_S)
            results.append((number, crashing, submit(name if crashing else "nap", arguments)))
        for number, crashing, result in results:
            expected = None if crashing and name == "crash_always" else number
            if result() != expected:
                raise ClickException(f"task {number} gave another result than {expected}")
        return time.monotonic() - started_s


@contextmanager
def _celery(url: str) -> Iterator[Submit]:
    from celery import Celery
    from celery.exceptions import WorkerLostError

    environment = {**os.environ, KIND_VARIABLE: "celery", URL_VARIABLE: url}
    client = Celery("crashes", broker=url, backend="rpc://")
    options = ["--pool=prefork", f"--concurrency={WORKERS}", "--loglevel=CRITICAL"]
    without = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "-A", BODY, "worker", *options, *without]
    quiet = subprocess.DEVNULL
    worker = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment)

    def submit(name: str, arguments: tuple[Any, ...]) -> Callable[[], Any]:
        result = client.send_task(name, arguments)

        def wait() -> Any:
            try:
                return result.get(timeout=TIMEOUT_S)
            except WorkerLostError:
                return None

        return wait

    try:
        _warm_up(submit)
        yield submit
    finally:
        client.close()
        worker.terminate()
        try:
            worker.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@contextmanager
def _paceline() -> Iterator[Submit]:
    environment = {**os.environ, KIND_VARIABLE: "paceline"}
    with (
        Cluster.local(BODY, nodes=1, workers=WORKERS, journal=JOURNAL, environment=environment) as cluster,
        cluster.client() as client,
    ):

        def submit(name: str, arguments: tuple[Any, ...]) -> Callable[[], Any]:
            future = client.submit(name, *arguments)

            def result() -> Any:
                try:
                    return future.result(TIMEOUT_S)
                except TaskLost:
                    return None

            return result

        _warm_up(submit)
        yield submit


def _warm_up(submit: Submit) -> None:
    for number in range(WARM_UP):
        submit("nap", (number, 0.0))()


def run(rounds: int, tasks: int, crashes: int) -> Report:
    """``crashes`` of the ``tasks`` end their worker. Raises ClickException for what is not installed."""
    if find_spec("celery") is None:
        raise ClickException("this measures beside Celery: pip install celery")
    systems: dict[str, Submit] = {}
    took_s: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="pl-crashes-") as folder, ExitStack() as stack:
        server = RabbitMQ(Path(folder))
        stack.callback(server.stop)
        try:
            server.start()
        except ServerFailed as error:
            raise ClickException(f"RabbitMQ: {error}") from error
        systems["paceline"] = stack.enter_context(_paceline())
        systems["celery"] = stack.enter_context(_celery(server.url))
        for _ in track(range(rounds), "crashes: rounds"):
            for what, (number, name) in _kinds(crashes).items():
                for system, submit in systems.items():
                    took_s.setdefault(f"{system}, {what}", []).append(_measure(submit, tasks, number, name))
    return _report(took_s, tasks, list(_kinds(crashes)))


def _kinds(crashes: int) -> dict[str, tuple[int, str]]:
    """What is measured -> (how many tasks crash, the name of their body)."""
    return {
        "none crashes": (0, "crash_once"),
        f"{crashes} crash once": (crashes, "crash_once"),
        f"{crashes} crash each time": (crashes, "crash_always"),
    }


def _report(took_s: dict[str, list[float]], tasks: int, kinds: list[str]) -> Report:
    ratios = {what: median(took_s[f"paceline, {what}"]) / median(took_s[f"celery, {what}"]) for what in kinds}
    return Report(
        verb="crashes",
        journal=JOURNAL,
        rows=[
            ReportRow(
                f"{name}, s, median",
                f"{median(times):.2f}",
                f"{tasks} tasks of {NAP_S * 1e3:g} ms, workers: {WORKERS}; "
                + ", ".join(f"{each:.2f}" for each in times),
            )
            for name, times in took_s.items()
        ],
        checks=[
            Check(f"{what}: at most {LIMIT_RATIO} times as long as Celery", ratio <= LIMIT_RATIO, f"{ratio:.2f} times")
            for what, ratio in ratios.items()
        ],
        details={name: {"took_s": times} for name, times in took_s.items()},
    )
