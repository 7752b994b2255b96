"""``paceline result``: how a task ended, by its id; and how any command shows a task's result, or its error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.options import Seconds, connect, reaches_a_cluster, show_value, to_json
from paceline.errors import TaskFailed

if TYPE_CHECKING:
    from paceline.client import Future


def task_id(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The id of a task as people write it, in the form in which it is printed."""
    from paceline.client.targets import task_id_of

    try:
        return task_id_of(value).hex()
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@contextmanager
def told_as_errors(advice: str) -> Iterator[None]:
    """What a future raises, as commands end with it. ``advice``: what to do about a wait that was too short."""
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, TaskFailed):  # as itself, an EOFError of the task would mean Ctrl-D to click
            raise error.__cause__ from None
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"{error}; {advice}") from None
        raise


def show_result(future: Future[Any], value: object, as_json: bool) -> None:
    """Print the result of a task that has succeeded, as ``Future.described`` has it."""
    record = {"task_id": future.task_id.hex(), "state": "succeeded", "result": value}
    click.echo(to_json(record) if as_json else show_value(value))


@click.command()
@click.argument("task_id", metavar="ID", callback=task_id)
@click.option(
    "--wait",
    "wait_s",
    type=Seconds(),
    default=0.0,
    metavar="SECONDS",
    help="Wait at most this long for a task that has not ended (exit 23).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reaches_a_cluster
def result(
    task_id: str,
    wait_s: float,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
) -> None:
    """Print the result of a task, by its id.

    A task that did not succeed ends the command with the exit code of its error.

    ID is what `paceline submit` printed, whoever submitted it. The result is taken from nobody: asked twice, it is
    printed twice.

    \b
    paceline result 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e --wait 60
    """
    client = connect(addresses, cluster_path, connect_timeout_s)
    try:
        future = client.task(task_id)
        with told_as_errors("wait longer with --wait SECONDS; `paceline tasks why ID` says where it is"):
            value = future.described(wait_s)
        show_result(future, value, as_json)
    finally:
        client.close(timeout=0)
