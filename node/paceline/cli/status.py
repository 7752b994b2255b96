"""``paceline status``: what one node knows, for a person or as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

from paceline.cli.exits import message_of
from paceline.cli.options import Seconds, connect, reaches_a_cluster, to_json
from paceline.cli.output import complain
from paceline.cli.tables import FOLDED_CHARS, WIDE_CHARS, print_table
from paceline.errors import NoLeader, NoNodeFound
from paceline_protocol.texts import one_line

if TYPE_CHECKING:
    from paceline.client import Client

SAID_FROM = 0.75
"""How full the queue is when an operator is told."""
NUMBERS = ("behind", "slots", "running", "queued")
"""Of a node, as its row in the body names them."""

STATUS_TIMEOUT_S = 5.0
PIPED_WIDTH_CHARS = 160  # into a pipe the table goes unfolded, whatever width rich supposes there
UNSERVED_SHOWN = 5
ADDRESS_CHARS = 24
"""An address up to this length stands in one line, whatever the width."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--watch",
    "watch_s",
    type=Seconds(min_open=True),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Show it again every so often (2 s), until Ctrl-C.",
)
@reaches_a_cluster
def status(
    as_json: bool,
    watch_s: float | None,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
) -> int:
    """Show nodes, leader, slots and queue.

    The leader answers. While there is none any node does, which says why there is none; the exit code is 31 then.
    """
    client = connect(addresses, cluster_path, connect_timeout_s)
    timeout_s = max(connect_timeout_s, STATUS_TIMEOUT_S)
    try:
        if watch_s is not None:
            _watch(client, timeout_s, watch_s, as_json)
        body = client.status(timeout=timeout_s)
    finally:
        client.close(timeout=0)
    _print(body, as_json)
    return 0 if body["leader_id"] else NoLeader.exit_code


def _watch(client: Client, timeout_s: float, every_s: float, as_json: bool) -> NoReturn:
    """Until Ctrl-C or a signal. That nobody answers is what there is to see then, and no end."""
    while True:
        body, why_none = None, ""
        try:
            body = client.status(timeout=timeout_s)
        except (NoNodeFound, NoLeader, TimeoutError) as error:
            why_none = message_of(error)
        if not as_json and sys.stdout.isatty():
            click.clear()
        if body is not None:
            _print(body, as_json)
        elif as_json:
            complain(f"paceline: {why_none}")
        else:
            click.echo(f"nobody answers: {why_none}")
        time.sleep(every_s)


def _print(body: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(to_json(body))
        return
    from rich.console import Console

    # Neither markup nor emoji codes: rich finds both in addresses, as in [fd00:1234::1]:7077.
    width = None if sys.stdout.isatty() else PIPED_WIDTH_CHARS
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    for line in summary(body):
        console.print(one_line(line), soft_wrap=True)
    headings: tuple[str, ...] = ("node", "address", "role", *NUMBERS, "version", "metrics")
    rows = node_rows(body)
    console.print()
    if console.width < WIDE_CHARS:  # the table leaves out where metrics are served
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    folds = {"address": ADDRESS_CHARS, "role": FOLDED_CHARS, "metrics": FOLDED_CHARS}
    print_table(console, headings, rows, numbers=NUMBERS, folds=folds)
    if bridges := bridge_rows(body):
        console.print()
        headings = ("bridge", "state", "RabbitMQ", "queues", "unacked")
        folds = {"RabbitMQ": FOLDED_CHARS, "queues": FOLDED_CHARS}
        print_table(console, headings, bridges, numbers=("unacked",), folds=folds)


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
    lines = [f"cluster {name}: {leadership}"]
    if body["node_id"] != body["leader_id"]:
        lines.append(f"as node {short(body['node_id'])} sees it, which does not lead")
    lines.append(_standing(body))
    if body["insecure"]:
        lines.append("security: NONE, whoever reaches these ports can run tasks (--insecure)")
    else:
        lines.append(
            "security: " + ("encrypted" if body["encrypted"] else "this user of this machine only, not encrypted")
        )
    lines.append(f"tasks: {_live_tasks(body)}; of {_ended_tasks(body)}")
    if dead := body.get("dead_tasks"):
        lines.append(f"dead tasks: {dead}; `paceline dead ls` shows them")
    lines += _room(body) + _unserved(body) + _unplaced(body) + _levels(body)
    lines += [f"  {line}" for line in body.get("found") or ()]
    lines += [f"WARNING: {text}" for text in body.get("twice", ())]
    lines += [
        f"WARNING: node {short(node['id'])} has lost what it had promised, counts for nothing and is told to end; move "
        "its data directory away and start it: it joins as a new node"
        for node in body["nodes"]
        if node.get("forgotten")
    ]
    if body["other_clusters"]:
        others = ", ".join(map(short, body["other_clusters"]))
        lines.append(
            f"WARNING: another cluster of this name was seen ({others}; this one is {short(body['cluster_id'])}): "
            "they never mix. To have its nodes in this one, stop them and start them again without their data and "
            f"with --expect 0 --join {_own_address(body)}"
        )
    return lines


def _live_tasks(body: Mapping[str, Any]) -> str:
    if body["queued"] is None:
        return "how many are queued, running and delayed only the leader knows"
    limited = f" ({body['limited']} of them for their limits)" if body.get("limited") else ""
    return f"{body['queued']} queued{limited}, {body['running']} running, {body['delayed']} delayed"


def _room(body: Mapping[str, Any]) -> list[str]:
    """That the cluster is full, or nearly so. A queue has two limits."""
    queue = body.get("queue")
    if not queue:
        return []
    by_tasks, by_bytes = (queue[each] / max(1, queue[f"limit_{each}"]) for each in ("tasks", "bytes"))
    if max(by_tasks, by_bytes) < SAID_FROM:
        return []
    if by_tasks >= by_bytes:
        filled = f"{queue['tasks']} of {queue['limit_tasks']} tasks (--queue-limit)"
    else:
        filled = f"{queue['bytes'] >> 20} of {queue['limit_bytes'] >> 20} MiB (--queue-limit-mib)"
    return [f"WARNING: the queue has {filled}; at the limit new tasks are refused until others end"]


def _unserved(body: Mapping[str, Any]) -> list[str]:
    """That tasks wait which no node can run."""
    names = body.get("unserved")
    if not names:
        return []
    shown = ", ".join(f"{name} ({count})" for name, count in list(names.items())[:UNSERVED_SHOWN])
    others = ", ..." if len(names) > UNSERVED_SHOWN else ""
    return [
        f"WARNING: no node runs what {body['unserved_total']} tasks wait for: {shown}{others}. Start a node with the "
        "module that has them, or cancel them: paceline tasks cancel --name NAME"
    ]


def _unplaced(body: Mapping[str, Any]) -> list[str]:
    """That tasks wait for what no node has."""
    asked = body.get("unplaced")
    if not asked:
        return []
    shown = ", ".join(f"{what} ({count})" for what, count in list(asked.items())[:UNSERVED_SHOWN])
    others = ", ..." if len(asked) > UNSERVED_SHOWN else ""
    return [
        f"WARNING: no node has what {body['unplaced_total']} tasks ask for: {shown}{others}. Start a node that has it, "
        "with --tag or --resource; paceline tasks why ID says which comes closest"
    ]


def _ended_tasks(body: Mapping[str, Any]) -> str:
    ends = ["succeeded", "failed", "cancelled", "lost", "expired"]
    if body.get("timed_out_total"):  # an older node knows no such end
        ends.append("timed_out")
    if body.get("upstream_failed_total"):
        ends.append("upstream_failed")
    return f"{body['accepted_total']} accepted " + ", ".join(
        f"{body[f'{end}_total']} {end.replace('_', ' ')}" for end in ends
    )


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
            *(_number(node.get(key)) for key in NUMBERS),  # of others the leader knows
            node.get("version", ""),
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
    notes += ["forgot"] if node.get("forgotten") else []
    notes += _availability(node)
    silent_s = node.get("silent_s")
    if silent_s:
        notes.append(f"silent for {silent_s:.0f} s")
    elif not node["alive"]:
        notes.append("silent")
    return f"{node['role']} ({', '.join(notes)})" if notes else str(node["role"])


def _availability(node: Mapping[str, Any]) -> list[str]:
    """What a person is told of a node that takes no tasks."""
    availability = node.get("availability", "serves")
    if availability == "serves":
        return []
    left_s = node.get("drain_left_s", 0.0)
    return [f"{availability}, {left_s:.0f} s left" if left_s else str(availability)]


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def short(node_id: str) -> str:
    """Enough of an id for a person to tell nodes apart; --json has the whole."""
    return node_id[:8]
