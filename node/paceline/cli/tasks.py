"""``paceline tasks``: what the leader knows of single tasks."""

from __future__ import annotations

import click

from paceline.cli.options import Seconds, connect, reaches_a_cluster, to_json
from paceline.errors import ResultUnknown


@click.group(no_args_is_help=False)
def tasks() -> None:
    """Look at single tasks."""


def _task_id(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The id of a task as people write it, in the form in which it is printed."""
    from paceline.client.targets import task_id_of

    try:
        return task_id_of(value).hex()
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@tasks.command()
@click.argument("task_id", metavar="ID", callback=_task_id)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait at most this long for the leader's answer (exit 23).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reaches_a_cluster
def why(
    task_id: str,
    timeout_s: float,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
) -> None:
    """Say where a task is, and why it does not run.

    ID is what `paceline submit` printed, whoever submitted it.
    """
    client = connect(addresses, cluster_path, connect_timeout_s)
    try:
        client.connect()
        found = client.where_is(task_id, timeout_s)
    finally:
        client.close(timeout=0)
    if found["state"] == "unknown":
        raise ResultUnknown(f"{task_id}: {found['why']}")
    click.echo(to_json({"task_id": task_id, **found}) if as_json else f"{found['state']}: {found['why']}")
