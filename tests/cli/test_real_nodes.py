"""The commands as a user types them, against real nodes."""

import itertools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import wait_until, without_settings
from paceline.client import Client, NamedTask
from paceline.discovery import find_nodes
from paceline.errors import TaskCancelled
from paceline.local import Cluster
from paceline_protocol.errors import PayloadTooLarge
from paceline_protocol.limits import PAYLOAD_LIMIT_MAX_BYTES

DEADLINE_S = 60.0
TASKS = """
from paceline.worker.registry import task

@task
def add(a, b, scale=1):
    return (a + b) * scale

@task
def fail():
    raise ValueError("on purpose")
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "shop_tasks.py"
    path.write_text(TASKS)
    return path


def paceline(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = without_settings()
    command = [sys.executable, "-m", "paceline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, env=environment, check=False)


@contextmanager
def running_node(
    *arguments: str, journal: tuple[str, ...] = ("--journal", "memory")
) -> Iterator[tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]]:
    """A node on a free port: its process, and its announcements as they come."""
    reading, writing = os.pipe()
    options = ("--port", "0", *journal, "--announce-fd", str(writing))
    command = [sys.executable, "-m", "paceline", "node", *arguments, *options]
    with subprocess.Popen(
        command, pass_fds=(writing,), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        os.close(writing)
        try:
            yield process, announcements(reading)
        finally:
            process.kill()
            os.close(reading)


def announcements(fd: int) -> Iterator[dict[str, Any]]:
    deadline_s = time.monotonic() + DEADLINE_S
    unread = b""
    while True:
        while b"\n" in unread:
            line, unread = unread.split(b"\n", 1)
            yield json.loads(line)
        assert select.select([fd], [], [], max(0.0, deadline_s - time.monotonic()))[0], "the node announces nothing"
        data = os.read(fd, 65536)
        if not data:
            return
        unread += data


def test_the_first_five_minutes(tasks: Path) -> None:
    with running_node(str(tasks), "--workers", "1", "--no-discovery") as (process, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}

        done = paceline("submit", "shop_tasks.add", "2", "3", "--kw", "scale=10", "--wait", "--connect", address)
        assert (done.returncode, done.stdout, done.stderr) == (0, "50\n", "")

        accepted = paceline("submit", "shop_tasks.add", "2", "3", "--json", "--priority", "9", "--connect", address)
        assert json.loads(accepted.stdout)["state"] == "accepted"

        delayed = paceline("submit", "shop_tasks.add", "2", "3", "--delay", "1h", "--connect", address)
        where = paceline("tasks", "why", delayed.stdout.strip(), "--connect", address)
        assert (where.returncode, where.stderr) == (0, "")
        assert where.stdout.startswith("delayed: it may not start before ")

        failed = paceline("submit", "shop_tasks.fail", "--wait", "--connect", address)
        assert failed.returncode == 20
        assert failed.stderr.startswith("paceline: error: ValueError: on purpose")
        assert "shop_tasks.py" in failed.stderr

        unknown = paceline("submit", "shop_tasks.nothing", "--connect", address)
        assert unknown.returncode == 10
        assert "shop_tasks.nothing" in unknown.stderr

        at = ("--connect", address)
        assert paceline("cron", "add", "nightly", "shop_tasks.add", "2", "3", "--cron", "@daily", *at).returncode == 0
        triggered = paceline("cron", "trigger", "nightly", *at)
        result = paceline("result", triggered.stdout.strip(), "--wait", "60", *at)
        assert (result.stdout, result.stderr) == ("5\n", "")
        assert "nightly: shop_tasks.add, @daily (UTC)" in paceline("cron", "ls", *at).stdout
        assert paceline("cron", "rm", "nightly", *at).stdout == "nightly: removed\n"
        assert paceline("cron", "rm", "nightly", *at).returncode == 18

        table = paceline("status", "--connect", address)
        assert table.returncode == 0
        assert address in table.stdout
        body = json.loads(paceline("status", "--json", "--connect", address).stdout)
        assert (body["accepted_total"], body["failed_total"], body["fault_tolerance"]) == (5, 1, 0)

        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
        assert errors == ""
        assert len(output.splitlines()) <= 5
        assert address in output
        assert "shop_tasks.add" in output


def test_tasks_that_no_node_runs_any_more_are_shown_and_cancelled_by_name(tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    renamed = tmp_path / "new" / "shop_tasks.py"
    renamed.write_text(TASKS.replace("def add", "def sum_up"))
    with (
        running_node("--workers", "0", "--no-discovery") as (_, announced),
        Client(address := next(announced)["address"]) as client,
    ):
        futures = [client.submit("shop_tasks.add", number, 0) for number in range(50)]
        futures.append(client.submit(NamedTask("shop_tasks.add", delay=3600), 1, 1))
        assert all(future.accepted(DEADLINE_S) is None for future in futures)
        with running_node(str(renamed), "--workers", "1", "--no-discovery", "--join", address) as (_, joined):
            assert any("ready" in each for each in joined)
            assert client.submit("shop_tasks.sum_up", 2, 3).result(DEADLINE_S) == 5
            shown = paceline("status", "--connect", address)
            assert "WARNING: no node runs what 50 tasks wait for: shop_tasks.add (50)." in shown.stdout
            shown = paceline("tasks", "waiting", "--connect", address)
            assert shown.stdout.splitlines()[1:] == [f"{50:>10} {1:>10} {0:>6}  shop_tasks.add  (no node runs it)"]
            shown = paceline("tasks", "ls", "--state", "delayed", "--connect", address)
            assert shown.stdout.splitlines()[0] == "0 running, 50 waiting, 1 delayed in all"
            assert shown.stdout.splitlines()[3].startswith(f"{futures[-1].task_id.hex()}  ")
            due = paceline("tasks", "retry", futures[-1].task_id.hex(), "--connect", address)
            assert (due.returncode, due.stderr) == (0, "")
            (late,) = client.live_tasks(state="waiting", limit=51).tasks[50:]
            assert late.task_id == futures[-1].task_id
            refused = paceline("tasks", "cancel", "--name", "shop_tasks.add", "--connect", address)
            assert (refused.returncode, refused.stdout) == (2, "")
            done = paceline("tasks", "cancel", "--name", "shop_tasks.add", "--yes", "--connect", address)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == "cancelled 51 tasks named shop_tasks.add\n"
            for future in futures:
                with pytest.raises(TaskCancelled):
                    future.result(DEADLINE_S)
            assert client.waiting()["names"] == []
            assert client.cancel_tasks(futures[:1]) == {futures[0].task_id.hex(): "finished"}


def test_a_node_says_what_it_goes_on_with_and_begins_with_nothing_if_it_is_told_to(tasks: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    journal = ("--data-dir", str(data))
    with running_node("--workers", "0", "--no-discovery", journal=journal) as (process, announced):
        address = next(announced)["address"]
        with Client(address) as client:
            accepted = [client.submit("shop_tasks.add", number, 0).accepted(DEADLINE_S) for number in range(10)]
        assert len(accepted) == 10
        assert all("goes on" not in line for line in stopped(process))
    arguments = (str(tasks), "--workers", "1", "--no-discovery")
    with running_node("--workers", "0", "--no-discovery", journal=journal) as (process, announced):
        assert "ready" in list(itertools.islice(announced, 2))[1]
        _, line, *_ = stopped(process)
        assert re.fullmatch(
            "goes on with cluster [0-9a-f]{8} and 10 tasks of before; --fresh begins with nothing", line
        )
    with running_node(*arguments, "--fresh", journal=journal) as (process, announced):
        with Client(next(announced)["address"]) as client:
            assert client.submit("shop_tasks.add", 2, 3).result(DEADLINE_S) == 5
            # A result comes before its task is committed.
            wait_until(lambda: client.status()["accepted_total"] == 1, lambda: f"one is accepted: {client.status()}")
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=DEADLINE_S)
        assert "goes on" not in output
        assert f"{data / 'before-1'} and is not used any more" in errors
    kept = ("--data-dir", str(data / "before-1"))
    with running_node("--workers", "0", "--no-discovery", journal=kept) as (process, announced):
        assert "ready" in list(itertools.islice(announced, 2))[1]
        assert " and 10 tasks of before; " in stopped(process)[1]


def stopped(process: subprocess.Popen[str]) -> list[str]:
    """What a node that nothing is wrong with had to say."""
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (0, "")
    return output.splitlines()


def test_the_greatest_payload_goes_both_ways_and_a_greater_one_is_told_the_truth(tmp_path: Path) -> None:
    (tmp_path / "echo_tasks.py").write_text("from paceline import task\n\n@task\ndef echo(data):\n    return data\n")
    large = bytes(PAYLOAD_LIMIT_MAX_BYTES - 64)  # with room for what packs it
    options = ("--payload-limit", str(PAYLOAD_LIMIT_MAX_BYTES >> 20), "--workers", "1", "--no-discovery")
    with running_node(str(tmp_path / "echo_tasks.py"), *options) as (_, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}
        with Client(address) as client:
            assert client.submit("echo_tasks.echo", large).result(DEADLINE_S) == large
            with pytest.raises(PayloadTooLarge) as caught:
                client.submit("echo_tasks.echo", large + bytes(64))
    assert "--payload-limit" not in str(caught.value)


def test_a_port_in_use_is_announced_and_ends_with_41(tasks: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = paceline("node", str(tasks), "--port", port, "--journal", "memory", "--no-discovery")
    assert done.returncode == 41
    assert "--port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_module_that_does_not_import_ends_the_node_with_42(tmp_path: Path) -> None:
    module = tmp_path / "broken_tasks.py"
    module.write_text("import a_module_that_is_not_there\n")
    with running_node(str(module), "--workers", "1", "--no-discovery") as (process, announced):
        assert "address" in next(announced)
        error = next(announced)
        assert error["exit_code"] == 42
        assert "a_module_that_is_not_there" in error["error"]
        assert f"`cd {tmp_path} && python -c 'import broken_tasks'`" in error["error"]
        assert process.wait(timeout=DEADLINE_S) == 42


def test_a_node_of_which_no_worker_is_ever_ready_ends_with_42_and_says_how_they_ended(tmp_path: Path) -> None:
    module = tmp_path / "dying_tasks.py"
    module.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    with running_node(str(module), "--workers", "1", "--no-discovery") as (process, announced):
        assert "address" in next(announced)
        error = next(announced)
        assert error["exit_code"] == 42
        assert "each worker ended before it was ready, the last so: killed by SIGSEGV" in error["error"]
        assert f"`cd {tmp_path} && python -c 'import dying_tasks'`" in error["error"]
        assert process.wait(timeout=DEADLINE_S) == 42


@pytest.mark.parametrize("spec", ["{folder}/tasks.py", "tasks"])
def test_files_that_are_called_as_modules_of_python_keep_no_worker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    for name in ("signal", "token", "logging", "types", "select", "struct"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is not the one of Python')\n")
    (tmp_path / "tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    with Cluster.local(spec.format(folder=tmp_path), workers=1, metrics=True) as cluster, cluster.client() as client:
        assert client.submit("tasks.add", 2, 3).result(DEADLINE_S) == 5


def test_a_module_that_ends_its_worker_is_pointed_at_in_the_log(tmp_path: Path) -> None:
    module = tmp_path / "ending_tasks.py"
    module.write_text("import os\nos._exit(3)\n")
    with running_node(str(module), "--workers", "1", "--no-discovery") as (process, announced):
        assert "address" in next(announced)
        assert process.stderr is not None
        line = process.stderr.readline()
    assert "ended before it was ready: exit code 3; another is started." in line
    assert "see what the modules of tasks do when they are imported" in line


def test_a_module_that_imports_for_long_is_said_once_to(tmp_path: Path) -> None:
    imported = tmp_path / "imported"
    os.mkfifo(imported)
    module = tmp_path / "slow_tasks.py"
    module.write_text(f"from paceline import task\nopen({str(imported)!r}).read()\n\n@task\ndef noop(): ...\n")
    with running_node(str(module), "--workers", "1", "--no-discovery") as (process, announced):
        assert "address" in next(announced)
        assert process.stderr is not None
        assert f"importing {module} takes longer than 10 s: 0 of 1 workers are ready" in process.stderr.readline()
        imported.open("w").close()
        assert next(announced) == {"ready": True}
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert errors == ""


@pytest.mark.parametrize("name", ["absent_tasks.py", "folder_tasks.py", "./folder_tasks"])
def test_a_module_that_is_no_file_ends_with_40_before_anything_is_started(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder_tasks.py").mkdir()
    with running_node(str(tmp_path / name), "--workers", "1", "--no-discovery") as (process, announced):
        error = next(announced)  # and not the address of a bound port
        assert error["exit_code"] == 40
        assert str(tmp_path / name) in error["error"]
        assert process.wait(timeout=DEADLINE_S) == 40


def test_a_node_whose_seed_does_not_answer_says_so_and_joins_nobody_else(tasks: Path) -> None:
    options = (str(tasks), "--workers", "1")
    with socket.socket() as unused, running_node(*options) as (_, other):  # which discovery would find
        unused.bind(("127.0.0.1", 0))
        seed = f"127.0.0.1:{unused.getsockname()[1]}"
        next(other)
        assert next(other) == {"ready": True}
        with running_node(*options, "--join", seed) as (process, announced):
            address = next(announced)["address"]
            assert process.stderr is not None
            line = process.stderr.readline()
            body = json.loads(paceline("status", "--json", "--connect", address).stdout)
    assert f"the seed {seed} does not answer (Connection refused)" in line
    assert body["forming"] == "waiting for a node of the cluster to answer"
    assert [node["address"] for node in body["nodes"]] == [address]


def test_a_node_with_the_keys_of_another_cluster_says_so(tasks: Path, tmp_path: Path) -> None:
    files = [tmp_path / "one.toml", tmp_path / "two.toml"]
    for file in files:  # the same name, as when somebody ran `paceline init` on each machine
        file.touch(mode=0o600)
        file.write_text(paceline("init", "--nodes", "3", "--name", f"shop{tmp_path.name}").stdout)
    options = (str(tasks), "--workers", "1", "--bind", "127.0.0.1", "--cluster")
    with running_node(*options, str(files[0]), "--no-discovery") as (_, one):
        seed = next(one)["address"]
        with running_node(*options, str(files[1]), "--join", seed) as (process, _):
            assert process.stderr is not None
            line = process.stderr.readline()
    assert f"the seed {seed} takes connections but no handshake succeeds" in line
    assert "give both nodes the same cluster file" in line


def test_no_node_anywhere_ends_with_30() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes it, and nobody answers
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = paceline("submit", "tasks.add", "--connect", address, "--connect-timeout", "0.3")
        assert done.returncode == 30
        assert address in done.stderr
        assert "--connect" in done.stderr
        assert paceline("status", "--connect", address, "--connect-timeout", "0.3").returncode == 30


def test_the_demo_survives_the_death_of_its_leader_and_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory() as directory:  # not tmp_path, which is too long for the path of a socket
        environment = os.environ | {"TMPDIR": directory}
        command = [sys.executable, "-m", "paceline", "demo", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, check=False)
        left_behind = os.listdir(directory)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["completed"] == report["files"] > 500
    assert report["old_leader"] != report["new_leader"] != ""
    assert 0 < report["failover_s"] < report["elapsed_s"]
    assert left_behind == []
    assert done.stderr.count("/metrics") == 3, "it says where to look on"


def test_a_node_on_ipv6_loopback_is_found_by_discovery_and_by_its_address(tasks: Path) -> None:
    with running_node(str(tasks), "--workers", "1", "--bind", "::1") as (_, lines):
        address = next(lines)["address"]
        assert address.startswith("[::1]:")
        deadline_s = time.monotonic() + DEADLINE_S
        while address not in find_nodes("", loopback=True, timeout_s=1.0):
            assert time.monotonic() < deadline_s
        next(line for line in lines if line.get("ready"))
        shown = paceline("status", "--connect", address)
        assert shown.returncode == 0, shown.stderr
        assert address in shown.stdout
        done = paceline("submit", "shop_tasks.add", "2", "3", "--wait", "--connect", f"localhost:{address[6:]}")
        assert done.stdout.strip() == "5", done.stderr
