"""The table of commands, and the one place where an error becomes a message and an exit code.

A command's module is imported when the command runs and not before: a node that is started ten thousand times in a test
suite must not pay for the tables and progress bars of its neighbours.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from difflib import get_close_matches

import click

from paceline.cli.exits import USAGE, exit_code_of, interrupted_code_of, message_of
from paceline.errors import NoNodeFound

# name -> (module, attribute, what `paceline --help` says). The help text stands here so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "node": ("paceline.cli.node", "node", "Run a node on this machine."),
    "submit": ("paceline.cli.submit", "submit", "Submit one task."),
    "status": ("paceline.cli.status", "status", "Show nodes, leader, slots and queue."),
    "tasks": ("paceline.cli.tasks", "tasks", "Say where a task is, and why it does not run."),
    "cluster": ("paceline.cli.cluster", "cluster", "Change who votes and who leads."),
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


def _unresolved(addresses: Sequence[str]) -> str:
    """Those of the addresses whose host name can't be resolved. Only looked up after a failure, since a client goes on
    while a name server is away."""
    from paceline.discovery import resolve_seed

    found = []
    for address in addresses:
        try:
            resolve_seed(address)
        except OSError as error:
            found.append(
                f". {address} does not resolve ({error.strerror or error}): check the name, or give an IP address"
            )
    return "".join(found)


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code; every error has been printed by then."""
    try:
        outcome = app.main(list(arguments), prog_name="paceline", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else _command_path(arguments)
        click.echo(f"paceline: error: {error.format_message()}{_negative(error)}\nTry `{where} --help`.", err=True)
        return USAGE
    except (click.Abort, KeyboardInterrupt) as error:
        return interrupted_code_of(error)
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise  # a defect of paceline: its traceback is the report
        names = _unresolved(error.tried) if isinstance(error, NoNodeFound) else ""
        click.echo(f"paceline: error: {message_of(error)}{names}", err=True)
        return code
    return outcome if isinstance(outcome, int) else 0
