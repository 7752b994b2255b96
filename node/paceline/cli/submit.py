"""``paceline submit``: one task from the shell."""

from __future__ import annotations

import click

from paceline.cli.options import connect, parse_value, reaches_a_cluster, show_value, to_json
from paceline.options import CHOICES, Confirm, Delivery, Durability
from paceline_protocol.messages import PRIORITY_DEFAULT


@click.command()
@click.argument("name")
@click.argument("args", nargs=-1)
@click.option("--kw", "keywords", multiple=True, metavar="KEY=VALUE", help="A keyword argument; may be repeated.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait at most this long (exit 23)."
)
@click.option("--priority", type=click.IntRange(0, 9), default=PRIORITY_DEFAULT, help="9 goes first. Default: 4.")
@click.option("--delivery", type=click.Choice(CHOICES["delivery"]), help="Default: at_least_once.")
@click.option("--confirm", type=click.Choice(CHOICES["confirm"]), help="When --wait has a result. Default: received.")
@click.option("--durability", type=click.Choice(CHOICES["durability"]), help="none: kept out of the log. Default: log.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reaches_a_cluster
def submit(
    name: str,
    args: tuple[str, ...],
    keywords: tuple[str, ...],
    wait: bool,
    timeout_s: float | None,
    priority: int,
    delivery: Delivery | None,
    confirm: Confirm | None,
    durability: Durability | None,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
) -> None:
    """Submit one task.

    NAME is the task's name, as in tasks.add. Each of ARGS is read as JSON if it is JSON, else as a string; those that
    begin with a dash go after `--`. Without --wait the command returns when the cluster has accepted the task, and
    prints its id.

    \b
    paceline submit tasks.add 2 3 --wait
    paceline submit tasks.greet Ada --kw greeting=Hello --wait
    paceline submit tasks.add --wait -- -1 2
    """
    from paceline.client import NamedTask

    target = NamedTask(
        name,
        priority=priority,
        delivery=delivery or "at_least_once",
        confirm=confirm or "received",
        durability=durability or "log",
    )
    positional = [parse_value(text) for text in args]
    named = dict(_parse_keyword(text) for text in keywords)
    with connect(addresses, cluster_path, connect_timeout_s) as client:
        future = client.submit(target, *positional, **named)
        if wait:
            value = future.result(timeout=timeout_s)
            record = {"task_id": future.task_id.hex(), "state": "succeeded", "result": value}
            click.echo(to_json(record) if as_json else show_value(value))
        else:
            future.accepted(timeout=timeout_s)
            record = {"task_id": future.task_id.hex(), "state": "accepted"}
            click.echo(to_json(record) if as_json else future.task_id.hex())


def _parse_keyword(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise click.BadParameter(f"{text!r} is not KEY=VALUE with a Python name as KEY", param_hint="--kw")
    return key, parse_value(value)
