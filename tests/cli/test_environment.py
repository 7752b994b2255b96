"""What an option says can be said by the environment, by one rule."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from paceline.cli.app import COMMANDS, app, run
from paceline.cli.environment import Setting, Taken, _FromEnvironment, variable_of
from paceline.cli.node import node
from paceline.config import NodeConfig, new_cluster
from paceline.errors import ConfigError
from paceline_bridge import cli as bridge_module
from paceline_bridge.cli import bridge
from paceline_bridge.config import BridgeConfig

DOCS = Path(__file__).parents[2] / "docs"
OF_A_PROGRAM = {"--announce-fd", "--parent-fd", "--no-environment"}
ONE_CALL = {"--fresh", "--moved"}  # a container would begin with nothing, or be moved, at each restart


@pytest.fixture(autouse=True)
def unchanged_logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in __import__("os").environ if name.startswith("PACELINE_")]:
        monkeypatch.delenv(name)
    logger = logging.getLogger("paceline")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[NodeConfig]:
    """The configurations of nodes that would be run."""
    configs: list[NodeConfig] = []

    def run_node(config: NodeConfig, **_: Any) -> int:
        configs.append(config)
        return 0

    monkeypatch.setattr("paceline.runtime.run.run_node", run_node)
    return configs


def started_bridge(monkeypatch: pytest.MonkeyPatch) -> list[BridgeConfig]:
    configs: list[BridgeConfig] = []
    real = bridge_module.config_of

    def config_of(**settings: Any) -> BridgeConfig:
        configs.append(real(**settings))
        raise ConfigError("that is enough")

    monkeypatch.setattr(bridge_module, "config_of", config_of)
    return configs


# --- the rule


@pytest.mark.parametrize("command", [node, bridge], ids=["node", "bridge"])
def test_every_option_of_what_runs_for_long_follows_the_rule_and_its_help_says_so(command: click.Command) -> None:
    shown = " ".join(command.get_help(click.Context(command)).split())
    for param in command.params:
        flag = param.opts[-1]
        if flag == "--connect":
            assert "PACELINE_CONNECT" in shown  # which every client reads itself
        elif flag not in OF_A_PROGRAM | ONE_CALL:
            assert isinstance(param, _FromEnvironment), flag
            if isinstance(param, Setting):
                assert variable_of(flag) in param.variables
                assert variable_of(flag) in shown
    assert "the command line, then the environment, then" in shown


def test_every_command_that_reaches_a_cluster_follows_it_in_that() -> None:
    for name in set(COMMANDS) - {"bench", "key"}:  # `key` reaches a file, in its own way
        command = app.get_command(click.Context(app), name)
        commands = command.commands.values() if isinstance(command, click.Group) else [command]
        for each in commands:
            for param in each.params if each is not None else ():
                if param.opts[-1] in ("--cluster", "--connect-timeout", "--data-dir", "--port"):
                    assert isinstance(param, Setting), (name, param.opts)


def test_a_node_can_be_told_all_by_the_environment(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {
        "MODULES": "shop.tasks mail.tasks",
        "JOIN": "a:1, b:2  c",
        "BIND": "0.0.0.0",
        "PORT": "7100",
        "ADVERTISE": "node1",
        "WORKERS": "3",
        "EXPECT": "3",
        "VOTERS": "5",
        "JOURNAL": "os",
        "DATA_DIR": str(tmp_path),
        "INSECURE": "yes",
        "NO_DISCOVERY": "1",
        "PAYLOAD_LIMIT": "2",
        "QUEUE_LIMIT": "99",
        "QUEUE_LIMIT_MIB": "7",
        "METRICS": "off",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"PACELINE_{name}", value)
    assert run(["node"]) == 0
    assert started == [
        NodeConfig(
            modules=("shop.tasks", "mail.tasks"),
            join=("a:1", "b:2", "c"),
            bind_host="0.0.0.0",
            port=7100,
            advertise_host="node1",
            workers=3,
            expect=3,
            voters=5,
            journal="os",
            data_dir=tmp_path,
            insecure=True,
            discovery=False,
            payload_limit_bytes=2 << 20,
            queue_limit_tasks=99,
            queue_limit_bytes=7 << 20,
            metrics="off",
            log_format="json",
        )
    ]
    assert logging.getLogger("paceline").level == logging.INFO


def test_a_bridge_can_be_told_all_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = started_bridge(monkeypatch)
    given = {
        "AMQP": "amqp://u:a,b@one amqp://two",
        "QUEUE": "celery,task_queue=tasks.greet",
        "TASK": "a.x=b.x c.y=d.y",
        "DECLARE": "true",
        "PREFETCH": "9",
        "PREFETCH_MIB": "8",
        "DEAD_LETTER": "dead",
        "METRICS": "127.0.0.1:1",
        "CONNECT": "127.0.0.1:7077",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"PACELINE_{name}", value)
    assert run(["bridge"]) == 40
    assert configs == [
        BridgeConfig(
            urls=("amqp://u:a,b@one", "amqp://two"),
            queues={"celery": "", "task_queue": "tasks.greet"},
            tasks={"a.x": "b.x", "c.y": "d.y"},
            declare=True,
            prefetch=9,
            prefetch_mib=8,
            dead_letter="dead",
            metrics="127.0.0.1:1",
        )
    ]
    monkeypatch.setenv("PACELINE_BRIDGE_METRICS", "127.0.0.1:2")  # where PACELINE_METRICS is for the nodes
    assert run(["bridge"]) == 40
    assert configs[1].metrics == "127.0.0.1:2"


# --- what counts more


def test_the_command_line_counts_more_than_the_environment_and_that_more_than_the_cluster_file(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "cluster.toml"
    path.touch(mode=0o600)
    path.write_text(new_cluster(3).dumps())
    monkeypatch.setenv("PACELINE_CLUSTER", str(path))
    assert run(["node", "tasks"]) == 0
    monkeypatch.setenv("PACELINE_EXPECT", "5")
    monkeypatch.setenv("PACELINE_MODULES", "others")
    assert run(["node", "tasks"]) == 0
    assert run(["node", "tasks", "--expect", "7"]) == 0
    assert [(config.modules, config.effective_expect) for config in started] == [
        (("tasks",), 3),
        (("tasks",), 5),
        (("tasks",), 7),
    ]


@pytest.mark.parametrize("value", ["", "  ", "tcp://10.0.0.1:7077"])
def test_what_says_nothing_leaves_the_default(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PACELINE_PORT", value)
    assert run(["node", "tasks"]) == 0
    assert started[0].port == 7077


def test_a_node_of_a_program_takes_nothing_from_the_environment(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACELINE_JOIN", "production:7077")
    monkeypatch.setenv("PACELINE_MODULES", "others")
    monkeypatch.setenv("PACELINE_PROT", "1")
    assert run(["node", "tasks", "--no-environment"]) == 0
    assert started == [NodeConfig(modules=("tasks",))]
    assert capsys.readouterr().err == ""


# --- what is wrong


def test_a_flag_that_is_neither_is_refused_with_what_can_be_written(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACELINE_INSECURE", "maybe")
    assert run(["node", "tasks"]) == 2
    assert "'maybe' is neither; write 1, true, yes or on, or 0, false, no or off." in capsys.readouterr().err


def test_a_tilde_in_a_path_of_the_environment_is_the_home_directory(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PACELINE_DATA_DIR", "~/data")
    monkeypatch.setenv("PACELINE_MODULES", "~/tasks.py shop.tasks")
    assert run(["node"]) == 0
    assert started[0].data_dir == tmp_path / "data"
    assert started[0].modules == (str(tmp_path / "tasks.py"), "shop.tasks")


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("PACELINE_PORT", "seven", 2),
        ("PACELINE_PORT", "70000", 40),
        ("PACELINE_WORKERS", "1.5", 2),
        ("PACELINE_INSECURE", "maybe", 2),
        ("PACELINE_LOG_LEVEL", "loud", 2),
        ("PACELINE_JOURNAL", "disk", 40),
        ("PACELINE_BIND", "0.0.0.0 ", 40),
        ("PACELINE_JOIN", "a:1,b:x", 40),
        ("PACELINE_METRICS", "9077", 40),
        ("PACELINE_CLUSTER", "/nowhere/cluster.toml", 40),
        ("PACELINE_VOTERS", "2", 40),
    ],
)
def test_a_value_that_can_not_be_used_names_its_variable(
    started: list[NodeConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    code: int,
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("PACELINE_QUEUE_LIMIT", "99")  # which is not at fault
    assert run(["node", "tasks"]) == code
    assert f"(from the environment: {variable})" in capsys.readouterr().err
    assert started == []


def test_a_message_that_speaks_of_a_value_names_its_variable_too() -> None:
    taken = Taken()
    taken.add("MODULE", "PACELINE_MODULES", "shop.tasks /nowhere/mail.py")
    taken.add("--port", "PACELINE_PORT", "99")
    assert taken.note("can't read /nowhere/mail.py: 99") == " (from the environment: PACELINE_MODULES)"
    assert taken.note("--port and --join can't be 1") == " (from the environment: PACELINE_PORT)"
    assert taken.note("--port-range or --port99") == ""


def test_who_is_refused_for_the_command_line_hears_of_no_variable(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACELINE_PORT", "7100")
    assert run(["node", "tasks", "--port", "70000"]) == 40
    assert run(["node", "tasks", "--workers", "x"]) == 2
    assert "PACELINE" not in capsys.readouterr().err


def test_no_password_of_a_variable_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACELINE_AMQP", "amqp:/shop:s3cret@rabbit/v")
    monkeypatch.setenv("PACELINE_QUEUE", "celery")
    assert run(["bridge"]) == 40
    assert "s3cret" not in capsys.readouterr().err


def test_a_variable_that_is_no_setting_is_named_with_what_may_be_meant(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (
        "PROT",
        "DATADIR",
        "ZZZZZZZZZZZZZZZZ",
        "PREFETCH",
        "CONNECT",
        "WORKER_NODE",
        "SERVICE_HOST",
        "PORT_7077_TCP_ADDR",
    ):
        monkeypatch.setenv(f"PACELINE_{name}", "9")
    monkeypatch.setenv("PACELINE_PORT", "tcp://10.0.0.1:7077")
    assert run(["node", "tasks"]) == 0
    lines = [re.sub(r".*paceline.config: ", "", line) for line in capsys.readouterr().err.splitlines()]
    assert lines[:3] == [
        "PACELINE_DATADIR is set and means nothing to paceline: did you mean PACELINE_DATA_DIR?",
        "PACELINE_PROT is set and means nothing to paceline: did you mean PACELINE_PORT?",
        "PACELINE_ZZZZZZZZZZZZZZZZ is set and means nothing to paceline: no option is called so (paceline node --help)",
    ]
    assert "Kubernetes" in lines[3]
    assert len(lines) == 4
    assert len(started) == 1


def test_many_strays_are_a_bounded_number_of_lines(
    started: list[NodeConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(500):
        monkeypatch.setenv(f"PACELINE_OWN_{number}", "x")
    assert run(["node", "tasks"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 11


def test_what_is_documented_are_the_variables_that_there_are() -> None:
    text = (DOCS / "cli.md").read_text().partition("## Settings from the environment")[2].partition("\n## ")[0]
    assert text
    known = {name for command in (node, bridge) for param in command.params for name in getattr(param, "variables", ())}
    assert set(re.findall(r"PACELINE_[A-Z_]+[A-Z]", text)) <= known | {"PACELINE_CONNECT"}
