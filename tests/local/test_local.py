"""Local clusters: how node processes are started, watched, killed and stopped. The nodes are stand-ins."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import paceline.errors
from paceline.config import ClusterFile
from paceline.descriptors import is_room_for
from paceline.errors import ClusterFailed, ConfigError, OutOfResources
from paceline.local import cluster as cluster_module
from paceline.local.cluster import Cluster
from paceline.local.node_process import Node
from paceline.local.scratch import ScratchDirectory

DEADLINE_S = 10.0

STAND_IN = """
import json, os, sys, signal
def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""
announce, parent = int(option("--announce-fd")), int(option("--parent-fd"))
def say(**fields):
    os.write(announce, json.dumps(fields).encode() + b"\\n")
mode = sys.argv[1]
if mode == "error":
    say(error="tasks.py does not import", exit_code=42)
    sys.exit(42)
if mode == "crash":
    print("something terrible", flush=True)
    os.abort()
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(id=f"node-{os.getpid()}", pid=os.getpid(), address=f"127.0.0.1:{os.getpid() % 60000 + 1}")
print("joins", option("--join"), flush=True)
say(ready=True)
os.read(parent, 1)
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return str(path)


def cluster(script: str, mode: str = "well", nodes: int = 1) -> Cluster:
    return Cluster([sys.executable, script, mode], nodes, None)


def has_ended(pid: int) -> bool:
    """Whether the process ends before the deadline; it may be a zombie of ours."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], DEADLINE_S)[0])
    finally:
        os.close(descriptor)


def test_nodes_are_started_and_stopped(script: str) -> None:
    with cluster(script, nodes=2) as running:
        pids = [node.pid for node in running.nodes]
        assert [node.id for node in running.nodes] == [f"node-{pid}" for pid in pids]
        assert len(set(running.addresses)) == 2
        assert all(node.alive and node.ready for node in running.nodes)
        logs = [node._log_path.read_text() for node in running.nodes]
        assert logs == ["joins \n", f"joins {running.addresses[0]}\n"]
    assert not any(node.alive for node in running.nodes)
    running.stop()


def test_a_cluster_of_three_is_ready_when_its_nodes_say_so_and_nobody_is_asked(script: str) -> None:
    with cluster(script, nodes=3) as running:  # the stand-ins would answer no question
        assert all(node.ready for node in running.nodes)


def test_a_killed_node_is_gone_when_kill_returns(script: str) -> None:
    with cluster(script, nodes=2) as running:
        victim = running.nodes[0]
        victim.kill()
        assert not victim.alive
        assert not victim.is_leader
        assert running.nodes[1].alive
        running.wait_ready(DEADLINE_S)


def test_a_node_that_ignores_sigterm_is_killed_at_the_deadline(script: str) -> None:
    running = cluster(script, "stubborn")
    running.start(DEADLINE_S)
    running.wait_ready(DEADLINE_S)
    running.stop(timeout=0.05)
    assert running.nodes[0]._process.returncode == -signal.SIGKILL


def test_a_node_that_says_why_it_can_not_start(script: str) -> None:
    with pytest.raises(ClusterFailed, match=r"tasks\.py does not import"), cluster(script, "error"):
        pass


def test_a_node_that_crashes_shows_the_end_of_its_output(script: str) -> None:
    with pytest.raises(ClusterFailed, match=r"(?s)SIGABRT.*something terrible"), cluster(script, "crash"):
        pass


def test_a_node_that_announces_nothing_runs_into_the_deadline(script: str) -> None:
    with cluster(script) as running:
        running.nodes[0].address = ""
        with pytest.raises(ClusterFailed, match="did not announce its address in time"):
            running.nodes[0].wait_announced("address", time.monotonic() + 0.01)


def test_nodes_and_their_directory_end_with_a_parent_that_crashes(script: str) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            running = cluster(script)
            running.start(DEADLINE_S)
            running.wait_ready(DEADLINE_S)
            assert running._scratch is not None
            os.write(write, f"{running.nodes[0].pid} {running._scratch.path}".encode())
        finally:
            os._exit(1)  # no cleanup, as in a crash
    os.close(write)
    node_pid, path = os.read(read, 1000).decode().split()
    os.close(read)
    try:
        assert has_ended(int(node_pid))
    except ProcessLookupError:
        pass  # it ended before it could be watched
    os.waitpid(child, 0)
    end_s = time.monotonic() + DEADLINE_S
    while Path(path).exists():
        assert time.monotonic() < end_s, "its directory goes with the last of them"
        time.sleep(0.01)


def test_nodes_and_their_directory_end_with_a_parent_whose_forked_children_live_on(script: str) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            running = cluster(script)
            running.start(DEADLINE_S)
            running.wait_ready(DEADLINE_S)
            assert running._scratch is not None
            pool = os.fork()
            if pool == 0:
                own = os.pipe()  # has the numbers that the cluster's ends had
                running.nodes[0]._close_pipes()
                os.write(own[1], b"still open")
                os.write(write, f"{running.nodes[0].pid} {os.getpid()} {running._scratch.path}".encode())
                signal.pause()
            os.waitpid(pool, 0)
        finally:
            os._exit(1)
    os.close(write)
    node_pid, pool_pid, path = os.read(read, 1000).decode().split()
    os.close(read)
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            assert has_ended(int(node_pid))
        except ProcessLookupError:
            pass  # it ended before it could be watched
        end_s = time.monotonic() + DEADLINE_S
        while Path(path).exists():
            assert time.monotonic() < end_s, "its directory goes with the last of them"
            time.sleep(0.01)
    finally:
        os.kill(int(pool_pid), signal.SIGKILL)


def test_no_descriptor_is_left_behind(script: str) -> None:
    def run() -> set[str]:
        with cluster(script, nodes=2) as running:
            running.nodes[1].kill()
        listed = os.listdir("/proc/self/fd")  # with the descriptor of the listing, which is gone
        return {name for name in listed if os.path.lexists(f"/proc/self/fd/{name}")}

    before = run()
    assert run() <= before, "what others close meanwhile does not count"


def test_modules_may_be_names_paths_or_modules(tmp_path: Path) -> None:
    (tmp_path / "more.py").touch()
    described = Cluster.local("tasks", tmp_path / "more.py", paceline.errors, nodes=3, workers=4)
    command = described._command
    assert command[:5] == [sys.executable, "-P", "-m", "paceline", "node"]
    assert command[5:8] == ["tasks", str(tmp_path / "more.py"), "paceline.errors"]
    assert command[8:] == [
        *("--port", "0", "--workers", "4", "--no-discovery", "--drain-timeout=0.0", "--journal", "memory"),
        *("--expect", "3", "--metrics", "off"),
    ]


@pytest.mark.parametrize(
    ("modules", "options", "said"),
    [
        ((), {"nodes": 0}, "nodes is 0"),
        ((), {"nodes": "1"}, "nodes is '1'"),
        ((), {"nodes": True}, "nodes is True"),
        ((), {"workers": -1}, "workers is -1"),
        ((), {"workers": None}, "workers is None"),
        ((), {"workers": 0, "max_workers": 4}, "workers is 0, and must be a whole number from 1"),
        ((), {"max_workers": 1}, "max_workers is 1, and workers is 2, which are the fewest"),
        ((None,), {}, "None is no module of tasks"),
        ((b"tasks",), {}, "is no module of tasks"),
        (("-h",), {}, "'-h' is neither"),
        (("nowhere.py",), {}, "can't read"),
        (("a\0b.py",), {}, "can't be the path of a file"),
        ((ModuleType("__main__"),), {}, "typed into an interpreter have no file"),
    ],
)
def test_what_can_not_make_a_cluster_is_refused_by_name(
    modules: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Cluster.local(*modules, **options)


def test_a_cluster_that_does_not_run_has_no_client_no_leader_and_no_room_for_a_node(script: str) -> None:
    described = cluster(script)
    for _ in range(2):
        for use in (described.client, described.add_node, lambda: described.leader):
            with pytest.raises(ClusterFailed, match="within its block"):
                use()
        with described:
            described.client().close()


def test_a_forked_child_that_leaves_the_block_leaves_the_cluster_alone(script: str) -> None:
    with cluster(script) as running:
        child = os.fork()
        if child == 0:
            try:
                running.__exit__(None, None, None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert running.nodes[0].alive
        assert running.nodes[0]._log_path.exists()


def test_a_node_that_can_not_be_added_leaves_the_cluster_as_it_was(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(script) as running:
        before = list(running.nodes), running.addresses
        monkeypatch.setattr(cluster_module, "_node_command", lambda *_: [sys.executable, script, "error"])
        with pytest.raises(ClusterFailed, match=r"tasks\.py does not import"):
            running.add_node()
        assert (running.nodes, running.addresses) == before
        monkeypatch.setattr(cluster_module, "_node_command", lambda *_: [sys.executable, script, "well"])
        assert running.add_node().ready


def test_a_node_that_can_not_be_started_again_can_still_be_stopped(script: str) -> None:
    with cluster(script) as running:
        node = running.nodes[0]
        node.kill()
        node._command = ["/nowhere/at/all"]
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                node.restart()


def test_a_cluster_starts_in_a_process_without_stdin_stdout_and_stderr(script: str) -> None:
    """As daemons are, whose pipes would else get the numbers of these."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.closerange(0, 3)
            with cluster(script) as running:
                code = 0 if running.nodes[0].ready else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_secure_cluster_has_a_file_of_its_own_which_only_its_owner_reads(script: str) -> None:
    running = Cluster.local(nodes=2, secure=True)
    running._command = [sys.executable, script, "well"]
    with running:
        commands = [node._command for node in running.nodes]
        paths = {Path(command[command.index("--cluster") + 1]) for command in commands}
        assert all(command[command.index("--bind") + 1] == "127.0.0.1" for command in commands)
        (path,) = paths
        assert path.stat().st_mode & 0o077 == 0
        assert ClusterFile.load(path) == running._cluster_file
    assert not path.exists()


def test_a_node_says_where_it_is(script: str) -> None:
    with cluster(script) as running:
        [node] = running.nodes
        assert isinstance(node, Node)
        assert node.address in repr(node)


class Files:
    """Lets this process open few more files."""

    def __init__(self) -> None:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 24, self._before[1]))
        self._taken: list[int] = []

    def take_all(self) -> None:
        while is_room_for(1):
            self._taken.append(os.eventfd(0))

    def give_one(self) -> None:
        os.close(self._taken.pop())

    def close(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)
        while self._taken:
            self.give_one()


@pytest.fixture
def files() -> Iterator[Files]:
    made = Files()
    yield made
    made.close()


def test_a_script_that_may_open_no_more_files_is_told_so_and_leaves_nothing(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files.take_all()
    for left in range(9):
        with pytest.raises(OutOfResources, match="ulimit -n"):
            cluster(script).__enter__()
        assert not is_room_for(left + 1), "all is closed again, and no more than that"
        files.give_one()
    with cluster(script):
        files.take_all()
    files.close()
    assert list(tmp_path.iterdir()) == [Path(script)]


def test_a_machine_without_a_temporary_directory_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(ConfigError, match=r"can't make a temporary directory: No usable .*; set TMPDIR to one that"):
        ScratchDirectory("paceline-test-")
