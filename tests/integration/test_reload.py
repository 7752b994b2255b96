"""Real nodes whose modules change while they run, and that are sent SIGHUP."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from paceline import Cluster
from paceline.errors import UnknownTask

MODULE = """
import time
from paceline import task

@task
def version(seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return {version}

@task
def {name}() -> None: ...
"""


def until(condition: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < ends, what
        time.sleep(0.02)


def test_new_workers_have_the_modules_as_they_are_and_old_ones_finish_what_they_run(tmp_path: Path) -> None:
    module = tmp_path / "reloaded_tasks.py"
    module.write_text(MODULE.format(version=1, name="before"))
    with Cluster.local(module, workers=2) as cluster, cluster.client() as client:
        (node,) = cluster.nodes
        lasts = client.submit("reloaded_tasks.version", 2.0)
        until(lambda: client.status()["running"] == 1, "it is begun")

        def versions() -> set[int]:
            return {client.submit("reloaded_tasks.version").result(30) for _ in range(4)}

        module.write_text("import nothing_of_this_name\n")
        os.kill(node.pid, signal.SIGHUP)
        until(lambda: "the modules are not reloaded" in node._log_path.read_text(), "it is said")
        assert "No module named 'nothing_of_this_name'" in node._log_path.read_text()
        assert versions() == {1}
        module.write_text(MODULE.format(version=2, name="afterwards"))
        os.kill(node.pid, signal.SIGHUP)
        until(lambda: versions() == {2}, "whatever comes is run by new workers")
        assert lasts.result(30) == 1
        until(lambda: client.status()["tasks"] == ["reloaded_tasks.afterwards", "reloaded_tasks.version"], "the names")
        assert client.submit("reloaded_tasks.afterwards").result(30) is None
        with pytest.raises(UnknownTask):
            client.submit("reloaded_tasks.before").result(30)
        assert client.status()["lost_total"] == 0


def test_a_node_whose_terminal_is_closed_ends(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(MODULE.format(version=1, name="other"))
    command = [sys.executable, "-P", "-m", "paceline", "node", "tasks.py", "--journal", "memory", "--port", "0"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [*command, "--workers", "1", "--metrics", "off", "--no-discovery"])
    try:
        said = b""
        while b"leader: this node" not in said:
            said += os.read(terminal, 4096)
    finally:
        os.close(terminal)  # the system sends SIGHUP
    ends = time.monotonic() + 20.0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() >= ends:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("it runs on without its terminal")
        time.sleep(0.02)
