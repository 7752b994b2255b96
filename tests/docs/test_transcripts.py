"""The sessions at a terminal that say that they are run: each command in its order, with a node of their own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from integration.conftest import wait_until, without_settings
from paceline import Client

DOCS = Path(__file__).parents[2] / "docs"
MARK = "    # tests/docs/test_transcripts.py runs this\n"
DEADLINE_S = 30.0
NODE_ID, ADDRESS, PID = "4038e69d24ea71e3", "127.0.0.1:7077", "4711"
"""What the pages call the node, which the first command starts in the background."""
MOMENT = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", re.MULTILINE)


class Step(NamedTuple):
    """A command, and what it prints; ``...`` stands for any number of lines."""

    command: str
    lines: list[str]


def sessions() -> list[list[Step]]:
    found = []
    for page in sorted(DOCS.glob("*.md")):
        for session in page.read_text().split(MARK)[1:]:
            steps: list[Step] = []
            for line in session.splitlines():
                if not line.startswith("    "):
                    break
                if line.startswith("    $ "):
                    steps.append(Step(line.removeprefix("    $ "), []))
                else:
                    steps[-1].lines.append(line.removeprefix("    "))
            found.append(steps)
    return found


def is_said(lines: list[str], text: str) -> bool:
    """Whether these are the lines of the text, whatever the moments are that some of them begin with."""
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(MOMENT.sub("", line)) + r"\n" for line in lines)
    return re.fullmatch(pattern, MOMENT.sub("", text)) is not None


def has_been_said(lines: list[str], log: Path, start: int) -> bool:
    return is_said(lines, log.read_text()[start:])


def start(command: str, directory: Path) -> subprocess.Popen[str]:
    """The node of a session, whose output is in two files."""
    program, *arguments = shlex.split(command.removesuffix(" &"))
    assert program == "paceline"
    settings = {"PORT": "0", "JOURNAL": "memory", "METRICS": "off", "NO_DISCOVERY": "1"}
    with (directory / "out").open("w") as out, (directory / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "paceline", *arguments],
            cwd=directory,
            env=without_settings() | {f"PACELINE_{name}": value for name, value in settings.items()},
            stdout=out,
            stderr=log,
            text=True,
            process_group=0,
        )


def run(command: str, address: str) -> str:
    """What a command prints that ends with 0, and has nothing to complain of."""
    program, *arguments = shlex.split(command)
    if program == "kill":
        os.kill(int(arguments[1]), signal.Signals[f"SIG{arguments[0].removeprefix('-')}"])
        return ""
    assert program == "paceline"
    done = subprocess.run(
        [sys.executable, "-m", "paceline", *arguments, "--connect", address],
        env=without_settings(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


@pytest.mark.parametrize("steps", sessions(), ids=lambda steps: steps[0].command)
def test_each_command_does_what_the_page_says(steps: list[Step], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import paceline\n\n\n@paceline.task\ndef charge() -> None: ...\n")
    (begins, *others) = steps
    out, log = tmp_path / "out", tmp_path / "log"
    node = start(begins.command, tmp_path)
    try:
        wait_until(lambda: "leader: this node" in out.read_text(), log.read_text, DEADLINE_S)
        address = re.findall(r" at (\S+:\d+)", out.read_text())[0]
        with Client(address) as client:
            node_id = client.status()["nodes"][0]["id"]

        def here(text: str) -> str:
            for there, instead in ((NODE_ID, node_id), (NODE_ID[:8], node_id[:8]), (ADDRESS, address)):
                text = text.replace(there, instead)
            return re.sub(rf"\b{PID}\b", str(node.pid), text)

        assert is_said([here(line) for line in begins.lines], out.read_text())
        for step in others:
            seen = len(log.read_text())
            lines = [here(line) for line in step.lines]
            printed = run(here(step.command), address)
            if step.command.startswith("kill"):  # the node says it, which the terminal shows
                wait_until(partial(has_been_said, [*lines, "..."], log, seen), log.read_text, DEADLINE_S)
            else:
                assert is_said(lines, printed), printed
        assert node.wait(DEADLINE_S) == 0, log.read_text()
    finally:
        node.kill()
        node.wait(DEADLINE_S)


def test_a_session_is_run() -> None:
    assert [len(steps) for steps in sessions()] == [7]
