"""What a signal ends leaves no process and no directory behind: a command, a script with a local cluster, a node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cli.test_real_nodes import running_node

DEADLINE_S = 60.0
FLOOR = ("bench", "floor", "--samples", "10000000")
SCRIPT = """
import threading
from paceline import Cluster

with Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, secure=True):
    threading.Event().wait()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """For temporary files; not tmp_path, which is too long for the path of a socket."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def hears_of_a_closed_terminal() -> Iterator[None]:
    """Children inherit what is ignored, and whoever runs the tests may ignore SIGHUP, as nohup does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def wait_until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, what()
        time.sleep(0.02)


@contextmanager
def running(directory: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(directory)},
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # if the test failed


def descendants(process: subprocess.Popen[bytes], count: int) -> list[psutil.Process]:
    """Once it has so many."""
    found: list[psutil.Process] = []

    def there() -> bool:
        assert process.poll() is None, "it ended by itself"
        found[:] = psutil.Process(process.pid).children(recursive=True)
        return len(found) >= count

    wait_until(there, lambda: f"{count} descendants; there are {found}")
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", [("demo",), FLOOR])
def test_a_signal_ends_a_command_as_ctrl_c_does(directory: Path, command: tuple[str, ...], number: int) -> None:
    with running(directory, "-m", "paceline", *command) as process:
        children = descendants(process, 4)
        assert list(directory.iterdir())
        process.send_signal(number)
        process.send_signal(number)  # which does not cut short what the first began
        assert process.wait(DEADLINE_S) == 128 + number
    assert list(directory.iterdir()) == []
    _, left = psutil.wait_procs(children, DEADLINE_S)
    assert left == []


@pytest.mark.parametrize(
    ("command", "number"),
    [(("-c", SCRIPT), signal.SIGTERM), (("-c", SCRIPT), signal.SIGKILL), (("-m", "paceline", *FLOOR), signal.SIGKILL)],
)
def test_children_and_directories_go_with_a_process_that_dies_on_the_spot(
    directory: Path, command: tuple[str, ...], number: int
) -> None:
    """As every script does on SIGTERM: nothing of Python's runs then."""
    with running(directory, *command) as process:
        children = descendants(process, 3)
        assert list(directory.iterdir())
        process.send_signal(number)
        process.wait(DEADLINE_S)
    _, left = psutil.wait_procs(children, DEADLINE_S)
    assert left == []
    wait_until(lambda: not list(directory.iterdir()), lambda: f"{list(directory.rglob('*'))} are gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_leaves_on_each_of_them(number: int) -> None:
    with running_node("paceline_bench.bodies.tasks", "--workers", "1", "--no-discovery", "--log-level", "info") as (
        process,
        announced,
    ):
        next(announced)
        assert next(announced) == {"ready": True}
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0


def test_a_node_under_nohup_outlives_its_terminal() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running_node("paceline_bench.bodies.tasks", "--workers", "1", "--no-discovery", "--log-level", "info") as (
            process,
            announced,
        ):
            next(announced)
            assert next(announced) == {"ready": True}
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
            assert process.stderr is not None
            log = process.stderr.read()
            assert "stopping on SIGTERM" in log
            assert "SIGHUP" not in log
    finally:
        signal.signal(signal.SIGHUP, previous)
