"""``paceline drain`` and ``paceline quiet``: a node takes no tasks, while its process goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.cluster import CHANGE_TIMEOUT_S, STATUS_TIMEOUT_S, named, node_id_of
from paceline.cli.options import Seconds, connect, reaches_a_cluster, to_json
from paceline.cli.output import show
from paceline.config import DRAIN_TIMEOUT_MAX_S, DRAIN_TIMEOUT_S
from paceline.errors import RequestRefused
from paceline_protocol.messages.client import AdminOp
from paceline_protocol.messages.work import QUIET_LEVEL

if TYPE_CHECKING:
    from paceline.client import Client

LOOK_S = 0.2
FINISH_S = 10.0
"""Behind the drain: for the workers to be killed, and for the leader to hear of it."""

_node = click.argument("node", callback=named)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@_node
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    default=DRAIN_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="What NODE runs may take so long to end; then it is given back, and another node runs it.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return when nothing runs there any more.")
@_json
@reaches_a_cluster
def drain(
    node: str,
    timeout_s: float,
    wait: bool,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
) -> None:
    """Have a node take no tasks, and end what it runs.

    It leads no more, if another can. Its process goes on, stays a voter and serves clients. It takes tasks again after
    `paceline quiet --off NODE`, or when it is started again. NODE is as for `paceline cluster`.
    """
    if timeout_s > DRAIN_TIMEOUT_MAX_S:
        raise click.BadParameter(f"allowed is up to {DRAIN_TIMEOUT_MAX_S} s", param_hint="'--timeout'")
    with connect(addresses, cluster_path, connect_timeout_s) as client:
        node_id, is_now = _find(client, node)
        if is_now == "draining":  # until another time, which only the end of that drain makes it forget
            client.change_cluster(AdminOp.QUIET, node_id, CHANGE_TIMEOUT_S)
        detail = client.change_cluster(AdminOp.DRAIN, f"{node_id} {round(timeout_s * 1_000)}", CHANGE_TIMEOUT_S)
        if not as_json:
            show(detail)
        state = "draining"
        if wait:
            state = _wait_drained(client, node_id, timeout_s + FINISH_S)
            if not as_json:
                show(f"node {node_id} {ENDS[state]}")
    if as_json:
        show(to_json({"change": "drain", "node": node_id, "state": state, "detail": detail}))


@click.command()
@_node
@click.option("--off", is_flag=True, help="NODE takes tasks again, also after `paceline drain`.")
@_json
@reaches_a_cluster
def quiet(
    node: str,
    off: bool,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
) -> None:
    """Have a node take no tasks, or take some again.

    What its workers run goes on, what they have not begun goes to other nodes. It stays a voter, may lead, and serves
    clients. It takes tasks again after `paceline quiet --off NODE`, or when it is started again.
    """
    with connect(addresses, cluster_path, connect_timeout_s) as client:
        node_id, _ = _find(client, node)
        op = AdminOp.SERVE if off else AdminOp.QUIET
        detail = client.change_cluster(op, node_id, CHANGE_TIMEOUT_S)
    change = "serve" if off else "quiet"
    show(to_json({"change": change, "node": node_id, "detail": detail}) if as_json else detail)


ENDS = {
    "drained": "has drained: it runs nothing, and takes nothing before `paceline quiet --off` or its next start",
    "gone": "is gone: its process has ended",
    "serves": "takes tasks again, as somebody has wanted meanwhile",
    "quiet": "is quiet, as somebody has wanted meanwhile, and goes on with what it runs",
}
"""What has become of a node that was to drain."""


def _find(client: Client, name: str) -> tuple[str, str]:
    """The whole id of the node that a person named, and what it does about tasks. Raises RequestRefused if the leader
    is too old to be asked."""
    status = client.status(timeout=STATUS_TIMEOUT_S)
    leader: Mapping[str, Any] = next((row for row in status["nodes"] if row["id"] == status["leader_id"]), {})
    if (leader.get("feature_level") or QUIET_LEVEL) < QUIET_LEVEL:
        raise RequestRefused(
            "the leader is older, and can't tell nodes to take no tasks; upgrade paceline there, or stop the node "
            "itself, which drains it if it is of this version"
        )
    node_id = node_id_of(name, status)
    return node_id, _state(status, node_id)


def _wait_drained(client: Client, node_id: str, timeout_s: float) -> str:
    """What has become of the node in the end. Raises TimeoutError."""
    until = time.monotonic() + timeout_s
    while True:
        state = _state(client.status(timeout=STATUS_TIMEOUT_S), node_id)
        if state in ENDS:
            return state
        if time.monotonic() >= until:
            raise TimeoutError(
                f"node {node_id} has not drained within {timeout_s:g} s; `paceline status` shows what it still runs"
            )
        time.sleep(LOOK_S)


def _state(status: Mapping[str, Any], node_id: str) -> str:
    """As the leader knows; "" while nobody does."""
    if not status["leader_id"]:
        return ""
    row = next((row for row in status["nodes"] if row["id"] == node_id), None)
    if row is None or not row["alive"] or row.get("silent_s"):
        return "gone"
    return str(row.get("availability", ""))
