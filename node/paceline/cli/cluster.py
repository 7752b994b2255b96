"""``paceline cluster``: who votes, and who leads. Each command waits until it is done, or prints why it can't be done.

All commands but ``recover`` send a request to the leader. ``recover`` is for a cluster that can't elect a leader any
more, and works on the data directory of a stopped node.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.environment import setting
from paceline.cli.options import DirectoryPath, connect, reaches_a_cluster, to_json
from paceline.cli.output import show
from paceline.config import DEFAULT_PORT, VOTER_COUNTS, ClusterFile, parse_address
from paceline.errors import ConfigError, RecoveryRefused
from paceline_protocol.messages.client import AdminOp

if TYPE_CHECKING:
    from paceline.client import Client
    from paceline.runtime.journal.unsafe_recovery import Recovery, Survivor

CHANGE_TIMEOUT_S = 30.0
STATUS_TIMEOUT_S = 5.0

_HAS_PORT = re.compile(r":[0-9]+$")

Ask = Callable[["Client"], tuple[AdminOp, str]]


@click.group(no_args_is_help=False)
def cluster() -> None:
    """Change who votes and who leads.

    A NODE is an id as `paceline status` shows it, or the beginning of one, or an address, whose port can be left out.
    """


def _as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


class VoterCount(click.types.StringParamType):
    """How many nodes vote, as the text that travels."""

    allowed = ", ".join(map(str, VOTER_COUNTS))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in map(str, VOTER_COUNTS):
            self.fail(f"{value!r} is no number of voters; allowed are {self.allowed}.", param, ctx)
        return super().convert(value, param, ctx)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"It is how many nodes vote; allowed are {self.allowed}."


def named(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.strip():  # every id begins with nothing
        raise click.BadParameter("it is empty; `paceline status` shows the nodes there are.", ctx, param_hint="'NODE'")
    return value


_node = click.argument("node", callback=named)


@cluster.command()
@click.argument("number", type=VoterCount())
@_as_json
@reaches_a_cluster
def voters(number: str, **where: Any) -> None:
    """Have this many voters, as soon as there are as many nodes.

    Three voters survive the loss of one machine, five that of two. The number outlives every restart, and counts more
    than `paceline node --voters`.
    """
    _change("voters", lambda client: (AdminOp.VOTERS, number), **where)


@cluster.command()
@_node
@_as_json
@reaches_a_cluster
def promote(node: str, **where: Any) -> None:
    """Make NODE a voter, in the place of another if there would be too many.

    It also takes back what `remove` did.
    """
    _change("promote", lambda client: (AdminOp.PROMOTE, node_id_of(node, _status(client))), **where)


@cluster.command()
@_node
@_as_json
@reaches_a_cluster
def remove(node: str, **where: Any) -> None:
    """Take NODE out of the voters and learners.

    If another node can take its place it does so first. NODE goes on running tasks; it votes no more until it is
    promoted, or started anew without its data.
    """
    _change("remove", lambda client: (AdminOp.REMOVE, node_id_of(node, _status(client))), **where)


@cluster.command()
@click.argument("node", required=False, callback=named)
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


@cluster.command()
@click.option("--unsafe", is_flag=True, help="Do it. What only the lost voters had is gone for good.")
@setting(
    "--data-dir",
    type=DirectoryPath(),
    help="Of the stopped node. Default: where `paceline node` with this cluster file and port keeps it.",
)
@setting(
    "--cluster",
    "cluster_path",
    metavar="FILE",
    help="The cluster file of the node, to find its data.",
)
@setting(
    "--port",
    type=click.IntRange(1, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Of the node, to find its data.",
)
@_as_json
def recover(unsafe: bool, data_dir: Path | None, cluster_path: str | None, port: int, as_json: bool) -> None:
    """Make one survivor the only voter of a new cluster, after a majority of the voters was lost for good.

    The node must be stopped. Without --unsafe nothing is changed, and it is said what may be lost.
    """
    from paceline.runtime.journal.data_directory import default_directory
    from paceline.runtime.journal.unsafe_recovery import look
    from paceline.runtime.journal.unsafe_recovery import recover as recover_node

    if data_dir is None:
        data_dir = default_directory(ClusterFile.load(cluster_path).name if cluster_path else "", port)
    if not unsafe:
        raise RecoveryRefused(refusal(look(data_dir)))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    done = recover_node(data_dir, new_cluster_id=secrets.token_hex(8), at=at)
    fields = recovery_fields(done)
    if as_json:
        show(to_json(fields))
        return
    for name, value in fields.items():
        show(f"{name:<15} {', '.join(value) if isinstance(value, list) else value}")
    show(
        "",
        "What only the lost voters had is gone: tasks that were accepted and results that were recorded after the "
        "last entry that this node has. Start this node, then others without data. Nodes of the lost majority that "
        "come back belong to another cluster: start them again without their data.",
    )


def refusal(survivor: Survivor) -> str:
    """The lines that warn an operator before a recovery, and say what to try first."""
    lost = survivor.lost_voters
    return (
        f"nothing was changed. Node {survivor.node_id} has the log of cluster {survivor.cluster_id} up to entry "
        f"{survivor.last_index} of term {survivor.last_term}: {survivor.queued} queued tasks, {survivor.results} "
        "results. What the cluster accepted or recorded after that, only the other voters have, and a recovery loses "
        "it for good; tasks whose outcome only they have run again. "
        f"First start the other voters ({', '.join(lost) or 'none is known'}) if any of their disks survives: with a "
        "majority of them the cluster goes on by itself and nothing is lost. If none does, recover on the survivor "
        "with the highest term and entry, once, with --unsafe"
    )


def recovery_fields(done: Recovery) -> dict[str, Any]:
    """The result of a recovery, as names and values."""
    survivor = done.survivor
    return {
        "node": survivor.node_id,
        "cluster": survivor.cluster_name,
        "old_cluster_id": survivor.cluster_id,
        "new_cluster_id": done.new_cluster_id,
        "recovered_at": done.at,
        "last_term": survivor.last_term,
        "last_index": survivor.last_index,
        "config_term": done.config_term,
        "config_index": done.config_index,
        "queued": survivor.queued,
        "results": survivor.results,
        "lost_voters": list(survivor.lost_voters),
    }


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
    show(to_json({"change": name, "argument": argument, "detail": detail}) if as_json else detail)


def _status(client: Client) -> Mapping[str, Any]:
    return client.status(timeout=STATUS_TIMEOUT_S)


def node_id_of(name: str, status: Mapping[str, Any]) -> str:
    """The whole id of the node that a person named."""
    nodes = status["nodes"]
    found = [node["id"] for node in nodes if node["id"] == name or node["address"] == name]
    found = found or [node["id"] for node in nodes if node["id"].startswith(name)]
    found = found or [node["id"] for node in nodes if _is_at(name, node["address"])]
    if len(found) == 1:
        return str(found[0])
    known = ", ".join(f"{node['id'][:8]} at {node['address'] or 'an unknown address'}" for node in nodes)
    which = f"means {len(found)} nodes" if found else "is no node of this cluster"
    raise click.BadParameter(f"{name!r} {which}; there are: {known}", param_hint="NODE")


def _is_at(name: str, address: str) -> bool:
    """Whether a person who writes ``name`` means this address: in another spelling of it, or without its port."""
    try:
        (host, port), there = parse_address(name), parse_address(address)
    except ConfigError:
        return False
    return host == there[0] and (port == there[1] or not _HAS_PORT.search(name))
