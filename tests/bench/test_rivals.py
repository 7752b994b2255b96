"""Rivals are run by their own interpreters: what they say is checked, and whatever they do, they are ended."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from paceline.cli.app import run
from paceline_bench.harness import server_process, venvs
from paceline_bench.harness.server_process import ServerFailed, ServerProcess
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.rivals import process as rival_process
from paceline_bench.rivals import run as rivals
from paceline_bench.rivals import servers as rival_servers
from paceline_bench.rivals.compare import report
from paceline_bench.rivals.files import RivalVariant, chosen, discover, read
from paceline_bench.rivals.plan import Burst, Measured, Plan
from paceline_bench.rivals.process import RivalFailed, RivalProcess
from paceline_bench.rivals.run import calibrated
from paceline_bench.rivals.servers import Servers

PYTHON = Path(sys.executable)
PLAN = Plan(rounds=1, samples=5, warm_up=2, burst_s=0.01, rate_per_s=100, open_loop_s=0.1)

RIVAL = """\
# /// script
# [tool.paceline.rivals]
# {name} = {{ title = "The {name} one" }}
# ///
import os, subprocess, sys, time
from pathlib import Path
from paceline_bench.peers.wire import System

class Rival(System):
    def __init__(self, setup): pass
    def submit(self, number): return number
    def result(self, handle): return handle
    def close(self): pass

"""


def rival(directory: Path, name: str, methods: str = "") -> RivalVariant:
    """A file for a rival whose class has these methods instead of those above, which are right."""
    path = directory / f"{name}.py"
    body = "".join(f"    {line}\n" for line in dedent(methods).splitlines())
    path.write_text(RIVAL.format(name=name) + body)
    (peer,) = read(path)
    return peer


def start(peer: RivalVariant, start_timeout_s: float = 30.0) -> RivalProcess:
    return RivalProcess(peer, PYTHON, 1, "burst", {}, start_timeout_s)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival_process, "STOP_TIMEOUT_S", 2.0)


# --- the wire ---------------------------------------------------------------------------------------------------


def test_the_pool_of_the_standard_library_answers_every_request() -> None:
    (pool,) = chosen(discover(), ["process-pool"])
    with RivalProcess(pool, PYTHON, 2, "open_loop", {}) as process:
        assert process.can == ["chunked", "open_loop"]
        one_by_one = process.ask("round_trips", 10, 30)
        assert len(one_by_one["durations_s"]) == 10
        burst = process.ask("burst", 50, 30)
        assert 0 < burst["submit_s"] <= burst["total_s"]
        chunked = process.ask("chunked", 50, 30)
        assert chunked["total_s"] > 0
        open_loop = process.ask("open_loop", 3, 30, due_s=[0.0, 0.01, 0.02], lengths_s=[0.001, 0.05, 0.001])
        assert open_loop["latencies_s"][1] >= 0.05
        assert [answer["wrong"] for answer in (one_by_one, burst, chunked, open_loop)] == [0, 0, 0, 0]


def test_wrong_results_are_counted_by_each_request(tmp_path: Path) -> None:
    off_by_one = "def result(self, handle): return handle + (handle % 2)"
    with start(rival(tmp_path, "wrong", off_by_one)) as process:
        assert process.can == []
        assert process.ask("round_trips", 10, 30)["wrong"] == 5
        assert process.ask("burst", 10, 30)["wrong"] == 5


def test_a_result_that_never_came_in_an_open_loop_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = """
        def nap(self, number, seconds, done):
            import paceline_bench.peers.wire as wire
            wire.OPEN_LOOP_DRAIN_S = 0.1
            if number != 1:
                done(number, time.perf_counter())
    """
    with start(rival(tmp_path, "forgetful", methods)) as process:
        answer = process.ask("open_loop", 3, 30, due_s=[0.0, 0.0, 0.0], lengths_s=[0.0, 0.0, 0.0])
    assert answer["wrong"] == 1
    assert answer["latencies_s"][1] is None


def test_no_number_is_given_twice(tmp_path: Path) -> None:
    methods = """
        seen = set()
        def submit(self, number):
            if number in self.seen: raise ValueError("again")
            self.seen.add(number)
            return number
    """
    with start(rival(tmp_path, "once", methods)) as process:
        assert process.ask("round_trips", 10, 30)["wrong"] == 0
        assert process.ask("burst", 10, 30)["wrong"] == 0


def test_what_a_rival_prints_does_not_get_between_the_answers(tmp_path: Path) -> None:
    methods = """
        def submit(self, number):
            print('{"failed": "no"}', flush=True)
            os.write(1, b"noise")
            subprocess.run(["echo", "more"])
            return number
    """
    with start(rival(tmp_path, "noisy", methods)) as process:
        assert process.ask("round_trips", 3, 30)["wrong"] == 0


@pytest.mark.parametrize(
    ("name", "methods", "reason"),
    [
        ("refusing", "def __init__(self, setup): raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("dying", "def __init__(self, setup): sys.stderr.write('oh no\\n'); os._exit(3)", "ended with 3.*oh no"),
        ("missing", "def __init__(self, setup): import no_such_package", "No module named 'no_such_package'"),
        ("hanging", "def __init__(self, setup): time.sleep(600)", "no answer within 1 s"),
    ],
)
def test_why_a_rival_did_not_start_is_said(tmp_path: Path, name: str, methods: str, reason: str) -> None:
    with pytest.raises(RivalFailed, match=reason):
        start(rival(tmp_path, name, methods), start_timeout_s=1.0 if name == "hanging" else 30.0)


@pytest.mark.parametrize(
    ("methods", "reason"),
    [
        ("def result(self, handle): raise OSError('cut off')", "OSError: cut off"),
        ("def result(self, handle): os._exit(5)", "ended with 5"),
        ("def result(self, handle): time.sleep(600)", "no answer within 0.5 s"),
    ],
)
def test_why_a_rival_gave_no_answer_is_said(tmp_path: Path, methods: str, reason: str) -> None:
    with start(rival(tmp_path, "stuck", methods)) as process, pytest.raises(RivalFailed, match=reason):
        process.ask("round_trips", 1, 0.5 if "sleep" in methods else 30.0)


def test_a_process_that_a_rival_left_in_another_session_is_ended_too(tmp_path: Path) -> None:
    pid_path = tmp_path / "pid"
    methods = f"""
        def __init__(self, setup):
            stray = subprocess.Popen(["sleep", "600"], start_new_session=True)
            Path({str(pid_path)!r}).write_text(str(stray.pid))
    """
    with start(rival(tmp_path, "messy", methods)):
        stray = psutil.Process(int(pid_path.read_text()))
        assert stray.is_running()
    _, alive = psutil.wait_procs([stray], timeout=10)
    assert not alive


def test_a_rival_ends_with_the_harness_and_with_all_that_it_started(tmp_path: Path) -> None:
    pid_path = tmp_path / "pid"
    methods = f"""
        def __init__(self, setup):
            worker = subprocess.Popen(["sleep", "600"])
            Path({str(pid_path)!r}).write_text(str(worker.pid))
    """
    peer = rival(tmp_path, "orphan", methods)
    script = (
        "import os, sys; from pathlib import Path; from paceline_bench.rivals.files import read\n"
        "from paceline_bench.rivals.process import RivalProcess\n"
        f"(peer,) = read(Path({str(peer.path)!r}))\n"
        "process = RivalProcess(peer, Path(sys.executable), 1, 'burst', {})\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    try:
        psutil.Process(int(pid_path.read_text())).wait(timeout=30)
    except psutil.NoSuchProcess:
        pass  # it has ended already


# --- the verb ---------------------------------------------------------------------------------------------------


def test_what_fails_has_a_row_with_its_reason_and_what_is_wrong_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [
        rival(tmp_path, "good"),
        rival(tmp_path, "broken", "def __init__(self, setup): raise RuntimeError('no licence')"),
        rival(tmp_path, "wrong", "def result(self, handle): return -1"),
    ]
    monkeypatch.setattr(rivals, "discover", lambda: peers)
    result = rivals.run(["good", "broken"], PLAN, tmp_path)
    assert result.ok
    assert [row.note for row in result.rows if "broken" in row.what] == ["round 1: RuntimeError: no licence"]
    assert result.details["systems"]["good"]["burst_tasks"] >= 100
    assert not rivals.run(["wrong"], PLAN, tmp_path).ok


def test_the_paceline_that_is_compared_is_a_real_cluster(tmp_path: Path) -> None:
    result = rivals.run(["paceline-memory"], PLAN, tmp_path)
    assert result.ok, result
    assert result.details["systems"]["paceline-memory"]["failed"] == ""
    assert [row.note.startswith("1 times paceline") for row in result.rows] == [True] * 4


def test_a_system_that_there_is_not_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "rivals", "--only", "dask,daks"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "'daks'" in error
    assert "celery-redis" in error


@pytest.mark.parametrize(
    ("tasks_per_s", "tasks"), [(1, 100), (270, 500), (1_440, 3_000), (16_000, 30_000), (1e7, 100_000)]
)
def test_a_burst_takes_about_two_seconds_within_its_bounds(tasks_per_s: float, tasks: int) -> None:
    assert calibrated(tasks_per_s, 2.0) == tasks


# --- the report -------------------------------------------------------------------------------------------------


def measured(tmp_path: Path, name: str, p50s_s: list[float], totals_s: list[float], wrong: int = 0) -> Measured:
    return Measured(
        RivalVariant(name, name.title(), tmp_path, (), (), (), {}),
        round_trips=[LatencyHistogram([p50_s]) for p50_s in p50s_s],
        bursts=[Burst(1_000, total_s / 4, total_s) for total_s in totals_s],
        burst_tasks=1_000,
        wrong=wrong,
    )


def test_ratios_are_of_medians_and_the_best_comes_first(tmp_path: Path) -> None:
    base = measured(tmp_path, "paceline-memory", [1e-4, 2e-4, 9e-4], [1.0, 0.1, 0.5])
    other = measured(tmp_path, "other", [4e-4, 3e-3, 1e-3], [1.0, 2.0, 10.0])
    result = report([other, base], PLAN)
    assert [row.what for row in result.rows] == [
        "one at a time, p50: Paceline-Memory",
        "one at a time, p50: Other",
        "burst, tasks/s: Paceline-Memory",
        "burst, tasks/s: Other",
    ]
    assert [row.note.partition(";")[0] for row in result.rows] == [
        "1 times paceline",
        "5 times paceline",
        "1 times paceline",
        "0.25 times paceline",
    ]
    assert "100 to 1,000; 1,000 tasks; 25% of the time" in result.rows[3].note
    assert result.ok
    assert [histogram.samples for histogram in result.latencies] == [3, 3]


def test_an_open_loop_without_a_single_result_has_no_percentile(tmp_path: Path) -> None:
    silent = measured(tmp_path, "silent", [1e-3], [1.0], wrong=1)
    silent.short.append(LatencyHistogram())
    result = report([silent], PLAN)
    assert [histogram.name for histogram in result.latencies] == ["Silent, one at a time"]
    assert not [row for row in result.rows if "open loop" in row.what]


def test_without_paceline_there_is_no_ratio_and_one_wrong_result_fails(tmp_path: Path) -> None:
    result = report([measured(tmp_path, "other", [1e-3], [1.0], wrong=1)], PLAN)
    assert "times" not in result.rows[0].note
    assert [(check.ok, check.detail) for check in result.checks] == [(False, "other: 1 wrong")]


# --- files, environments and servers ----------------------------------------------------------------------------


def test_every_rival_that_ships_is_pinned_and_has_a_name_of_its_own() -> None:
    names = [peer.name for peer in discover()]
    assert names[0] == "paceline-memory"
    assert len(set(names)) == len(names)
    assert {"celery-rabbitmq", "celery-redis", "dask", "dramatiq", "process-pool", "ray"} < set(names)


@pytest.mark.parametrize(
    ("heading", "reason"),
    [
        ('# dependencies = ["celery>=5"]\n# [tool.paceline.rivals]\n# a = { title = "A" }', "pin"),
        ('# [tool.paceline.rivals]\n# a = { title = "A", servers = ["kafka"] }', "no such server: kafka"),
    ],
)
def test_a_heading_that_can_not_be_used_is_refused(tmp_path: Path, heading: str, reason: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"# /// script\n{heading}\n# ///\n")
    with pytest.raises(ValueError, match=reason):
        read(path)


PINNED = RivalVariant("a", "A", Path("a.py"), ("Some.Thing[extra]==1.2", "other==3"), (), (), {})


def make_venv(directory: Path, **versions: str) -> None:
    """As pip leaves one, without pip."""
    python = venvs.python_of(PINNED, directory)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    for name, version in versions.items():
        info = python.parent.parent / "lib" / "python3" / "site-packages" / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("versions", "installed"),
    [
        ({"some_thing": "1.2", "other": "3"}, True),
        ({"some_thing": "1.2"}, False),
        ({"some_thing": "1.3", "other": "3"}, False),
    ],
)
def test_an_environment_is_whole_if_it_has_every_pinned_version(
    tmp_path: Path, versions: dict[str, str], installed: bool
) -> None:
    assert not venvs.is_installed(PINNED, tmp_path)
    make_venv(tmp_path, **versions)
    assert venvs.is_installed(PINNED, tmp_path) is installed


def test_what_is_there_is_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venvs.venv, "create", lambda *_, **__: pytest.fail("it was made again"))
    make_venv(tmp_path, some_thing="1.2", other="3")
    assert venvs.install(PINNED, tmp_path) == venvs.python_of(PINNED, tmp_path)
    (pool,) = chosen(discover(), ["process-pool"])
    assert venvs.install(pool, tmp_path) == PYTHON


def test_what_pip_said_last_is_why_an_environment_could_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], 1, "", "Looking in indexes\nERROR: No matching distribution\n")
    monkeypatch.setattr(venvs.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(venvs.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(venvs.InstallFailed, match=r"Some.Thing.*No matching distribution"):
        venvs.install(PINNED, tmp_path)


def test_a_server_that_is_not_installed_is_a_reason_that_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process.shutil, "which", lambda name: None)
    with Servers({"redis"}) as servers:
        assert servers.urls == {}
        assert "apt-get install redis-server" in servers.why_not(("redis",))
        assert servers.why_not(()) == ""


GREETER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    connection.recv(4)
    connection.sendall(b"+PONG")
    connection.close()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_server_is_ready_when_it_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    port = free_port()
    server = ServerProcess([sys.executable, "-c", GREETER, str(port)], {}, tmp_path, port)
    try:
        server.wait_ready(b"PING", b"+PONG")
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
    finally:
        server.stop()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_a_server_ends_with_the_harness_however_that_ends(tmp_path: Path) -> None:
    port = free_port()
    script = (
        "import os, sys; from pathlib import Path; from paceline_bench.harness.server_process import ServerProcess\n"
        f"server = ServerProcess([sys.executable, '-c', {GREETER!r}, '{port}'], {{}}, "
        f"Path({str(tmp_path)!r}), {port})\n"
        "server.wait_ready(b'PING', b'+PONG')\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    try:
        psutil.Process(int(done.stdout)).wait(timeout=10)
    except psutil.NoSuchProcess:
        pass  # it has ended already


@pytest.mark.parametrize(
    ("log", "version"),
    [
        ("1:C 25 Nov 2026 * Redis version=7.0.15, bits=64", "7.0.15"),
        ("[info]\n  ##  ##      RabbitMQ 3.10.8\n", "3.10.8"),
        ("", "unknown"),
    ],
)
def test_the_version_of_a_server_is_in_its_log(log: str, version: str) -> None:
    assert rival_servers.version_in(log) == version


def test_the_last_words_of_a_server_that_did_not_start_are_the_reason(tmp_path: Path) -> None:
    server = ServerProcess(["sh", "-c", "echo no room; exit 1"], {}, tmp_path, free_port())
    try:
        with pytest.raises(ServerFailed, match="no room"):
            server.wait_ready(b"PING", b"+PONG")
    finally:
        server.stop()
