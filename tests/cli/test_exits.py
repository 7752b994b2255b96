"""Every error that a user can meet has one exit code, and the page that lists them is right."""

import re
from pathlib import Path

import click
import pytest

from paceline import errors
from paceline.cli.app import run
from paceline.cli.exits import INTERRUPTED, PROTOCOL_EXITS, TIMED_OUT, USAGE, exit_code_of, message_of
from paceline.errors import ConfigError, TaskFailed
from paceline_protocol.errors import MalformedFrame, PayloadTooLarge, UnserializableValue, VersionMismatch

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def documented() -> dict[str, int]:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    return {name: int(code) for code, name in rows}


def known() -> dict[str, int]:
    ours = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.PacelineError)
    }
    return ours | {kind.__name__: code for kind, code in PROTOCOL_EXITS.items()} | {"TimeoutError": TIMED_OUT}


def test_the_page_lists_every_error_with_its_code() -> None:
    assert documented() == known()


def test_no_two_errors_share_a_code() -> None:
    codes = [*known().values(), USAGE, INTERRUPTED]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UnknownTask("tasks.add"), 10),
        (TimeoutError(), 23),
        (VersionMismatch(1, 2), 50),
        (PayloadTooLarge(10, 5), 51),
        (UnserializableValue("argument 1", "socket"), 52),
        (MalformedFrame("short"), 54),
        (click.FileError("x"), 1),
        (ValueError("a defect"), None),
    ],
)
def test_errors_map_to_codes(error: Exception, code: int | None) -> None:
    assert exit_code_of(error) == code
    assert message_of(error)


def test_a_builtin_exception_of_a_task_is_a_failed_task() -> None:
    error = ValueError("no")
    error.__cause__ = errors.TaskFailed("ValueError", "no", "Traceback: line 3")
    assert exit_code_of(error) == 20
    assert message_of(error) == "ValueError: no\n\nOn the worker:\nTraceback: line 3"


def test_a_long_word_of_a_user_is_cut_and_what_a_task_raised_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    word = "x" * 5_000
    for arguments in (
        ["tasks", "why", word],
        ["status", "--cluster", f"/{word}"],
        ["node", "t", "--workers", "9" * 5_000],
        ["node", "t", "--voters", "9" * 4_000],
        ["key", "client", word, "--cluster", word],
        [word],
    ):
        assert run(arguments) in (2, 40)
        assert len(capsys.readouterr().err) < 700
    failed = ValueError(word)
    failed.__cause__ = TaskFailed("ValueError", word)
    assert message_of(TaskFailed("ValueError", word)) == message_of(failed) == f"ValueError: {word}"
    assert message_of(ConfigError(f"a {word} b")) == f"a {'x' * 120}...{'x' * 40} b"
