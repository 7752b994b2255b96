"""A command whose stdout, stdin or stderr is full, closed, or read by nobody; odd terminals and homes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integration.conftest import without_settings

DEADLINE_S = 60.0
PACELINE = f"{sys.executable} -m paceline"
VERSION = "version --json"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which ``paceline`` is the command line of this source."""
    line = f'set -o pipefail; paceline() {{ {PACELINE} "$@"; }}; {line}'
    kept = without_settings()
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=DEADLINE_S, env=kept | environment, check=False
    )


def test_a_full_stdout_is_an_error_in_one_line() -> None:
    done = shell(f"paceline {VERSION} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("paceline: error: can't write to stdout: No space left on device")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [VERSION, "--help", "node --help", "init --nodes 3", "init --name x --nodes 1"])
def test_a_closed_stdout_is_an_error_in_one_line(command: str) -> None:
    done = shell(f"paceline {command} >&-")
    assert done.returncode == 1
    assert "can't write to stdout: Bad file descriptor" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [VERSION, "--help", "init --nodes 3"])
def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PACELINE.split(), *command.split()], stdout=writing, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_what_fails_keeps_its_exit_code_though_stderr_takes_nothing() -> None:
    for stderr in ("2>/dev/full", "2>&-", "2> >(true)"):
        assert shell(f"paceline nothing {stderr}").returncode == 2
        assert shell(f"paceline status --cluster /nowhere {stderr}").returncode == 40


def test_all_closed_at_once_is_no_traceback(tmp_path: Path) -> None:
    done = shell(f"paceline init --nodes 3 <&- >&- 2>&-; echo $? > {tmp_path}/code")
    assert done.returncode == 0
    assert (tmp_path / "code").read_text() == "1\n"


def test_a_closed_stdin_can_not_be_asked() -> None:
    done = shell("paceline tasks cancel --name x --yes --connect 127.0.0.1:1 --connect-timeout 0.2 <&-")
    assert done.returncode == 30
    assert "Traceback" not in done.stderr


def test_a_file_that_was_cut_short_is_no_success(tmp_path: Path) -> None:
    done = shell(f"ulimit -f 0; trap '' XFSZ; paceline init --nodes 3 > {tmp_path}/cluster.toml")
    assert done.returncode == 1
    assert "File too large" in done.stderr


def test_a_pipe_that_does_not_block_gets_all_of_it() -> None:
    line = "import os, sys; os.set_blocking(1, False); from paceline.cli.output import guard; guard(); "
    line += "import click; click.echo('x' * 1_000_000)"
    done = shell(f'{sys.executable} -c "{line}" | (sleep 0.5; wc -c)')
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1000001", "")


@pytest.mark.parametrize("environment", [{"LANG": "C", "LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_what_the_encoding_has_no_form_for_is_shown_all_the_same(environment: dict[str, str]) -> None:
    done = shell("paceline init --nodes 3 --name é", **environment)
    assert done.returncode == 40
    assert "Traceback" not in done.stderr
    line = "from paceline.cli.output import guard; guard(); print(chr(233), chr(128640))"
    done = shell(f'{sys.executable} -c "{line}"', **environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"COLUMNS": "20"}, {"COLUMNS": "0"}, {"TERM": "nonsense"}])
def test_odd_terminals_are_no_obstacle(environment: dict[str, str]) -> None:
    for command in ("--help", "node --help", VERSION):
        done = shell(f"paceline {command}", **environment)
        assert (done.returncode, done.stderr) == (0, "")


def test_results_are_whole() -> None:
    done = shell(f"paceline {VERSION}")
    assert done.returncode == 0
    assert json.loads(done.stdout)
