"""The frame around all commands: what is imported, what is printed, what the exit code is."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from paceline.cli import app as app_module
from paceline.cli.app import COMMANDS, app, run
from paceline.errors import NoNodeFound, QueueFull


@pytest.fixture
def failing_command(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command named `fail` that raises what the test puts into the list."""
    errors: list[BaseException] = []

    @click.command()
    def fail() -> None:
        raise errors[0]

    monkeypatch.setattr(app_module.LazyGroup, "get_command", lambda self, ctx, name: fail if name == "fail" else None)
    return errors


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "bench"])
def test_every_command_of_the_table_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Usage: paceline {name}")
    assert COMMANDS[name][2] in printed


def test_every_command_has_its_row_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `paceline ")]
    assert [name for name in COMMANDS if not any(f"`paceline {name}" in row for row in rows)] == []


def test_help_lists_the_commands_and_imports_none_of_them() -> None:
    code = (
        "import sys; from paceline.cli.app import run; run(['--help']); heavy = ('rich', 'zmq', 'zeroconf'); "
        "print([name for name in (*heavy, 'paceline.client', 'paceline.config') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    *help_lines, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert all(any(line.strip().startswith(name) for line in help_lines) for name in COMMANDS)


def test_starting_a_node_imports_neither_tables_nor_the_client() -> None:
    code = (
        "import sys; from paceline.cli.app import run; code = run(['node', '--workers', '-1']); "
        "print(code, [name for name in ('rich', 'psutil', 'zeroconf', 'paceline.client') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["40 []"]


@pytest.mark.parametrize("arguments", [["nonsense"], ["submit"], ["init", "--nodes", "0"], ["status", "--nonsense"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("paceline: error: ")
    assert "--help" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [[], ["bench"], ["cluster"], ["journal"]])
def test_a_missing_command_is_an_error_of_two_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err == (
        f"paceline: error: Missing command.\nTry `{' '.join(['paceline', *arguments])} --help`.\n"
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sumbit", "No such command 'sumbit'. Did you mean 'submit'?"),
        ("beanch", "No such command 'beanch'. Did you mean 'bench'?"),
        ("xyz", "No such command 'xyz'."),
    ],
)
def test_a_misspelled_command_is_told_what_it_may_be(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([word]) == 2
    assert capsys.readouterr().err == f"paceline: error: {said}\nTry `paceline --help`.\n"


def test_an_address_whose_name_does_not_resolve_is_named(
    failing_command: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    unresolved = {"absent:7077": "Name or service not known"}
    failing_command.append(NoNodeFound(("absent:7077", "present:7077"), 1.0, unresolved))
    assert run(["fail"]) == 30
    said = capsys.readouterr().err
    assert "absent:7077 does not resolve (Name or service not known): is it right?" in said
    assert "present:7077 does not resolve" not in said


def test_a_command_that_may_open_no_more_files_says_so_in_a_line(
    failing_command: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing_command.append(OSError(errno.EMFILE, "Too many open files", "/lib/paceline/cli/tables.py"))
    assert run(["fail"]) == 36
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "(Too many open files)" in said
    assert "ulimit -n" in said


@pytest.mark.parametrize(
    ("arguments", "command"),
    [(["submit", "tasks.add", "--kw"], "submit"), (["cluster", "recover", "--port"], "cluster recover")],
)
def test_an_option_without_its_value_refers_to_the_help_of_its_command(
    arguments: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err == (
        f"paceline: error: Option '{arguments[-1]}' requires an argument.\nTry `paceline {command} --help`.\n"
    )


def test_a_negative_argument_taken_for_an_option_gets_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["submit", "tasks.add", "-1", "2"]) == 2
    assert "goes after `--`" in capsys.readouterr().err
    assert run(["submit", "tasks.add", "--nonsense"]) == 2
    assert "goes after" not in capsys.readouterr().err


def test_an_error_of_paceline_is_one_message_and_its_code(
    failing_command: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing_command.append(QueueFull("2000000 tasks wait"))
    assert run(["fail"]) == 11
    assert capsys.readouterr().err == (
        "paceline: error: 2000000 tasks wait; submit again later, or raise the limit on the nodes\n"
    )


def test_ctrl_c_ends_with_130(failing_command: list[BaseException]) -> None:
    failing_command.append(KeyboardInterrupt())
    assert run(["fail"]) == 130


def test_a_defect_keeps_its_traceback(failing_command: list[BaseException]) -> None:
    failing_command.append(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


def test_the_version_is_told_in_three_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == run(["version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("paceline ")
    assert run(["version", "--json"]) == 0
    assert {"paceline", "protocol", "python"} <= json.loads(capsys.readouterr().out).keys()


def test_the_group_is_named_paceline_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "Usage: paceline" in capsys.readouterr().out
    assert isinstance(app, click.Group)
