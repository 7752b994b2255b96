"""What the commands share that ask the leader for tasks: how they reach it, for how long, and which tasks are meant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from paceline.cli.options import Function, Seconds, connect, reaches_a_cluster
from paceline.cli.result import task_id as task_id_of
from paceline.errors import ConfigError
from paceline.options import check_graph
from paceline_protocol.limits import MAX_NAME_CHARS

if TYPE_CHECKING:
    from paceline.client import Client


def task_ids(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """The ids of tasks, each once."""
    return tuple(dict.fromkeys(task_id_of(ctx, param, value) for value in values))


def task_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of a task."""
    if value is not None and not 0 < len(value) <= MAX_NAME_CHARS:
        raise click.BadParameter(f"a name has 1 to {MAX_NAME_CHARS} characters, as tasks.add.", ctx, param)
    return value


def asks_the_leader(timeout_s: float) -> Callable[[Function], Function]:
    """Adds --timeout, --json and how the cluster is reached."""

    def add(command: Function) -> Function:
        for option in (
            reaches_a_cluster,
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
            click.option(
                "--timeout",
                "timeout_s",
                type=Seconds(),
                default=timeout_s,
                show_default=True,
                metavar="SECONDS",
                help="Wait at most this long for the leader's answer (exit 23).",
            ),
        ):
            command = option(command)
        return command

    return add


def graph_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of a graph."""
    if value is not None:
        try:
            check_graph(value)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from None
    return value


of_graph = click.option("--graph", metavar="GRAPH", callback=graph_name, help="Only tasks of this graph.")
"""Adds --graph to a filter of tasks."""


@contextmanager
def connected(addresses: tuple[str, ...], cluster_path: str | None, connect_timeout_s: float) -> Iterator[Client]:
    """A client for the length of a command."""
    client = connect(addresses, cluster_path, connect_timeout_s)
    try:
        client.connect()
        yield client
    finally:
        client.close(timeout=0)


def confirm(question: str) -> None:
    """Ends the command unless the answer is yes. Whoever can't be asked has to say it beforehand."""
    if not sys.stdin or not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here, since stdin is no terminal: say --yes")
    click.confirm(question, abort=True, err=True)
