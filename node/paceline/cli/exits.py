"""The exit codes of the command line, for every error that a user can meet. docs/cli.md lists the same numbers."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

import click

from paceline.cli.signals import Ended
from paceline.errors import PacelineError, TaskFailed
from paceline_protocol.errors import PayloadError, PayloadTooLarge, ProtocolError, UnserializableValue, VersionMismatch

OUTPUT_FAILED = 1  # stdout does not take what was to be printed
CHECK_FAILED = 1  # a demo or a benchmark found a wrong result
USAGE = 2
TIMED_OUT = 23  # --timeout passed; the task goes on
_LONG_WORD = re.compile(r"(\S{120})\S{41,}(\S{40})")
SIGNALLED = 128  # and the number of the signal, as shells do
INTERRUPTED = SIGNALLED + signal.SIGINT

# The errors of the wire know nothing of command lines. The first row that fits counts.
PROTOCOL_EXITS: Mapping[type[Exception], int] = {
    VersionMismatch: 50,
    PayloadTooLarge: 51,
    UnserializableValue: 52,
    PayloadError: 53,
    ProtocolError: 54,
}


def exit_code_of(error: BaseException) -> int | None:
    """The exit code of an error that is the user's to act on; None for a defect of paceline."""
    if isinstance(error, PacelineError):
        return error.exit_code
    if isinstance(error.__cause__, TaskFailed):  # a built-in exception that a task raised
        return error.__cause__.exit_code
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, click.ClickException):
        return error.exit_code
    return next((code for kind, code in PROTOCOL_EXITS.items() if isinstance(error, kind)), None)


def interrupted_code_of(error: BaseException) -> int:
    """The exit code after Ctrl-C, or another signal that ends a command. Click has it behind an error of its own."""
    cause = error.__cause__ if isinstance(error, click.Abort) else error
    return SIGNALLED + cause.number if isinstance(cause, Ended) else INTERRUPTED


def message_of(error: BaseException) -> str:
    """The text of an error: what happened, then the remedy. What a task raised is as it is; elsewhere a word that a
    user gave, and that is very long, is cut."""
    if isinstance(error, TaskFailed):
        return str(error)
    if isinstance(error.__cause__, TaskFailed):
        return str(error.__cause__)
    return _LONG_WORD.sub(r"\1...\2", whole_message_of(error))


def whole_message_of(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    return str(error) or type(error).__name__
