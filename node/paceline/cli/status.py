"""``paceline status``: what one node knows, for a person or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from paceline.cli.options import connect, reaches_a_cluster, to_json

STATUS_TIMEOUT_S = 5.0
PIPED_WIDTH_CHARS = 160  # into a pipe the table goes unfolded, whatever width rich supposes there


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reaches_a_cluster
def status(as_json: bool, addresses: tuple[str, ...], cluster_path: str | None, connect_timeout_s: float) -> None:
    """Show nodes, leader, slots and queue.

    Any node answers, so this works without a leader too and then says why there is none.
    """
    client = connect(addresses, cluster_path, connect_timeout_s)
    try:
        body = client.status(timeout=max(connect_timeout_s, STATUS_TIMEOUT_S))
    finally:
        client.close(timeout=0)
    if as_json:
        click.echo(to_json(body))
    else:
        _print(body)


def _print(body: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH_CHARS)
    for line in summary(body):
        console.print(line, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("node", "address", "role"):
        table.add_column(heading)
    for heading in ("behind", "slots", "running", "queued"):
        table.add_column(heading, justify="right")
    table.add_column("metrics")
    for row in node_rows(body):
        table.add_row(*row)
    console.print()
    console.print(table)
    if bridges := bridge_rows(body):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("bridge", "state", "RabbitMQ", "queues"):
            table.add_column(heading)
        table.add_column("unacked", justify="right")
        for bridge in bridges:
            table.add_row(*map(escape, bridge))
        console.print()
        console.print(table)


def summary(body: Mapping[str, Any]) -> list[str]:
    """The lines above the table."""
    name = body["cluster_name"] or "(no name)"
    if body["forming"]:
        leadership = f"forming: {body['forming']}"
    elif body["leader_id"]:
        leadership = f"leader {short(body['leader_id'])}, term {body['term']}"
    else:
        why = body.get("leaderless")
        leadership = f"no leader, term {body['term']}" + (f": {why}" if why else "")
    lines = [f"cluster {name}: {leadership}", _standing(body)]
    if body["insecure"]:
        lines.append("security: NONE, whoever reaches these ports can run tasks (--insecure)")
    else:
        lines.append("security: " + ("encrypted" if body["encrypted"] else "this machine only, not encrypted"))
    lines.append(
        f"tasks: {body['queued']} queued, {body['running']} running, {body['delayed']} delayed; of "
        f"{body['accepted_total']} accepted {body['succeeded_total']} succeeded, {body['failed_total']} failed, "
        f"{body['cancelled_total']} cancelled, {body['lost_total']} lost, {body['expired_total']} expired"
    )
    lines += _levels(body)
    if body["other_clusters"]:
        others = ", ".join(map(short, body["other_clusters"]))
        lines.append(
            f"WARNING: another cluster of this name was seen ({others}; this one is {short(body['cluster_id'])}): "
            "they never mix. To have its nodes in this one, stop them and start them again without their data and "
            f"with --expect 0 --join {_own_address(body)}"
        )
    return lines


def _standing(body: Mapping[str, Any]) -> str:
    line = f"survives: {_tolerance(body)}; journal: {body['journal']}"
    return line + (f"; feature level: {body['feature_level']}" if body.get("feature_level") else "")


def _levels(body: Mapping[str, Any]) -> list[str]:
    """Which nodes are of another version than the rest, as far as it matters for what can be asked for."""
    if body.get("too_old"):
        return [f"WARNING: {body['too_old']}"]
    level = body.get("feature_level") or 0
    understood = {short(node["id"]): node.get("feature_level") or 0 for node in body["nodes"]}
    newest = max(understood.values(), default=0)
    too_old = [node for node, highest in understood.items() if 0 < highest < level]
    lines = [
        f"WARNING: too old for feature level {level}, and idle until paceline is upgraded there: {', '.join(too_old)}"
    ]
    if newest > level > 0:
        older = ", ".join(node for node, highest in understood.items() if highest <= level)
        lines.append(f"feature level: {newest} once paceline is upgraded on {older or 'the nodes that are not heard'}")
    return lines if too_old else lines[1:]


def _own_address(body: Mapping[str, Any]) -> str:
    """Where the node is that answered."""
    return next((str(node["address"]) for node in body["nodes"] if node["is_self"]), "HOST:PORT")


def _tolerance(body: Mapping[str, Any]) -> str:
    machines: int = body["fault_tolerance"]
    if machines == 0:
        voters = [node for node in body["nodes"] if node["role"] in ("leader", "voter")]
        silent = [node for node in voters if node.get("silent_s") or not node["alive"]]
        why = f"silent voters: {len(silent)}" if silent else "there are fewer than three voters"
        return f"the loss of no machine ({why})"
    return f"the loss of {machines} machine{'s' if machines > 1 else ''} at a time"


def node_rows(body: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a node: the leader first, then by address."""
    nodes = sorted(body["nodes"], key=lambda node: (node["role"] != "leader", node["address"]))
    return [
        (
            short(node["id"]) + (" *" if node["is_self"] else ""),
            node["address"],
            _role(node),
            *(_number(node.get(key)) for key in ("behind", "slots", "running", "queued")),  # of others the leader knows
            node.get("metrics", ""),
        )
        for node in nodes
    ]


def bridge_rows(body: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row for each RabbitMQ bridge that works with this cluster, from the bridge's own description."""
    bridges = [client for client in body.get("clients", ()) if client.get("kind") == "bridge"]
    keys = ("state", "rabbitmq", "queues", "unacked")
    return [
        (f"{bridge.get('host', '')}:{bridge.get('pid', '')}", *(bridge.get(key, "") for key in keys))
        for bridge in bridges
    ]


def _role(node: Mapping[str, Any]) -> str:
    notes = ["removed"] if node.get("excluded") else []
    silent_s = node.get("silent_s")
    if silent_s:
        notes.append(f"silent for {silent_s:.0f} s")
    elif not node["alive"]:
        notes.append("silent")
    return f"{node['role']} ({', '.join(notes)})" if notes else str(node["role"])


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def short(node_id: str) -> str:
    """Enough of an id for a person to tell nodes apart; --json has the whole."""
    return node_id[:8]
