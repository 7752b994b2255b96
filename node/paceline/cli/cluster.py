"""``paceline cluster``: who votes, and who leads. Each command waits until it is done, or says why it can't be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.options import connect, reaches_a_cluster, to_json
from paceline_protocol.messages import AdminOp

if TYPE_CHECKING:
    from paceline.client import Client

CHANGE_TIMEOUT_S = 30.0
STATUS_TIMEOUT_S = 5.0

Ask = Callable[["Client"], tuple[AdminOp, str]]


@click.group(no_args_is_help=False)
def cluster() -> None:
    """Change who votes and who leads.

    A NODE is an id as `paceline status` shows it, or the beginning of one, or an address.
    """


def _as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


@cluster.command()
@click.argument("number", type=click.Choice(["1", "3", "5"]))
@_as_json
@reaches_a_cluster
def voters(number: str, **where: Any) -> None:
    """Have this many voters, as soon as there are as many nodes.

    Three voters survive the loss of one machine, five that of two. The number outlives every restart, and counts more
    than `paceline node --voters`.
    """
    _change("voters", lambda client: (AdminOp.VOTERS, number), **where)


@cluster.command()
@click.argument("node")
@_as_json
@reaches_a_cluster
def promote(node: str, **where: Any) -> None:
    """Make NODE a voter, in the place of another if there would be too many.

    It also takes back what `remove` did.
    """
    _change("promote", lambda client: (AdminOp.PROMOTE, node_id_of(node, _status(client))), **where)


@cluster.command()
@click.argument("node")
@_as_json
@reaches_a_cluster
def remove(node: str, **where: Any) -> None:
    """Take NODE out of the voters and learners.

    If another node can take its place it does so first. NODE goes on running tasks; it votes no more until it is
    promoted, or started anew without its data.
    """
    _change("remove", lambda client: (AdminOp.REMOVE, node_id_of(node, _status(client))), **where)


@cluster.command()
@click.argument("node", required=False)
@_as_json
@reaches_a_cluster
def transfer(node: str | None, **where: Any) -> None:
    """Let NODE lead, or without NODE whoever is best prepared."""

    def ask(client: Client) -> tuple[AdminOp, str]:
        status = _status(client)
        if node is not None:
            return AdminOp.TRANSFER, node_id_of(node, status)
        return AdminOp.STEP_DOWN, str(status["leader_id"])

    _change("transfer", ask, **where)


def _change(
    name: str,
    ask: Ask,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
) -> None:
    with connect(addresses, cluster_path, connect_timeout_s) as client:
        op, argument = ask(client)
        detail = client.change_cluster(op, argument, CHANGE_TIMEOUT_S)
    click.echo(to_json({"change": name, "argument": argument, "detail": detail}) if as_json else detail)


def _status(client: Client) -> Mapping[str, Any]:
    return client.status(timeout=STATUS_TIMEOUT_S)


def node_id_of(name: str, status: Mapping[str, Any]) -> str:
    """The whole id of the node that a person named."""
    nodes = status["nodes"]
    found = [node["id"] for node in nodes if node["id"] == name or node["address"] == name]
    found = found or [node["id"] for node in nodes if node["id"].startswith(name)]
    if len(found) == 1:
        return str(found[0])
    known = ", ".join(f"{node['id'][:8]} at {node['address'] or 'an unknown address'}" for node in nodes)
    which = f"means {len(found)} nodes" if found else "is no node of this cluster"
    raise click.BadParameter(f"{name!r} {which}; there are: {known}", param_hint="NODE")
