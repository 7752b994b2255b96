"""The table of commands, and the one place where an error becomes a message and an exit code.

A command's module is imported when the command runs and not before: a node that is started ten thousand times in a test
suite must not pay for the tables and progress bars of its neighbours.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from paceline.cli.environment import Taken
from paceline.cli.exits import (
    OUTPUT_FAILED,
    USAGE,
    exit_code_of,
    interrupted_code_of,
    message_of,
    whole_message_of,
)
from paceline.cli.output import OutputFailed, complain, flush
from paceline.descriptors import NO_MORE_FILES
from paceline.errors import ConfigError, OutOfResources
from paceline.line_writer import stderr_writer

# name -> (module, attribute, what `paceline --help` says). The help text stands here so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "node": ("paceline.cli.node", "node", "Run a node on this machine."),
    "submit": ("paceline.cli.submit", "submit", "Submit one task."),
    "result": ("paceline.cli.result", "result", "Print the result of a task, by its id."),
    "watch": ("paceline.cli.watch", "watch", "Follow tasks until they have ended: how far they are, and how they end."),
    "status": ("paceline.cli.status", "status", "Show nodes, leader, slots and queue."),
    "tasks": ("paceline.cli.tasks", "tasks", "List tasks, show single ones, let them run now, and cancel them."),
    "graphs": ("paceline.cli.graphs", "graphs", "Show how far graphs are, and cancel them."),
    "queues": ("paceline.cli.queues", "queues", "Show queues; pause, resume, weigh and purge them."),
    "dead": ("paceline.cli.dead", "dead", "Show dead tasks, and requeue or discard them."),
    "cron": (
        "paceline.cli.cron",
        "schedules",
        "Have tasks run at moments of the wall clock, and show what became of these.",
    ),
    "cluster": ("paceline.cli.cluster", "cluster", "Change who votes and who leads."),
    "drain": ("paceline.cli.drain", "drain", "Have a node take no tasks, and end what it runs."),
    "quiet": ("paceline.cli.drain", "quiet", "Have a node take no tasks, or take some again."),
    "bridge": ("paceline_bridge.cli", "bridge", "Run what comes from RabbitMQ: Celery, dramatiq, plain messages."),
    "init": ("paceline.cli.init", "init", "Write the file that makes several machines one cluster."),
    "key": ("paceline.cli.key", "key", "Say who may submit, and who may only look."),
    "journal": ("paceline.cli.journal", "journal", "Look at what a node has on disk."),
    "demo": ("paceline.cli.demo", "demo", "Kill the leader of a local cluster in the middle of its work."),
    "bench": ("paceline_bench.cli", "bench", "Measure this installation on this machine."),
    "version": ("paceline.cli.version", "version", "Show the version of the package and of the protocol."),
}


class LazyGroup(click.Group):
    """A click group whose commands are rows of :data:`COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command = getattr(importlib.import_module(row[0]), row[1])
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Click compares a misspelled name with the commands that were added to the group, of which there are none.
        if self.get_command(ctx, args[0]) is None:
            close = " or ".join(map(repr, get_close_matches(args[0], COMMANDS)))
            raise click.UsageError(f"No such command {args[0]!r}." + (f" Did you mean {close}?" if close else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in COMMANDS.items()])


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from paceline.cli.version import version_line

        click.echo(version_line())
        ctx.exit()


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,  # no command is an error like others, and not a page of help behind "error:"
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
def app() -> None:
    """Python tasks on a group of machines, with no broker to install."""


def _negative(error: click.UsageError) -> str:
    """The advice for ``paceline submit tasks.add -1 2``."""
    if isinstance(error, click.NoSuchOption) and error.option_name[1:2].isdigit():
        return " A negative number goes after `--`, with all that follows it."
    return ""


def _command_path(arguments: Sequence[str]) -> str:
    """The command at the beginning of the command line. Click's error does not name the command whose option lacks a
    value."""
    command: click.Command | None = app
    words = ["paceline"]
    for word in arguments:
        command = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def _named(error: Exception) -> Exception:
    """Of a file that this user may not use, whoever wanted to, an error that says whose it is; of one that can't be
    opened as there are too many, as the modules of a command are, one that says so; any other as it is."""
    if isinstance(error, OSError) and error.errno in NO_MORE_FILES:
        return OutOfResources(f"this process can't open what it needs ({error.strerror})")
    if not isinstance(error, PermissionError) or not isinstance(error.filename, str | bytes):
        return error
    from paceline.ownership import whose

    path = Path(os.fsdecode(error.filename))
    return ConfigError(f"can't use {path}: {error.strerror}. {whose(path)}; run this as one who may")


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code; the log and every error have been printed by then."""
    try:
        return _run(arguments)
    finally:
        stderr_writer().flush()


def _run(arguments: Sequence[str]) -> int:
    taken = Taken()
    try:
        outcome = app.main(list(arguments), prog_name="paceline", standalone_mode=False, obj=taken)
        flush()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else _command_path(arguments)
        note = taken.note(whole_message_of(error))
        complain(f"paceline: error: {message_of(error)}{_negative(error)}{note}\nTry `{where} --help`.")
        return USAGE
    except (click.Abort, KeyboardInterrupt) as error:
        return interrupted_code_of(error)
    except OutputFailed as error:
        if not error.is_unread:
            complain(f"paceline: error: {error}")
        return OUTPUT_FAILED
    except Exception as error:
        error = _named(error)
        code = exit_code_of(error)
        if code is None:
            raise  # a defect of paceline: its traceback is the report
        complain(f"paceline: error: {message_of(error)}{taken.note(whole_message_of(error))}")
        return code
    return outcome if isinstance(outcome, int) else 0
