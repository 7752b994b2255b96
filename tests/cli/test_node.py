"""`paceline node`: settings, the pipes to a parent, the log. The node itself is not started here."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.cli.app import run
from paceline.cli.logs import configure
from paceline.cli.node import config_of, greeting
from paceline.cli.parent import announce_error
from paceline.config import ClusterFile, NodeConfig, new_cluster, usable_cpus
from paceline.errors import ConfigError, ModuleImportFailed
from paceline.log_formats import JsonFormatter, TextFormatter
from paceline.ownership import name_of
from paceline.runtime.greeting import NodeInfo
from paceline.runtime.journal import unusable


@pytest.fixture(autouse=True)
def unchanged_logger() -> Iterator[None]:
    logger = logging.getLogger("paceline")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "shop_tasks.py"
    path.touch()
    return path


def settings(**given: Any) -> dict[str, Any]:
    """What click passes on when nothing but ``given`` is on the command line."""
    return {
        "modules": ("tasks.py",),
        "cluster_path": None,
        "join": (),
        "bind_host": None,
        "port": 7077,
        "workers": None,
        "no_discovery": False,
        "payload_limit_mib": None,
        "queue_limit_mib": None,
        "result_limit_mib": None,
        "dead_limit_mib": None,
        "worker_max_rss_mib": None,
        "worker_memory_limit_mib": None,
    } | given


def test_what_is_not_given_has_the_default_of_the_configuration() -> None:
    assert config_of(**settings()) == NodeConfig(modules=("tasks.py",))


def test_sizes_are_given_in_mib() -> None:
    limits = {"payload_limit_mib": 2, "queue_limit_mib": 3, "result_limit_mib": 4, "dead_limit_mib": 5}
    of_workers = {"worker_max_rss_mib": 6, "worker_memory_limit_mib": 7}
    config = config_of(**settings(**limits, **of_workers, no_discovery=True))
    assert (config.payload_limit_bytes, config.queue_limit_bytes) == (2 << 20, 3 << 20)
    assert (config.result_limit_bytes, config.dead_limit_bytes) == (4 << 20, 5 << 20)
    assert (config.worker_max_rss_bytes, config.worker_memory_limit_bytes) == (6 << 20, 7 << 20)
    assert not config.discovery


@pytest.mark.parametrize(
    ("given", "fewest", "most"),
    [
        ({"workers": 3}, 3, 3),
        ({"min_workers": 2, "max_workers": 16}, 2, 16),
        ({"max_workers": 16}, 1, 16),
        ({"min_workers": 5_00}, 500, 500),
    ],
)
def test_there_are_always_as_many_workers_or_as_many_as_are_wanted(
    given: dict[str, int], fewest: int, most: int
) -> None:
    config = config_of(**settings(**given))
    assert (config.workers, config.most_workers) == (fewest, most)


def test_without_a_most_it_is_one_for_each_cpu() -> None:
    assert config_of(**settings(min_workers=1)).most_workers == usable_cpus()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 2, "max_workers": 4}, "--workers says how many there are at any time, .* leave out the one or"),
        ({"workers": 2, "min_workers": 1}, "leave out the one or the others"),
        ({"min_workers": 5, "max_workers": 4}, r"--min-workers is 5; allowed is a whole number from 1 to 4"),
        ({"min_workers": 0}, r"--min-workers is 0; allowed is a whole number from 1"),
        ({"min_workers": 4_097}, r"--min-workers is 4097; allowed is a whole number from 1 to 4096"),
        ({"max_workers": 0}, r"--max-workers is 0; allowed is a whole number from 1 to 4096"),
        ({"max_workers": 4_097}, r"--max-workers is 4097"),
    ],
)
def test_numbers_of_workers_that_contradict_are_refused_by_name(given: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**settings(**given))


def test_the_cluster_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.touch(mode=0o600)
    path.write_text(new_cluster(3, name="shop").dumps())
    config = config_of(**settings(cluster_path=str(path)))
    assert config.cluster is not None
    assert (config.cluster.name, config.effective_expect) == ("shop", 3)


def test_a_setting_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="insecure"):
        config_of(**settings(bind_host="0.0.0.0"))


CLUSTER = new_cluster(3, name="shop")


def info(**changes: Any) -> NodeInfo:
    fields = {
        "node_id": "a" * 16,
        "address": "10.0.0.1:7077",
        "cluster_name": "shop",
        "cluster_id": "c" * 16,
        "leader_id": "a" * 16,
        "leader_address": "10.0.0.1:7077",
        "waiting": "",
        "workers": 2,
        "task_names": ("tasks.add",),
    }
    return NodeInfo(**(fields | changes))


def test_a_node_says_who_it_is_who_leads_and_how_another_joins() -> None:
    config = NodeConfig(modules=("tasks.py",), cluster=new_cluster(3, name="shop"), queue_limit_bytes=1 << 30)
    assert greeting(config, info(), "/etc/my cluster.toml") == [
        "paceline node aaaaaaaa of shop at 10.0.0.1:7077, 2 workers",
        "tasks: tasks.add",
        "leader: this node",
        "on another machine: paceline node tasks.py --cluster '/etc/my cluster.toml'",
    ]


@pytest.mark.parametrize(
    ("config", "changes", "expected"),
    [
        ({"workers": 1, "max_workers": 6}, {"workers": 1}, "10.0.0.1:7077, 1 worker, up to 6 while tasks wait"),
        ({}, {"leader_id": "b" * 16}, "leader: node bbbbbbbb at 10.0.0.1:7077"),
        ({}, {"leader_id": "b" * 16, "leader_address": ""}, "leader: node bbbbbbbb, whose address is not known yet"),
        ({}, {"leader_id": "", "waiting": "1 of 3 nodes are here"}, "leader: none yet, 1 of 3 nodes are here"),
        ({}, {}, "this machine only; for more: paceline init --nodes 3"),
        ({"insecure": True, "bind_host": "0.0.0.0"}, {}, "--insecure --bind 0.0.0.0 --join 10.0.0.1:7077"),
        ({"insecure": True, "bind_host": "0.0.0.0"}, {}, "WARNING"),
        ({"join": ("h:1", "i"), "expect": 2}, {"leader_id": ""}, "joins h:1, i; nodes of other machines can't reach"),
        ({"workers": 0, "modules": (), "cluster": CLUSTER}, {}, "paceline node MODULE --cluster FILE"),
        ({"cluster": CLUSTER, "discovery": False}, {}, "node tasks.py --cluster FILE --join 10.0.0.1:7077"),
        ({}, {"task_names": tuple("abcdefg"), "workers": 1}, "tasks: a, b, c, d, e, ..."),
        ({}, {"task_names": ()}, "tasks: none; put @task above a function of the module, and start the node again"),
        ({"journal": "fsync"}, {"data_dir": "/var/lib/paceline"}, ", data in /var/lib/paceline"),
        (
            {},
            {"goes_on": "cluster cccccccc and 10 tasks of before"},
            "goes on with cluster cccccccc and 10 tasks of before; --fresh begins with nothing",
        ),
    ],
)
def test_the_greeting_fits_the_situation_and_five_lines(
    config: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    lines = greeting(NodeConfig(**{"modules": ("tasks.py",), **config}), info(**changes), None)
    assert len(lines) <= 5
    assert config.get("join") is None or not any("this machine only" in line for line in lines)
    assert any(expected in line for line in lines)


def test_where_memory_is_short_the_greeting_says_how_much_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.config.memory_bytes", lambda: 400 << 20)
    line = greeting(NodeConfig(modules=("tasks.py",)), info(), None)[1]
    assert (
        line == "tasks: tasks.add; up to 100 MiB of them may wait, by the memory that there is here (--queue-limit-mib)"
    )
    assert "may wait" not in greeting(NodeConfig(modules=("tasks.py",), queue_limit_bytes=99 << 20), info(), None)[1]


def test_a_refused_setting_is_announced_to_the_parent(capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    assert run(["node", "tasks.py", "--voters", "2", "--announce-fd", str(writing)]) == 40
    os.close(writing)
    with os.fdopen(reading) as pipe:
        announced = json.loads(pipe.read())
    assert announced["exit_code"] == 40
    assert "voters" in announced["error"]
    assert capfd.readouterr().err == f"paceline: error: {announced['error']}\n"


def test_an_announcement_to_a_parent_that_is_gone_is_nobodys_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    announce_error(writing, "no", 1)
    os.close(writing)
    announce_error(None, "no", 1)


@pytest.mark.parametrize("fd", [-1, 99, 1 << 31, 1 << 63])
@pytest.mark.parametrize(("option", "use"), [("--parent-fd", "reading"), ("--announce-fd", "writing")])
def test_a_descriptor_that_is_not_open_is_refused_with_what_to_do(
    capsys: pytest.CaptureFixture[str], option: str, use: str, fd: int
) -> None:
    assert run(["node", "tasks.py", option, str(fd)]) == 40
    assert capsys.readouterr().err == (
        f"paceline: error: {option} {fd} is not a descriptor that is open for {use}; the program that starts the node "
        f"has to pass on that end of a pipe, as subprocess does with pass_fds=({fd},). By hand, leave the option out\n"
    )


def test_the_wrong_end_of_a_pipe_is_refused_and_told_to_the_parent(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    assert run(["node", "tasks.py", "--announce-fd", str(reading)]) == 40
    assert run(["node", "tasks.py", "--parent-fd", str(writing), "--announce-fd", str(writing)]) == 40
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert json.loads(pipe.read())["error"].startswith(f"--parent-fd {writing} is not a descriptor that is open")
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_process_stops_when_its_parents_end_is_closed() -> None:
    reading, writing = os.pipe()
    code = (
        "import sys, threading; from paceline.cli.parent import stop_with_parent; "
        "stop_with_parent(int(sys.argv[1])); print('up', flush=True); threading.Event().wait(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(reading)], pass_fds=(reading,), stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(reading)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert process.poll() is None
        os.close(writing)
        assert process.wait(timeout=30) == -signal.SIGTERM


def test_a_json_log_line_has_time_level_logger_message_and_traceback() -> None:
    record = logging.LogRecord("paceline.test", logging.WARNING, __file__, 1, "%d é", (5,), None)
    fields = json.loads(JsonFormatter().format(record))
    assert fields.pop("time").endswith("+00:00")
    assert fields == {"level": "warning", "logger": "paceline.test", "message": "5 é"}
    record.__dict__.update(task_id="0f" * 16, task_name="shop.pay", attempt=2, other=1)
    of_task = json.loads(JsonFormatter().format(record)).items() - fields.items()
    assert {name for name, _ in of_task} == {"time", "task_id", "task_name", "attempt"}
    try:
        raise ValueError("boom")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: boom" in json.loads(JsonFormatter().format(record))["traceback"]


def test_nothing_that_is_logged_looks_like_another_record_or_reaches_the_terminal() -> None:
    record = logging.LogRecord(
        "paceline.test", logging.WARNING, __file__, 1, "%s", ("a\x1b[2J\x9b\n2026-01-01 ERROR forged\r\u2028",), None
    )
    first, second = TextFormatter().format(record).split("\n")
    assert first.endswith(r"a\x1b[2J\x9b")
    assert second == r"    2026-01-01 ERROR forged\r\u2028"
    line = JsonFormatter().format(record)
    assert line.isprintable()
    assert json.loads(line)["message"] == record.getMessage()


def test_what_a_worker_says_of_its_module_is_shown_cut() -> None:
    shown = str(ModuleImportFailed.told_by_worker("m" * 4_000, "e\n" * 30_000, "t" * 60_000 + "\nthe end"))
    assert len(shown) < 12_000
    assert shown.count("\n") < 120
    assert "the end" in shown
    whole = ModuleImportFailed.told_by_worker("tasks", "ImportError: no", "Traceback\n  here")
    assert str(whole) == str(ModuleImportFailed("tasks", "ImportError: no", "Traceback\n  here"))


def test_the_root_logger_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    configure("json", "info")
    logging.getLogger("paceline.node").info("hello")
    assert root.handlers == before
    logging.getLogger("paceline").handlers[0].flush()
    assert json.loads(capsys.readouterr().err)["message"] == "hello"


def test_a_cluster_file_that_is_not_there_is_refused_with_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["node", "tasks.py"], ["status"], ["cluster", "recover"]):
        assert run([*command, "--cluster", "/nope.toml"]) == 40
        assert capsys.readouterr().err == (
            "paceline: error: can't read the cluster file /nope.toml: No such file or directory; give the file that "
            "the other machines of the cluster have, or make one with `paceline init --nodes N > cluster.toml`\n"
        )


def test_a_data_directory_that_cannot_be_made_is_a_wrong_setting_and_no_failed_disk(
    tmp_path: Path, tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(["node", str(tasks), "--data-dir", str(tmp_path / "file" / "data")]) == 40
    assert capsys.readouterr().err == (
        f"paceline: error: can't keep data in {tmp_path / 'file' / 'data'}: {tmp_path / 'file'} is a file; "
        "give another --data-dir, which this user can write to\n"
    )
    assert run(["node", str(tasks), "--data-dir", str(tmp_path / "file")]) == 40
    assert f"can't keep data in {tmp_path / 'file'}: it is a file;" in capsys.readouterr().err
    assert run(["node", str(tasks), "--data-dir", ""]) == 2
    assert "--data-dir': it is empty" in capsys.readouterr().err


def test_a_directory_of_another_user_is_refused_with_whose_it_is(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4711)
    monkeypatch.setattr(unusable, "open_lock", denied)
    assert run(["node", str(tasks), "--data-dir", str(tmp_path)]) == 40
    assert f"{tmp_path} belongs to {name_of(os.getuid())}, and this is run by" in capsys.readouterr().err


def test_what_imports_a_module_by_hand_is_said_with_its_name() -> None:
    told = str(ModuleImportFailed("shop.tasks", "no"))
    assert "`python -c 'import shop.tasks'`" in told
    assert told.endswith("start the node again, or send SIGHUP to one that still runs."), "it is told of a reload, too"
    assert "`python -c 'import tasks'`" in str(ModuleImportFailed("tasks.py", "no"))
    assert "`cd '/srv/my shop' && python -c 'import tasks'`" in str(ModuleImportFailed("/srv/my shop/tasks.py", "no"))


def test_init_writes_a_file_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--nodes", "3", "--name", "shop"]) == 0
    path = tmp_path / "cluster.toml"
    path.touch(mode=0o600)
    path.write_text(capsys.readouterr().out)
    cluster = ClusterFile.load(path)
    assert (cluster.name, cluster.expect) == ("shop", 3)


@pytest.mark.parametrize("name", ["no spaces please", ""])
def test_init_refuses_a_name_that_cannot_be_used(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(["init", "--nodes", "3", "--name", name]) == 40
    assert f"name is {name!r}; allowed are" in capsys.readouterr().err
